//! `config.json`.

use crate::CheckpointError;
use crate::error::at;
use cloister_model::CodeGenConfig;
use serde::Deserialize;
use std::path::Path;

/// The largest configuration that is read.
const MOST: u64 = 1 << 20;

/// What the forward pass depends on. The names are Hugging Face's.
#[derive(Debug, Deserialize)]
struct Raw {
    model_type: Option<String>,
    vocab_size: usize,
    n_positions: usize,
    n_embd: usize,
    n_layer: usize,
    n_head: usize,
    rotary_dim: usize,
    #[serde(default)]
    n_inner: Option<usize>,
    #[serde(default = "gelu_new")]
    activation_function: String,
    #[serde(default = "epsilon")]
    layer_norm_epsilon: f64,
    #[serde(default)]
    tie_word_embeddings: bool,
}

fn gelu_new() -> String {
    "gelu_new".into()
}

fn epsilon() -> f64 {
    1e-5
}

/// Reads the sizes of a checkpoint.
pub(crate) fn read(folder: &Path) -> Result<CodeGenConfig, CheckpointError> {
    let path = folder.join("config.json");
    let fault = |problem: String| CheckpointError::Config { file: path.display().to_string(), problem };
    let length = std::fs::metadata(&path).map_err(at(&path))?.len();
    if length > MOST {
        return Err(fault(format!("it has {length} bytes where at most {MOST} are read")));
    }
    let text = std::fs::read_to_string(&path).map_err(at(&path))?;
    let raw: Raw = serde_json::from_str(&text).map_err(|error| fault(error.to_string()))?;
    match raw.model_type.as_deref() {
        Some("codegen") => {}
        Some(other) => return Err(fault(format!("its model_type is `{other}` where `codegen` is read"))),
        None => return Err(fault("it has no model_type".into())),
    }
    if raw.activation_function != "gelu_new" {
        return Err(fault(format!("its activation is `{}` where CodeGen has `gelu_new`", raw.activation_function)));
    }
    if raw.tie_word_embeddings {
        return Err(fault("it ties the embeddings to the head, which CodeGen does not".into()));
    }
    let config = CodeGenConfig {
        vocab_size: raw.vocab_size,
        n_positions: raw.n_positions,
        n_embd: raw.n_embd,
        n_layer: raw.n_layer,
        n_head: raw.n_head,
        rotary_dim: raw.rotary_dim,
        n_inner: raw.n_inner,
        layer_norm_epsilon: raw.layer_norm_epsilon,
        line_pointer_dim: None,
    };
    config.validate().map_err(|error| fault(error.to_string()))?;
    Ok(config)
}
