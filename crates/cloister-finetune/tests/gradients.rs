//! Losses and gradients against PyTorch's (see `fixtures/make_fixtures.py`).

// clippy.toml allows this in tests, and does not see that their helpers are a part of them.
#![allow(clippy::unwrap_used)]

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use cloister_finetune::examples::Example;
use cloister_finetune::gradient::accumulated;
use cloister_finetune::merge::merged;
use cloister_finetune::objective::{Batch, Objective, loss};
use cloister_finetune::optimise::clip;
use cloister_finetune::{Adapters, Method, Settings, Target, Tuned, adapter};
use cloister_model::CodeGenConfig;
use cloister_model::import::hugging_face::{Layout, convert, layout};
use cloister_parity::Fixture;
use safetensors::SafeTensors;
use std::collections::BTreeMap;
use std::path::Path;

/// The largest difference of a gradient, relative to the largest of its tensor.
const TOLERANCE: f32 = 1e-4;

struct Reference {
    config: CodeGenConfig,
    fixture: Fixture,
    bytes: Vec<u8>,
}

impl Reference {
    fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gradients.safetensors");
        let bytes = std::fs::read(path).unwrap();
        let fixture = Fixture::from_bytes(bytes.clone()).unwrap();
        Self { config: fixture.config.clone(), fixture, bytes }
    }

    /// The tensors whose names begin so, by the rest of the name.
    fn tensors(&self, prefix: &str) -> BTreeMap<String, TensorData> {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let floats = |view: &[u8]| -> Vec<f32> {
            view.chunks_exact(4).map(|word| f32::from_le_bytes(word.try_into().unwrap())).collect()
        };
        file.iter()
            .filter_map(|(name, view)| Some((name.strip_prefix(prefix)?.to_string(), view)))
            .map(|(name, view)| (name, TensorData::new(floats(view.data()), view.shape().to_vec())))
            .collect()
    }

    fn loss(&self, way: &str) -> f64 {
        f64::from(self.tensors(&format!("{way}.loss"))[""].iter::<f32>().next().unwrap())
    }

    /// The batch; its rows end where their answers do.
    fn examples(&self) -> Vec<Example> {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let integers = |name: &str| -> Vec<i32> {
            let view = file.tensor(name).unwrap();
            view.data().chunks_exact(4).map(|word| i32::from_le_bytes(word.try_into().unwrap())).collect()
        };
        let (ids, labels) = (integers("ids"), integers("labels"));
        let len = file.tensor("ids").unwrap().shape()[1];
        (ids.chunks_exact(len).zip(labels.chunks_exact(len)))
            .map(|(ids, labels)| {
                let end = labels.iter().rposition(|label| *label >= 0).unwrap();
                let answer = labels.iter().filter(|label| **label >= 0).map(|label| *label as u32).collect();
                let ids = ids[..end].iter().map(|id| *id as u32).collect();
                Example { ids, answer, line_ends: Vec::new(), label: 0 }
            })
            .collect()
    }

    /// The reference's row of each row of the fused projection here.
    fn fused(&self) -> Vec<usize> {
        let d = self.config.n_embd;
        match layout(&self.config, "h.0.attn.qkv_proj.weight", &[3 * d, d]).unwrap() {
            Some((_, Layout::Gathered(rows))) => rows,
            other => panic!("{other:?}"),
        }
    }

    fn settings(&self, method: Method) -> Settings {
        let targets = vec![Target::QkvProj, Target::OutProj, Target::FcIn, Target::FcOut];
        Settings { rank: 3, alpha: 6.0, targets, ..Settings::new(method) }
    }

    /// What the reference calls `learned` under the names and in the layout of an adapter.
    fn adapter(&self, method: Method, learned: BTreeMap<String, TensorData>) -> BTreeMap<String, TensorData> {
        let (fused, d) = (self.fused(), self.config.n_embd);
        let mut out = BTreeMap::new();
        for (name, data) in learned {
            let shape = data.shape().to_vec();
            let values: Vec<f32> = data.iter().collect();
            let name = name.replace("attn.", "").replace("mlp.", "");
            if method == Method::Ia3 {
                let (block, part) = name.rsplit_once('.').unwrap();
                if part == "inner" {
                    out.insert(format!("{block}.ia3.inner"), data);
                } else {
                    for (part, start) in [("key", d), ("value", 2 * d)] {
                        let taken: Vec<f32> = fused[start..start + d].iter().map(|row| values[*row]).collect();
                        out.insert(format!("{block}.ia3.{part}"), TensorData::new(taken, [d]));
                    }
                }
                continue;
            }
            // The transpose, the fused projection's rows in the order of the package.
            let [rows, columns] = [shape[0], shape[1]];
            let row = |index: usize| if name.ends_with("qkv_proj.b") { fused[index] } else { index };
            let transposed: Vec<f32> = (0..columns)
                .flat_map(|c| (0..rows).map(move |r| (r, c)))
                .map(|(r, c)| values[row(r) * columns + c])
                .collect();
            out.insert(name, TensorData::new(transposed, [columns, rows]));
        }
        out
    }

    /// The model with what the reference has learned in this way.
    fn tuned(&self, method: Method) -> Tuned {
        let device = Device::flex();
        let autodiff = device.clone().autodiff();
        if method == Method::Full {
            return Tuned { base: self.fixture.model(&autodiff).unwrap(), adapters: None };
        }
        let learned = self.adapter(method, self.tensors(&format!("{}.value.", method.name())));
        let adapters = Adapters::from_named(&self.settings(method), &self.config, learned, &autodiff).unwrap();
        Tuned { base: self.fixture.model(&device).unwrap(), adapters: Some(adapters) }
    }

    /// The gradients that PyTorch computed, under the names of this project.
    fn expected(&self, method: Method) -> BTreeMap<String, TensorData> {
        let gradients = self.tensors(&format!("{}.gradient.", method.name()));
        match method {
            Method::Full => gradients
                .into_iter()
                .map(|(name, data)| convert(&self.config, &name, data).unwrap().unwrap())
                .map(|(name, data)| (name.replace("mlp.", "").replace("attn.", "").replace("wte.weight", "wte"), data))
                .collect(),
            _ => self.adapter(method, gradients),
        }
    }
}

