//! `entrepot-node`: the program. What it does is in the library beside it.

use std::process::ExitCode;

#[cfg(feature = "broken-reads")]
compile_error!("the feature broken-reads is for the program entrepot-node-broken-reads alone");

/// Small requests spend much of their time in it, and it gives memory back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    entrepot_node::main()
}
