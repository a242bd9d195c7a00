//! The forward pass against PyTorch's, on the fixtures of `tests/fixtures/codegen` (see the script there).

mod fixture;

use burn::tensor::{Device, Int, Tensor, TensorData};
use cloister_model::{CodeGen, CodeGenBuilder, KvCache, Positions, import::hugging_face, named_tensors};
use fixture::{Fixture, NAMES};

/// The bound for the CPU in f32.
const TOLERANCE: f32 = 1e-4;

fn load(fixture: &Fixture, device: &Device) -> CodeGen {
    let mut builder = CodeGenBuilder::new(fixture.config.clone(), device.clone()).unwrap();
    for (name, data) in fixture.weights() {
        if let Some((name, data)) = hugging_face::convert(&fixture.config, &name, data).unwrap() {
            builder.insert(&name, data).unwrap();
        }
    }
    builder.build().unwrap()
}

fn ids_tensor(ids: &[i32], batch: usize, device: &Device) -> Tensor<2, Int> {
    Tensor::from_data(TensorData::new(ids.to_vec(), [batch, ids.len() / batch]), device)
}

/// Largest difference over the real tokens (what stands at a padded place means nothing).
fn max_delta(found: Tensor<3>, expected: &[f32], padding: &[usize]) -> f32 {
    let [_, len, vocab] = found.dims();
    let found = found.into_data_as::<f32>();
    found
        .iter::<f32>()
        .zip(expected)
        .enumerate()
        .filter(|(i, _)| (i / vocab) % len >= padding[i / (vocab * len)])
        .map(|(_, (a, b))| (a - b).abs())
        .fold(0.0, f32::max)
}

#[test]
fn logits_equal_the_reference() {
    let device = Device::flex();
    for name in NAMES {
        let fixture = Fixture::read(name);
        let model = load(&fixture, &device);
        for (index, case) in fixture.cases().into_iter().enumerate() {
            let batch = case.padding.len();
            let ids = ids_tensor(&case.ids, batch, &device);
            let positions =
                Positions::left_padded(&fixture.config, 0, ids.dims()[1], &case.padding, &device).unwrap();
            let logits = model.logits(model.forward(ids, &positions));
            let delta = max_delta(logits, &case.logits, &case.padding);
            assert!(delta <= TOLERANCE, "{name}, case {index}: {delta}");
        }
    }
}

#[test]
fn a_cache_changes_nothing() {
    let device = Device::flex();
    for name in NAMES {
        let fixture = Fixture::read(name);
        let model = load(&fixture, &device);
        for case in fixture.cases().into_iter().filter(|case| case.padding == [0] && case.ids.len() > 3) {
            let vocab = fixture.config.vocab_size;
            let split = case.ids.len() / 2;
            let mut cache = KvCache::new(fixture.config.n_layer);
            let hidden = model.prefill(ids_tensor(&case.ids[..split], 1, &device), &mut cache).unwrap();
            let delta = max_delta(model.logits(hidden), &case.logits[..split * vocab], &[0]);
            assert!(delta <= TOLERANCE, "{name}, prefill: {delta}");
            for (step, id) in case.ids.iter().enumerate().skip(split) {
                let id = Tensor::<1, Int>::from_data(TensorData::new(vec![*id], [1]), &device);
                let logits = model.decode(id, &mut cache).unwrap().unsqueeze_dim::<3>(1);
                let delta = max_delta(logits, &case.logits[step * vocab..(step + 1) * vocab], &[0]);
                assert!(delta <= TOLERANCE, "{name}, decode at {step}: {delta}");
            }
            assert_eq!(cache.len(), case.ids.len());
        }
    }
}

#[test]
fn a_full_context_refuses_one_more_token() {
    let device = Device::flex();
    let fixture = Fixture::read("many_heads");
    let model = load(&fixture, &device);
    let mut cache = KvCache::new(fixture.config.n_layer);
    let full = vec![1; fixture.config.n_positions];
    model.prefill(ids_tensor(&full, 1, &device), &mut cache).unwrap();
    let one = Tensor::<1, Int>::from_data(TensorData::new(vec![1], [1]), &device);
    assert!(model.decode(one, &mut cache).is_err());
}

#[test]
fn label_rows_are_the_head_s_rows() {
    let device = Device::flex();
    let fixture = Fixture::read("partial_rotary");
    let model = load(&fixture, &device);
    let case = &fixture.cases()[1];
    let ids = ids_tensor(&case.ids, 1, &device);
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
}

/// Leaving the fused projection as the reference stores it must not pass: guards the test above against a reference
/// whose groups happen not to matter.
#[test]
fn the_fused_order_matters() {
    let device = Device::flex();
    for name in NAMES {
        let fixture = Fixture::read(name);
        let mut builder = CodeGenBuilder::new(fixture.config.clone(), device.clone()).unwrap();
        for (name, data) in fixture.weights() {
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
        let case = &fixture.cases()[1];
        let ids = ids_tensor(&case.ids, 1, &device);
        let positions = Positions::causal(&fixture.config, 0, ids.dims()[1], &device).unwrap();
        let delta = max_delta(model.logits(model.forward(ids, &positions)), &case.logits, &[0]);
        assert!(delta > 100.0 * TOLERANCE, "{name}: {delta}");
    }
}

#[test]
fn tensors_survive_a_round_trip() {
    let device = Device::flex();
    let fixture = Fixture::read("full_rotary");
    let model = load(&fixture, &device);
    let mut builder = CodeGenBuilder::new(fixture.config.clone(), device.clone()).unwrap();
    for (name, data) in named_tensors(&model) {
        builder.insert(&name, data).unwrap();
    }
    let again = builder.build().unwrap();
    for ((name, a), (_, b)) in named_tensors(&model).iter().zip(named_tensors(&again)) {
        assert!(a.iter::<f32>().eq(b.iter::<f32>()), "{name}");
    }
}

#[test]
fn faulty_tensors_are_named() {
    let device = Device::flex();
    let config = Fixture::read("partial_rotary").config;
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
