//! Largest differences from the reference.

use crate::{Case, Fixture, ParityError};
use burn::tensor::{Device, Int, Tensor, TensorData};
use cloister_model::quant::Bits;
use cloister_model::{CodeGen, Inference, KvCache, Positions};

/// Largest |Δlogit| of a case for the model as it is trained, over its real tokens.
///
/// # Errors
/// [`ParityError`] where the model or the device fails.
pub async fn plain_delta(model: &CodeGen, case: &Case, device: &Device) -> Result<f32, ParityError> {
    Ok(delta(&plain_logits(model, case, device).await?, &case.logits, model.config().vocab_size, &case.padding))
}

/// Largest |Δlogit| of an unpadded case of one row for the model as it is asked: half prefilled, and half a token at a time
/// behind a cache.
///
/// # Errors
/// [`ParityError`] where the model or the device fails.
pub async fn cached_delta(model: &Inference, case: &Case) -> Result<f32, ParityError> {
    Ok(delta(&cached_logits(model, case).await?, &case.logits, model.config().vocab_size, &[0]))
}

/// As [`cached_delta`] for packed matrices: against the plain forward pass of the CPU over the same matrices, widened.
///
/// # Errors
/// [`ParityError`] where the model or the device fails.
pub async fn packed_delta(fixture: &Fixture, bits: Bits, case: &Case, device: &Device) -> Result<f32, ParityError> {
    let expected = plain_logits(&fixture.rounded(bits, &Device::flex())?, case, &Device::flex()).await?;
    let found = cached_logits(&fixture.inference(Some(bits), device)?, case).await?;
    Ok(delta(&found, &expected, fixture.config.vocab_size, &[0]))
}

async fn plain_logits(model: &CodeGen, case: &Case, device: &Device) -> Result<Vec<f32>, ParityError> {
    let len = case.ids.len() / case.padding.len();
    let ids = TensorData::new(case.ids.clone(), [case.padding.len(), len]);
    let ids = Tensor::<2, Int>::from_data(ids, device);
    let positions = Positions::left_padded(model.config(), 0, len, &case.padding, device)?;
    read(model.logits(model.forward(ids, &positions))).await
}

async fn cached_logits(model: &Inference, case: &Case) -> Result<Vec<f32>, ParityError> {
    let ids: Vec<u32> = case.ids.iter().map(|id| *id as u32).collect();
    let (first, rest) = ids.split_at(ids.len() / 2);
    let mut cache = KvCache::new(model.config().n_layer);
    let mut hidden = if first.is_empty() { Vec::new() } else { read(model.prefill(first, &mut cache)?).await? };
    for id in rest {
        hidden.extend(read(model.prefill(&[*id], &mut cache)?).await?);
    }
    Ok(hidden.chunks_exact(model.config().n_embd).flat_map(|state| model.logits(state)).collect())
}

async fn read(tensor: Tensor<3>) -> Result<Vec<f32>, ParityError> {
    let data = tensor.into_data_async().await.map_err(|error| ParityError::Device(error.to_string()))?;
    Ok(data.iter::<f32>().collect())
}

/// What stands at a padded place means nothing. NaN counts as infinitely far, and so does what is missing.
fn delta(found: &[f32], expected: &[f32], vocab: usize, padding: &[usize]) -> f32 {
    if found.len() != expected.len() {
        return f32::INFINITY;
    }
    let len = expected.len() / vocab / padding.len();
    found
        .iter()
        .zip(expected)
        .enumerate()
        .filter(|(i, _)| (i / vocab) % len >= padding[i / (vocab * len)])
        .map(|(_, (a, b))| (a - b).abs())
        .map(|difference| if difference.is_nan() { f32::INFINITY } else { difference })
        .fold(0.0, f32::max)
}
