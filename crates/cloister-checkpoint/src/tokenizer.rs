//! The tokenizer of a checkpoint as one `tokenizer.json`, and whether it is CodeGen's.

use crate::CheckpointError;
use crate::error::at;
use cloister_engine::Tokenizer;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// The largest file that is read.
const MOST: u64 = 64 << 20;

/// Tokens of GPT-2, its end of text included: CodeGen's own come behind.
const GPT2: usize = 50257;

/// Runs of spaces that are a token, from the shortest to the longest; the longest has the lowest id.
const SPACES: std::ops::RangeInclusive<usize> = 2..=31;

/// Runs of tabs, likewise, behind those of spaces.
const TABS: std::ops::RangeInclusive<usize> = 2..=9;

/// The bytes of a `tokenizer.json`: the checkpoint's, or one made of `vocab.json`, `merges.txt` and, where it is there,
/// `added_tokens.json`.
pub(crate) fn read(folder: &Path, vocab_size: usize) -> Result<Vec<u8>, CheckpointError> {
    let whole = folder.join("tokenizer.json");
    let (path, bytes) = if whole.is_file() {
        let bytes = bytes(&whole)?;
        (whole, bytes)
    } else {
        let vocab = folder.join("vocab.json");
        if !vocab.is_file() {
            return Err(fault(&whole, "it is missing, and so is vocab.json; copy one of the two from the checkpoint"));
        }
        let made = assembled(folder, &vocab)?;
        (vocab, made)
    };
    let tokenizer = Tokenizer::from_bytes(&bytes).map_err(|error| fault(&path, error.to_string()))?;
    let found = tokenizer.vocab_size();
    if found > vocab_size {
        return Err(fault(
            &path,
            format!(
                "it has {found} tokens where the model has rows for {vocab_size}; take the one that the model was trained with"
            ),
        ));
    }
    // Only the published vocabulary is known; a small model may bring its own.
    if found >= GPT2 && !(found == GPT2 && vocab_size < GPT2) {
        check(&path, &tokenizer)?;
    }
    Ok(bytes)
}

/// Whether a tokenizer of GPT-2's size is CodeGen's. Copies in circulation lack its runs of spaces and tabs, or have them at
/// other places, or marked as special, and then indentation is read as other tokens than the model has learned.
fn check(path: &Path, tokenizer: &Tokenizer) -> Result<(), CheckpointError> {
    let runs =
        SPACES.map(|n| (" ".repeat(n), 50288 - n as u32)).chain(TABS.map(|n| ("\t".repeat(n), 50296 - n as u32)));
    for (run, id) in runs {
        let (what, n) = (if run.starts_with(' ') { "spaces" } else { "tabs" }, run.len());
        // Behind a letter, so that the run is one inside a text.
        let ids = tokenizer.encode(&format!("{run}x")).map_err(|error| fault(path, error.to_string()))?.ids;
        let problem = match (tokenizer.token_id(&run), ids.first()) {
            (None, _) => format!("it has no token for {n} {what}, as GPT-2's has none"),
            (Some(found), _) if found != id => format!("its token for {n} {what} is {found} where CodeGen's is {id}"),
            (Some(_), Some(first)) if *first != id => {
                format!("it does not read {n} {what} as their token, which is marked as special or as a whole word")
            }
            _ => continue,
        };
        return Err(fault(path, format!("{problem}; take the tokenizer of codegen-350M-mono")));
    }
    let ids = tokenizer.encode("Hello world").map_err(|error| fault(path, error.to_string()))?.ids;
    if ids != [15496, 995] {
        return Err(fault(
            path,
            format!(
                "it reads `Hello world` as {ids:?} and not as GPT-2 does ([15496, 995]); take the tokenizer of codegen-350M-mono"
            ),
        ));
    }
    Ok(())
}

/// A `tokenizer.json` of GPT-2's kind from its older files.
fn assembled(folder: &Path, vocab: &Path) -> Result<Vec<u8>, CheckpointError> {
    let object = |path: &Path| -> Result<serde_json::Map<String, Value>, CheckpointError> {
        serde_json::from_slice(&bytes(path)?).map_err(|error| fault(path, format!("it is not JSON ({error})")))
    };
    let vocabulary = object(vocab)?;
    let path = folder.join("merges.txt");
    let text = String::from_utf8(bytes(&path)?).map_err(|_| fault(&path, "it is not UTF-8"))?;
    let mut merges = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with("#version") && !line.is_empty()) {
        let Some((left, right)) = line.split_once(' ') else {
            return Err(fault(&path, format!("the line {line:?} is no pair")));
        };
        if !vocabulary.contains_key(&format!("{left}{right}")) {
            return Err(fault(
                &path,
                format!("it merges {line:?}, which vocab.json does not have; the two do not belong together"),
            ));
        }
        merges.push(json!([left, right]));
    }
    let mut added = Vec::new();
    let token = |content: &str, id: &Value, special: bool| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": special})
    };
    if let Some(id) = vocabulary.get("<|endoftext|>") {
        added.push(token("<|endoftext|>", id, true));
    }
    let path = folder.join("added_tokens.json");
    if path.is_file() {
        let mut tokens: Vec<(String, Value)> = object(&path)?.into_iter().filter(|(_, id)| id.is_u64()).collect();
        tokens.sort_by_key(|(_, id)| id.as_u64());
        added.extend(tokens.iter().map(|(content, id)| token(content, id, content.starts_with("<|"))));
    }
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let whole = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": byte_level, "post_processor": null, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocabulary, "merges": merges}
    });
    Ok(whole.to_string().into_bytes())
}

fn bytes(path: &Path) -> Result<Vec<u8>, CheckpointError> {
    let length = std::fs::metadata(path).map_err(at(path))?.len();
    if length > MOST {
        return Err(fault(path, format!("it has {length} bytes where at most {MOST} are read")));
    }
    std::fs::read(path).map_err(at(path))
}

fn fault(path: &Path, problem: impl Into<String>) -> CheckpointError {
    CheckpointError::Tokenizer { file: PathBuf::from(path).display().to_string(), problem: problem.into() }
}
