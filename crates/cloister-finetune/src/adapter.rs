//! What is learned beside a frozen model.

use crate::{FinetuneError, Method, Settings, Target};
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use cloister_model::CodeGenConfig;
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::collections::BTreeMap;

/// Two thin matrices beside a frozen one: y = x·W + (alpha / rank)·x·A·B.
#[derive(Module, Debug)]
pub struct Lora {
    /// `[d_in, rank]`, normal at the start.
    pub a: Param<Tensor<2>>,
    /// `[rank, d_out]`, 0 at the start, so that the model is what it was.
    pub b: Param<Tensor<2>>,
    #[module(skip)]
    scale: f64,
}

impl Lora {
    /// alpha / rank.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// What is added to the frozen matrix's product: `[.., d_in]` to `[.., d_out]`.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, len, d] = x.dims();
        let down = x.reshape([batch * len, d]).matmul(self.a.val());
        let up = down.matmul(self.b.val()) * self.scale;
        let [_, width] = up.dims();
        up.reshape([batch, len, width])
    }

    /// What merging adds to the frozen matrix, `[d_in, d_out]`.
    pub fn delta(&self) -> Tensor<2> {
        self.a.val().matmul(self.b.val()) * self.scale
    }
}

/// Factors, all 1 at the start.
#[derive(Module, Debug)]
pub struct Ia3 {
    /// Of the keys before they rotate, `[d]`, in the order of the package's layout.
    pub key: Param<Tensor<1>>,
    /// Of the values, `[d]`.
    pub value: Param<Tensor<1>>,
    /// Of the feed-forward layer's inner activation, `[inner]`.
    pub inner: Param<Tensor<1>>,
}

/// What is learned beside one block.
#[derive(Module, Debug)]
pub struct BlockAdapter {
    /// Beside queries, keys and values, `[d, 3d]`.
    pub qkv_proj: Option<Lora>,
    /// Beside `[d, d]` out of attention.
    pub out_proj: Option<Lora>,
    /// Beside `[d, inner]`.
    pub fc_in: Option<Lora>,
    /// Beside `[inner, d]`.
    pub fc_out: Option<Lora>,
    /// The factors.
    pub ia3: Option<Ia3>,
}

/// What is learned beside a model.
#[derive(Module, Debug)]
pub struct Adapters {
    /// One for each block.
    pub h: Vec<BlockAdapter>,
}

impl Adapters {
    /// Fresh ones, which change nothing yet; `None` where the method is to learn the weights themselves.
    pub fn new(settings: &Settings, config: &CodeGenConfig, device: &Device) -> Option<Self> {
        let mut random = StdRng::seed_from_u64(settings.seed);
        let mut tensors = BTreeMap::new();
        for (name, shape) in shapes(settings, config) {
            let count = shape.iter().product();
            let values: Vec<f32> = if name.ends_with(".a") {
                let std = (shape[0] as f64).sqrt().recip();
                (0..count).map(|_| (normal(&mut random) * std) as f32).collect()
            } else if name.ends_with(".b") {
                vec![0.0; count]
            } else {
                vec![1.0; count]
            };
            tensors.insert(name, TensorData::new(values, shape));
        }
        // Every name that `shapes` gives is there.
        (settings.method != Method::Full).then(|| Self::assemble(settings, config, &mut tensors, device).ok()).flatten()
    }

    /// From named tensors.
    ///
    /// # Errors
    /// What is missing, too many, or of another shape, as a part of a sentence.
    pub fn from_named(
        settings: &Settings,
        config: &CodeGenConfig,
        mut tensors: BTreeMap<String, TensorData>,
        device: &Device,
    ) -> Result<Self, String> {
        let adapters = Self::assemble(settings, config, &mut tensors, device)?;
        match tensors.keys().next() {
            Some(name) => Err(format!("`{name}` is not part of it")),
            None => Ok(adapters),
        }
    }

