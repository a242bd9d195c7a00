//! Largest differences from the reference.

use crate::{Case, ParityError};
use burn::tensor::{Device, Int, Tensor, TensorData};
use cloister_model::{CodeGen, KvCache, Positions};

/// Largest |Δlogit| of a case without a cache, over its real tokens.
///
/// # Errors
/// [`ParityError`] where the model or the device fails.
pub async fn plain_delta(model: &CodeGen, case: &Case, device: &Device) -> Result<f32, ParityError> {
    let ids = ids_tensor(&case.ids, case.padding.len(), device);
    let positions = Positions::left_padded(model.config(), 0, ids.dims()[1], &case.padding, device)?;
    delta(model.logits(model.forward(ids, &positions)), &case.logits, &case.padding).await
}

/// Largest |Δlogit| of an unpadded case of one row, half prefilled and half decoded a token at a time.
///
/// # Errors
/// [`ParityError`] where the model or the device fails.
pub async fn cached_delta(model: &CodeGen, case: &Case, device: &Device) -> Result<f32, ParityError> {
    let vocab = model.config().vocab_size;
    let split = case.ids.len() / 2;
    let mut cache = KvCache::new(model.config().n_layer);
    let mut worst = 0f32;
    if split > 0 {
        let hidden = model.prefill(ids_tensor(&case.ids[..split], 1, device), &mut cache)?;
        worst = delta(model.logits(hidden), &case.logits[..split * vocab], &[0]).await?;
    }
    for (step, id) in case.ids.iter().enumerate().skip(split) {
        let id = Tensor::<1, Int>::from_data(TensorData::new(vec![*id], [1]), device);
        let logits = model.decode(id, &mut cache)?.unsqueeze_dim::<3>(1);
        worst = worst.max(delta(logits, &case.logits[step * vocab..(step + 1) * vocab], &[0]).await?);
    }
    Ok(worst)
}

fn ids_tensor(ids: &[i32], batch: usize, device: &Device) -> Tensor<2, Int> {
    Tensor::from_data(TensorData::new(ids.to_vec(), [batch, ids.len() / batch]), device)
}

/// What stands at a padded place means nothing. NaN counts as infinitely far.
async fn delta(found: Tensor<3>, expected: &[f32], padding: &[usize]) -> Result<f32, ParityError> {
    let [_, len, vocab] = found.dims();
    let found = found.into_data_async().await.map_err(|error| ParityError::Device(error.to_string()))?;
    let found = found.convert::<f32>();
    Ok(found
        .iter::<f32>()
        .zip(expected)
        .enumerate()
        .filter(|(i, _)| (i / vocab) % len >= padding[i / (vocab * len)])
        .map(|(_, (a, b))| (a - b).abs())
        .map(|difference| if difference.is_nan() { f32::INFINITY } else { difference })
        .fold(0.0, f32::max))
}
