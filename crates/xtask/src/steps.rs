//! Prints what is being done and how long it took, on standard error.

use std::time::{Duration, Instant};

use crate::error::Result;

/// The steps of one command.
#[derive(Debug)]
pub struct Steps {
    start: Instant,
}

impl Steps {
    /// Starts the clock of the command.
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }

    /// Does one step: its title first, then its time or that it failed.
    pub fn run<T>(&self, title: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        eprintln!("==> {title}");
        let start = Instant::now();
        let result = work();
        let word = if result.is_ok() { "done in" } else { "failed after" };
        eprintln!("    {title}: {word} {}", readable(start.elapsed()));
        result
    }

    /// Says that a step needs no doing.
    pub fn skip(&self, title: &str, why: &str) {
        eprintln!("==> {title}: {why}");
    }

    /// A line of information below a step.
    pub fn note(&self, text: &str) {
        eprintln!("    {text}");
    }

    /// The time of the whole command so far.
    pub fn total(&self) {
        eprintln!("==> all done in {}", readable(self.start.elapsed()));
    }

    /// The same, in words for a sentence.
    pub fn elapsed(&self) -> String {
        readable(self.start.elapsed())
    }
}

fn readable(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else {
        format!("{} min {} s", time.as_secs() / 60, time.as_secs() % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_readable() {
        assert_eq!(readable(Duration::from_millis(1240)), "1.2 s");
        assert_eq!(readable(Duration::from_secs(125)), "2 min 5 s");
    }
}
