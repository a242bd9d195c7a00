//! What the worker calls.

use crate::adapter;
use crate::convert::{from_js, to_js};
use crate::error::EdgeError;
use crate::observer::{JsObserver, macrotask};
use burn::tensor::Device;
use cloister_engine::{AnalyzeOptions, Backend, GenerateOptions, Observer, Progress, SourceFile, Stage};
use cloister_package::{FileEntry, PackageLoader};
use cloister_report::{Format, ModelInfo};
use js_sys::Function;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

/// Where the engine stands between its calls.
enum State {
    /// Files are arriving.
    Loading(Box<PackageLoader>),
    /// The model is on the device.
    Ready(Box<cloister_engine::Engine>),
    /// A call holds the engine, or has lost it.
    Busy,
}

/// The engine. One instance a worker: the GPU runtime can be initialised once.
#[wasm_bindgen]
pub struct Engine {
    state: RefCell<State>,
    cancelled: Rc<Cell<bool>>,
    backend: Backend,
    adapter: String,
}

#[wasm_bindgen]
impl Engine {
    /// Checks the manifest and takes the device. Rejects with kind `no-webgpu` and the true reason where there is none.
    pub async fn create(manifest: Vec<u8>, backend: String, on_progress: Function) -> Result<Engine, JsValue> {
        console_error_panic_hook::set_once();
        let mut observer = JsObserver::new(on_progress, Rc::default());
        observer.progress(step(Stage::Device, 0, 1, "Asking for the device"));
        let (backend, device, adapter) = match backend.as_str() {
            "webgpu" => {
                let adapter = adapter::ask().await?;
                let device = Device::wgpu_options()
                    .init_async()
                    .await
                    .map_err(|error| EdgeError::new("no-webgpu", format!("the GPU could not be started ({error})")))?;
                (Backend::Webgpu, device, adapter)
            }
            "cpu" => (Backend::Cpu, Device::flex(), "this processor, WebAssembly SIMD".to_string()),
            other => {
                return Err(EdgeError::new("backend", format!("`{other}` is not a backend; use webgpu or cpu")).into());
            }
        };
        let loader =
            PackageLoader::new(&manifest, device).map_err(|error| EdgeError::new(error.kind(), error.to_string()))?;
        observer.progress(step(Stage::Device, 1, 1, "The device is ready"));
        let state = RefCell::new(State::Loading(Box::new(loader)));
        Ok(Self { state, cancelled: Rc::default(), backend, adapter })
    }

    /// The files to bring, in the order of their indices.
    pub fn shards(&self) -> Result<JsValue, JsValue> {
        match &*self.state.borrow() {
            State::Loading(loader) => {
                let files: Vec<FileEntry> = loader.files().into_iter().cloned().collect();
                Ok(to_js(&files)?)
            }
            _ => Err(not_now("shards").into()),
        }
    }

    /// Verifies a file's size and SHA-256, and uploads its tensors.
    #[wasm_bindgen(js_name = addShard)]
    pub fn add_shard(&self, index: usize, bytes: Vec<u8>) -> Result<(), JsValue> {
        match &mut *self.state.borrow_mut() {
            State::Loading(loader) => {
                loader.accept(index, &bytes).map_err(|error| EdgeError::new(error.kind(), error.to_string()).into())
            }
            _ => Err(not_now("addShard").into()),
        }
    }

    /// Builds the model and runs the self-test on the device.
    pub async fn finish(&self, on_progress: Function) -> Result<JsValue, JsValue> {
        let State::Loading(loader) = self.state.replace(State::Busy) else { return Err(not_now("finish").into()) };
        let mut observer = JsObserver::new(on_progress, Rc::default());
        let package = loader.finish().map_err(|error| EdgeError::new(error.kind(), error.to_string()))?;
        let fail = |error| EdgeError::of_engine(&error, self.backend);
        let mut engine = cloister_engine::Engine::new(package, self.backend, self.adapter.clone()).map_err(fail)?;
        observer.progress(step(Stage::SelfTest, 0, 1, "Comparing the device with known logits"));
        macrotask().await;
        engine.self_test().await.map_err(fail)?;
        observer.progress(step(Stage::SelfTest, 1, 1, "The device computes what it should"));
        let info = to_js(&engine.info())?;
        self.state.replace(State::Ready(Box::new(engine)));
        Ok(info)
    }

