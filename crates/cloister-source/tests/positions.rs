//! Byte offsets, UTF-16 offsets, lines and columns.

use cloister_source::{Position, SourceText};
use proptest::prelude::*;

#[test]
fn lines_end_as_in_python() {
    let text = "a\nb\r\nc\rd\u{c}e\u{2028}f";
    let source = SourceText::new(text);
    let lines: Vec<_> = (1..=source.line_count()).filter_map(|number| source.line_text(number)).collect();
    assert_eq!(lines, ["a", "b", "c", "d\u{c}e\u{2028}f"]);
    assert_eq!(source.line_text(0), None);
    assert_eq!(source.line_text(5), None);
}

#[test]
fn a_final_line_end_starts_an_empty_line() {
    assert_eq!(SourceText::new("").line_count(), 1);
    assert_eq!(SourceText::new("a\n").line_count(), 2);
    assert_eq!(SourceText::new("a\n").line_text(2), Some(""));
    assert_eq!(SourceText::new("a\r").line_text(1), Some("a"));
}

#[test]
fn columns_count_utf16_units() {
    // é is one unit in UTF-16 and two bytes, the emoji two units and four bytes.
    let source = SourceText::new("x = 1\r\né🙂z\n");
    assert_eq!(source.position(0), Position { line: 1, column: 1, utf16: 0 });
    assert_eq!(source.position(7), Position { line: 2, column: 1, utf16: 7 });
    assert_eq!(source.position(9), Position { line: 2, column: 2, utf16: 8 });
    assert_eq!(source.position(13), Position { line: 2, column: 4, utf16: 10 });
    assert_eq!(source.byte_of_utf16(10), 13);
    // Between the two halves of the emoji: the place before it.
    assert_eq!(source.byte_of_utf16(9), 9);
}

#[test]
fn places_outside_the_text_are_moved_into_it() {
    let source = SourceText::new("é\n");
    assert_eq!(source.position(1), source.position(0));
    assert_eq!(source.position(100), source.position(3));
    assert_eq!(source.byte_of_utf16(100), 3);
}

#[test]
fn the_code_of_a_line_has_no_white_space_around_it() {
    let source = SourceText::new("\t x = 1  \n   \n");
    let range = source.code_range(1).unwrap();
    assert_eq!((range.start.column, range.end.column), (3, 8));
    let blank = source.code_range(2).unwrap();
    assert_eq!(blank.start, blank.end);
    assert_eq!(source.code_range(9), None);
}

proptest! {
    #[test]
    fn utf16_offsets_round_trip(text in "[a-z\\n\\r\\té🙂\u{feff}\u{202e}]{0,200}") {
        let source = SourceText::new(&text);
        let mut utf16 = 0;
        for (byte, character) in text.char_indices() {
            let position = source.position(byte);
            prop_assert_eq!(position.utf16, utf16);
            prop_assert_eq!(source.byte_of_utf16(utf16), byte);
            let line = source.line_bytes(position.line).unwrap();
            prop_assert!(line.start <= byte);
            utf16 += u32::try_from(character.len_utf16()).unwrap();
        }
        prop_assert_eq!(source.position(text.len()).utf16, utf16);
    }

    #[test]
    fn lines_cover_the_text(text in any::<String>()) {
        let source = SourceText::new(&text);
        let mut next = 0;
        for number in 1..=source.line_count() {
            let line = source.line_bytes(number).unwrap();
            let between = &text[next..line.start];
            prop_assert!(between.is_empty() || matches!(between, "\n" | "\r\n" | "\r"));
            prop_assert!(!text[line.clone()].contains(['\n', '\r']));
            next = line.end;
        }
        prop_assert!(matches!(&text[next..], "" | "\n" | "\r\n" | "\r"));
    }
}
