//! Asks for a GPU adapter before the runtime does, because the runtime panics on one that it cannot use.

use crate::error::EdgeError;
use js_sys::{Function, Object, Promise, Reflect};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

/// Storage buffers per shader stage, and bytes of one binding, that the kernels count on. Both are WebGPU's defaults.
const LIMITS: [(&str, f64); 2] =
    [("maxStorageBuffersPerShaderStage", 8.0), ("maxStorageBufferBindingSize", 134_217_728.0)];

/// The description of an adapter that the engine can use.
///
/// # Errors
/// [`EdgeError`] of kind `no-webgpu` with the true reason.
pub async fn ask() -> Result<String, EdgeError> {
    let gpu = get(&get(&js_sys::global(), "navigator"), "gpu");
    if gpu.is_undefined() || gpu.is_null() {
        return Err(none("this browser offers no WebGPU here (it needs https, localhost or a file)"));
    }
    let options = Object::new();
    let _ = Reflect::set(&options, &"powerPreference".into(), &"high-performance".into());
    let promise = get(&gpu, "requestAdapter")
        .dyn_into::<Function>()
        .and_then(|request| request.call1(&gpu, &options))
        .and_then(JsCast::dyn_into::<Promise>)
        .map_err(|_| none("the browser's WebGPU does not answer"))?;
    let adapter = JsFuture::from(promise).await.map_err(|_| none("the browser refused a GPU adapter"))?;
    if adapter.is_null() || adapter.is_undefined() {
        return Err(none("the browser found no GPU that it trusts with WebGPU"));
    }
    if !has_feature(&adapter, "timestamp-query") {
        return Err(none("the GPU adapter lacks the feature timestamp-query, which the engine needs"));
    }
    let limits = get(&adapter, "limits");
    for (name, least) in LIMITS {
        let found = get(&limits, name).as_f64().unwrap_or(0.0);
        if found < least {
            return Err(none(&format!("the GPU adapter's {name} is {found}, and the engine needs {least}")));
        }
    }
    let info = get(&adapter, "info");
    let parts: Vec<String> = ["vendor", "architecture", "device", "description"]
        .iter()
        .filter_map(|name| get(&info, name).as_string())
        .filter(|text| !text.is_empty())
        .collect();
    Ok(if parts.is_empty() { "unnamed adapter".into() } else { parts.join(" ") })
}

fn none(reason: &str) -> EdgeError {
    EdgeError::new("no-webgpu", reason)
}

fn get(object: &JsValue, name: &str) -> JsValue {
    Reflect::get(object, &name.into()).unwrap_or(JsValue::UNDEFINED)
}

fn has_feature(adapter: &JsValue, name: &str) -> bool {
    let features = get(adapter, "features");
    get(&features, "has")
        .dyn_into::<Function>()
        .and_then(|has| has.call1(&features, &name.into()))
        .is_ok_and(|answer| answer.is_truthy())
}
