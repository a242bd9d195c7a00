//! The arguments, and the help that explains them.

use crate::finetune_args::{FinetuneCommand, MergeCommand};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Finds security weaknesses in Python with a small language model that runs on this machine. Nothing leaves it.
#[derive(Debug, Parser)]
#[command(name = "cloister", version, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 nothing found, 1 weaknesses found, 2 error.\n\n\
    Examples:\n  \
    cloister scan .                              every Python file under this folder\n  \
    cloister scan app.py --format sarif          for code scanning services\n  \
    git show HEAD:app.py | cloister scan -       from standard input")]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look for weaknesses in files and folders, or in standard input (`-`).
    Scan(ScanOptions),
    /// Judge the rows of a JSON Lines file, and write a line for each.
    Predict(PredictOptions),
    /// Measure predictions against labelled rows.
    Eval(EvalOptions),
    /// Let the model say in its own words what it sees in a function. For models that were tuned to answer in words; nothing
    /// checks what they say.
    Generate(GenerateCommand),
    /// Make a model package of a CodeGen checkpoint (a folder as Hugging Face's libraries write it).
    Import(ImportCommand),
    /// Tune a package or a checkpoint on labelled code, and measure what that has changed.
    Finetune(Box<FinetuneCommand>),
    /// Merge what `finetune` learned beside a package into it, and write a package.
    Merge(MergeCommand),
}

/// Which model runs where.
#[derive(Debug, Args)]
pub struct ModelOptions {
    /// The folder of the model package (model.json and its files) [default: assets/model near here or near the program]
    #[arg(long, value_name = "DIR", env = "CLOISTER_PACKAGE")]
    pub package: Option<PathBuf>,
    /// Where the model runs. `auto` takes a GPU that passes the package's self-test, else the CPU, and says why.
    #[arg(long, value_enum, default_value_t = DeviceChoice::Auto)]
    pub device: DeviceChoice,
}

/// Where the model runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DeviceChoice {
    /// A GPU that passes the self-test, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// A GPU, or an error.
    Gpu,
}

/// `cloister scan`.
#[derive(Debug, Args)]
pub struct ScanOptions {
    /// Files, folders (searched for .py files, .gitignore respected), or `-` for standard input.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    #[command(flatten)]
    pub model: ModelOptions,
    /// How to write what was found.
    #[arg(long, value_enum, default_value_t = ScanFormat::Text)]
    pub format: ScanFormat,
    /// Write to this file instead of standard output.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Report units whose probability of a weakness is at least this, 0 to 1 [default: the package's]
    #[arg(long, value_name = "P", value_parser = probability)]
    pub threshold: Option<f64>,
    /// Report these classes only, such as CWE-89; may be repeated or comma-separated.
    #[arg(long = "cwe", value_name = "ID", value_delimiter = ',', value_parser = cwe)]
    pub cwes: Vec<String>,
}

/// How to write findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ScanFormat {
    /// For a terminal.
    Text,
    /// Everything, for programs.
    Json,
    /// SARIF 2.1.0, for code scanning services and editors.
    Sarif,
    /// For a document or a pull request.
    Markdown,
}

/// `cloister predict`.
#[derive(Debug, Args)]
pub struct PredictOptions {
    /// JSON Lines with `id` and `code` on each line; `-` for standard input.
    #[arg(long, short, value_name = "FILE")]
    pub input: PathBuf,
    /// Where the lines go, in the same order: `id`, `vulnerable`, `findings`, `scores`; `-` for standard output.
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
    #[command(flatten)]
    pub model: ModelOptions,
    /// A row is vulnerable where the probability of a weakness in one of its units is at least this, 0 to 1 [default: the
    /// package's]
    #[arg(long, value_name = "P", value_parser = probability)]
    pub threshold: Option<f64>,
}

