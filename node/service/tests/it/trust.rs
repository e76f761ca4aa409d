//! Machines that become nodes by a token.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use entrepot_access::trust::{
    Authority, CERTIFICATE_LIFE, ClusterKey, JoinToken, NodeKey, SigningRequest, TokenSecret, Usage,
};
use entrepot_fuzz::{Verdict, target};
use entrepot_metadata::command::{FormCluster, MemberSpec};
use entrepot_metadata::{GroupId, LocalMetadata, Metadata};
use entrepot_proto::environment::Clock;
use entrepot_proto::peer::JoinRequest;
use entrepot_proto::peer::join_server::Join;
use entrepot_service::ServiceError;
use entrepot_service::trust::{
    JOIN_BYTES_MAX, JoinServer, Newcomer, TOKEN_TTL_MAX, Trust, TrustParts,
};
use prost::Message as _;
use tonic::{Code, Request};

const NOW: i64 = 1_800_000_000_000;
/// What a refusal tells a stranger.
const REFUSAL_BYTES_MAX: usize = 1_024;
const HOUR: Duration = Duration::from_hours(1);

#[derive(Debug)]
struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

struct Cluster {
    trust: Arc<Trust>,
    clock: Arc<TestClock>,
}

impl Cluster {
    /// Of node 1, at `10.0.0.1:6000`.
    async fn new() -> Self {
        let metadata: Arc<dyn Metadata> = Arc::new(LocalMetadata::new([GroupId::global()]));
        let region = "us-east-1".parse().unwrap();
        let form = FormCluster {
            members: vec![MemberSpec::new(1, &region, "10.0.0.1:6000")],
            at_ms: NOW,
        };
        let global = GroupId::global();
        let formed = metadata.propose(&global, form.into());
        formed.await.unwrap().into_result().unwrap();
        let clock = Arc::new(TestClock(AtomicI64::new(NOW)));
        let authority = Authority::create(NOW).unwrap();
        let key = ClusterKey::generate().unwrap();
        let trust = Trust::new(TrustParts {
            metadata,
            clock: Arc::<TestClock>::clone(&clock),
            own: 1,
            root: authority.root().clone(),
            key: key.clone(),
            life: CERTIFICATE_LIFE,
        });
        let sealed = authority.sealed_key(&key).unwrap();
        trust.keep_authority(&sealed).await.unwrap();
        trust.keep_authority(&sealed).await.unwrap();
        Self { trust, clock }
    }

    async fn token(&self, region: Option<&str>) -> JoinToken {
        let region = region.map(|region| region.parse().unwrap());
        let made = self.trust.create_token(region, HOUR).await.unwrap();
        made.token.parse().unwrap()
    }

    fn pass(&self, time: Duration) {
        let ms = i64::try_from(time.as_millis()).unwrap();
        self.clock.0.fetch_add(ms, Ordering::SeqCst);
    }
}

fn newcomer(token: &JoinToken, key: &NodeKey, region: Option<&str>, address: &str) -> Newcomer {
    Newcomer {
        token: token.secret.clone(),
        request: SigningRequest::parse(&key.request().unwrap()).unwrap(),
        region: region.map(|region| region.parse().unwrap()),
        peer_address: address.to_owned(),
        client_address: None,
    }
}

