//! `docker-credential-entrepot`: docker's credential helper for Entrepot. Docker
//! asks it for a login each time it needs one; it asks the registry for an
//! authorization token with the user's access key.
//!
//! It keeps nothing: no token, no password. A secret never appears in an error.
//! A request is signed for registries that the user has named and for no other:
//! whoever receives one could hand it on to a node within five minutes.
//!
//! Docker takes the answer, also the error, from standard output; `docker pull`
//! then drops the error. So errors go to standard error as well, which docker
//! passes on to the terminal.
//!
//! Exit codes: 0 done, 1 failed or no credentials, 2 wrong usage.

mod arguments;
mod authorities;
mod environment;
mod failure;
mod key;
mod named;
#[path = "../plain.rs"]
mod plain;
mod profile;
mod region;
mod request;
mod server;
mod token;
mod verb;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::arguments::Cli;
use crate::failure::Failure;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match verb::run(&cli.verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Docker compares the answer with the texts it knows: no prefix.
            // Nobody is left to be told when the outputs are gone as well.
            let _ = writeln!(io::stdout(), "{failure}");
            if let Some(text) = said_to_people(&failure) {
                let _ = writeln!(io::stderr(), "docker-credential-entrepot: {text}");
            }
            ExitCode::FAILURE
        }
    }
}

/// What standard error says: nothing where docker itself knows what to do.
fn said_to_people(failure: &Failure) -> Option<String> {
    match failure {
        Failure::NotFound { hint } => hint.as_ref().map(ToString::to_string),
        other => Some(other.to_string()),
    }
}
