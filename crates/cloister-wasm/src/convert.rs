//! Between Rust values and JavaScript's.

use crate::error::EdgeError;
use serde::{Serialize, de::DeserializeOwned};
use wasm_bindgen::JsValue;

/// A Rust value as a plain JavaScript one; absent options become `null`, as `types.ts` says.
///
/// # Errors
/// [`EdgeError`] where the value has no JavaScript form.
pub fn to_js(value: &impl Serialize) -> Result<JsValue, EdgeError> {
    let serializer = serde_wasm_bindgen::Serializer::new().serialize_missing_as_null(true);
    value.serialize(&serializer).map_err(|error| EdgeError::new("conversion", format!("{error}; please report this")))
}

/// A JavaScript value as a Rust one.
///
/// # Errors
/// [`EdgeError`] where the value is not what `types.ts` asks for.
pub fn from_js<T: DeserializeOwned>(value: JsValue, what: &str) -> Result<T, EdgeError> {
    serde_wasm_bindgen::from_value(value)
        .map_err(|error| EdgeError::new("conversion", format!("{what} cannot be read: {error}; see types.ts")))
}
