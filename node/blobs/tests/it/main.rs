//! Tests of the blob stores through their public trait: the same bodies run over
//! files and over memory.

mod conformance;
mod crash;
mod damage;
mod faults;
mod files;
mod fixture;
mod model;
