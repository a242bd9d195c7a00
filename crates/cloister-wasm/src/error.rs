//! Errors at the edge: plain objects with a kind for programs and a message for people.

use cloister_engine::{Backend, EngineError};
use serde::Serialize;
use wasm_bindgen::JsValue;

/// What every rejected promise carries: `EngineError` of `types.ts`.
#[derive(Debug, Clone, Serialize)]
pub struct EdgeError {
    kind: String,
    message: String,
}

impl EdgeError {
    /// An error of the edge itself.
    pub fn new(kind: &str, message: impl Into<String>) -> Self {
        Self { kind: kind.into(), message: message.into() }
    }

    /// An error of the engine. On a GPU, a failing device is a lost one: the page starts anew.
    pub fn of_engine(error: &EngineError, backend: Backend) -> Self {
        let kind = match (error, backend) {
            (EngineError::Device(_), Backend::Webgpu) => "device-lost",
            _ => error.kind(),
        };
        Self::new(kind, error.to_string())
    }
}

impl From<EdgeError> for JsValue {
    fn from(error: EdgeError) -> Self {
        serde_wasm_bindgen::to_value(&error).unwrap_or_else(|_| JsValue::from_str(&error.message))
    }
}
