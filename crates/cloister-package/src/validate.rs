//! The checks of a manifest that its types cannot make.

use crate::{
    FileEntry, MAX_SHARD_BYTES, MAX_SHARDS, MAX_TOKENIZER_BYTES, Manifest, NONE_LABEL, PackageError, SCHEMA, TokenText,
    hash,
};
use cloister_model::CodeGenConfig;
use cloister_model::quant::Bits;
use std::collections::HashSet;

/// Blocks: far above any CodeGen, far below what would make the list of tensors a burden.
const MAX_LAYERS: usize = 1024;
const MAX_LABELS: usize = 4096;
const MAX_ANSWER_TOKENS: usize = 64;
/// Tokens that prefix and suffix must leave for the code.
const MIN_CODE_TOKENS: usize = 16;
/// What a shard may hold beside its tensors' bytes.
const MAX_SHARD_OVERHEAD: u64 = crate::shard::MAX_HEADER_BYTES as u64 + 8;

fn fail<T>(field: impl Into<String>, problem: impl Into<String>) -> Result<T, PackageError> {
    Err(PackageError::manifest(field, problem))
}

impl Manifest {
    /// Checks what the types do not say: limits, names, that everything fits together.
    ///
    /// # Errors
    /// [`PackageError::Manifest`] names the first field that does not hold.
    pub fn validate(&self) -> Result<(), PackageError> {
        if self.schema != SCHEMA {
            return Err(PackageError::UnknownSchema { found: self.schema.to_string(), known: SCHEMA });
        }
        if self.id.is_empty() || self.id.len() > 100 || self.id.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return fail("id", "must be 1 to 100 characters without spaces");
        }
        if self.name.trim().is_empty() || self.name.len() > 200 {
            return fail("name", "must have 1 to 200 bytes");
        }
        self.validate_architecture()?;
        self.validate_files()?;
        self.validate_prompt()?;
        self.validate_labels()?;
        self.validate_numbers()?;
        self.validate_self_test()
    }

    fn validate_architecture(&self) -> Result<(), PackageError> {
        if self.architecture.family != crate::Architecture::CODEGEN {
            return Err(PackageError::UnknownArchitecture(self.architecture.family.clone()));
        }
        let config = &self.architecture.config;
        if let Err(error) = config.validate() {
            return fail("architecture.config", format!("is refused: {error}"));
        }
        if config.n_layer > MAX_LAYERS {
            return fail("architecture.config.n_layer", format!("is {}, above {MAX_LAYERS}", config.n_layer));
        }
        if let Some(quantization) = self.weights.quantization.as_ref().filter(|found| found.bits().is_none()) {
            return Err(PackageError::UnknownQuantization(quantization.scheme.clone()));
        }
        Ok(())
    }

    fn validate_files(&self) -> Result<(), PackageError> {
        let shards = &self.weights.shards;
        if shards.is_empty() || shards.len() > MAX_SHARDS {
            return fail(
                "weights.shards",
                format!("lists {} files where 1 to {MAX_SHARDS} are accepted", shards.len()),
            );
        }
        validate_file("tokenizer", &self.tokenizer, MAX_TOKENIZER_BYTES)?;
        let mut names = HashSet::from([crate::MANIFEST_FILE, self.tokenizer.file.as_str()]);
        if names.len() != 2 {
            return fail("tokenizer.file", "has the name of the manifest itself");
        }
        for (index, shard) in shards.iter().enumerate() {
            let field = format!("weights.shards[{index}]");
            validate_file(&field, shard, MAX_SHARD_BYTES)?;
            if !names.insert(&shard.file) {
                return fail(field, format!("names the file `{}` a second time", shard.file));
            }
        }
        // Known before a shard is fetched, and before a large configuration costs any memory.
        let stored: u64 = shards.iter().map(|shard| shard.bytes).sum();
        let parameters = count_parameters(&self.architecture.config);
        let most = parameters.saturating_mul(4).saturating_add(MAX_SHARD_OVERHEAD * shards.len() as u64);
        let least = match self.weights.bits() {
            None => parameters.saturating_mul(2),
            Some(Bits::Eight) => parameters,
            Some(Bits::Four) => parameters / 2,
        };
        if stored < least || stored > most {
            return fail(
                "weights.shards",
                format!(
                    "hold {stored} bytes together, which cannot be the {parameters} parameters of the architecture"
                ),
            );
        }
        Ok(())
    }

    fn validate_prompt(&self) -> Result<(), PackageError> {
        self.validate_tokens("prompt.prefix", &self.prompt.prefix)?;
        self.validate_tokens("prompt.suffix", &self.prompt.suffix)?;
        let fixed = self.prompt.prefix.tokens.len() + self.prompt.suffix.tokens.len();
        let context = self.architecture.config.n_positions;
        if fixed == 0 {
            return fail("prompt", "has neither a prefix nor a suffix, so that nothing asks for the answer");
        }
        if fixed + MIN_CODE_TOKENS > context {
            return fail(
                "prompt",
                format!("takes {fixed} tokens of a context of {context} and leaves too few for code"),
            );
        }
        let vocabulary = self.architecture.config.vocab_size;
        if let Some(token) = self.prompt.stop.iter().find(|token| **token as usize >= vocabulary) {
            return fail("prompt.stop", format!("names the token {token} where the model knows {vocabulary}"));
        }
        Ok(())
    }

    fn validate_labels(&self) -> Result<(), PackageError> {
        if self.labels.len() < 2 || self.labels.len() > MAX_LABELS {
            return fail("labels", format!("lists {} labels where 2 to {MAX_LABELS} are accepted", self.labels.len()));
        }
        let (mut names, mut answers) = (HashSet::new(), HashSet::new());
        for (index, label) in self.labels.iter().enumerate() {
            let field = format!("labels[{index}]");
            if label.label != NONE_LABEL && !is_cwe(&label.label) {
                return fail(field, format!("is {:?}, neither `{NONE_LABEL}` nor a CWE id", label.label));
            }
            if !names.insert(&label.label) {
                return fail(field, format!("gives `{}` a second time", label.label));
            }
            self.validate_tokens(&field, &label.answer)?;
            if label.answer.tokens.is_empty() || label.answer.tokens.len() > MAX_ANSWER_TOKENS {
                return fail(field, format!("has an answer of {} tokens", label.answer.tokens.len()));
            }
            if !answers.insert(&label.answer.tokens) {
                return fail(field, "has the same answer as another label");
            }
        }
        // Nothing would tell that the shorter one has ended.
        for (index, label) in self.labels.iter().enumerate() {
            let begins = |other: &&crate::Label| {
                other.label != label.label && other.answer.tokens.starts_with(&label.answer.tokens)
            };
            if let Some(other) = self.labels.iter().find(begins) {
                return fail(
                    format!("labels[{index}]"),
                    format!("has an answer that the answer of `{}` begins with; give both an end", other.label),
                );
            }
        }
        if self.prompt.line_evidence && self.labels.iter().any(|label| label.answer.tokens.len() > 1) {
            return fail(
                "prompt.lineEvidence",
                "is asked for with answers of several tokens, which lines are not asked for",
            );
        }
        if self.none_index().is_none() {
            return fail("labels", format!("lacks the label `{NONE_LABEL}`"));
        }
        Ok(())
    }

    fn validate_numbers(&self) -> Result<(), PackageError> {
        let calibration = &self.calibration;
        for (field, value) in [("scale", calibration.scale), ("temperature", calibration.temperature)] {
            if !(value.is_finite() && value > 0.0) {
                return fail(format!("calibration.{field}"), format!("is {value}, which must be above 0"));
            }
        }
        if !calibration.offset.is_finite() {
            return fail("calibration.offset", "is not finite");
        }
        if !(0.0..=1.0).contains(&self.threshold) {
            return fail("threshold", format!("is {}, outside 0 to 1", self.threshold));
        }
        for (index, figure) in self.evaluation.iter().enumerate() {
            let values = [Some(figure.value), figure.low, figure.high];
            if values.iter().flatten().any(|value| !value.is_finite()) {
                return fail(format!("evaluation[{index}]"), "holds a value that is not finite");
            }
        }
        Ok(())
    }

    fn validate_self_test(&self) -> Result<(), PackageError> {
        let test = &self.self_test;
        let context = self.architecture.config.n_positions;
        if test.tokens.is_empty() || test.tokens.len() > context {
            return fail(
                "selfTest.tokens",
                format!("holds {} tokens where the context is {context}", test.tokens.len()),
            );
        }
        self.validate_ids("selfTest.tokens", &test.tokens)?;
        if test.logits.len() != self.labels.len() {
            return fail(
                "selfTest.logits",
                format!("holds {} values for {} labels", test.logits.len(), self.labels.len()),
            );
        }
        if test.logits.iter().any(|value| !value.is_finite()) {
            return fail("selfTest.logits", "holds a value that is not finite");
        }
        for (field, value) in [("cpu", test.tolerance.cpu), ("webgpu", test.tolerance.webgpu)] {
            if !(value.is_finite() && value > 0.0) {
                return fail(format!("selfTest.tolerance.{field}"), format!("is {value}, which must be above 0"));
            }
        }
        Ok(())
    }

    fn validate_tokens(&self, field: &str, text: &TokenText) -> Result<(), PackageError> {
        if text.text.is_empty() != text.tokens.is_empty() {
            return fail(field, "must have both a text and its tokens, or neither");
        }
        self.validate_ids(field, &text.tokens)
    }

    fn validate_ids(&self, field: &str, tokens: &[u32]) -> Result<(), PackageError> {
        let vocabulary = self.architecture.config.vocab_size;
        match tokens.iter().find(|&&token| token as usize >= vocabulary) {
            Some(token) => fail(field, format!("holds the token {token}, outside the vocabulary of {vocabulary}")),
            None => Ok(()),
        }
    }
}

