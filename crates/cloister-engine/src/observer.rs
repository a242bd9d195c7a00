//! How a caller watches and stops a run.

use serde::Serialize;
use std::future::Future;
use std::pin::Pin;

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Asking for a device.
    Device,
    /// Reading weights; `done` and `total` are bytes.
    Weights,
    /// Comparing the device with the pinned logits.
    SelfTest,
    /// Judging units.
    Units,
}

/// How far a stage is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// The stage.
    pub stage: Stage,
    /// Done so far.
    pub done: usize,
    /// To be done in all.
    pub total: usize,
    /// What is at hand, for people.
    pub label: String,
}

/// Watches a run.
pub trait Observer {
    /// Told at every step.
    fn progress(&mut self, progress: Progress) {
        let _ = progress;
    }

    /// Told a piece of what the model says, when it speaks freely.
    fn words(&mut self, piece: &str) {
        let _ = piece;
    }

    /// Asked between steps: `true` ends the run with what was done so far.
    fn cancelled(&self) -> bool {
        false
    }

    /// Awaited between steps. In a browser this lets the event loop take messages, a cancel among them.
    fn breathe(&mut self) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        Box::pin(std::future::ready(()))
    }
}

/// An observer that does not look.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unobserved;

impl Observer for Unobserved {}
