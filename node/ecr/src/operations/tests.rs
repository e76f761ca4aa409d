//! Every operation, as clients call it, over a registry in memory: what goes in
//! and what comes out is held against the models each time.

mod repositories;
mod world;
