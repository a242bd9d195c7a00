//! The engine for the browser: a thin layer over `cloister-engine`, meant for a dedicated worker.
//!
//! The hand-written TypeScript face of what is exported here is `types.ts` beside this file. The engine takes bytes and
//! no addresses, so that a page can bring them from wherever its policy allows.

mod adapter;
mod convert;
mod engine;
mod error;
mod inspect;
mod observer;

pub use engine::Engine;
pub use inspect::inspect;
