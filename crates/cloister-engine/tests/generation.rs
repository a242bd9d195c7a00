//! The model's own words.

// clippy.toml allows this in tests, and does not see that their helpers are a part of them.
#![allow(clippy::unwrap_used)]

mod common;

use burn::tensor::{Device, Int, Tensor, TensorData};
use cloister_engine::{Engine, EngineError, GenerateOptions, Generated, GenerationEnd, Observer};
use cloister_model::Positions;
use common::{config, file, plain, try_engine};

const CODE: &str = "import os\n\n\ndef first(x):\n    return x\n\n\nclass Box:\n    def second(self, y):\n        return os.path.join(y)\n";

/// Keeps the pieces, and stops the model after so many.
struct Listener {
    pieces: Vec<String>,
    until: usize,
}

impl Observer for Listener {
    fn words(&mut self, piece: &str) {
        self.pieces.push(piece.into());
    }

    fn cancelled(&self) -> bool {
        self.pieces.len() >= self.until
    }
}

fn engine(n_positions: usize, stop: Vec<u32>) -> Engine {
    try_engine(config(n_positions), |manifest| manifest.prompt.stop = stop).unwrap()
}

fn say(engine: &mut Engine, line: u32, options: GenerateOptions, until: usize) -> (Generated, Vec<String>) {
    let mut listener = Listener { pieces: Vec::new(), until };
    let said = pollster::block_on(engine.generate(&file(CODE), line, &options, &mut listener)).unwrap();
    assert_eq!(listener.pieces.concat(), said.text, "{:?}", listener.pieces);
    (said, listener.pieces)
}

/// The likeliest tokens, each after a plain pass over everything before it.
fn likeliest(n_positions: usize, prompt: &[u32], count: usize) -> Vec<u32> {
    let model = plain(config(n_positions));
    let mut ids: Vec<i32> = prompt.iter().map(|id| *id as i32).collect();
    for _ in 0..count {
        let positions = Positions::causal(model.config(), 0, ids.len(), &Device::default()).unwrap();
        let all = Tensor::<2, Int>::from_data(TensorData::new(ids.clone(), [1, ids.len()]), &Device::default());
        let logits = model.logits(model.forward(all, &positions));
        let last = logits.narrow(1, ids.len() - 1, 1).reshape([model.config().vocab_size as i32]);
        ids.push(last.argmax(0).into_scalar::<i32>());
    }
    ids[prompt.len()..].iter().map(|id| *id as u32).collect()
}

#[test]
fn greedy_words_are_those_of_plain_passes() {
    let mut engine = engine(256, vec![]);
    let first = "import os\n\n\ndef first(x):\n    return x\n";
    let prompt = pollster::block_on(engine.pin_self_test(first, Default::default())).unwrap().tokens;
    let expected = likeliest(256, &prompt, 12);
    let options = GenerateOptions { max_tokens: 12, ..Default::default() };
    let mut listener = Listener { pieces: Vec::new(), until: usize::MAX };
    let said = pollster::block_on(engine.generate(&file(first), 1, &options, &mut listener)).unwrap();
    assert_eq!(said.text, engine.tokenizer().decode(&expected).unwrap());
    assert_eq!((said.tokens, said.end), (12, GenerationEnd::Length));

    // One of these tokens as an end: it stops there, and is not said.
    let stop = expected.iter().position(|token| *token == expected[5]).unwrap();
    let mut engine = self::engine(256, vec![expected[5]]);
    let said = pollster::block_on(engine.generate(&file(first), 1, &options, &mut listener)).unwrap();
    assert_eq!((said.tokens, said.end), (stop, GenerationEnd::Stop));
    assert_eq!(said.text, engine.tokenizer().decode(&expected[..stop]).unwrap());
}

#[test]
fn the_unit_of_the_line_is_shown() {
    let mut engine = engine(256, vec![1]);
    assert!(engine.info().speaks);
    let mut unit = |line| say(&mut engine, line, GenerateOptions { max_tokens: 3, ..Default::default() }, 9).0.unit;
    assert_eq!([unit(5), unit(10)], ["first", "Box.second"]);
    // A line that is nowhere: something is shown all the same.
    assert!(!unit(1000).is_empty());
    let mut listener = Listener { pieces: Vec::new(), until: 9 };
    let nothing = pollster::block_on(engine.generate(&file("# nothing\n"), 1, &Default::default(), &mut listener));
    assert!(matches!(nothing, Err(EngineError::NoCode)), "{nothing:?}");
}

#[test]
fn a_seed_gives_the_same_words_again() {
    let mut engine = engine(256, vec![]);
    let options = |seed| GenerateOptions { max_tokens: 20, temperature: 1.0, top_p: 0.9, seed };
    let (one, _) = say(&mut engine, 4, options(1), usize::MAX);
    assert_eq!(say(&mut engine, 4, options(1), usize::MAX).0, one);
    assert_ne!(say(&mut engine, 4, options(2), usize::MAX).0.text, one.text);
}

#[test]
fn words_end_with_the_context_or_when_nobody_listens() {
    let mut engine = engine(96, vec![]);
    let (all, pieces) = say(&mut engine, 4, GenerateOptions { max_tokens: 10_000, ..Default::default() }, usize::MAX);
    assert_eq!(all.end, GenerationEnd::Length);
    assert!(all.tokens > 10 && all.tokens < 96, "{}", all.tokens);
    assert!(pieces.len() > 3);
    let (some, pieces) = say(&mut engine, 4, GenerateOptions { max_tokens: 10_000, ..Default::default() }, 3);
    assert_eq!((some.end, pieces.len()), (GenerationEnd::Cancelled, 3));
    assert!(all.text.starts_with(&some.text));
}