    fn assemble(
        settings: &Settings,
        config: &CodeGenConfig,
        tensors: &mut BTreeMap<String, TensorData>,
        device: &Device,
    ) -> Result<Self, String> {
        let shapes: BTreeMap<String, Vec<usize>> = shapes(settings, config).into_iter().collect();
        let mut take = |name: &str| -> Result<Option<TensorData>, String> {
            let Some(expected) = shapes.get(name) else { return Ok(None) };
            let data = tensors.remove(name).ok_or_else(|| format!("`{name}` is missing"))?;
            if data.shape().to_vec() != *expected {
                return Err(format!("`{name}` has the shape {:?} and not {expected:?}", data.shape().to_vec()));
            }
            if data.iter::<f32>().any(|value| !value.is_finite()) {
                return Err(format!("`{name}` holds values that are not finite"));
            }
            Ok(Some(data))
        };
        let mut h = Vec::with_capacity(config.n_layer);
        for layer in 0..config.n_layer {
            let mut lora = |place: &str| -> Result<Option<Lora>, String> {
                let (a, b) = (take(&format!("h.{layer}.{place}.a"))?, take(&format!("h.{layer}.{place}.b"))?);
                let scale = settings.alpha / settings.rank as f64;
                Ok(a.zip(b).map(|(a, b)| Lora {
                    a: Param::from_tensor(Tensor::from_data(a, device)),
                    b: Param::from_tensor(Tensor::from_data(b, device)),
                    scale,
                }))
            };
            let (qkv_proj, out_proj) = (lora("qkv_proj")?, lora("out_proj")?);
            let (fc_in, fc_out) = (lora("fc_in")?, lora("fc_out")?);
            let mut factor = |place: &str| -> Result<Option<Param<Tensor<1>>>, String> {
                let data = take(&format!("h.{layer}.ia3.{place}"))?;
                Ok(data.map(|data| Param::from_tensor(Tensor::from_data(data, device))))
            };
            let ia3 = match (factor("key")?, factor("value")?, factor("inner")?) {
                (Some(key), Some(value), Some(inner)) => Some(Ia3 { key, value, inner }),
                _ => None,
            };
            h.push(BlockAdapter { qkv_proj, out_proj, fc_in, fc_out, ia3 });
        }
        Ok(Self { h })
    }

    /// All tensors by name, as f32 on the host.
    pub fn named(&self) -> Vec<(String, TensorData)> {
        let mut out = Vec::new();
        for (layer, block) in self.h.iter().enumerate() {
            for (place, lora) in [
                ("qkv_proj", &block.qkv_proj),
                ("out_proj", &block.out_proj),
                ("fc_in", &block.fc_in),
                ("fc_out", &block.fc_out),
            ] {
                if let Some(lora) = lora {
                    out.push((format!("h.{layer}.{place}.a"), lora.a.val().into_data()));
                    out.push((format!("h.{layer}.{place}.b"), lora.b.val().into_data()));
                }
            }
            if let Some(ia3) = &block.ia3 {
                for (place, factor) in [("key", &ia3.key), ("value", &ia3.value), ("inner", &ia3.inner)] {
                    out.push((format!("h.{layer}.ia3.{place}"), factor.val().into_data()));
                }
            }
        }
        out.into_iter().map(|(name, data)| (name, data.convert::<f32>())).collect()
    }
}

/// Every tensor of the adapters of a method with its shape, block by block.
pub fn shapes(settings: &Settings, config: &CodeGenConfig) -> Vec<(String, Vec<usize>)> {
    let (d, inner, rank) = (config.n_embd, config.inner_dim(), settings.rank);
    let mut out = Vec::new();
    for layer in 0..config.n_layer {
        match settings.method {
            Method::Full => {}
            Method::Lora => {
                for (target, place, wide, width) in [
                    (Target::QkvProj, "qkv_proj", d, 3 * d),
                    (Target::OutProj, "out_proj", d, d),
                    (Target::FcIn, "fc_in", d, inner),
                    (Target::FcOut, "fc_out", inner, d),
                ] {
                    if settings.targets.contains(&target) {
                        out.push((format!("h.{layer}.{place}.a"), vec![wide, rank]));
                        out.push((format!("h.{layer}.{place}.b"), vec![rank, width]));
                    }
                }
            }
            Method::Ia3 => {
                for (place, width) in [("key", d), ("value", d), ("inner", inner)] {
                    out.push((format!("h.{layer}.ia3.{place}"), vec![width]));
                }
            }
        }
    }
    out
}

/// A standard normal value, by Box and Muller. Drawn here and not on the device, so that a seed means the same on each.
fn normal(random: &mut StdRng) -> f64 {
    let (radius, angle): (f64, f64) = (random.random(), random.random());
    (-2.0 * (1.0 - radius).ln()).sqrt() * (2.0 * std::f64::consts::PI * angle).cos()
}

/// How many parameters a method learns.
pub fn learned(settings: &Settings, config: &CodeGenConfig) -> usize {
    match settings.method {
        Method::Full => config.num_params(),
        _ => shapes(settings, config).iter().map(|(_, shape)| shape.iter().product::<usize>()).sum(),
    }
}

/// Reads what [`Adapters::named`] gave from the bytes of a safetensors file.
///
/// # Errors
/// [`FinetuneError::Saved`] where they are not such a file.
pub fn parse(path: &std::path::Path, bytes: &[u8]) -> Result<BTreeMap<String, TensorData>, FinetuneError> {
    let fault = |reason: String| FinetuneError::Saved { path: path.into(), reason };
    let file = safetensors::SafeTensors::deserialize(bytes).map_err(|error| fault(error.to_string()))?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        if view.dtype() != safetensors::Dtype::F32 {
            return Err(fault(format!("`{name}` is not stored in f32")));
        }
        let values: Vec<f32> =
            view.data().chunks_exact(4).filter_map(|word| Some(f32::from_le_bytes(word.try_into().ok()?))).collect();
        tensors.insert(name.to_string(), TensorData::new(values, view.shape().to_vec()));
    }
    Ok(tensors)
}
