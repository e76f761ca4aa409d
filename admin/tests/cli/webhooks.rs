//! `entrepot webhook`: its secret is shown once, and what fails is seen.

use crate::fake::{Fake, sample};
use crate::fake_webhooks::WEBHOOK_SECRET;
use crate::run::entrepot;

#[tokio::test]
async fn a_secret_is_shown_once() {
    let fake = Fake::start(sample()).await;
    let put = "webhook put ci --url https://ci.example.com/";
    let made = entrepot(put).asking(&fake).answer().await;
    assert!(
        made.contains(WEBHOOK_SECRET) && made.contains("not shown again"),
        "{made}"
    );
    let changed = entrepot(put).asking(&fake).answer().await;
    assert_eq!(
        changed.trim(),
        "Changed webhook ci. Its secret is what it was."
    );
}

#[tokio::test]
async fn the_list_shows_what_fails() {
    let fake = Fake::start(sample()).await;
    let list = entrepot("webhook list").asking(&fake).answer().await;
    for part in [
        "deploy",
        "team/*",
        "push",
        "17",
        "failing for 2h: it answered with status 503",
    ] {
        assert!(list.contains(part), "{list}");
    }
    entrepot("webhook delete deploy")
        .asking(&fake)
        .answer()
        .await;
    let list = entrepot("webhook list").asking(&fake).answer().await;
    assert_eq!(
        list.trim(),
        "There are no webhooks: nobody is told what happens."
    );
}
