//! What has to be on the machine before anything can be built; each part installs itself where it can.

pub mod chromium;
pub mod node;
pub mod tools;
pub mod wasm_target;
