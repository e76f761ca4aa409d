//! How uploads end without a blob, and when.

use std::time::Duration;

use entrepot_service::ServiceError;

use super::{append, one_region, open};
use crate::cluster::{EAST, Plan, app, root};
use crate::content::{DEADLINE, KIB, MIB, body, content, empty, eventually, written};

#[tokio::test]
async fn a_cancelled_upload_leaves_nothing_anywhere() {
    let cluster = one_region().await;
    let registry = &cluster.node(1).registry;
    let session = open(&cluster).await;
    append(&cluster, &session, 0, body(&content(9, 3 * MIB)))
        .await
        .unwrap();
    assert!(cluster.node(1).memory.staged() > 0);
    registry
        .cancel_upload(&root(), &app(), &session)
        .await
        .unwrap();
    let state = registry.upload_state(&root(), &app(), &session).await;
    assert_eq!(state, Err(ServiceError::UploadUnknown));
    let again = registry.cancel_upload(&root(), &app(), &session).await;
    assert_eq!(again, Err(ServiceError::UploadUnknown));
    cluster.keeps_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn a_cancel_stops_whoever_writes() {
    let cluster = Plan::new(&[(EAST, 1)]).start().await;
    let registry = &cluster.node(1).registry;
    for size in [10, 9 * KIB] {
        let session = open(&cluster).await;
        let (sender, slow) = written();
        let start = tokio::time::Instant::now();
        let (written, cancelled) = tokio::join!(append(&cluster, &session, 0, slow), async {
            sender.send(content(16, size)).await.unwrap();
            let cancelled = registry.cancel_upload(&root(), &app(), &session).await;
            drop(sender);
            cancelled
        });
        assert_eq!(written, Err(ServiceError::UploadUnknown));
        assert_eq!(cancelled, Ok(()));
        assert!(start.elapsed() < Duration::from_secs(1));
        let gone = append(&cluster, &session, 0, empty()).await;
        assert_eq!(gone, Err(ServiceError::UploadUnknown));
    }
}

#[tokio::test]
async fn an_idle_upload_is_swept_and_a_busy_one_is_not() {
    let expiry = Duration::from_millis(400);
    let mut cluster = Plan::new(&[(EAST, 3)]).upload_expiry(expiry).start().await;
    cluster.start_sweep();
    let idle = open(&cluster).await;
    append(&cluster, &idle, 0, body(&content(10, MIB)))
        .await
        .unwrap();
    let busy = open(&cluster).await;
    let (sender, slow) = written();
    let appended = append(&cluster, &busy, 0, slow);
    let feeding = async {
        let mut sent = 0;
        let mut both = false;
        while !both || cluster.node(1).memory.staged() > 1 {
            both |= cluster.node(1).memory.staged() == 2;
            let bytes = content(11, 6 * KIB);
            sent += bytes.len() as u64;
            sender.send(bytes).await.unwrap();
            tokio::time::sleep(expiry / 8).await;
        }
        drop(sender);
        sent
    };
    let both = futures::future::join(appended, feeding);
    let (appended, sent) = tokio::time::timeout(DEADLINE, both).await.unwrap();
    assert_eq!(appended, Ok(sent));
    let state = append(&cluster, &idle, MIB as u64, empty()).await;
    assert_eq!(state, Err(ServiceError::UploadUnknown));
    eventually("its holders have dropped it too", async || {
        cluster.nodes().all(|node| node.memory.staged() <= 1)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_ends_and_keeps_what_arrived() {
    let cluster = Plan::new(&[(EAST, 1)]).start().await;
    let session = open(&cluster).await;
    let (sender, slow) = written();
    sender.send(content(18, 10)).await.unwrap();
    let stalled = append(&cluster, &session, 0, slow).await;
    assert_eq!(stalled, Err(ServiceError::UploadStalled));
    assert_eq!(append(&cluster, &session, 10, empty()).await, Ok(10));
}

#[tokio::test(start_paused = true)]
async fn an_upload_without_a_byte_ends_after_minutes() {
    let day = Duration::from_hours(24);
    let mut cluster = Plan::new(&[(EAST, 1)]).upload_expiry(day).start().await;
    cluster.start_sweep();
    let begun = open(&cluster).await;
    append(&cluster, &begun, 0, body(&content(1, 10)))
        .await
        .unwrap();
    let untouched = open(&cluster).await;
    let without_a_byte = open(&cluster).await;
    append(&cluster, &without_a_byte, 0, empty()).await.unwrap();
    tokio::time::sleep(Duration::from_mins(6)).await;
    for session in [untouched, without_a_byte] {
        let gone = append(&cluster, &session, 0, empty()).await;
        assert_eq!(gone, Err(ServiceError::UploadUnknown));
    }
    assert_eq!(append(&cluster, &begun, 10, empty()).await, Ok(10));
}
