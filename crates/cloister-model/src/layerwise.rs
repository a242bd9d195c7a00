//! A forward pass over tensors that come one after the other, so that no more than one block is held: for models that are
//! larger than the memory that reading them may take.

use crate::nn::{attention::CausalSelfAttention, block::Block, layer_norm::LayerNorm, linear::Linear};
use crate::{CodeGenConfig, ModelError, Positions, tensor_shapes};
use burn::tensor::{Device, Int, Tensor, TensorData, module::linear};
use std::collections::HashMap;

/// The pass: tokens, and what is asked of them at the end.
pub struct LayerwiseForward {
    config: CodeGenConfig,
    device: Device,
    positions: Positions,
    ids: Vec<u32>,
    asked: Vec<usize>,
    tokens: Vec<u32>,
    expected: std::vec::IntoIter<(String, Vec<usize>)>,
    pending: HashMap<String, TensorData>,
    layer: usize,
    /// `[1, len, d]`; after the final norm `[1, asked, d]`.
    hidden: Option<Tensor<3>>,
    logits: Option<Tensor<2>>,
}

impl LayerwiseForward {
    /// A pass over `ids`, each behind its parent as in [`Positions::tree`], which gives the logits of `tokens` at the places
    /// `asked`.
    ///
    /// # Errors
    /// [`ModelError`] where the sizes do not fit together, the tokens do not fit in the context, or a token or place is not
    /// there.
    pub fn new(
        config: &CodeGenConfig,
        ids: Vec<u32>,
        parents: &[Option<usize>],
        asked: Vec<usize>,
        tokens: Vec<u32>,
        device: &Device,
    ) -> Result<Self, ModelError> {
        config.validate()?;
        if let Some(token) = ids.iter().chain(&tokens).find(|token| **token as usize >= config.vocab_size) {
            return Err(ModelError::outside(*token, config));
        }
        if ids.len() != parents.len() || asked.iter().any(|place| *place >= ids.len()) {
            return Err(ModelError::Config("a place is asked for that no token stands at".into()));
        }
        Ok(Self {
            positions: Positions::tree(config, 0, parents, device)?,
            config: config.clone(),
            device: device.clone(),
            ids,
            asked,
            tokens,
            expected: tensor_shapes(config).into_iter(),
            pending: HashMap::new(),
            layer: 0,
            hidden: None,
            logits: None,
        })
    }

    /// Takes the next tensor of [`tensor_shapes`], whose element in a row and a column is `at(row, column)`; a vector is a
    /// row.
    ///
    /// # Errors
    /// [`ModelError`] where another tensor, or one of another shape, should come.
    pub fn add(&mut self, name: &str, shape: &[usize], at: impl Fn(usize, usize) -> f32) -> Result<(), ModelError> {
        match self.expected.next() {
            Some((expected, _)) if expected != name => return Err(ModelError::Missing { count: 1, first: expected }),
            Some((_, expected)) if expected != shape => {
                return Err(ModelError::Shape { name: name.into(), expected, found: shape.into() });
            }
            None => return Err(ModelError::UnknownTensor(name.into())),
            Some(_) => {}
        }
        let d = self.config.n_embd;
        let columns = |wanted: &[u32], rows: usize| -> Vec<f32> {
            (0..rows)
                .flat_map(|row| wanted.iter().map(move |column| (row, *column as usize)))
                .map(|(r, c)| at(r, c))
                .collect()
        };
        match (name, shape) {
            ("wte.weight", _) => {
                let rows = self.ids.iter().flat_map(|id| (0..d).map(move |column| (*id as usize, column)));
                let values: Vec<f32> = rows.map(|(row, column)| at(row, column)).collect();
                let data = TensorData::new(values, [1, self.ids.len(), d]);
                self.hidden = Some(Tensor::from_data(data, &self.device));
            }
            ("lm_head.weight", _) => {
                let data = TensorData::new(columns(&self.tokens, d), [d, self.tokens.len()]);
                self.pending.insert(name.into(), data);
            }
            ("lm_head.bias", _) => {
                let bias = TensorData::new(columns(&self.tokens, 1), [self.tokens.len()]);
                self.pending.insert(name.into(), bias);
                self.head()?;
            }
            // What points at lines is not asked.
            _ if name.starts_with("line_pointer.") => {}
            (_, &[width]) => {
                self.pending
                    .insert(name.into(), TensorData::new((0..width).map(|c| at(0, c)).collect::<Vec<_>>(), [width]));
                if name == "ln_f.bias" {
                    self.norm()?;
                } else if name.ends_with("mlp.fc_out.bias") {
                    self.block()?;
                }
            }
            (_, &[rows, width]) => {
                let values: Vec<f32> =
                    (0..rows).flat_map(|r| (0..width).map(move |c| (r, c))).map(|(r, c)| at(r, c)).collect();
                self.pending.insert(name.into(), TensorData::new(values, [rows, width]));
            }
            _ => return Err(ModelError::UnknownTensor(name.into())),
        }
        Ok(())
    }

