//! Who may: nothing is served without the right credentials, and a refusal
//! tells the client how to ask.

use anyhow::{Result, ensure};
use entrepot_harness::{Cluster, Image, Registry};

use crate::support::step;

/// What a client without credentials might try.
const REQUESTS: [(&str, &str); 9] = [
    ("GET", "/v2/"),
    ("GET", "/v2/access/one/tags/list"),
    ("GET", "/v2/access/one/manifests/latest"),
    ("HEAD", "/v2/access/one/manifests/latest"),
    ("PUT", "/v2/access/one/manifests/latest"),
    ("DELETE", "/v2/access/one/manifests/latest"),
    ("POST", "/v2/access/one/blobs/uploads/"),
    ("PATCH", "/v2/access/one/blobs/uploads/some-upload"),
    ("GET", "/v2/no/such/repository/tags/list"),
];

#[tokio::test]
async fn every_request_needs_the_right_credentials() -> Result<()> {
    let cluster = Cluster::builder().nodes(1).start().await?;
    let root = cluster.registry(1)?;
    let image = Image::random(1, 1, 10_000);

    step("root is let in", async {
        root.get("/v2/").send().await?.expect(200)?;
        root.push_image("access/one", "latest", &image).await
    })
    .await?;

    let (user, password) = (cluster.user(), cluster.password());
    let longer = format!("{password}x");
    let strangers = [
        ("nobody", None),
        ("a wrong password", Some((user, "wrong"))),
        ("an empty password", Some((user, ""))),
        (
            "a password with something after it",
            Some((user, longer.as_str())),
        ),
        ("an unknown user", Some(("someone", password))),
        ("an empty user", Some(("", password))),
    ];
    for (who, credentials) in strangers {
        let stranger = root.with_credentials(credentials);
        step(
            &format!("{who} is refused"),
            refused(&stranger, credentials.is_some()),
        )
        .await?;
    }

    step(
        "a header that is no Basic authentication is refused",
        async {
            let nobody = root.with_credentials(None);
            for value in [
                "Basic",
                "Basic !!!",
                "Basic cm9vdA==",
                "Bearer abc",
                "Digest x=y",
            ] {
                let reply = nobody
                    .get("/v2/")
                    .header("authorization", value)
                    .send()
                    .await?;
                reply.expect_error(401, "UNAUTHORIZED")?;
            }
            Ok(())
        },
    )
    .await?;

    step("a blob's content needs credentials too", async {
        let path = format!("/v2/access/one/blobs/{}", image.blobs[1].digest);
        let nobody = root.with_credentials(None);
        let reply = nobody.get(&path).send().await?;
        reply.expect_error(401, "UNAUTHORIZED")?;
        Ok(())
    })
    .await?;

    step("the CLI is refused with a clear line", async {
        let admin = cluster.admin(1)?.with_password("wrong");
        let refused = admin.try_run(&["cluster", "status"]).await?.failure()?;
        one_line(&refused.stderr)
    })
    .await?;

    step(
        "nothing changed meanwhile",
        root.verify_image("access/one", "latest", &image),
    )
    .await?;
    cluster.finish().await
}

#[tokio::test]
async fn whoever_guesses_passwords_is_slowed_down() -> Result<()> {
    const GUESSES: usize = 100;
    let cluster = Cluster::builder().nodes(1).start().await?;
    let root = cluster.registry(1)?;
    root.get("/v2/").send().await?.expect(200)?;
    let mut guesses = tokio::task::JoinSet::new();
    for nth in 0..GUESSES {
        let guess = format!("guess {nth}");
        let stranger = root.with_credentials(Some((cluster.user(), &guess)));
        guesses.spawn(async move { stranger.get("/v2/").send().await });
    }
    // Who was let in before is let in at any time.
    step("root is let in", async {
        root.get("/v2/").send().await?.expect(200)?;
        Ok(())
    })
    .await?;
    let mut slowed = 0;
    while let Some(reply) = guesses.join_next().await {
        let reply = reply??;
        if reply.status == 429 {
            slowed += 1;
            let reply = reply.expect_error(429, "TOOMANYREQUESTS")?;
            reply.expect_header("retry-after", "1")?;
        } else {
            reply.expect_error(401, "UNAUTHORIZED")?;
        }
    }
    ensure!(
        slowed > GUESSES / 2,
        "{slowed} of {GUESSES} were slowed down"
    );
    root.get("/v2/").send().await?.expect(200)?;
    cluster.finish().await
}

async fn refused(stranger: &Registry, has_credentials: bool) -> Result<()> {
    for (method, path) in REQUESTS {
        let reply = stranger.request(method.parse()?, path).send().await?;
        let challenge = reply.header("www-authenticate")?;
        ensure!(
            challenge.starts_with(if has_credentials {
                "Basic realm=\""
            } else {
                "Bearer realm=\""
            }),
            "{}: WWW-Authenticate: {challenge}",
            reply.what
        );
        if method == "HEAD" {
            reply.expect(401)?;
        } else {
            reply.expect_error(401, "UNAUTHORIZED")?;
        }
    }
    Ok(())
}

fn one_line(stderr: &str) -> Result<()> {
    ensure!(
        stderr.trim_end().lines().count() == 1,
        "not one line: {stderr}"
    );
    Ok(())
}