fn denied(result: Result<impl std::fmt::Debug, ServiceError>) -> String {
    match result.unwrap_err() {
        ServiceError::Denied(reason) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_token_makes_a_machine_a_node_once() {
    let cluster = Cluster::new().await;
    let token = cluster.token(None).await;
    assert_eq!(token.addresses, ["10.0.0.1:6000"]);
    assert_eq!(token.root, cluster.trust.root().fingerprint());
    let key = NodeKey::generate().unwrap();
    let region = Some("eu-west-1");
    let admit = |key: &NodeKey| {
        let newcomer = newcomer(&token, key, region, "10.0.0.2:6000");
        cluster.trust.admit(newcomer)
    };
    let admitted = admit(&key).await.unwrap();
    assert_eq!((admitted.node, admitted.region.as_str()), (2, "eu-west-1"));
    assert_eq!(admitted.members.len(), 2);
    let root = cluster.trust.root();
    let says = root.verify(&admitted.certificate, Usage::Client, NOW);
    assert_eq!(says.unwrap().name.node, 2);

    // Its answer was lost: the same machine asks again.
    cluster.pass(2 * HOUR);
    assert_eq!(admit(&key).await.unwrap().node, 2);
    let refused = denied(admit(&NodeKey::generate().unwrap()).await);
    assert!(refused.contains("used by node 2"), "{refused}");
}

#[tokio::test]
async fn of_machines_that_race_for_a_token_one_becomes_a_node() {
    let cluster = Cluster::new().await;
    let token = cluster.token(Some("us-east-1")).await;
    let joins = (2..10).map(|at| {
        let (trust, token) = (Arc::clone(&cluster.trust), token.clone());
        tokio::spawn(async move {
            let key = NodeKey::generate().unwrap();
            let address = format!("10.0.0.{at}:6000");
            trust.admit(newcomer(&token, &key, None, &address)).await
        })
    });
    let mut admitted = 0;
    for join in joins.collect::<Vec<_>>() {
        match join.await.unwrap() {
            Ok(node) => {
                admitted += 1;
                assert_eq!((node.node, node.members.len()), (2, 2));
            }
            refused => {
                let refused = denied(refused);
                assert!(refused.contains("used by node 2"), "{refused}");
            }
        }
    }
    assert_eq!(admitted, 1);
}

#[tokio::test]
async fn a_token_that_is_unknown_expired_or_for_another_region_is_refused() {
    let cluster = Cluster::new().await;
    let key = NodeKey::generate().unwrap();
    let admit = |token: &JoinToken, region| {
        cluster
            .trust
            .admit(newcomer(token, &key, region, "10.0.0.2:6000"))
    };
    let mut token = cluster.token(Some("eu-west-1")).await;
    let refused = denied(admit(&token, Some("us-east-1")).await);
    assert!(refused.contains("eu-west-1"), "{refused}");
    let any = cluster.token(None).await;
    let refused = admit(&any, None).await.unwrap_err();
    assert!(matches!(refused, ServiceError::Invalid(_)), "{refused}");
    cluster.pass(HOUR);
    let refused = denied(admit(&token, None).await);
    assert!(refused.contains("expired"), "{refused}");
    token.secret = TokenSecret::generate().unwrap();
    let refused = denied(admit(&token, None).await);
    assert!(refused.contains("not known"), "{refused}");
}

#[tokio::test]
async fn two_nodes_do_not_get_one_address() {
    let cluster = Cluster::new().await;
    let token = cluster.token(Some("us-east-1")).await;
    let key = NodeKey::generate().unwrap();
    let in_use = newcomer(&token, &key, None, "10.0.0.1:6000");
    let refused = cluster.trust.admit(in_use).await.unwrap_err();
    assert!(matches!(refused, ServiceError::Conflict(_)), "{refused}");
    // The token is as it was.
    let free = newcomer(&token, &key, None, "10.0.0.2:6000");
    assert_eq!(cluster.trust.admit(free).await.unwrap().node, 2);
}

#[tokio::test]
async fn a_revoked_node_gets_no_certificate_any_more() {
    let cluster = Cluster::new().await;
    let token = cluster.token(Some("us-east-1")).await;
    let key = NodeKey::generate().unwrap();
    let again = || {
        cluster
            .trust
            .admit(newcomer(&token, &key, None, "10.0.0.2:6000"))
    };
    again().await.unwrap();
    assert_eq!(cluster.trust.revoke(2).await.unwrap(), 1);
    let refused = denied(again().await);
    assert!(refused.contains("revoked"), "{refused}");
    let own = cluster.trust.revoke(1).await.unwrap_err();
    assert!(matches!(own, ServiceError::Conflict(_)), "{own}");
    let unknown = cluster.trust.revoke(9).await.unwrap_err();
    assert!(matches!(unknown, ServiceError::NotFound(_)), "{unknown}");
}

#[tokio::test]
async fn a_token_is_good_for_a_week_at_most() {
    let cluster = Cluster::new().await;
    for ttl in [Duration::ZERO, TOKEN_TTL_MAX + Duration::from_secs(1)] {
        let refused = cluster.trust.create_token(None, ttl).await.unwrap_err();
        assert!(matches!(refused, ServiceError::Invalid(_)), "{refused}");
    }
    cluster
        .trust
        .create_token(None, TOKEN_TTL_MAX)
        .await
        .unwrap();
}

/// By the messages that anybody who reaches the port may send.
#[tokio::test]
async fn the_service_answers_with_everything_a_node_needs_or_with_one_line() {
    let cluster = Cluster::new().await;
    let token = cluster.token(Some("us-east-1")).await;
    let server = JoinServer::new(Arc::clone(&cluster.trust));
    let good = JoinRequest {
        token: token.secret.expose().to_vec().into(),
        signing_request: NodeKey::generate().unwrap().request().unwrap().into(),
        region: String::new(),
        peer_address: "10.0.0.2:6000".to_owned(),
        client_address: String::new(),
    };
    for (bad, code) in [
        (
            JoinRequest {
                token: vec![1; 32].into(),
                ..good.clone()
            },
            Code::PermissionDenied,
        ),
        (
            JoinRequest {
                token: vec![1; 31].into(),
                ..good.clone()
            },
            Code::InvalidArgument,
        ),
        (
            JoinRequest {
                signing_request: vec![0x30, 0].into(),
                ..good.clone()
            },
            Code::InvalidArgument,
        ),
        (
            JoinRequest {
                peer_address: "nowhere".to_owned(),
                ..good.clone()
            },
            Code::InvalidArgument,
        ),
        (
            JoinRequest {
                region: "No Region".to_owned(),
                ..good.clone()
            },
            Code::InvalidArgument,
        ),
    ] {
        let refused = server.join(Request::new(bad)).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
        assert_eq!(refused.message().lines().count(), 1);
    }
    assert!(!format!("{good:?}").contains("signing"), "{good:?}");
    let reply = server.join(Request::new(good)).await.unwrap().into_inner();
    assert_eq!((reply.node, reply.region.as_str()), (2, "us-east-1"));
    assert_eq!(reply.cluster_key.len(), 32);
    assert_eq!(reply.members.len(), 2);
    assert!(!format!("{reply:?}").contains("cluster_key"));
}

/// Hostile bytes, from whoever reaches the port.
#[test]
fn join_call() {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    let (cluster, token) = runtime.block_on(async {
        let cluster = Cluster::new().await;
        let token = cluster.token(Some("us-east-1")).await;
        (cluster, token)
    });
    let server = JoinServer::new(Arc::clone(&cluster.trust));
    let good = JoinRequest {
        token: token.secret.expose().to_vec().into(),
        signing_request: NodeKey::generate().unwrap().request().unwrap().into(),
        region: "us-east-1".to_owned(),
        peer_address: "10.0.0.2:6000".to_owned(),
        client_address: "10.0.0.2:5000".to_owned(),
    };
    let stranger = JoinRequest {
        token: vec![1; 32].into(),
        ..good.clone()
    };
    target!("join-call")
        .seed("good-join", good.encode_to_vec())
        .seed("bad-token", stranger.encode_to_vec())
        .seed("bad-empty", [])
        .words(["us-east-1", ":6000", "10.0.0.1:6000", "[::]", "\0"])
        .longest(JOIN_BYTES_MAX)
        .memory(2 * 1024 * 1024, 64)
        .check(|bytes| {
            let Ok(request) = JoinRequest::decode(bytes) else {
                return Verdict::Refused;
            };
            let answer = runtime.block_on(server.join(Request::new(request)));
            match &answer {
                // One token, one key: one node.
                Ok(reply) => assert_eq!(reply.get_ref().node, 2),
                Err(status) => assert!(status.message().len() <= REFUSAL_BYTES_MAX),
            }
            Verdict::of(&answer)
        });
}
