//! The account is made once, and the file says what is in force or is gone.

use async_trait::async_trait;
use entrepot_metadata::{Command, KeyValue, LocalMetadata, MetadataError, Response};
use entrepot_proto::environment::{Blocking, SystemClock};

use super::*;

const THEIRS: &str = "what-the-other-node-generated";

/// Another leader's account is committed right before the first proposal.
#[derive(Debug)]
struct Outrun(LocalMetadata);

#[async_trait]
impl Metadata for Outrun {
    async fn propose(&self, group: &GroupId, command: Command) -> Result<Response, MetadataError> {
        make_theirs(&self.0).await;
        self.0.propose(group, command).await
    }

    async fn linearize(&self, group: &GroupId) -> Result<(), MetadataError> {
        self.0.linearize(group).await
    }

    fn view(&self, group: &GroupId) -> Result<Arc<dyn KeyValue>, MetadataError> {
        self.0.view(group)
    }

    fn understands(&self, level: u32) -> Result<bool, MetadataError> {
        self.0.understands(level)
    }

    fn understands_or_unknown(&self, level: u32) -> Result<Option<bool>, MetadataError> {
        self.0.understands_or_unknown(level)
    }

    fn applied(&self, group: &GroupId) -> Result<u64, MetadataError> {
        self.0.applied(group)
    }

    async fn applied_after(&self, group: &GroupId, after: u64) -> Result<u64, MetadataError> {
        self.0.applied_after(group, after).await
    }
}

async fn make_theirs(metadata: &LocalMetadata) {
    let hash = hash_password(THEIRS).unwrap();
    let account = "000000000001".parse().unwrap();
    let command = CreateAccount::new(&account, "root", &hash, 0);
    let made = metadata.propose(&GroupId::global(), command.into()).await;
    made.unwrap().into_result().unwrap();
}

fn metadata() -> LocalMetadata {
    LocalMetadata::new([GroupId::global()])
}

fn bootstrap(metadata: Arc<dyn Metadata>, file: PathBuf) -> Bootstrap {
    Bootstrap {
        metadata,
        leads: Box::new(|| true),
        root: RootConfig {
            account: "000000000001".parse().unwrap(),
            user: "root".to_owned(),
            password: None,
        },
        hash: None,
        file,
        clock: Arc::new(SystemClock),
        blocking: Blocking::Threads,
    }
}

fn in_force(account: &Account, password: &str) -> bool {
    let given = BasicCredentials::new("root".to_owned(), Secret::new(password.to_owned()));
    let account = AccountCredentials {
        user: &account.root_user,
        password_hash: &account.password_hash,
    };
    let verifier = Verifier::new().unwrap();
    verifier.verify(&given, Some(&account)).unwrap()
}

#[tokio::test]
async fn a_generated_password_is_in_the_file_and_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(CREDENTIALS_FILE);
    let metadata = Arc::new(metadata());
    bootstrap(Arc::clone(&metadata) as _, file.clone())
        .run()
        .await;
    let again = bootstrap(metadata, file.clone());
    again
        .settle(again.account().unwrap().unwrap())
        .await
        .unwrap();
    let kept = again.kept().unwrap().unwrap();
    let account = again.account().unwrap().unwrap();
    assert!(in_force(&account, kept.password().expose()));
}

#[tokio::test]
async fn a_leader_that_lost_the_race_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(CREDENTIALS_FILE);
    let metadata = Arc::new(Outrun(metadata()));
    let loser = bootstrap(Arc::clone(&metadata) as _, file.clone());
    let account = loser.attempt().await.unwrap().unwrap();
    assert!(file.exists(), "it was written before it was proposed");
    assert!(in_force(&account, THEIRS));
    loser.run().await;
    assert_eq!(files::read(&file).unwrap(), None);
}

#[tokio::test]
async fn a_file_of_an_interrupted_start_goes_when_another_node_was_first() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(CREDENTIALS_FILE);
    let metadata = Arc::new(metadata());
    bootstrap(Arc::clone(&metadata) as _, file.clone())
        .generated()
        .unwrap();
    make_theirs(&metadata).await;
    bootstrap(metadata, file.clone()).run().await;
    assert_eq!(files::read(&file).unwrap(), None);
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_neither_replaced_nor_proposed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(CREDENTIALS_FILE);
    let bootstrap = bootstrap(Arc::new(metadata()), file.clone());

    std::fs::create_dir(&file).unwrap();
    let error = bootstrap.attempt().await.unwrap_err();
    assert!(error.to_string().contains(CREDENTIALS_FILE), "{error}");
    std::fs::remove_dir(&file).unwrap();

    std::fs::write(&file, "account=000000000001\n").unwrap();
    let error = bootstrap.attempt().await.unwrap_err();
    assert!(error.to_string().contains("user="), "{error}");
    assert_eq!(bootstrap.account().unwrap(), None);
}
