//! What the integration tests and the benchmark are built from: clusters of
//! real `entrepot-node` processes, real clients (skopeo, docker, podman, oras,
//! containerd, boto3, aws), a raw OCI client, and images to push.
//!
//! It must never depend on a crate of the node: what it knows of the protocols
//! is written here a second time, so that a mistake in the node's vocabulary
//! cannot hide itself. (gRPC's messages are `entrepot-proto`'s, as they are for
//! every client.) Invariant: every process that it starts is ended by it,
//! by process id.

mod admin;
mod authority;
mod aws;
mod cluster;
mod config;
mod containerd;
mod daemon;
mod disk;
mod docker;
mod failover;
mod front_end;
mod grpc;
mod held;
mod history;
mod http;
mod image;
mod known;
mod layout;
pub mod linearizable;
mod links;
mod load;
mod machine;
mod network;
mod node;
mod oras;
mod podman;
mod ports;
mod process;
mod proxy;
mod push;
mod random;
mod receiver;
mod skopeo;
mod tunnel;
mod wait;
mod wan;

pub use admin::{Admin, Task};
pub use authority::{Authority, Certificate};
pub use aws::{AwsAccount, AwsCall, walk as aws_walk};
pub use cluster::{Cluster, ClusterBuilder};
pub use containerd::Containerd;
pub use docker::Engine;
pub use failover::without_leader;
pub use front_end::FrontEnd;
pub use grpc::{Grpc, Watch, append_messages};
pub use held::{HeldPull, HeldPush};
pub use history::{Action, Condition, Operation, Outcome, State};
pub use http::{Registry, Reply, Request, http_client};
pub use image::{Blob, Image, Index, artifact_of, digest_of, digest_of_all, media};
pub use known::DockerRegistry;
pub use layout::Layout;
pub use links::{Link, Links};
pub use load::{Ledger, Moving, Writers};
pub use machine::{MachineImage, SHELL_GREETING};
pub use network::{Cable, Network, SEGMENT_BYTES};
pub use node::Node;
pub use oras::Oras;
pub use podman::Podman;
pub use ports::Ports;
pub use process::{Finished, Usage, binary, interrupt, raise_open_files, run, usage};
pub use proxy::Proxy;
pub use push::Upload;
pub use random::Random;
pub use receiver::{Received, Receiver};
pub use skopeo::Skopeo;
pub use wait::wait_until;
pub use wan::{Line, Wan};
