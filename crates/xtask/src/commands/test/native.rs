//! The tests of the crates, with cargo.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::Tally;
use crate::error::Result;
use crate::process;
use crate::programs::Profile;
use crate::project::Project;

const NAME: &str = "the tests of the crates";

/// Runs all of them, unit, integration and documentation tests, and counts. The chores are tested as they are built to
/// run: unoptimised.
pub fn run(project: &Project) -> Result<Tally> {
    let mut chores = project.cargo();
    chores.args(["test", "--package", "xtask", "--no-fail-fast"]);
    let mut crates = project.cargo();
    crates.args(["test", "--no-fail-fast"]).args(Profile::Quick.arguments());
    let mut tally = counted(chores)?;
    tally.add(counted(crates)?);
    Ok(tally)
}

fn counted(mut cargo: Command) -> Result<Tally> {
    cargo.stdout(Stdio::piped());
    let mut child = cargo.spawn().map_err(|source| process::start_error(&cargo, source, process::SEE_ABOVE))?;
    let mut tally = Tally::default();
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).split(b'\n').map_while(|line| line.ok()) {
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            if let Some((passed, failed)) = counts(&line) {
                tally.passed += passed;
                tally.failed += failed;
            }
        }
    }
    let status = child.wait().map_err(|source| process::start_error(&cargo, source, process::SEE_ABOVE))?;
    // A build that fails, or a test program that dies, ends without a count of its own.
    if !status.success() && tally.failed == 0 {
        tally.broken.push(NAME.to_owned());
    }
    Ok(tally)
}

/// Passed and failed from a line such as `test result: ok. 5 passed; 0 failed; 1 ignored; …`.
fn counts(line: &str) -> Option<(u64, u64)> {
    let (_, rest) = line.trim().strip_prefix("test result: ")?.split_once(". ")?;
    let number = |word: &str| {
        let part = rest.split(';').map(str::trim).find(|part| part.ends_with(word))?;
        part.split(' ').next()?.parse().ok()
    };
    Some((number("passed")?, number("failed")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.53s";
        assert_eq!(counts(line), Some((12, 3)));
        assert_eq!(counts("test result: ok. 0 passed; 0 failed; 0 ignored"), Some((0, 0)));
        assert_eq!(counts("test model::tests::attends ... ok"), None);
    }
}
