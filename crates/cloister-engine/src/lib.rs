//! From source text to findings: tokenizer, model and parser together. Knows no JavaScript and no files.
//!
//! [`Engine::new`] takes a loaded package, [`Engine::self_test`] decides whether the device can be trusted, and
//! [`Engine::analyze`] judges every unit of the files given to it:
//!
//! 1. the text is parsed into units, and each unit is cut into windows that fit the context ([`PromptMaker`]);
//! 2. each window is read in one prefill behind the cached prefix, and the logits of the answers alone are computed,
//!    with a probability for each line ([`Scorer`]); answers of several tokens take one step more ([`AnswerTrie`]);
//!    windows that were read before are answered from a cache;
//! 3. the calibration makes probabilities of the logits ([`Probabilities`]), and those that reach the threshold become
//!    findings, with the catalogue's words.
//!
//! [`Engine::generate`] lets the model speak freely instead.
//!
//! Everything that waits for the device is `async`, because browsers have no other way. The crate chooses no backend:
//! the programs do.

mod analyze;
mod answers;
mod cache;
mod calibration;
mod describe;
mod engine;
mod error;
mod evidence;
mod generate;
mod lines;
mod observer;
mod options;
mod prompt;
mod sampler;
mod scorer;
mod tokenizer;
mod units;

pub use answers::AnswerTrie;
pub use calibration::Probabilities;
pub use cloister_report::{Analysis, ClassProbability, Finding, Notice, SourceFile, UnitInfo, UnitVerdict};
pub use engine::{Backend, Engine, Info, ModelCard, SelfTestResult};
pub use error::EngineError;
pub use evidence::line_evidence;
pub use generate::{GenerateOptions, Generated, GenerationEnd};
pub use observer::{Observer, Progress, Stage, Unobserved};
pub use options::AnalyzeOptions;
pub use prompt::{Prompt, PromptTemplate};
pub use scorer::{RawScore, Scorer};
pub use tokenizer::{Encoded, Tokenizer, TokenizerError};
pub use units::{PromptMaker, UnitPrompt, UnitPrompts};
