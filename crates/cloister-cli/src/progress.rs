//! Progress on a terminal. On anything else, nothing: logs and pipes want no bars.

use cloister_engine::{Observer, Progress};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;

/// A bar on stderr where that is a terminal.
pub struct Steps(ProgressBar);

impl Steps {
    /// Counts bytes.
    pub fn bytes(label: &str) -> Self {
        Self::new(label, "{msg} {bar:30} {bytes}/{total_bytes}")
    }

    /// Counts things.
    pub fn things(label: &str) -> Self {
        Self::new(label, "{msg} {bar:30} {pos}/{len} {elapsed}")
    }

    fn new(label: &str, template: &str) -> Self {
        let target =
            if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(label.to_string());
        Self(bar)
    }

    /// Shows `done` of `total`.
    pub fn at(&self, done: u64, total: u64) {
        self.0.set_length(total);
        self.0.set_position(done);
    }

    /// Shows one more done.
    pub fn step(&self) {
        self.0.inc(1);
    }

    /// Shows what is at hand.
    pub fn label(&self, label: &str) {
        self.0.set_message(label.to_string());
    }

    /// Prints a line on stderr without disturbing the bar.
    pub fn tell(&self, line: &str) {
        self.0.suspend(|| eprintln!("{line}"));
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}

/// Shows the units of one file within a bar that counts files.
pub struct UnitSteps<'a> {
    /// The bar.
    pub steps: &'a Steps,
    /// The file's name.
    pub name: &'a str,
}

impl Observer for UnitSteps<'_> {
    fn progress(&mut self, progress: Progress) {
        if progress.total > 1 {
            self.steps.label(&format!("{} {}/{}", self.name, progress.done, progress.total));
        }
    }
}
