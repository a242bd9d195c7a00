//! What a package is and asks for, before anything of it but its manifest is loaded.

use crate::convert::to_js;
use crate::error::EdgeError;
use cloister_engine::ModelCard;
use cloister_package::{FileEntry, Manifest, NONE_LABEL, Requirement, hash};
use serde::Serialize;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

/// `PackageSummary` of `types.ts`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    model_id: String,
    model_hash: String,
    /// A float, because sizes that fit nowhere may be above what JavaScript counts exactly.
    parameters: f64,
    context_tokens: usize,
    labels: Vec<String>,
    card: ModelCard,
    files: Vec<FileEntry>,
    requirements: Vec<Requirement>,
}

/// Checks a `model.json` and says what it describes. Needs no device.
#[wasm_bindgen]
pub fn inspect(manifest: Vec<u8>) -> Result<JsValue, JsValue> {
    let read = Manifest::parse(&manifest).map_err(|error| EdgeError::new(error.kind(), error.to_string()))?;
    let labels = read.labels.iter().map(|label| label.label.clone());
    let summary = Summary {
        model_id: read.id.clone(),
        model_hash: hash::sha256_hex(&manifest),
        parameters: read.parameters() as f64,
        context_tokens: read.architecture.config.n_positions,
        labels: labels.filter(|label| label != NONE_LABEL).collect(),
        card: ModelCard::of(&read),
        files: read.files().into_iter().cloned().collect(),
        requirements: read.requirements(),
    };
    Ok(to_js(&summary)?)
}
