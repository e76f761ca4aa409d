//! `entrepot-node-broken-reads`: a node that answers with what its own copy says,
//! without asking whether that is up to date. A test has to find it out; it is
//! good for nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    entrepot_node::main()
}
