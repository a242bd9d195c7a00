//! The tokenizer reads code as code, and nothing is lost.

// clippy.toml allows this in tests, and does not see that their helpers are a part of them.
#![allow(clippy::unwrap_used)]

use cloister_engine::{PromptTemplate, Tokenizer};
use cloister_package::testing;
use proptest::prelude::*;
use std::sync::LazyLock;

static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| Tokenizer::from_bytes(&testing::tokenizer_json()).unwrap());

/// Pieces of text that tokenizers get wrong.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("\t".to_string()),
        Just("\r\n".to_string()),
        Just("\n".to_string()),
        Just("\0".to_string()),
        Just("é🦀\u{202e}\u{fffd}".to_string()),
        Just("<|CWE-89|>".to_string()),
        Just("<|answer|>".to_string()),
        (1usize..300).prop_map(|n| " ".repeat(n)),
        (1usize..20).prop_map(|n| "\t".repeat(n)),
        "[a-z_]{1,8} = [a-z]{1,8}\\(\\)",
        any::<String>(),
    ]
}

fn text() -> impl Strategy<Value = String> {
    proptest::collection::vec(piece(), 0..20).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn decoding_gives_the_text_back(text in text()) {
        let encoded = TOKENIZER.encode(&text).unwrap();
        prop_assert_eq!(TOKENIZER.decode(&encoded.ids).unwrap(), &text[..]);
        prop_assert_eq!(TOKENIZER.count(&text), encoded.ids.len());
    }

    #[test]
    fn no_text_forges_a_special_token(text in text()) {
        let first = testing::special("<|code|>");
        prop_assert!(TOKENIZER.encode(&text).unwrap().ids.iter().all(|id| *id < first));
    }

    #[test]
    fn byte_ranges_cover_the_text_in_order(text in text()) {
        let encoded = TOKENIZER.encode(&text).unwrap();
        prop_assert_eq!(encoded.ids.len(), encoded.bytes.len());
        let mut covered = 0;
        for bytes in &encoded.bytes {
            prop_assert!(bytes.start <= covered && bytes.end >= covered && bytes.end > bytes.start);
            covered = bytes.end;
        }
        prop_assert_eq!(covered, text.len());
    }

    #[test]
    fn every_line_end_is_found(lines in proptest::collection::vec("[ \ta-zé🦀(=]{0,12}", 1..20)) {
        let code: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let template = PromptTemplate { prefix: vec![1, 2, 3], suffix: vec![4] };
        let prompt = template.prompt(&TOKENIZER, &code).unwrap();
        prop_assert_eq!(prompt.line_ends.len(), lines.len());
        for (number, end) in prompt.line_ends.iter().enumerate() {
            // What was read up to and with the token holds the line's end, and without it does not.
            let read = |until: usize| TOKENIZER.decode(&prompt.ids[3..until]).unwrap().matches('\n').count();
            prop_assert!(read(end + 1) > number);
            prop_assert!(read(*end) <= number);
        }
    }
}

#[test]
fn special_tokens_are_known_by_name() {
    assert_eq!(TOKENIZER.token_id("<|CWE-89|>"), Some(testing::special("<|CWE-89|>")));
    assert_eq!(TOKENIZER.token_id("<|CWE-1|>"), None);
    assert_eq!(TOKENIZER.decode(&[testing::special("<|none|>")]).unwrap(), "<|none|>");
    assert_eq!(TOKENIZER.vocab_size(), testing::special("<|pad|>") as usize + 1);
}

#[test]
fn files_that_are_no_tokenizers_are_refused() {
    for bytes in [&b""[..], b"{}", b"\xff", b"[1, 2]", b"{\"version\": \"1.0\", \"model\": {\"type\": \"none\"}}"] {
        assert!(Tokenizer::from_bytes(bytes).is_err());
    }
}
