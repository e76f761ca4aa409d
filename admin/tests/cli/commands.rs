//! Every command against the fake node: what it asks, and what it prints.

use serde_json::{Value, json};

use crate::fake::{Fake, State, repository, rule, sample};
use crate::golden;
use crate::run::entrepot;

/// What `command --json` answers of the sample cluster.
async fn json_of(fake: &Fake, command: &str) -> Value {
    let text = entrepot(command)
        .argument("--json")
        .asking(fake)
        .answer()
        .await;
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn tables_of_the_sample_cluster() {
    let fake = Fake::start(sample()).await;
    for (name, command) in [
        ("cluster-status.txt", "cluster status"),
        ("registry-show.txt", "registry show"),
        ("registry-set.txt", "registry set --create-on-push off"),
        ("repository-show.txt", "repository show team/app"),
        (
            "repository-set.txt",
            "repository set team/app --sparse-indexes allow",
        ),
        ("repository-list.txt", "repository list"),
        (
            "repository-delete.txt",
            "repository delete team/app --force --yes",
        ),
        ("rule-list.txt", "rule list"),
        ("image-list.txt", "image list team/app"),
        ("image-list-deleted.txt", "image list team/app --deleted"),
        ("image-restore.txt", "image restore team/app:1.4"),
        ("image-archive.txt", "image archive team/app:1.4"),
        ("image-activate.txt", "image activate team/app:1.4"),
        ("tag-history.txt", "tag history team/app:latest"),
        (
            "tag-restore.txt",
            "tag restore team/app:latest --at 2026-01-01T00:30:00Z",
        ),
        (
            "tag-restore-dry-run.txt",
            "tag restore team/app:latest --at 2h --dry-run",
        ),
        ("replication-status.txt", "replication status"),
        ("usage.txt", "usage"),
        ("repair-status.txt", "repair status"),
        ("scrub-start.txt", "scrub start"),
        ("scrub-status.txt", "scrub status"),
    ] {
        let table = entrepot(command).asking(&fake).answer().await;
        golden::check(name, &table);
    }
}

#[tokio::test]
async fn empty_lists_say_so_to_people_and_are_empty_to_programs() {
    let images = vec![("team/app".to_owned(), vec![])];
    let fake = Fake::start(State {
        images,
        ..State::default()
    })
    .await;
    for (command, sentence, document) in [
        (
            "repository list",
            "There are no repositories.\n",
            json!({"repositories": []}),
        ),
        (
            "rule list",
            "There are no rules: nothing is copied to other regions.\n",
            json!({"rules": []}),
        ),
        (
            "image list team/app",
            "There are no images in team/app.\n",
            json!({"repository": "team/app", "images": []}),
        ),
        (
            "tag history team/app:1.0",
            "Nothing is known of team/app:1.0.\n",
            json!({"repository": "team/app", "tag": "1.0", "moves": []}),
        ),
        (
            "replication status",
            "There are no replication tasks.\n",
            json!({"tasks": [], "rules": [], "partial": false}),
        ),
    ] {
        assert_eq!(entrepot(command).asking(&fake).answer().await, sentence);
        assert_eq!(json_of(&fake, command).await, document);
    }
}

#[tokio::test]
async fn cluster_status_as_json() {
    let fake = Fake::start(sample()).await;
    let mut status = json_of(&fake, "cluster status").await;
    status["nodes"].as_array_mut().unwrap().truncate(1);
    assert_eq!(
        status,
        json!({
            "node": 1, "region": "us-east-1", "account": "123456789012", "version": "0.1.0",
            "nodes": [
                {"id": 1, "region": "us-east-1", "peer_address": "10.0.0.1:5001", "alive": true},
            ],
            "groups": [
                {"group": "global/0", "leader": null, "term": 3, "applied": 1042,
                 "voters": [1, 2, 3], "learners": []},
                {"group": "region/us-east-1/0", "leader": 2, "term": 3, "applied": 1042,
                 "voters": [1, 2], "learners": [4]},
            ],
        })
    );
}

#[tokio::test]
async fn the_registrys_settings_as_json() {
    let fake = Fake::start(sample()).await;
    for (command, create_on_push) in [
        ("registry show", true),
        ("registry set --create-on-push off", false),
        ("registry show", false),
        ("registry set --create-on-push on", true),
    ] {
        assert_eq!(
            json_of(&fake, command).await,
            json!({
                "account": "123456789012",
                "region": "us-east-1",
                "create_on_push": create_on_push,
                "repositories": 214,
                "max_repositories": 100_000,
                "max_images": 20_000,
                "max_tags": 1_000,
                "max_layer_parts": 4_200,
                "max_layer_bytes": 54_525_952_000_u64,
                "bytes": 100_u64 << 30,
                "max_bytes": 500_u64 << 30,
                "max_repository_bytes": null,
                "images": 1_200,
                "max_registry_images": null,
                "undelete_window_s": 604_800,
            }),
            "{command}"
        );
    }
}

#[tokio::test]
async fn a_repository_is_created_once() {
    let fake = Fake::start(State::default()).await;
    let create = async || {
        entrepot("repository create team/app")
            .asking(&fake)
            .answer()
            .await
    };
    assert_eq!(create().await, "Created repository team/app.\n");
    assert_eq!(create().await, "Repository team/app exists already.\n");
    assert_eq!(fake.state.lock().unwrap().repositories.len(), 1);
    assert_eq!(
        json_of(&fake, "repository create team/other").await,
        json!({"repository": "team/other", "created": true})
    );
}

#[tokio::test]
async fn a_repository_is_deleted_part_by_part() {
    let fake = Fake::start(sample()).await;
    let refused = entrepot("repository delete team/app --yes").asking(&fake);
    let complaint = refused.complaint().await;
    assert_eq!(complaint, "the node refuses this: it has images");
    assert_eq!(
        json_of(&fake, "repository delete team/app --force --yes").await,
        json!({"deleted": "team/app", "images": 12, "tags": 3})
    );
    assert_eq!(
        json_of(&fake, "repository delete base/alpine --yes").await,
        json!({"deleted": "base/alpine", "images": 0, "tags": 0})
    );
    assert_eq!(fake.state.lock().unwrap().repositories, []);
}

#[tokio::test]
async fn a_repository_that_is_being_deleted_is_shown_as_such() {
    let mut state = sample();
    state.repositories[1].deleting = true;
    let fake = Fake::start(state).await;
    let show = entrepot("repository show team/app").asking(&fake);
    assert!(show.answer().await.contains(" ago, being deleted\n"));
    let list = entrepot("repository list").asking(&fake).answer().await;
    let lines: Vec<&str> = list.lines().collect();
    assert!(lines[1].ends_with(" active"), "{list}");
    assert!(lines[2].ends_with(" being deleted"), "{list}");
}

#[tokio::test]
async fn a_repositorys_settings_as_json() {
    let fake = Fake::start(sample()).await;
    let created_at_ms = fake.state.lock().unwrap().repositories[1].created_at_ms;
    for (command, sparse_indexes) in [
        ("repository show team/app", "refuse"),
        ("repository set team/app --sparse-indexes allow", "allow"),
        ("repository show team/app", "allow"),
        ("repository set team/app --sparse-indexes refuse", "refuse"),
    ] {
        assert_eq!(
            json_of(&fake, command).await,
            json!({
                "name": "team/app",
                "created_at_ms": created_at_ms,
                "deleting": false,
                "sparse_indexes": sparse_indexes,
                "bytes": null,
                "max_bytes": null,
                "images": null,
                "max_images": null,
            }),
            "{command}"
        );
    }
}

#[tokio::test]
async fn repository_list_as_json() {
    let fake = Fake::start(sample()).await;
    let created_at_ms: Vec<i64> = {
        let state = fake.state.lock().unwrap();
        state.repositories.iter().map(|r| r.created_at_ms).collect()
    };
    assert_eq!(
        json_of(&fake, "repository list").await,
        json!({"repositories": [
            {"name": "base/alpine", "created_at_ms": created_at_ms[0], "deleting": false},
            {"name": "team/app", "created_at_ms": created_at_ms[1], "deleting": false},
        ]})
    );
}

#[tokio::test]
async fn image_list_as_json_has_whole_digests_and_bytes() {
    let fake = Fake::start(sample()).await;
    let images = json_of(&fake, "image list team/app").await;
    let pushed_at_ms = fake.state.lock().unwrap().images[0].1[0].pushed_at_ms;
    assert_eq!(images["repository"], "team/app");
    assert_eq!(
        images["images"][0],
        json!({
            "digest": format!("sha256:{}", "0123456789abcdef".repeat(4)),
            "tags": ["1.4", "latest"],
            "media_type": "application/vnd.oci.image.manifest.v1+json",
            "size_bytes": 7_864_320,
            "pushed_at_ms": pushed_at_ms,
            "storage_class": "STANDARD",
            "last_archived_at_ms": null,
            "last_activated_at_ms": null,
        })
    );
}

#[tokio::test]
async fn image_archive_as_json_says_what_became_of_it() {
    let fake = Fake::start(sample()).await;
    assert_eq!(
        json_of(&fake, "image archive team/app:1.4").await,
        json!({
            "image": "team/app:1.4",
            "digest": format!("sha256:{}", "0123456789abcdef".repeat(4)),
            "storage_class": "ARCHIVE",
            "moved": 2,
            "left": false,
        })
    );
}

#[tokio::test]
async fn replication_status_as_json_has_null_for_what_is_not_there() {
    let fake = Fake::start(sample()).await;
    let status = json_of(&fake, "replication status").await;
    let first = fake.state.lock().unwrap().tasks[0].clone();
    assert_eq!(
        status["tasks"][0],
        json!({
            "repository": "base/alpine",
            "digest": first.digest,
            "tag": null,
            "destination_region": "eu-west-1",
            "destination_account": null,
            "state": "in_progress",
            "created_at_ms": first.created_at_ms,
            "ended_at_ms": null,
            "reason": null,
        })
    );
    let failed = &status["tasks"][2];
    assert_eq!(failed["state"], "failed");
    assert_eq!(failed["reason"], "the destination\ndenies it");
    assert!(failed["ended_at_ms"].is_i64());
}

#[tokio::test]
async fn replication_status_of_one_repository() {
    let fake = Fake::start(sample()).await;
    let status = json_of(&fake, "replication status base/alpine").await;
    assert_eq!(status["tasks"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_state_that_only_a_newer_node_knows_is_unknown() {
    let mut state = sample();
    state.tasks[0].state = 77;
    let fake = Fake::start(state).await;
    let status = json_of(&fake, "replication status").await;
    assert_eq!(status["tasks"][0]["state"], "unknown");
}

#[tokio::test]
async fn rules_are_created_replaced_listed_and_deleted() {
    let fake = Fake::start(State::default()).await;
    let answer = async |command: &str| entrepot(command).asking(&fake).answer().await;

    let put = "rule put nightly --to eu-west-1 --prefix team/ --prefix base/";
    assert_eq!(
        answer(put).await,
        "Created rule nightly: team/* base/* to eu-west-1.\n"
    );
    assert_eq!(
        fake.state.lock().unwrap().rules,
        [rule("nightly", &["team/", "base/"], "eu-west-1")]
    );
    assert_eq!(
        answer("rule put nightly --to ap-1").await,
        "Replaced rule nightly: every repository to ap-1.\n"
    );
    assert_eq!(
        json_of(&fake, "rule list").await,
        json!({"rules": [{"id": "nightly", "prefixes": [],
            "destinations": [{"region": "ap-1", "account": null}], "options": null}]})
    );
    assert_eq!(
        answer("rule delete nightly").await,
        "Deleted rule nightly.\n"
    );
    assert_eq!(fake.state.lock().unwrap().rules, []);
}

#[tokio::test]
async fn a_rule_goes_to_several_regions_and_accounts() {
    let fake = Fake::start(State::default()).await;
    let put = "rule put all --to eu-west-1 --to ap-1/210987654321";
    assert_eq!(
        entrepot(put).asking(&fake).answer().await,
        "Created rule all: every repository to eu-west-1 ap-1/210987654321.\n"
    );
    let found = json_of(&fake, "rule list").await;
    assert_eq!(
        found["rules"][0]["destinations"],
        json!([{"region": "eu-west-1", "account": null},
            {"region": "ap-1", "account": "210987654321"}])
    );
}

#[tokio::test]
async fn what_a_rule_says_beyond_prefixes_is_sent_and_shown() {
    let fake = Fake::start(State::default()).await;
    let put = "rule put r --to ap-1 --match *-base --exclude old/* --tag v* --exclude-tag *-rc \
               --artifact-type application/* --deletions --map team/=mirror/ --priority 2 \
               --synchronous --synchronous-timeout 5s";
    let told = json_of(&fake, put).await;
    let options = json!({
        "repositories": ["*-base"], "repositories_excluded": ["old/*"], "tags": ["v*"],
        "tags_excluded": ["*-rc"], "artifact_types": ["application/*"], "deletions": true,
        "mapping": {"from": "team/", "to": "mirror/"}, "priority": 2, "synchronous": true,
        "synchronous_timeout_ms": 5000, "settings": false, "bandwidth_bytes_per_second": null,
        "windows": [], "near": [], "read_through": false, "backfill": false,
        "slo": null,
    });
    assert_eq!(told["rule"]["options"], options);
    let listed = json_of(&fake, "rule list").await;
    assert_eq!(listed["rules"][0]["options"], options);
    let shown = entrepot("rule list").asking(&fake).answer().await;
    assert!(shown.contains("exclude-tag *-rc"), "{shown}");
}

#[tokio::test]
async fn changes_of_rules_as_json() {
    let fake = Fake::start(State::default()).await;
    assert_eq!(
        json_of(&fake, "rule put nightly --to ap-1 --prefix team/").await,
        json!({
            "rule": {"id": "nightly", "prefixes": ["team/"],
                "destinations": [{"region": "ap-1", "account": null}], "options": null},
            "replaced": false,
        })
    );
    assert_eq!(
        json_of(&fake, "rule delete nightly").await,
        json!({"deleted": "nightly"})
    );
}

#[tokio::test]
async fn all_pages_are_fetched() {
    let mut state = sample();
    state.repositories = (0..2500).map(|n| repository(&format!("r{n}"), 1)).collect();
    state.images[0].1 = vec![state.images[0].1[0].clone(); 1001];
    state.tasks = vec![state.tasks[0].clone(); 2000];
    let fake = Fake::start(state).await;

    let repositories = json_of(&fake, "repository list").await;
    assert_eq!(repositories["repositories"].as_array().unwrap().len(), 2500);
    assert_eq!(repositories["repositories"][2499]["name"], "r2499");
    let images = json_of(&fake, "image list team/app").await;
    assert_eq!(images["images"].as_array().unwrap().len(), 1001);
    let tasks = json_of(&fake, "replication status").await;
    assert_eq!(tasks["tasks"].as_array().unwrap().len(), 2000);
}

#[tokio::test]
async fn options_count_before_and_after_the_command_and_beat_the_environment() {
    let fake = Fake::start(sample()).await;
    let url = fake.url();
    for arguments in [
        format!("--endpoint {url} --user root --json rule list"),
        format!("rule --endpoint {url} list --user root --json"),
        format!("rule list --json --user root --endpoint {url}"),
    ] {
        let answer = entrepot(&arguments)
            .env("ENTREPOT_ENDPOINT", "http://127.0.0.1:1")
            .env("ENTREPOT_USER", "nobody")
            .env("ENTREPOT_PASSWORD", crate::fake::PASSWORD)
            .answer()
            .await;
        assert!(answer.starts_with('{'), "{answer}");
    }
}

#[tokio::test]
async fn the_password_comes_from_a_file_or_standard_input_before_the_environment() {
    let fake = Fake::start(sample()).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{}\n", crate::fake::PASSWORD)).unwrap();
    let wrong = || {
        entrepot("rule list")
            .asking(&fake)
            .env("ENTREPOT_PASSWORD", "wrong")
    };

    wrong()
        .argument("--password-file")
        .argument(file.path())
        .answer()
        .await;
    let password = crate::fake::PASSWORD.as_bytes();
    wrong()
        .argument("--password-stdin")
        .stdin(password)
        .answer()
        .await;
}

#[tokio::test]
async fn every_call_tells_the_node_its_deadline() {
    let fake = Fake::start(sample()).await;
    entrepot("rule list --timeout 7s")
        .asking(&fake)
        .answer()
        .await;
    assert_eq!(fake.state.lock().unwrap().deadlines, ["7000000u"]);
}

#[tokio::test]
async fn a_scrub_is_begun_on_all_nodes_or_on_one() {
    let fake = Fake::start(sample()).await;
    assert_eq!(
        json_of(&fake, "scrub start").await,
        json!({"nodes": [
            {"node": 1, "answered": true, "started": false},
            {"node": 2, "answered": true, "started": true},
            {"node": 3, "answered": false, "started": null},
        ]})
    );
    assert_eq!(
        json_of(&fake, "scrub start --node 2").await,
        json!({"nodes": [{"node": 2, "answered": true, "started": true}]})
    );
    let unknown = entrepot("scrub start --node 9")
        .asking(&fake)
        .outcome()
        .await;
    assert_eq!(unknown.code, 1);
    assert!(unknown.stderr.contains("no node 9"), "{}", unknown.stderr);
}

#[tokio::test]
async fn of_a_node_that_does_not_answer_nothing_else_is_known() {
    let fake = Fake::start(sample()).await;
    for command in ["scrub status", "repair status"] {
        let status = json_of(&fake, command).await;
        let silent = status["nodes"][2].as_object().unwrap();
        for (name, value) in silent {
            match name.as_str() {
                "node" => assert_eq!(*value, json!(3)),
                "answered" => assert_eq!(*value, json!(false)),
                _ => assert!(value.is_null(), "{command}: {name}"),
            }
        }
    }
}
