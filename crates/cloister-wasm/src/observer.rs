//! Progress to JavaScript, and the pause in which the worker takes its messages.

use crate::convert::to_js;
use cloister_engine::{Observer, Progress};
use js_sys::{Function, Promise};
use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::WorkerGlobalScope;

/// Tells JavaScript functions, and asks a flag whether to stop.
pub struct JsObserver {
    steps: Option<Function>,
    words: Option<Function>,
    cancelled: Rc<Cell<bool>>,
}

impl JsObserver {
    /// An observer for one run, which tells its steps.
    pub fn new(steps: Function, cancelled: Rc<Cell<bool>>) -> Self {
        Self { steps: Some(steps), words: None, cancelled }
    }

    /// An observer for one run, which tells what the model says.
    pub fn of_words(words: Function, cancelled: Rc<Cell<bool>>) -> Self {
        Self { steps: None, words: Some(words), cancelled }
    }
}

/// A page whose callback throws loses what it was told and nothing else.
fn tell(callback: Option<&Function>, value: &JsValue) {
    if let Some(callback) = callback {
        let _ = callback.call1(&JsValue::NULL, value);
    }
}

impl Observer for JsObserver {
    fn progress(&mut self, progress: Progress) {
        if let Ok(value) = to_js(&progress) {
            tell(self.steps.as_ref(), &value);
        }
    }

    fn words(&mut self, piece: &str) {
        tell(self.words.as_ref(), &JsValue::from_str(piece));
    }

    fn cancelled(&self) -> bool {
        self.cancelled.get()
    }

    fn breathe(&mut self) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        Box::pin(macrotask())
    }
}

/// Waits for the next turn of the event loop. A resolved promise would not do: messages wait for microtasks.
pub async fn macrotask() {
    let promise = Promise::new(&mut |resolve, _| {
        let timer = js_sys::global()
            .dyn_into::<WorkerGlobalScope>()
            .and_then(|scope| scope.set_timeout_with_callback(&resolve).map_err(|_| JsValue::NULL.into()));
        if timer.is_err() {
            // Outside a worker: at least the microtasks run.
            let _ = resolve.call0(&JsValue::NULL);
        }
    });
    let _ = JsFuture::from(promise).await;
}