/// Gradients by the path of their parameter.
struct Named<'a> {
    gradients: &'a GradientsParams,
    path: Vec<String>,
    found: BTreeMap<String, TensorData>,
}

impl ModuleVisitor for Named<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            let path = self.path.join(".").replace("base.", "").replace("adapters.", "").replace("attn.", "");
            self.found.insert(path, gradient.into_data());
        }
    }
}

fn named(tuned: &Tuned, gradients: &GradientsParams) -> BTreeMap<String, TensorData> {
    let mut visitor = Named { gradients, path: Vec::new(), found: BTreeMap::new() };
    tuned.visit(&mut visitor);
    visitor.found
}

fn close(name: &str, found: &TensorData, expected: &TensorData) {
    assert_eq!(found.shape(), expected.shape(), "{name}");
    let largest = expected.iter::<f32>().map(f32::abs).fold(0.0, f32::max);
    assert!(largest > 1e-6, "{name} has no gradient to compare");
    for (a, b) in found.iter::<f32>().zip(expected.iter::<f32>()) {
        assert!((a - b).abs() <= TOLERANCE * largest, "{name}: {a} where PyTorch has {b} (largest {largest})");
    }
}

#[test]
fn losses_and_gradients_equal_the_reference() {
    let reference = Reference::read();
    let examples = reference.examples();
    let autodiff = Device::flex().autodiff();
    for method in [Method::Full, Method::Lora, Method::Ia3] {
        let (tuned, expected) = (reference.tuned(method), reference.expected(method));
        // At once; one after the other; on threads.
        let apart: Vec<Batch> = examples.iter().map(|example| Batch::new(vec![example.clone()])).collect();
        for (batches, threads) in [(vec![Batch::new(examples.clone())], 1), (apart.clone(), 1), (apart, 2)] {
            let (value, gradients) = accumulated(&tuned, &batches, &Objective::NextToken, threads, &autodiff).unwrap();
            let wanted = reference.loss(method.name());
            assert!((value - wanted).abs() < 1e-4 * wanted, "{method:?}: {value} where PyTorch has {wanted}");
            let found = named(&tuned, &gradients);
            assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{method:?}");
            for (name, data) in &expected {
                close(&format!("{method:?} {name}"), &found[name], data);
            }
        }
    }
}