/// `cloister eval`.
#[derive(Debug, Args)]
pub struct EvalOptions {
    /// JSON Lines with `id`, `source`, `code`, `cwe`, `safe`, `line` and `group` on each line; `-` for standard input.
    #[arg(value_name = "ROWS")]
    pub rows: PathBuf,
    /// Measure these predictions (as `predict` writes them) instead of running the model.
    #[arg(long, value_name = "FILE")]
    pub predictions: Option<PathBuf>,
    #[command(flatten)]
    pub model: ModelOptions,
    /// A row is vulnerable where the probability of a weakness in one of its units is at least this, 0 to 1 [default: the
    /// package's]
    #[arg(long, value_name = "P", value_parser = probability)]
    pub threshold: Option<f64>,
    /// How to write the figures.
    #[arg(long, value_enum, default_value_t = EvalFormat::Text)]
    pub format: EvalFormat,
    /// Bootstrap resamples for the 95 % intervals.
    #[arg(long, value_name = "N", default_value_t = 2000)]
    pub resamples: usize,
    /// Seed of the bootstrap.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
}

/// How to write figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EvalFormat {
    /// A table for a terminal.
    Text,
    /// For programs.
    Json,
    /// A table for a document.
    Markdown,
}

/// `cloister generate`.
#[derive(Debug, Args)]
pub struct GenerateCommand {
    /// The file, or `-` for standard input.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    pub model: ModelOptions,
    /// The model is shown the function that holds this line.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub line: u32,
    /// Tokens at most.
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub max_tokens: usize,
    /// 0 takes the likeliest token each time; above it tokens are drawn, the more freely the higher it is.
    #[arg(long, value_name = "T", default_value_t = 0.0, value_parser = temperature)]
    pub temperature: f64,
    /// Draw from the likeliest tokens that together have this probability, 0 to 1.
    #[arg(long, value_name = "P", default_value_t = 1.0, value_parser = probability)]
    pub top_p: f64,
    /// Of what is drawn: the same seed gives the same words.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
}

/// `cloister import`.
#[derive(Debug, Args)]
pub struct ImportCommand {
    /// The folder of the checkpoint: config.json, the tokenizer, and model.safetensors or pytorch_model.bin, whole or in
    /// parts.
    #[arg(value_name = "DIR")]
    pub checkpoint: PathBuf,
    /// The folder of the package to write. A package that is there is replaced once the new one is complete.
    #[arg(long, short, value_name = "PACKAGE")]
    pub output: PathBuf,
    /// How the matrices are stored: two bytes an element, one, or half a one.
    #[arg(long, value_enum, default_value_t = Precision::F16)]
    pub quantize: Precision,
    /// The model's name, shown to users [default: the folder's]
    #[arg(long)]
    pub name: Option<String>,
    /// JSON with the prompt that the model was tuned with: `prefix` and `suffix` around the code, and `answers`, an object
    /// from `none` and CWE ids to what the model says for each [default: the instruction form, `No vulnerability`, and the
    /// ids of the Top 25 of 2024]
    #[arg(long, value_name = "FILE")]
    pub prompt: Option<PathBuf>,
}

/// How matrices are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Precision {
    /// IEEE half precision.
    F16,
    /// 8 bits in blocks.
    Q8,
    /// 4 bits in blocks.
    Q4,
}

fn probability(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|value| (0.0..=1.0).contains(value))
        .ok_or_else(|| "give a number from 0 to 1, such as 0.5".to_string())
}

fn temperature(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|value: &f64| value.is_finite() && *value >= 0.0)
        .ok_or_else(|| "give a number from 0 on, such as 0.8".to_string())
}

/// `CWE-89`, `cwe-089` or `89`, as the catalogue writes it.
fn cwe(text: &str) -> Result<String, String> {
    let digits = text.get(..4).filter(|start| start.eq_ignore_ascii_case("cwe-")).map_or(text, |_| &text[4..]);
    let number: u32 = digits.parse().map_err(|_| "give a CWE id, such as CWE-89".to_string())?;
    Ok(format!("CWE-{number}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn ids_are_read_as_people_write_them() {
        for text in ["CWE-89", "cwe-089", "89"] {
            assert_eq!(cwe(text), Ok("CWE-89".into()));
        }
        assert!(cwe("sql").is_err() && cwe("").is_err() && cwe("é9é").is_err());
        assert!(probability("0.5").is_ok());
        assert!(temperature("0.8").is_ok() && temperature("-1").is_err() && temperature("inf").is_err());
        assert!(probability("1.5").is_err() && probability("NaN").is_err() && probability("x").is_err());
    }
}
