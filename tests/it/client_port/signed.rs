//! Whoever knows the id of an access key, and not its secret: a body has to be
//! there before its signature can be checked, so they can send one as slowly as
//! they like.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use entrepot_harness::{AwsAccount, Cluster, Random};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;

use super::raw::{Answer, Raw};
use crate::signed::Call;
use crate::support::{US, step};

const STRANGERS: u8 = 12;
/// What a layer's part may have at most, and how much of it comes.
const DECLARED_BYTES: usize = 27 << 20;
const SENT_BYTES: usize = 20 << 20;
const REPOSITORY: &str = "signed/app";

/// From an address of its own, of which a machine has many.
async fn stranger(node: SocketAddr, nth: u8, head: String) -> Result<(Raw, Option<Answer>)> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::new(127, 0, 0, 100 + nth), 0).into())?;
    let mut client = Raw::over(socket.connect(node).await.context("connect")?);
    client.send(head).await?;
    client.send_some(&vec![b' '; SENT_BYTES]).await;
    // Those that are heard go on waiting; the others are told at once.
    let refused = client.answer_if_any().await;
    Ok((client, refused))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_stop_within_take_no_memory_from_those_who_have_the_key() -> Result<()> {
    let cluster = Cluster::builder().nodes(1).start().await?;
    let account = AwsAccount::create(&cluster, "111122223333").await?;
    let node = cluster.node(1)?;
    let (address, endpoint) = (node.client_address(), node.endpoint());
    let asked = ["ecr", "create-repository", "--repository-name", REPOSITORY];
    account.aws(&asked, &endpoint, US, None).await?;

    let begun = Call::signed(&account, "x", US, "UploadLayerPart", "", &[])?;
    let mut strangers = JoinSet::new();
    for nth in 0..STRANGERS {
        strangers.spawn(stranger(address, nth, begun.head(DECLARED_BYTES)));
    }
    let (mut held, mut refused) = (Vec::new(), 0);
    while let Some(stranger) = strangers.join_next().await {
        let (client, answer) = stranger??;
        if let Some(answer) = answer {
            let body = String::from_utf8_lossy(&answer.body).into_owned();
            ensure!(answer.status == 400, "{answer:?}");
            ensure!(body.contains("ThrottlingException"), "{body}");
            refused += 1;
        } else {
            held.push(client);
        }
    }
    println!(
        "{} bodies are waited for, {refused} were refused",
        held.len()
    );
    // Half of the memory is theirs, whoever they are.
    ensure!(refused >= usize::from(STRANGERS) - 3, "{refused} refused");
    ensure!(!held.is_empty(), "nobody may begin");

    step("whoever has the secret uploads as before", async {
        upload(&cluster, &account, &endpoint).await
    })
    .await?;
    drop(held);
    cluster.finish().await
}

/// A layer in one part, larger than what is passed by uncounted.
async fn upload(cluster: &Cluster, account: &AwsAccount, endpoint: &str) -> Result<()> {
    let file = cluster.scratch("part")?.join("part");
    let content = Random::new(5).bytes(10 << 20);
    std::fs::write(&file, &content).context("write a part")?;
    let begin = [
        "ecr",
        "initiate-layer-upload",
        "--repository-name",
        REPOSITORY,
    ];
    let begin = [&begin[..], &["--query", "uploadId", "--output", "text"]].concat();
    let upload = account.aws(&begin, endpoint, US, None).await?;
    let (last, part) = (
        (content.len() - 1).to_string(),
        format!("fileb://{}", file.display()),
    );
    let send = ["ecr", "upload-layer-part", "--repository-name", REPOSITORY];
    let range = ["--part-first-byte", "0", "--part-last-byte", &last];
    let what = ["--upload-id", &upload, "--layer-part-blob", &part];
    let send = [&send[..], &range, &what].concat();
    let received = account.aws(&send, endpoint, US, None).await?;
    ensure!(received.contains(&last), "{received}");
    Ok(())
}