fn validate_file(field: &str, entry: &FileEntry, limit: u64) -> Result<(), PackageError> {
    if !is_plain_name(&entry.file) {
        return fail(format!("{field}.file"), format!("is {:?}, which is not a plain file name", entry.file));
    }
    if entry.bytes == 0 || entry.bytes > limit {
        return fail(format!("{field}.bytes"), format!("is {}, where 1 to {limit} are accepted", entry.bytes));
    }
    if !hash::is_sha256_hex(&entry.sha256) {
        return fail(format!("{field}.sha256"), "is not 64 lower-case hexadecimal digits");
    }
    Ok(())
}

/// A name that means one file beside the manifest on every system and in every address: letters, digits, `.`, `-`, `_`.
fn is_plain_name(name: &str) -> bool {
    (1..=100).contains(&name.len())
        && !name.starts_with('.')
        && !name.ends_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

fn is_cwe(label: &str) -> bool {
    label.strip_prefix("CWE-").is_some_and(|digits| {
        (1..=6).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0')
    })
}

/// As [`CodeGenConfig::num_params`], in 64 bits on every target and without a list of names.
pub(crate) fn count_parameters(config: &CodeGenConfig) -> u64 {
    let wide = |value: usize| value as u64;
    let (d, inner, vocabulary) = (wide(config.n_embd), wide(config.inner_dim()), wide(config.vocab_size));
    let block = 2 * d + 3 * d * d + d * d + 2 * d * inner + inner + d;
    let pointer = config.line_pointer_dim.map_or(0, |p| 2 * (d * wide(p) + wide(p)));
    2 * vocabulary * d + vocabulary + 2 * d + wide(config.n_layer) * block + pointer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_counted_as_the_model_counts_them() {
        let config = CodeGenConfig { line_pointer_dim: Some(64), ..CodeGenConfig::codegen_350m_mono() };
        assert_eq!(count_parameters(&config), config.num_params() as u64);
    }

    #[test]
    fn names_that_reach_elsewhere_are_not_plain() {
        for good in ["weights-00001-of-00002.safetensors", "tokenizer.json", "a"] {
            assert!(is_plain_name(good), "{good}");
        }
        for bad in ["", ".", "..", "../a", "a/b", "a\\b", "/a", "a\0", "C:a", "a b", "é", ".hidden", "a.", "%2e%2e"] {
            assert!(!is_plain_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn labels_are_cwe_ids() {
        for good in ["CWE-89", "CWE-1021"] {
            assert!(is_cwe(good), "{good}");
        }
        for bad in ["89", "CWE-", "CWE-089", "cwe-89", "CWE-8a", "CWE-1234567"] {
            assert!(!is_cwe(bad), "{bad}");
        }
    }
}
