//! `entrepot-node`: the program. What it does is in the library beside it.

use std::process::ExitCode;

/// Small requests spend much of their time in it, and it gives memory back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    entrepot_node::main()
}
