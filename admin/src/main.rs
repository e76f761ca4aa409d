//! `entrepot`, the command line client: one command, one question to a node's
//! client port, one answer on standard output.
//!
//! It owns no state and decides nothing that a node decides. A password never
//! appears among its arguments, in its output or in its errors. Standard output
//! holds answers alone, so that `--json` can be piped; whatever went wrong is
//! one line on standard error.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage.

mod arguments;
mod client;
mod command;
mod credentials;
mod endpoint;
mod failure;
mod human;
mod plain;
mod progress;
mod report;
mod trust;

use std::io::{self, Write};
use std::process::ExitCode;

use crate::arguments::Cli;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::read();
    match command::run(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody is left to be told when standard error is gone as well.
            let _ = writeln!(io::stderr(), "entrepot: {failure}");
            ExitCode::FAILURE
        }
    }
}
