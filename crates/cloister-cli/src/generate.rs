//! `cloister generate`.

use crate::Outcome;
use crate::args::GenerateCommand;
use crate::device;
use crate::error::CliError;
use crate::input::{STDIO, Source};
use crate::output::Output;
use cloister_engine::{GenerateOptions, GenerationEnd, Observer, SourceFile};

/// Writes the words as they come.
///
/// # Errors
/// [`CliError`] where there is no model, the file cannot be read or holds no code, or the model does not answer in words.
pub fn run(command: &GenerateCommand) -> Result<Outcome, CliError> {
    let source = if command.file.as_os_str() == STDIO { Source::Stdin } else { Source::File(command.file.clone()) };
    let file = SourceFile { name: source.name(), text: source.read()? };
    let mut engine = device::open(&command.model)?;
    let info = engine.info();
    if !info.speaks {
        return Err(CliError::Speechless(info.card.name));
    }
    let options = GenerateOptions {
        max_tokens: command.max_tokens,
        temperature: command.temperature,
        top_p: command.top_p,
        seed: command.seed,
    };
    let mut teller = Teller { output: Output::open(None)?, fault: None };
    let said = pollster::block_on(engine.generate(&file, command.line, &options, &mut teller))?;
    if let Some(fault) = teller.fault {
        return Err(fault);
    }
    teller.output.write("\n")?;
    teller.output.flush()?;
    let end = match said.end {
        GenerationEnd::Stop => "it ended by itself",
        GenerationEnd::Length | GenerationEnd::Cancelled => "cut off there",
    };
    eprintln!(
        "cloister: the words of {} about `{}`, {} tokens, {end}; nothing checks them",
        info.card.name, said.unit, said.tokens
    );
    Ok(Outcome::Nothing)
}

/// Writes each piece at once.
struct Teller {
    output: Output,
    fault: Option<CliError>,
}

impl Observer for Teller {
    fn words(&mut self, piece: &str) {
        let told = self.output.write(piece).and_then(|()| self.output.flush());
        self.fault = self.fault.take().or(told.err());
    }

    fn cancelled(&self) -> bool {
        self.fault.is_some()
    }
}