#[test]
fn merged_weights_do_what_model_and_adapters_do() {
    let reference = Reference::read();
    let batch = Batch::new(reference.examples());
    for method in [Method::Lora, Method::Ia3] {
        let tuned = reference.tuned(method);
        let plain = Tuned { base: reference.fixture.model(&Device::flex()).unwrap(), adapters: None };
        let one = Tuned { base: merged(&tuned).unwrap(), adapters: None };
        let [with, alone, without] = [&tuned, &one, &plain]
            .map(|tuned| -> Vec<f32> { tuned.base.logits(tuned.hidden(&batch).unwrap()).into_data().iter().collect() });
        let distance = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(distance(&with, &alone) < 1e-4, "{method:?}: {}", distance(&with, &alone));
        assert!(distance(&with, &without) > 1e-2, "{method:?} changes nothing");
    }
}

#[test]
fn fresh_adapters_change_nothing() {
    let reference = Reference::read();
    let batch = Batch::new(reference.examples());
    let base = reference.fixture.model(&Device::flex()).unwrap();
    let plain: Vec<f32> =
        Tuned { base: base.clone(), adapters: None }.hidden(&batch).unwrap().into_data().iter().collect();
    for method in [Method::Lora, Method::Ia3] {
        let settings = reference.settings(method);
        let adapters = Adapters::new(&settings, &reference.config, &Device::flex()).unwrap();
        let count: usize = adapters.named().iter().map(|(_, data)| data.iter::<f32>().count()).sum();
        assert_eq!(count, adapter::learned(&settings, &reference.config));
        let tuned = Tuned { base: base.clone(), adapters: Some(adapters) };
        let fresh: Vec<f32> = tuned.hidden(&batch).unwrap().into_data().iter().collect();
        assert!(plain.iter().zip(&fresh).all(|(a, b)| (a - b).abs() < 1e-6), "{method:?}");
    }
}

#[test]
fn lines_count_in_the_loss_as_they_do_in_the_engine() {
    let reference = Reference::read();
    let mut examples = reference.examples();
    for (example, ends) in examples.iter_mut().zip([vec![1, 4, 6], vec![]]) {
        (example.line_ends, example.label) = (ends, 2);
    }
    let (tokens, none) = (vec![5u32, 9, 11], 1);
    let objective = Objective::Evidence { tokens: tokens.clone(), none };
    let base = reference.fixture.model(&Device::flex()).unwrap();
    let tuned = Tuned { base, adapters: None };
    let batch = Batch::new(examples.clone());
    let hidden = tuned.hidden(&batch).unwrap();
    let found: f32 = loss(&tuned.base, hidden.clone(), &batch, &objective).unwrap().into_scalar();
    let [_, len, vocab] = tuned.base.logits(hidden.clone()).dims();
    let all: Vec<f32> = tuned.base.logits(hidden).into_data().iter().collect();
    let at = |row: usize, place: usize| -> Vec<f32> {
        tokens.iter().map(|token| all[(row * len + place) * vocab + *token as usize]).collect()
    };
    let mut expected = 0.0;
    for (row, example) in examples.iter().enumerate() {
        let lines: Vec<Vec<f32>> = example.line_ends.iter().map(|end| at(row, *end)).collect();
        let logits =
            cloister_engine::line_evidence(&at(row, example.ids.len() - 1), lines.iter().map(Vec::as_slice), none);
        expected += logits.iter().map(|logit| logit.exp()).sum::<f32>().ln() - logits[2];
    }
    assert!((found - expected).abs() < 1e-4, "{found} {expected}");
}

#[test]
fn clipping_shortens_all_gradients_alike() {
    let reference = Reference::read();
    let tuned = reference.tuned(Method::Lora);
    let batch = Batch::new(reference.examples());
    let gradients = || tuned.gradients(&batch, &Objective::NextToken, 5).unwrap().1;
    let before = named(&tuned, &gradients());
    let (clipped, norm) = clip(&tuned, gradients(), 0.01);
    let squares = |all: &BTreeMap<String, TensorData>| -> f32 {
        all.values().flat_map(|data| data.iter::<f32>().collect::<Vec<_>>()).map(|value| value * value).sum()
    };
    assert!((norm as f32 - squares(&before).sqrt()).abs() < 1e-5 * norm as f32);
    assert!((squares(&named(&tuned, &clipped)).sqrt() - 0.01).abs() < 1e-6);
    let (kept, _) = clip(&tuned, gradients(), 1e6);
    assert_eq!(squares(&named(&tuned, &kept)), squares(&before));
}
