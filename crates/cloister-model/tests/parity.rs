//! The forward pass against PyTorch's, on the fixtures of `tests/fixtures/codegen` (see the script there).

// clippy.toml allows this in tests, and does not see that their helpers are a part of them.
#![allow(clippy::unwrap_used)]

use burn::tensor::{Device, Int, Tensor, TensorData};
use cloister_model::quant::Bits;
use cloister_model::{
    CodeGenBuilder, KvCache, LayerwiseForward, ModelBuilder, ModelError, Positions, import::hugging_face, named_tensors,
};
use cloister_parity::{Fixture, cached_delta, packed_delta, plain_delta};
use pollster::block_on;

/// All fixtures.
const NAMES: [&str; 3] = ["partial_rotary", "full_rotary", "many_heads"];

/// The bound for the CPU in f32.
const TOLERANCE: f32 = 1e-4;

fn read(name: &str) -> Fixture {
    let path = format!("{}/../../tests/fixtures/codegen/{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
    Fixture::from_bytes(std::fs::read(path).unwrap()).unwrap()
}

fn ids_tensor(ids: &[i32], device: &Device) -> Tensor<2, Int> {
    Tensor::from_data(TensorData::new(ids.to_vec(), [1, ids.len()]), device)
}

#[test]
fn logits_equal_the_reference() {
    let device = Device::flex();
    for name in NAMES {
        let fixture = read(name);
        let model = fixture.model(&device).unwrap();
        for (index, case) in fixture.cases().unwrap().iter().enumerate() {
            let delta = block_on(plain_delta(&model, case, &device)).unwrap();
            assert!(delta <= TOLERANCE, "{name}, case {index}: {delta}");
        }
    }
}

#[test]
fn a_cache_changes_nothing() {
    let device = Device::flex();
    for name in NAMES {
        let fixture = read(name);
        let model = fixture.inference(None, &device).unwrap();
        for case in fixture.cases().unwrap().iter().filter(|case| case.padding == [0]) {
            let delta = block_on(cached_delta(&model, case)).unwrap();
            assert!(delta <= TOLERANCE, "{name}: {delta}");
        }
    }
}

/// The kernels of packed matrices, with few rows (decoding) and many (prefill).
#[test]
fn packed_matrices_give_what_widened_ones_give() {
    for name in NAMES {
        let fixture = read(name);
        for bits in [Bits::Eight, Bits::Four] {
            for case in fixture.cases().unwrap().iter().filter(|case| case.padding == [0]) {
                let delta = block_on(packed_delta(&fixture, bits, case, &Device::flex())).unwrap();
                assert!(delta <= TOLERANCE, "{name} {bits:?}: {delta}");
            }
        }
    }
}

#[test]
fn a_full_context_refuses_one_more_token() {
    let fixture = read("many_heads");
    let model = fixture.inference(None, &Device::flex()).unwrap();
    let mut cache = KvCache::new(fixture.config.n_layer);
    model.prefill(&vec![1; fixture.config.n_positions], &mut cache).unwrap();
    assert!(matches!(model.prefill(&[1], &mut cache), Err(ModelError::ContextOverflow { .. })));
    let outside = fixture.config.vocab_size as u32;
    assert!(matches!(model.prefill(&[outside], &mut KvCache::new(fixture.config.n_layer)), Err(ModelError::Config(_))));
}

#[test]
fn label_rows_are_the_head_s_rows() {
    let device = Device::flex();
    let fixture = read("partial_rotary");
    let model = fixture.model(&device).unwrap();
    let case = &fixture.cases().unwrap()[1];
    let ids = ids_tensor(&case.ids, &device);
    let positions = Positions::causal(&fixture.config, 0, ids.dims()[1], &device).unwrap();
    let hidden = model.forward(ids, &positions);
    let last = hidden.dims()[1] - 1;
    let labels = [90u32, 3, 41];
    let few = model.label_head(&labels).unwrap().forward(hidden.narrow(1, last, 1).squeeze_dim::<2>(1));
    let few: Vec<f32> = few.into_data().iter::<f32>().collect();
    for (label, logit) in labels.iter().zip(few) {
        let expected = case.logits[last * fixture.config.vocab_size + *label as usize];
        assert!((logit - expected).abs() <= TOLERANCE);
    }
    assert!(model.label_head(&[fixture.config.vocab_size as u32]).is_err());
}

/// Leaving the fused projection as the reference stores it must not pass: guards the test above against a reference
/// whose groups happen not to matter.
#[test]
fn the_fused_order_matters() {
    let device = Device::flex();
    for name in NAMES {
        let fixture = read(name);
        let mut builder = CodeGenBuilder::new(fixture.config.clone(), device.clone()).unwrap();
        for (name, data) in fixture.weights().unwrap() {
            let fused = name.ends_with("qkv_proj.weight").then(|| {
                let [rows, columns] = data.shape().dims::<2>();
                let values: Vec<f32> = data.iter::<f32>().collect();
                let plain = (0..columns).flat_map(|c| (0..rows).map(move |r| r * columns + c)).map(|i| values[i]);
                TensorData::new(plain.collect::<Vec<f32>>(), [columns, rows])
            });
            if let Some((name, data)) = hugging_face::convert(&fixture.config, &name, data).unwrap() {
                builder.insert(&name, fused.unwrap_or(data)).unwrap();
            }
        }
        let model = builder.build().unwrap();
        let case = &fixture.cases().unwrap()[1];
        let ids = ids_tensor(&case.ids, &device);
        let positions = Positions::causal(&fixture.config, 0, ids.dims()[1], &device).unwrap();
        let found = model.logits(model.forward(ids, &positions)).into_data_as::<f32>();
        let delta = found.iter::<f32>().zip(&case.logits).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(delta > 100.0 * TOLERANCE, "{name}: {delta}");
    }
}

#[test]
fn tensors_survive_a_round_trip() {
    let device = Device::flex();
    let fixture = read("full_rotary");
    let model = fixture.model(&device).unwrap();
    let mut builder = CodeGenBuilder::new(fixture.config.clone(), device.clone()).unwrap();
    for (name, data) in named_tensors(&model) {
        builder.insert(&name, data).unwrap();
    }
    let again = builder.build().unwrap();
    for ((name, a), (_, b)) in named_tensors(&model).iter().zip(named_tensors(&again)) {
        assert!(a.iter::<f32>().eq(b.iter::<f32>()), "{name}");
    }
}

/// One tensor after the other gives what the whole model gives, along a chain of tokens with a fork at its end.
#[test]
fn layer_by_layer_gives_the_same_logits() {
    let device = Device::flex();
    for name in NAMES {
        let fixture = read(name);
        let (config, model) = (&fixture.config, fixture.model(&device).unwrap());
        let (ids, tokens) = ([3u32, 9, 4, 7, 5, 6], [2u32, 8, 1]);
        let parents = [None, Some(0), Some(1), Some(2), Some(2), Some(4)];
        let mut pass =
            LayerwiseForward::new(config, ids.to_vec(), &parents, vec![3, 5], tokens.to_vec(), &device).unwrap();
        for (name, data) in named_tensors(&model) {
            let (shape, values) = (data.shape().to_vec(), data.iter::<f32>().collect::<Vec<f32>>());
            let width = *shape.last().unwrap();
            pass.add(&name, &shape, |row, column| values[row * width + column]).unwrap();
        }
        let found = pass.finish().unwrap();
        for (row, chain) in [[3i32, 9, 4, 7].as_slice(), &[3, 9, 4, 5, 6]].into_iter().enumerate() {
            let positions = Positions::causal(config, 0, chain.len(), &device).unwrap();
            let whole = model.logits(model.forward(ids_tensor(chain, &device), &positions));
            let last: Vec<f32> = whole.narrow(1, chain.len() - 1, 1).into_data_as::<f32>().iter::<f32>().collect();
            for (column, token) in tokens.iter().enumerate() {
                let delta = (found[row * tokens.len() + column] - last[*token as usize]).abs();
                assert!(delta <= TOLERANCE, "{name}: {delta}");
            }
        }
        let mut pass = LayerwiseForward::new(config, ids.to_vec(), &parents, vec![3], vec![2], &device).unwrap();
        assert!(pass.add("ln_f.weight", &[config.n_embd], |_, _| 1.0).is_err());
        assert!(pass.finish().is_err());
    }
}

#[test]
fn faulty_tensors_are_named() {
    let device = Device::flex();
    let config = read("partial_rotary").config;
    let mut builder = CodeGenBuilder::new(config, device).unwrap();
    let ones = || TensorData::new(vec![1f32; 32], [32]);
    builder.insert("ln_f.weight", ones()).unwrap();
    for (name, data, word) in [
        ("ln_f.weight", ones(), "twice"),
        ("ln_g.weight", ones(), "not part"),
        ("ln_f.bias", TensorData::new(vec![1f32; 31], [31]), "shape"),
        ("ln_f.bias", TensorData::new(vec![f32::NAN; 32], [32]), "finite"),
        ("ln_f.bias", TensorData::new(vec![1i32; 32], [32]), "element type"),
    ] {
        let error = builder.insert(name, data).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    assert!(builder.build().unwrap_err().to_string().contains("wte.weight"));
}