    /// The logits, `[asked, tokens]` row by row.
    ///
    /// # Errors
    /// [`ModelError::Missing`] where tensors have not come.
    pub fn finish(mut self) -> Result<Vec<f32>, ModelError> {
        match (self.expected.next(), self.logits) {
            (None, Some(logits)) => Ok(logits.into_data().iter::<f32>().collect()),
            (next, _) => Err(ModelError::Missing {
                count: 1 + self.expected.len(),
                first: next.map_or_else(|| "lm_head.bias".into(), |(name, _)| name),
            }),
        }
    }

    fn take(&mut self, name: &str) -> Result<TensorData, ModelError> {
        self.pending.remove(name).ok_or_else(|| ModelError::Missing { count: 1, first: name.into() })
    }

    fn vector(&mut self, name: &str) -> Result<Tensor<1>, ModelError> {
        Ok(Tensor::from_data(self.take(name)?, &self.device))
    }

    fn matrix(&mut self, name: &str) -> Result<Tensor<2>, ModelError> {
        Ok(Tensor::from_data(self.take(name)?, &self.device))
    }

    fn layer_norm(&mut self, prefix: &str) -> Result<LayerNorm, ModelError> {
        let (weight, bias) = (self.vector(&format!("{prefix}.weight"))?, self.vector(&format!("{prefix}.bias"))?);
        Ok(LayerNorm::from_tensors(weight, bias, self.config.layer_norm_epsilon))
    }

    fn linear(&mut self, prefix: &str, biased: bool) -> Result<Linear, ModelError> {
        let bias = if biased { Some(self.vector(&format!("{prefix}.bias"))?) } else { None };
        Ok(Linear::from_tensors(self.matrix(&format!("{prefix}.weight"))?, bias))
    }

    fn state(&mut self) -> Result<Tensor<3>, ModelError> {
        self.hidden.take().ok_or_else(|| ModelError::Missing { count: 1, first: "wte.weight".into() })
    }

    fn block(&mut self) -> Result<(), ModelError> {
        let at = |part: &str| format!("h.{}.{part}", self.layer);
        let [norm, qkv, out, fc_in, fc_out] =
            ["ln_1", "attn.qkv_proj", "attn.out_proj", "mlp.fc_in", "mlp.fc_out"].map(at);
        let block = Block {
            ln_1: self.layer_norm(&norm)?,
            attn: CausalSelfAttention::new(self.linear(&qkv, false)?, self.linear(&out, false)?, self.config.n_head),
            fc_in: self.linear(&fc_in, true)?,
            fc_out: self.linear(&fc_out, true)?,
        };
        let state = self.state()?;
        self.hidden = Some(block.forward(state, &self.positions));
        self.layer += 1;
        Ok(())
    }

    fn norm(&mut self) -> Result<(), ModelError> {
        let norm = self.layer_norm("ln_f")?;
        let places: Vec<i32> = self.asked.iter().map(|place| *place as i32).collect();
        let places = Tensor::<1, Int>::from_data(TensorData::new(places, [self.asked.len()]), &self.device);
        let state = self.state()?.select(1, places);
        self.hidden = Some(norm.forward(state));
        Ok(())
    }

    fn head(&mut self) -> Result<(), ModelError> {
        let (weight, bias) = (self.matrix("lm_head.weight")?, self.vector("lm_head.bias")?);
        let state = self.state()?.reshape([self.asked.len(), self.config.n_embd]);
        self.logits = Some(linear(state, weight, Some(bias)));
        Ok(())
    }
}
