//! Hostile requests for another region's registry, which any node passes on: what
//! a client says of itself counts for nothing there, and a refusal says nothing of
//! what there is.

use std::time::Duration;

use anyhow::{Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use entrepot_harness::{AwsAccount, Cluster, Image, Registry};

use super::raw::{Answer, Raw};
use crate::signed::Call;
use crate::support::{EU, US, step};

const DOMAIN: &str = "registry.test";
const OWN: &str = "111122223333";
const OTHER: &str = "444455556666";
const THERE: &str = "secret/app";
const ABSENT: &str = "absent/app";
/// However a request goes around, its answer is there by then.
const SOON: Duration = Duration::from_secs(10);

struct World {
    cluster: Cluster,
    own: AwsAccount,
    other: AwsAccount,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_passed_on_is_what_its_sender_may_and_no_more() -> Result<()> {
    let cluster = Cluster::builder()
        .regions([US, EU])
        .nodes(1)
        .domain(DOMAIN)
        .limit("body_timeout_s", 2)
        .start()
        .await?;
    let own = AwsAccount::create(&cluster, OWN).await?;
    let other = AwsAccount::create(&cluster, OTHER).await?;
    let world = World {
        cluster,
        own,
        other,
    };
    let image = Image::random(1, 1, 2_000);
    let there = world.through(1, &world.own)?.with_host(&host(OWN, EU));
    there.push_image(THERE, "v1", &image).await?;

    step("forged headers make nobody of somebody", forged(&world)).await?;
    step("what a header hides is not there", hop_by_hop(&world)).await?;
    step("two hosts, two lengths", doubled(&world)).await?;
    step("what was not signed, and what was changed", signed(&world)).await?;
    step("credentials of one region at another", regions(&world)).await?;
    step("a request that could go round", around(&world)).await?;
    step("a body that never ends", endless(&world)).await?;
    there.verify_image(THERE, "v1", &image).await?;
    world.cluster.finish().await
}

fn host(account: &str, region: &str) -> String {
    format!("{account}.dkr.ecr.{region}.{DOMAIN}")
}

fn manifest(repository: &str) -> String {
    format!("/v2/{repository}/manifests/v1")
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

// === impl World ===

impl World {
    fn through(&self, id: u64, account: &AwsAccount) -> Result<Registry> {
        let credentials = Some((account.key_id.as_str(), account.secret.as_str()));
        Ok(self.cluster.registry(id)?.with_credentials(credentials))
    }

    async fn ask(&self, id: u64, request: &[u8]) -> Result<Answer> {
        let mut client = Raw::connect(self.cluster.node(id)?.client_address()).await?;
        client.send(request).await?;
        tokio::time::timeout(SOON, client.answer()).await?
    }

    /// What node 1 answers, to these lines with the credentials of the other
    /// account, of the repository that is there and of one that is not: which has to
    /// be the same.
    async fn of_both(&self, lines: &str) -> Result<u16> {
        let credentials = basic(&self.other.key_id, &self.other.secret);
        let mut answers = Vec::new();
        for repository in [THERE, ABSENT] {
            let target = manifest(repository);
            let request =
                format!("GET {target} HTTP/1.1\r\nauthorization: {credentials}\r\n{lines}\r\n");
            let answer = self.ask(1, request.as_bytes()).await?;
            let body = String::from_utf8_lossy(&answer.body).replace(repository, "REPOSITORY");
            answers.push((answer.status, body));
        }
        ensure!(answers[0] == answers[1], "{lines}: {answers:?}");
        Ok(answers[0].0)
    }
}

// === attacks ===

async fn forged(world: &World) -> Result<()> {
    let theirs = host(OWN, EU);
    let own = host(OTHER, EU);
    for lines in [
        String::new(),
        "x-forwarded-for: 127.0.0.1\r\nx-forwarded-user: root\r\n".to_owned(),
        "x-amz-account-id: 111122223333\r\nx-amzn-iam-user-arn: arn:aws:iam::111122223333:root\r\n"
            .to_owned(),
        "forwarded: for=127.0.0.1;host=x;proto=https\r\nvia: 1.1 node-2\r\n".to_owned(),
        "te: trailers\r\nx-entrepot-source: 127.0.0.1\r\nx-entrepot-grant: x\r\n".to_owned(),
    ] {
        let status = world.of_both(&format!("host: {theirs}\r\n{lines}")).await?;
        ensure!(status == 403, "{lines}: {status}");
        // Nor does a header say whose registry is meant.
        let forwarded = format!("host: {own}\r\nx-forwarded-host: {theirs}\r\n{lines}");
        let status = world.of_both(&forwarded).await?;
        ensure!(status == 404, "{forwarded}: {status}");
    }
    Ok(())
}

async fn hop_by_hop(world: &World) -> Result<()> {
    let theirs = host(OWN, EU);
    for (hidden, expected) in [
        ("authorization", &[401][..]),
        ("authorization, x-forwarded-for, keep-alive", &[401]),
        // Then it is the sender's own registry, or none.
        ("host", &[400, 403, 404]),
        ("user-agent", &[403]),
    ] {
        let lines = format!("host: {theirs}\r\nconnection: {hidden}\r\n");
        let status = world.of_both(&lines).await?;
        ensure!(expected.contains(&status), "{hidden}: {status}");
    }
    Ok(())
}

async fn doubled(world: &World) -> Result<()> {
    let (theirs, own) = (host(OWN, EU), host(OTHER, US));
    for hosts in [[&theirs, &own], [&own, &theirs]] {
        let lines = format!("host: {}\r\nhost: {}\r\n", hosts[0], hosts[1]);
        let status = world.of_both(&lines).await?;
        ensure!(status == 400, "{lines}: {status}");
    }
    let credentials = basic(&world.own.key_id, &world.own.secret);
    let inner = format!("GET {} HTTP/1.1\r\nhost: {theirs}\r\n\r\n", manifest(THERE));
    for lengths in [
        format!("content-length: 0\r\ncontent-length: {}\r\n", inner.len()),
        format!("content-length: 0, {}\r\n", inner.len()),
    ] {
        let request = format!(
            "POST /v2/{THERE}/blobs/uploads/ HTTP/1.1\r\nhost: {theirs}\r\nauthorization: \
             {credentials}\r\n{lengths}\r\n{inner}"
        );
        let answer = world.ask(1, request.as_bytes()).await?;
        ensure!(answer.status == 400, "{lengths}: {answer:?}");
    }
    Ok(())
}

/// That a call is refused, with nothing about what there is.
async fn refused(world: &World, id: u64, call: &Call) -> Result<()> {
    let answer = world.ask(id, &call.bytes()).await?;
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    ensure!((400..500).contains(&answer.status), "{answer:?}");
    ensure!(body.contains("Exception"), "{body}");
    for shown in ["sha256:", "v1", "imageIds"] {
        ensure!(!body.contains(shown), "{body}");
    }
    Ok(())
}

async fn signed(world: &World) -> Result<()> {
    let theirs = host(OWN, EU);
    let input = format!(r#"{{"repositoryName": "{THERE}", "registryId": "{OWN}"}}"#);
    let sign = |account: &AwsAccount, more: &[(&str, &str)]| {
        Call::signed(account, &theirs, EU, "ListImages", &input, more)
    };
    let good = sign(&world.own, &[])?;
    let answer = world.ask(1, &good.bytes()).await?;
    ensure!(answer.status == 200, "{answer:?}");
    refused(world, 1, &good.clone().with("x-amz-more", "1")).await?;
    let target = "AmazonEC2ContainerRegistry_V20150921.DescribeRepositories";
    refused(world, 1, &good.clone().with("x-amz-target", target)).await?;
    let other_body = Call {
        body: input.replace(THERE, ABSENT),
        ..good.clone()
    };
    refused(world, 1, &other_body).await?;
    let other_host = Call {
        host: host(OWN, US),
        ..good.clone()
    };
    refused(world, 1, &other_host).await?;
    // Right, and of somebody else, who is told the same of what is there and of what
    // is not.
    let claimed = [("x-amz-account-id", OWN), ("x-amz-meta-role", "root")];
    for more in [&[][..], &claimed] {
        let call = sign(&world.other, more)?;
        refused(world, 1, &call).await?;
        let input = input.replace(THERE, ABSENT);
        let absent = Call::signed(&world.other, &theirs, EU, "ListImages", &input, more)?;
        let mut told = Vec::new();
        for call in [call, absent] {
            let answer = world.ask(1, &call.bytes()).await?;
            let body = String::from_utf8_lossy(&answer.body).replace(THERE, ABSENT);
            told.push((answer.status, body));
        }
        ensure!(told[0] == told[1], "{told:?}");
    }
    Ok(())
}

async fn regions(world: &World) -> Result<()> {
    let (here, there) = (host(OWN, US), host(OWN, EU));
    // Signed for one region, sent to another's host.
    let input = format!(r#"{{"repositoryName": "{THERE}"}}"#);
    let call = Call::signed(&world.own, &there, US, "ListImages", &input, &[])?;
    refused(world, 1, &call).await?;
    refused(world, 2, &call).await?;
    // The tokens of one region.
    let call = Call::signed(&world.own, &here, US, "GetAuthorizationToken", "{}", &[])?;
    let answer = world.ask(1, &call.bytes()).await?;
    let answer: serde_json::Value = serde_json::from_slice(&answer.body)?;
    let token = answer["authorizationData"][0]["authorizationToken"].as_str();
    let login = format!("Basic {}", token.unwrap_or_default());
    let nobody = world.cluster.registry(1)?.with_credentials(None);
    let got = nobody.with_host(&here).get("/token");
    let bearer = got
        .header("authorization", &login)
        .send()
        .await?
        .expect(200)?;
    let bearer = format!(
        "Bearer {}",
        bearer.json()?["token"].as_str().unwrap_or_default()
    );
    let theirs = nobody.with_host(&there);
    for (credentials, status) in [(&login, 400), (&bearer, 401)] {
        for path in [manifest(THERE), manifest(ABSENT), "/v2/".to_owned()] {
            let reply = theirs.get(&path).header("authorization", credentials);
            let reply = reply.send().await?.expect(status)?;
            let body = String::from_utf8_lossy(&reply.body).into_owned();
            ensure!(!body.contains(THERE) && !body.contains("sha256:"), "{body}");
        }
        let asked = theirs.get("/token").header("authorization", credentials);
        asked.send().await?.expect(status)?;
    }
    Ok(())
}

/// The host says one region, the signature another: each node knows whose it is.
async fn around(world: &World) -> Result<()> {
    let input = format!(r#"{{"repositoryName": "{THERE}"}}"#);
    for (named, region) in [(US, EU), (EU, US)] {
        let call = Call::signed(
            &world.own,
            &host(OWN, named),
            region,
            "ListImages",
            &input,
            &[],
        )?;
        for id in [1, 2] {
            refused(world, id, &call).await?;
            let marked = call.clone().with("via", "1.1 a, 1.1 b");
            refused(world, id, &marked).await?;
        }
    }
    Ok(())
}

async fn endless(world: &World) -> Result<()> {
    let credentials = basic(&world.own.key_id, &world.own.secret);
    let there = host(OWN, EU);
    for (method, target) in [
        (
            "POST",
            format!(
                "/v2/{THERE}/blobs/uploads/?digest=sha256:{}",
                "0".repeat(64)
            ),
        ),
        ("PUT", manifest(THERE)),
    ] {
        let mut client = Raw::connect(world.cluster.node(1)?.client_address()).await?;
        let head = format!(
            "{method} {target} HTTP/1.1\r\nhost: {there}\r\nauthorization: {credentials}\r\n\
             transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"
        );
        client.send(head).await?;
        let answer = tokio::time::timeout(SOON, client.answer()).await??;
        ensure!(
            [400, 408, 503].contains(&answer.status),
            "{method}: {answer:?}"
        );
    }
    Ok(())
}
