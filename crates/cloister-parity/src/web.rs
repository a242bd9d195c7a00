//! The comparison for the browser's tests.

use crate::{Fixture, ParityError, cached_delta, packed_delta, plain_delta};
use burn::tensor::Device;
use cloister_model::quant::Bits;
// Linked for its backends.
use cloister_wasm as _;
use wasm_bindgen::JsError;
use wasm_bindgen::prelude::wasm_bindgen;

/// A device of the browser; one a worker, because the GPU runtime starts once.
#[wasm_bindgen]
pub struct Parity {
    device: Device,
}

#[wasm_bindgen]
impl Parity {
    /// Takes "cpu" or "webgpu".
    pub async fn create(backend: String) -> Result<Parity, JsError> {
        console_error_panic_hook::set_once();
        let device = match backend.as_str() {
            "webgpu" => Device::wgpu_options().init_async().await?,
            _ => Device::flex(),
        };
        Ok(Self { device })
    }

    /// Largest |Δlogit| over a fixture's cases, with and without a cache.
    pub async fn delta(&self, fixture: Vec<u8>) -> Result<f32, JsError> {
        Ok(self.worst(fixture).await?)
    }

    /// As [`Self::delta`] for the kernels of packed matrices, in 8 and 4 bits: against the CPU's plain arithmetic.
    #[wasm_bindgen(js_name = packedDelta)]
    pub async fn packed_delta(&self, fixture: Vec<u8>, bits: u8) -> Result<f32, JsError> {
        let bits = match bits {
            8 => Bits::Eight,
            4 => Bits::Four,
            _ => return Err(JsError::new("matrices are packed in 8 or 4 bits")),
        };
        let fixture = Fixture::from_bytes(fixture)?;
        let mut worst = 0f32;
        for case in fixture.cases()?.iter().filter(|case| case.padding == [0]) {
            worst = worst.max(packed_delta(&fixture, bits, case, &self.device).await?);
        }
        Ok(worst)
    }

    /// Token ids of a text.
    pub fn encode(&self, tokenizer: &[u8], text: &str) -> Result<Vec<u32>, JsError> {
        Ok(cloister_engine::Tokenizer::from_bytes(tokenizer)?.encode(text)?.ids)
    }

    /// The text of some token ids.
    pub fn decode(&self, tokenizer: &[u8], ids: Vec<u32>) -> Result<String, JsError> {
        Ok(cloister_engine::Tokenizer::from_bytes(tokenizer)?.decode(&ids)?)
    }
}

impl Parity {
    async fn worst(&self, fixture: Vec<u8>) -> Result<f32, ParityError> {
        let fixture = Fixture::from_bytes(fixture)?;
        let (model, asked) = (fixture.model(&self.device)?, fixture.inference(None, &self.device)?);
        let mut worst = 0f32;
        for case in fixture.cases()? {
            worst = worst.max(plain_delta(&model, &case, &self.device).await?);
            if case.padding == [0] {
                worst = worst.max(cached_delta(&asked, &case).await?);
            }
        }
        Ok(worst)
    }
}
