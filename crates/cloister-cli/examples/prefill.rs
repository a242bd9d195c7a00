//! Times prefills on this processor, for `cargo xtask bench`. It stands here and not with the engine so that it is
//! built with what the shipped program is built with.
//!
//! `prefill prompts` prints sources whose prompts have an exact length. `prefill serve` reads lines of token ids, each
//! a whole prompt, and answers each with the milliseconds from ids to logits. Both speak JSON.

use burn::tensor::Device;
use clap::Parser;
use cloister_engine::{AnswerTrie, EngineError, PromptMaker, PromptTemplate, Scorer, Tokenizer, TokenizerError};
use cloister_package::fs::read_package;
use cloister_package::{LoadedPackage, PackageError};
use serde_json::json;
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

#[derive(Debug, Parser)]
enum Arguments {
    /// Print sources as JSON: the tokens of the prefix, and the text and prompt of each source
    Prompts {
        /// The package's folder
        package: PathBuf,
        /// Tokens behind the prefix
        #[arg(long)]
        tokens: usize,
        /// Sources, no two of them alike
        #[arg(long)]
        count: usize,
    },
    /// Time one prefill for each line of standard input
    Serve {
        /// The package's folder
        package: PathBuf,
    },
}

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Package(#[from] PackageError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error("the input cannot be read ({0}); give one list of token ids a line")]
    Input(#[from] io::Error),
    #[error("a line of the input is no list of token ids ({0}); give lines such as [1, 2, 3]")]
    Line(#[from] serde_json::Error),
    #[error("no source could be written that has exactly {0} tokens; choose another number")]
    Length(usize),
}

fn main() -> ExitCode {
    let result = match Arguments::parse() {
        Arguments::Prompts { package, tokens, count } => prompts(&package, tokens, count),
        Arguments::Serve { package } => serve(&package),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("prefill: {fault}");
            ExitCode::from(2)
        }
    }
}

fn prompts(folder: &Path, tokens: usize, count: usize) -> Result<(), Fault> {
    let LoadedPackage { manifest, tokenizer, .. } = read_package(folder, Device::flex())?;
    let template = PromptTemplate { prefix: manifest.prompt.prefix.tokens, suffix: manifest.prompt.suffix.tokens };
    let prefix = template.prefix.len();
    let config = manifest.architecture.config;
    let maker = PromptMaker::new(Tokenizer::from_bytes(&tokenizer)?, template, config.n_positions);
    let mut found = Vec::with_capacity(count);
    for number in 0..count {
        let (text, ids) = source(&maker, number, prefix + tokens)?;
        found.push(json!({"text": text, "ids": ids}));
    }
    println!("{}", json!({"prefix": prefix, "prompts": found}));
    Ok(())
}

/// Lines of which the sources are put together.
const STATEMENTS: [&str; 6] = [
    "    name = request.args.get(\"name\", \"\")\n",
    "    for item in items:\n        total = total + item.price * item.count\n",
    "    rows = db.execute(\"SELECT id, price FROM orders WHERE name = ?\", (name,)).fetchall()\n",
    "    if total > limit:\n        raise ValueError(\"the order is too large\")\n",
    "    with open(path, encoding=\"utf-8\") as handle:\n        lines = handle.read().splitlines()\n",
    "    items = [row for row in rows if row[\"price\"] is not None]\n",
];

/// Ends of the last line; they differ in their number of tokens.
const ENDS: [&str; 6] = ["", "[0]", "()", ".real", " - 1", " or None"];

/// A function whose prompt has exactly `wanted` tokens, and the prompt. Another for each `number`.
fn source(maker: &PromptMaker, number: usize, wanted: usize) -> Result<(String, Vec<u32>), Fault> {
    let finish = |body: &str, terms: usize, end: &str| {
        let text = format!("{body}    return total{}{end}\n", " + total".repeat(terms));
        maker.first(&text).map(|ids| (text, ids))
    };
    let mut body = format!("def order_{number}(request, db, items, path, limit, total):\n");
    // The bound is for lengths beyond the context: their prompts are cut to it and never grow past it.
    for statement in STATEMENTS.iter().cycle().skip(number).take(wanted) {
        let longer = format!("{body}{statement}");
        if finish(&longer, 0, "")?.1.len() > wanted {
            break;
        }
        body = longer;
    }
    for terms in 0..wanted {
        for end in ENDS {
            let (text, ids) = finish(&body, terms, end)?;
            if ids.len() == wanted {
                return Ok((text, ids));
            }
        }
        if finish(&body, terms, "")?.1.len() > wanted {
            break;
        }
    }
    Err(Fault::Length(wanted))
}

fn serve(folder: &Path) -> Result<(), Fault> {
    let LoadedPackage { manifest, model, .. } = read_package(folder, Device::flex())?;
    let answers = AnswerTrie::new(manifest.labels.iter().map(|label| label.answer.tokens.as_slice()))?;
    let scorer = Scorer::new(model, manifest.prompt.prefix.tokens, answers)?;
    let test = manifest.self_test;
    let score = pollster::block_on(scorer.score(&test.tokens, &[]))?;
    let difference = score.logits.iter().zip(&test.logits).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    println!("{}", json!({"version": env!("CARGO_PKG_VERSION"), "difference": difference}));
    for line in io::stdin().lock().lines() {
        let ids: Vec<u32> = serde_json::from_str(&line?)?;
        let start = Instant::now();
        pollster::block_on(scorer.score(&ids, &[]))?;
        println!("{}", json!({"millis": start.elapsed().as_secs_f64() * 1e3}));
    }
    Ok(())
}
