//! One module per command.

pub mod bench;
pub mod build;
pub mod cargo_run;
pub mod check;
pub mod report;
pub mod serve;
pub mod test;
