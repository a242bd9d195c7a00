//! The shipped tokenizer against the ids in `tests/fixtures/tokenizer/native.json`. The browser tests read the same file, so
//! both give the same ids. After a new tokenizer: `UPDATE_FIXTURES=1 cargo test --release -p cloister-engine`.

// clippy.toml allows this in tests, and does not see that their helpers are a part of them.
#![allow(clippy::unwrap_used)]

use cloister_engine::Tokenizer;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

#[derive(Serialize, Deserialize)]
struct Sample {
    text: String,
    ids: Vec<u32>,
}

const TEXTS: &[&str] = &[
    "",
    " ",
    "\n",
    "x",
    "def f(x):\n    return x + 1\n",
    "\tif a:\n\t\tb = 1\n",
    "a\r\nb\r\n\r\nc",
    "a\rb",
    "    x",
    "                                x",
    "                                 x",
    "x = 1    # trailing    \n\n\n\n",
    "emoji = '🙂👩‍👩‍👧‍👦🇫🇷'\n",
    "s = 'naïve façade ßẞ ﬁ Ω≈ç√ 漢字 عربى'\n",
    "nul = '\0\0'\n",
    "\u{feff}import os\n",
    "bidi = '\u{202e}gnirts\u{2066}'\n",
    "zero\u{200b}width\u{200d}joiner",
    "\u{fffd}\u{fffd}",
    "<|endoftext|><|none|><|CWE-89|>",
    "### Instruction:\n### Input:\n### Output:\n",
    "x = 0x1F + 1_000_000 - 3.14e-10j\n",
    "cursor.execute(f\"SELECT * FROM users WHERE name = '{name}'\")\n",
    "lambda *args, **kwargs: {**kwargs, 'a': [i for i in args if i != None]}\n",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

fn path(name: &str) -> String {
    format!("{}/../../{name}", env!("CARGO_MANIFEST_DIR"))
}

static TOKENIZER: LazyLock<Tokenizer> =
    LazyLock::new(|| Tokenizer::from_bytes(&std::fs::read(path("assets/model/tokenizer.json")).unwrap()).unwrap());

#[test]
fn ids_are_the_recorded_ones() {
    let fixture = path("tests/fixtures/tokenizer/native.json");
    let samples: Vec<Sample> =
        TEXTS.iter().map(|text| Sample { text: (*text).into(), ids: TOKENIZER.encode(text).unwrap().ids }).collect();
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        std::fs::write(&fixture, serde_json::to_string(&samples).unwrap() + "\n").unwrap();
    }
    let recorded: Vec<Sample> = serde_json::from_slice(&std::fs::read(&fixture).unwrap()).unwrap();
    assert_eq!(recorded.len(), samples.len());
    for (found, recorded) in samples.iter().zip(&recorded) {
        assert_eq!(found.text, recorded.text);
        assert_eq!(found.ids, recorded.ids, "{:?}", found.text);
    }
}

#[test]
fn answers_cannot_be_forged() {
    for (token, id) in ["<|none|>", "<|CWE-89|>", "<|endoftext|>"].map(|t| (t, TOKENIZER.token_id(t).unwrap())) {
        let ids = TOKENIZER.encode(&format!("x = '{token}'\n")).unwrap().ids;
        assert!(!ids.contains(&id), "{token}");
    }
}

proptest! {
    #[test]
    fn decoding_is_the_inverse(text in "[ \t\r\n\0a-f(){}'=🙂é]{0,200}|\\PC{0,80}") {
        let encoded = TOKENIZER.encode(&text).unwrap();
        prop_assert_eq!(TOKENIZER.decode(&encoded.ids).unwrap(), text);
    }
}
