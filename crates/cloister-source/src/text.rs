//! Positions: byte offsets, UTF-16 offsets, and lines and columns of one text.

use std::ops;

use serde::{Deserialize, Serialize};

/// One place in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column in UTF-16 code units, from 1.
    pub column: u32,
    /// Offset in the text in UTF-16 code units, from 0: what editors and browsers count.
    pub utf16: u32,
}

/// From one place up to, and without, another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Range {
    /// The first place.
    pub start: Position,
    /// The place after the last character.
    pub end: Position,
}

/// A text with a map of its lines. The text itself is never changed.
///
/// A line ends as Python has it: at `\n`, `\r\n` or a lone `\r`. Offsets past the end of the text, or inside a
/// character, are moved back to the nearest place that exists.
#[derive(Debug, Clone)]
pub struct SourceText<'a> {
    text: &'a str,
    starts: Vec<LineStart>,
}

#[derive(Debug, Clone, Copy)]
struct LineStart {
    byte: usize,
    utf16: u32,
}

impl<'a> SourceText<'a> {
    /// Maps the lines of `text`.
    pub fn new(text: &'a str) -> Self {
        let mut starts = vec![LineStart { byte: 0, utf16: 0 }];
        let bytes = text.as_bytes();
        let mut utf16 = 0;
        for (index, &byte) in bytes.iter().enumerate() {
            utf16 += utf16_units(byte);
            let ends_line = byte == b'\n' || (byte == b'\r' && bytes.get(index + 1) != Some(&b'\n'));
            if ends_line {
                starts.push(LineStart { byte: index + 1, utf16 });
            }
        }
        Self { text, starts }
    }

    /// The text as given.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// The number of lines; a text that ends with a line end has an empty last line, and an empty text one line.
    pub fn line_count(&self) -> u32 {
        u32::try_from(self.starts.len()).unwrap_or(u32::MAX)
    }

    /// The line, from 1, that holds the byte offset.
    pub fn line_of(&self, byte: usize) -> u32 {
        let after = self.starts.partition_point(|start| start.byte <= byte);
        u32::try_from(after.max(1)).unwrap_or(u32::MAX)
    }

    /// The bytes of a line, from 1, without its line end.
    pub fn line_bytes(&self, number: u32) -> Option<ops::Range<usize>> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        let start = self.starts.get(index)?.byte;
        let mut end = self.starts.get(index + 1).map_or(self.text.len(), |next| next.byte);
        let bytes = self.text.as_bytes();
        if end > start && bytes[end - 1] == b'\n' && index + 1 < self.starts.len() {
            end -= 1;
        }
        if end > start && bytes[end - 1] == b'\r' && index + 1 < self.starts.len() {
            end -= 1;
        }
        Some(start..end)
    }

    /// A line, from 1, without its line end.
    pub fn line_text(&self, number: u32) -> Option<&'a str> {
        self.line_bytes(number).map(|bytes| &self.text[bytes])
    }

    /// The place of a byte offset.
    pub fn position(&self, byte: usize) -> Position {
        let byte = self.character_start(byte);
        let line = self.line_of(byte);
        let start = self.starts[line as usize - 1];
        let ahead = utf16_length(&self.text[start.byte..byte]);
        Position { line, column: ahead + 1, utf16: start.utf16 + ahead }
    }

    /// The places of a range of byte offsets.
    pub fn range(&self, bytes: ops::Range<usize>) -> Range {
        Range { start: self.position(bytes.start), end: self.position(bytes.end.max(bytes.start)) }
    }

    /// The byte offset of a UTF-16 offset.
    pub fn byte_of_utf16(&self, utf16: u32) -> usize {
        let line = self.starts.partition_point(|start| start.utf16 <= utf16).max(1) - 1;
        let start = self.starts[line];
        let mut reached = start.utf16;
        for (index, character) in self.text[start.byte..].char_indices() {
            let next = reached + if character.len_utf16() == 2 { 2 } else { 1 };
            if next > utf16 {
                return start.byte + index;
            }
            reached = next;
        }
        self.text.len()
    }

    /// The part of a line, from 1, that holds more than white space; an empty range at its start where there is none.
    pub fn code_range(&self, number: u32) -> Option<Range> {
        let bytes = self.line_bytes(number)?;
        let line = &self.text[bytes.clone()];
        let lead = line.len() - line.trim_start().len();
        if lead == line.len() {
            return Some(self.range(bytes.start..bytes.start));
        }
        Some(self.range(bytes.start + lead..bytes.start + line.trim_end().len()))
    }

    fn character_start(&self, byte: usize) -> usize {
        let mut byte = byte.min(self.text.len());
        while !self.text.is_char_boundary(byte) {
            byte -= 1;
        }
        byte
    }
}

fn utf16_length(text: &str) -> u32 {
    text.bytes().map(utf16_units).sum()
}

/// The UTF-16 units that a character adds, told from its first byte in UTF-8; 0 for the bytes that follow.
fn utf16_units(byte: u8) -> u32 {
    match byte {
        0x80..=0xbf => 0,
        0xf0..=0xff => 2,
        _ => 1,
    }
}
