//! The parity fixtures of `tests/fixtures/codegen` and what is compared with them.
//!
//! One piece of code for both places where the model must equal the reference: the native tests of `cloister-model`, and
//! the browser tests, which load this crate as WebAssembly.

mod compare;
mod fixture;
#[cfg(target_arch = "wasm32")]
mod web;

pub use compare::{cached_delta, packed_delta, plain_delta};
pub use fixture::{Case, Fixture, ParityError};
