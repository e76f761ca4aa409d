//! Who is calling.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use entrepot_access::hash_password;
use entrepot_metadata::command::CreateAccount;
use entrepot_metadata::{GroupId, Metadata};
use entrepot_service::{ServiceError, Source};

use crate::cluster::{Cluster, EAST, Plan, root};
use crate::content::is_unavailable;

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

async fn make_account(cluster: &Cluster, password: &str) {
    let hash = hash_password(password).unwrap();
    let command = CreateAccount::new(&root().principal.account, "root", &hash, 1).into();
    let response = cluster.metadata.propose(&GroupId::global(), command).await;
    response.unwrap().into_result().unwrap();
}

#[tokio::test]
async fn nobody_is_served_before_there_is_an_account() {
    let cluster = Plan::new(&[(EAST, 1)]).start().await;
    let registry = &cluster.node(1).registry;
    let early = registry
        .authenticate(Some(&basic("root", "secret")), Source::default())
        .await;
    assert!(is_unavailable(&early), "{early:?}");
    assert_eq!(
        registry.authenticate(None, Source::default()).await,
        Err(ServiceError::Unauthorized)
    );
}

#[tokio::test]
async fn only_the_right_credentials_are_let_in() {
    let cluster = Plan::new(&[(EAST, 1)]).start().await;
    make_account(&cluster, "correct horse").await;
    let registry = &cluster.node(1).registry;
    let right = basic("root", "correct horse");
    // The second time from memory.
    for _ in 0..2 {
        assert_eq!(
            registry.authenticate(Some(&right), Source::default()).await,
            Ok(root())
        );
    }
    let long = "x".repeat(10_000);
    for wrong in [
        basic("root", "correct hors"),
        basic("Root", "correct horse"),
        basic("", ""),
        basic("root", &long),
        "Basic !".to_owned(),
        "Bearer token".to_owned(),
        String::new(),
    ] {
        let refused = registry.authenticate(Some(&wrong), Source::default()).await;
        assert_eq!(refused, Err(ServiceError::Unauthorized), "{wrong:.40}");
    }
    assert_eq!(
        registry.authenticate(None, Source::default()).await,
        Err(ServiceError::Unauthorized)
    );
    assert_eq!(
        registry.authenticate(Some(&right), Source::default()).await,
        Ok(root())
    );
}

#[tokio::test]
async fn callers_that_go_away_and_callers_that_guess_do_not_lock_anyone_out() {
    let cluster = Plan::new(&[(EAST, 1)]).start().await;
    make_account(&cluster, "secret").await;
    let registry = &cluster.node(1).registry;
    let (right, wrong) = (basic("root", "secret"), basic("root", "guess"));
    for _ in 0..20 {
        let mut guess = Box::pin(registry.authenticate(Some(&wrong), Source::default()));
        assert!(futures::poll!(&mut guess).is_pending());
    }
    assert_eq!(
        registry.authenticate(Some(&right), Source::default()).await,
        Ok(root())
    );
    let guesses = (0..20).map(|_| registry.authenticate(Some(&wrong), Source::default()));
    let guesses = futures::future::join_all(guesses);
    let (guesses, known) = futures::join!(
        guesses,
        registry.authenticate(Some(&right), Source::default())
    );
    assert_eq!(known, Ok(root()));
    assert!(
        guesses
            .iter()
            .all(|guess| *guess == Err(ServiceError::Unauthorized))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_guesses_from_one_place_is_slowed_down_and_nobody_else_is() {
    let cluster = Plan::new(&[(EAST, 1)]).start().await;
    make_account(&cluster, "secret").await;
    let registry = &cluster.node(1).registry;
    let from = |last| Source::address(Ipv4Addr::new(192, 0, 2, last).into());
    let guesses = (0..200).map(async |nth| {
        let wrong = basic("root", &format!("guess {nth}"));
        registry.authenticate(Some(&wrong), from(1)).await
    });
    let right = basic("root", "secret");
    let login = async {
        let started = Instant::now();
        let answer = registry.authenticate(Some(&right), from(2)).await;
        (answer, started.elapsed())
    };
    // The guesses are there first.
    let guesses = futures::future::join_all(guesses);
    let (guesses, (answer, took)) = futures::join!(guesses, login);
    assert_eq!(answer, Ok(root()));
    assert!(took < Duration::from_secs(5), "{took:?}");
    let checked = |guess: &&Result<_, _>| **guess == Err(ServiceError::Unauthorized);
    let refused = |guess: &&Result<_, _>| **guess == Err(ServiceError::LoginsTooMany);
    let refusals = guesses.iter().filter(refused).count();
    assert_eq!(guesses.iter().filter(checked).count() + refusals, 200);
    assert!(refusals >= 136, "{refusals} refused");
    // Known by now, from there too.
    assert_eq!(
        registry.authenticate(Some(&right), from(1)).await,
        Ok(root())
    );
    // The same guess again costs nothing.
    let again = basic("root", "guess 0");
    let answer = registry.authenticate(Some(&again), from(1)).await;
    assert!(answer.is_err(), "{answer:?}");
}
