//! One node of a cluster, or a whole cluster for a try.
//!
//! Owns configuration, wiring, listeners, start and stop, and nothing else. The
//! program calls [`main`]; a simulation starts [`Node`]s in a world of its own
//! making, the [`Outside`].

mod arguments;
mod bootstrap;
mod care;
mod chores;
mod client_port;
mod clock;
mod config;
mod connection;
mod courier;
mod dev;
mod disk;
mod entry;
mod files;
mod identity;
mod listen;
mod logging;
mod members;
mod metrics;
mod node;
mod open_files;
mod ops_port;
mod peer_port;
mod relay;
mod stop;
mod storage;
mod tasks;
mod tls;
mod trust;
mod view;

use std::process::ExitCode;

use clap::Parser;
use tracing::warn;

use crate::arguments::{Arguments, Command};

pub use crate::config::{CareConfig, ClientLimits, Config, ListenConfig, RootConfig, TlsConfig};
pub use crate::courier::Reach;
pub use crate::listen::{Listen, Listeners};
pub use crate::node::{Node, Outside};
pub use crate::storage::{MemoryStorage, Storage};
pub use crate::trust::TrustFolder;
pub use entrepot_service::{NoCourier, Throttling};

/// The program `entrepot-node`.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("entrepot-node: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    logging::start(&arguments.logging, arguments.command.default_log())?;
    open_files::raise_limit();
    small_pages();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    match arguments.command {
        Command::Run(run) => runtime.block_on(node::run(&run)),
        Command::Dev(dev) => runtime.block_on(dev::run(&dev)),
        Command::Init(init) => trust::init(&init),
        Command::Join(join) => runtime.block_on(trust::join(&join)),
    }
}

/// The allocator asks for huge pages, of which a node fills a few corners: they
/// would double its memory.
fn small_pages() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        warn!(%error, "memory is taken in huge pages");
    }
}