    /// Judges every unit of the files; what was judged before comes from the cache.
    pub async fn analyze(&self, files: JsValue, options: JsValue, on_progress: Function) -> Result<JsValue, JsValue> {
        let files: Vec<SourceFile> = from_js(files, "the list of files")?;
        let options: AnalyzeOptions = from_js(options, "the options")?;
        let mut engine = match self.state.replace(State::Busy) {
            State::Ready(engine) => engine,
            other => {
                self.state.replace(other);
                return Err(not_now("analyze").into());
            }
        };
        self.cancelled.set(false);
        let mut observer = JsObserver::new(on_progress, Rc::clone(&self.cancelled));
        let result = engine.analyze(&files, &options, &mut observer).await;
        self.state.replace(State::Ready(engine));
        let analysis = result.map_err(|error| EdgeError::of_engine(&error, self.backend))?;
        Ok(to_js(&analysis)?)
    }

    /// Shows the model the unit that holds a line (counted from 1) of a file, and lets it speak; `on_words` takes each piece.
    pub async fn generate(
        &self,
        file: JsValue,
        line: u32,
        options: JsValue,
        on_words: Function,
    ) -> Result<JsValue, JsValue> {
        let file: SourceFile = from_js(file, "the file")?;
        let options: GenerateOptions = from_js(options, "the options")?;
        let mut engine = match self.state.replace(State::Busy) {
            State::Ready(engine) => engine,
            other => {
                self.state.replace(other);
                return Err(not_now("generate").into());
            }
        };
        self.cancelled.set(false);
        let mut observer = JsObserver::of_words(on_words, Rc::clone(&self.cancelled));
        let result = engine.generate(&file, line, &options, &mut observer).await;
        self.state.replace(State::Ready(engine));
        let generated = result.map_err(|error| EdgeError::of_engine(&error, self.backend))?;
        Ok(to_js(&generated)?)
    }

    /// Ends the running `analyze` or `generate` soon; what it has by then is its answer.
    pub fn cancel(&self) {
        self.cancelled.set(true);
    }

    /// What runs, where.
    pub fn info(&self) -> Result<JsValue, JsValue> {
        match &*self.state.borrow() {
            State::Ready(engine) => Ok(to_js(&engine.info())?),
            _ => Err(not_now("info").into()),
        }
    }

    /// An analysis in a format for other programs and people: "sarif", "json" or "markdown".
    pub fn export(&self, analysis: JsValue, files: JsValue, format: &str) -> Result<String, JsValue> {
        let State::Ready(engine) = &*self.state.borrow() else { return Err(not_now("export").into()) };
        let info = engine.info();
        let format = match format {
            "sarif" => Format::Sarif,
            "json" => Format::Json,
            "markdown" => Format::Markdown,
            other => {
                return Err(EdgeError::new(
                    "format",
                    format!("`{other}` is not a format; use sarif, json or markdown"),
                )
                .into());
            }
        };
        let analysis = from_js(analysis, "the analysis")?;
        let files: Vec<cloister_report::SourceFile> = from_js(files, "the list of files")?;
        let model = ModelInfo { id: info.model_id, hash: info.model_hash };
        cloister_report::render(&analysis, &files, &model, format)
            .map_err(|error| EdgeError::new("export", error.to_string()).into())
    }
}

fn step(stage: Stage, done: usize, total: usize, label: &str) -> Progress {
    Progress { stage, done, total, label: label.into() }
}

fn not_now(call: &str) -> EdgeError {
    let message =
        format!("`{call}` cannot be called now; the order is create, addShard, finish, then one call at a time");
    EdgeError::new("order", message)
}
