//! Imports the checkpoint that `full_size.py` has written, and compares the package's logits with PyTorch's.
//!
//!     cargo run --release -p cloister-checkpoint --example full_size -- DIR f32|f16|q8|q4 PACKAGE
//!
//! Prints one line of JSON: seconds and peak memory of the import, the package's size, the largest difference of a logit,
//! how often the likeliest token is the same, and how alike 26 tokens are ranked (Kendall's tau, the mean over positions).

use burn::tensor::Device;
use cloister_checkpoint::{import::import, study_options};
use cloister_model::{KvCache, quant::Bits};
use cloister_package::{WeightType, Weights, fs::read_package, testing};
use safetensors::SafeTensors;
use serde_json::json;
use std::error::Error;
use std::path::Path;
use std::time::Instant;

/// As many tokens as a package for the Top 25 has answers.
const LABELS: usize = 26;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, precision, output] = arguments.as_slice() else {
        return Err("give DIR f32|f16|q8|q4 PACKAGE".into());
    };
    let (folder, output) = (Path::new(folder), Path::new(output));
    let weights = match precision.as_str() {
        "f32" => Weights::plain(WeightType::F32),
        "f16" => Weights::plain(WeightType::F16),
        "q8" => Weights::quantized(Bits::Eight),
        "q4" => Weights::quantized(Bits::Four),
        other => return Err(format!("there is no precision {other}").into()),
    };
    // The published tokenizer is in no package index; the weights are what is compared.
    std::fs::write(folder.join("tokenizer.json"), testing::tokenizer_json())?;
    let mut options =
        study_options(weights, "full-size".into(), "Full size".into(), ["CWE-78".into(), "CWE-89".into()]);
    options.answers.iter_mut().for_each(|(_, answer)| answer.push(';'));
    let start = Instant::now();
    let manifest = import(folder, output, &options, &mut |_, _| ())?;
    let seconds = start.elapsed().as_secs_f64();
    let peak = peak_memory();
    let bytes: u64 = manifest.weights.shards.iter().map(|shard| shard.bytes).sum();

    let file = std::fs::read(folder.join("expected.safetensors"))?;
    let file = SafeTensors::deserialize(&file)?;
    let words = |name: &str| Ok::<_, Box<dyn Error>>(file.tensor(name)?.data().as_chunks::<4>().0.to_vec());
    let ids: Vec<u32> = words("ids")?.into_iter().map(u32::from_le_bytes).collect();
    let expected: Vec<f32> = words("logits")?.into_iter().map(f32::from_le_bytes).collect();
    let model = read_package(output, Device::flex())?.model;
    let length = ids.len();
    let start = Instant::now();
    let hidden = model.prefill(&ids, &mut KvCache::new(model.config().n_layer))?.into_data();
    let prefill_seconds = start.elapsed().as_secs_f64();
    let hidden: Vec<f32> = hidden.iter::<f32>().collect();
    let start = Instant::now();
    let found: Vec<f32> = hidden.chunks_exact(model.config().n_embd).flat_map(|row| model.logits(row)).collect();
    let logits_seconds = start.elapsed().as_secs_f64();

    let vocabulary = model.config().vocab_size;
    let (mut top, mut tau) = (0, 0.0);
    for (a, b) in expected.chunks_exact(vocabulary).zip(found.chunks_exact(vocabulary)) {
        top += usize::from(likeliest(a) == likeliest(b));
        tau += kendall(a, b);
    }
    let delta = expected.iter().zip(&found).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    println!(
        "{}",
        json!({
            "precision": precision, "import_seconds": seconds, "import_peak_bytes": peak, "package_bytes": bytes,
            "max_logit_difference": delta, "same_top_1": top as f64 / length as f64, "kendall_tau": tau / length as f64,
            "positions": length, "prefill_seconds": prefill_seconds, "logits_seconds": logits_seconds, "peak_bytes": peak_memory(),
        })
    );
    Ok(())
}

fn likeliest(logits: &[f32]) -> usize {
    (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap_or(0)
}

/// Pairs of the label tokens in the same order, less those in the other, of all.
fn kendall(a: &[f32], b: &[f32]) -> f64 {
    let labels: Vec<usize> = (0..LABELS).map(|index| (index * 1931) % a.len().max(1)).collect();
    let (mut sum, mut pairs) = (0.0, 0.0);
    for (place, i) in labels.iter().enumerate() {
        for j in &labels[..place] {
            let same = (a[*i] > a[*j]) == (b[*i] > b[*j]);
            sum += if same { 1.0 } else { -1.0 };
            pairs += 1.0;
        }
    }
    sum / pairs
}

/// The most memory that the process has held, on Linux.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}
