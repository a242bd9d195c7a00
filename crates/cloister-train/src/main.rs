//! `cloister-train`: one command from the sources to the shipped model package.

mod measure;
mod pipeline;
mod sources;

use clap::{Parser, Subcommand};
use measure::Baseline;
use std::path::PathBuf;
use std::process::ExitCode;

// A step allocates and frees hundreds of buffers of megabytes: an allocator that hands pages back to the system each
// time spends more than half of the training on page faults.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Trains the shipped model. Every step skips what is already there, so an interrupted run goes on where it stopped.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Folder for what is fetched and made on the way.
    #[arg(long, default_value = "work")]
    work: PathBuf,
    /// The recipe.
    #[arg(long, default_value = "assets/training/recipe.toml")]
    recipe: PathBuf,
    /// The corpus list.
    #[arg(long, default_value = "assets/training/corpus.toml")]
    corpus: PathBuf,
    /// The data set.
    #[arg(long, default_value = "assets/dataset")]
    dataset: PathBuf,
    /// Where the package goes.
    #[arg(long, default_value = "assets/model")]
    output: PathBuf,
    #[command(subcommand)]
    step: Step,
}

#[derive(Subcommand, Clone, PartialEq, Eq)]
enum Step {
    /// Every step, from the corpus to the package.
    All,
    /// Fetch the corpus and cut it into units.
    Corpus,
    /// Train the tokenizer and encode the corpus.
    Tokenizer,
    /// Pre-train the language model.
    Pretrain,
    /// Fine-tune it on the data set.
    Finetune,
    /// Print examples as fine-tuning draws them, with their answers: to read what the model learns from.
    Samples {
        /// About how many tokens.
        #[arg(long, default_value_t = 10_000)]
        tokens: usize,
    },
    /// Calibrate and write the package.
    Export,
    /// Write measured figures (as `cargo xtask report` gathers them) into the package.
    Figures {
        /// A JSON array of figures.
        #[arg(long)]
        input: PathBuf,
    },
    /// Write functions of the corpus list's `measure` packages, as rows {id, code, safe, …}: what ordinary code is.
    Ordinary {
        /// Where the rows go.
        #[arg(long)]
        rows: PathBuf,
        /// How many.
        #[arg(long, default_value_t = 5000)]
        count: usize,
    },
    /// Write rows as fine-tuning draws them, of the patterns of the Top 25 that gave no gradient, in functions of the
    /// `measure` packages.
    Generated {
        /// Where the rows go.
        #[arg(long)]
        rows: PathBuf,
        /// How many pairs for each pattern.
        #[arg(long, default_value_t = 16)]
        count: usize,
    },
    /// Fit a baseline on the training split, and write its predictions for rows {id, code}.
    Baseline {
        /// Which one.
        #[arg(long, value_enum)]
        kind: Baseline,
        /// Rows to predict; may be given several times.
        #[arg(long, required = true)]
        input: Vec<PathBuf>,
        /// Where the predictions go, one for each `--input`.
        #[arg(long, required = true)]
        predictions: Vec<PathBuf>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match pipeline::run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}
