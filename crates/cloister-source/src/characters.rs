//! Characters that hide something: shown as escapes to the model and to the user, and told by notices.

use std::fmt::Write;

use crate::notice::{Notice, NoticeKind};
use crate::text::SourceText;

/// The text with every character that cannot be seen, or that moves the characters around it, written as `\uXXXX` (or
/// `\UXXXXXXXX`), and every tab as four spaces. Line ends count as characters that cannot be seen: pass one line.
pub fn visible(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    for character in line.chars() {
        match character {
            '\t' => shown.push_str("    "),
            // White space to Python, and of no meaning.
            '\u{c}' => shown.push(' '),
            _ if is_hidden(character) => push_escape(&mut shown, character),
            _ => shown.push(character),
        }
    }
    shown
}

fn push_escape(shown: &mut String, character: char) {
    let code = u32::from(character);
    // Writing to a String cannot fail.
    let _ = if code > 0xffff { write!(shown, "\\U{code:08x}") } else { write!(shown, "\\u{code:04x}") };
}

fn is_hidden(character: char) -> bool {
    is_control(character) || is_bidi(character) || is_invisible(character)
}

fn is_control(character: char) -> bool {
    character.is_control() && !matches!(character, '\t' | '\n' | '\r' | '\u{c}')
        || matches!(character, '\n' | '\r' | '\u{2028}' | '\u{2029}')
}

fn is_bidi(character: char) -> bool {
    matches!(
        character,
        '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

fn is_zero_width(character: char) -> bool {
    matches!(
        character,
        '\u{00ad}' | '\u{180e}' | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    )
}

fn is_invisible(character: char) -> bool {
    is_zero_width(character)
        || matches!(character, '\u{034f}' | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}')
        || matches!(character, '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
}

/// One notice for each kind of character that the user should know of, at its first place.
pub(crate) fn notices(source: &SourceText<'_>, text: &str) -> Vec<Notice> {
    let mut control = Seen::default();
    let mut bidi = Seen::default();
    let mut undecoded = Seen::default();
    for (byte, character) in text.char_indices() {
        if character.is_ascii() && !character.is_ascii_control() {
            continue;
        }
        match character {
            '\t' | '\n' | '\r' | '\u{c}' => {}
            // At the start of a file it is a mark of the encoding.
            '\u{feff}' if byte == 0 => {}
            '\u{fffd}' => undecoded.add(byte),
            _ if is_control(character) => control.add(byte),
            _ if is_bidi(character) => bidi.add(byte),
            // Joins the parts of an emoji: hidden there by right.
            '\u{200d}' if text[..byte].chars().next_back().is_some_and(|before| u32::from(before) > 0x2000) => {}
            _ if is_zero_width(character) => bidi.add(byte),
            _ => {}
        }
    }
    let mut notices = Vec::new();
    control.report(&mut notices, source, NoticeKind::ControlCharacters, |count| {
        format!("The text holds {count}: they are shown as escapes. Remove them unless they are meant.")
    });
    bidi.report(&mut notices, source, NoticeKind::BidiCharacters, |count| {
        format!(
            "The text holds {count} that cannot be seen or that change its direction, so it may read differently from \
             what Python runs: they are shown as escapes. Remove them unless they are meant."
        )
    });
    undecoded.report(&mut notices, source, NoticeKind::LoneSurrogate, |count| {
        format!("The text holds {count} that could not be decoded (U+FFFD): check the file's encoding.")
    });
    notices
}

#[derive(Default)]
struct Seen {
    count: usize,
    first: usize,
}

impl Seen {
    fn add(&mut self, byte: usize) {
        if self.count == 0 {
            self.first = byte;
        }
        self.count += 1;
    }

    fn report(
        &self,
        notices: &mut Vec<Notice>,
        source: &SourceText<'_>,
        kind: NoticeKind,
        message: impl Fn(&str) -> String,
    ) {
        let noun = match (kind, self.count) {
            (_, 0) => return,
            (NoticeKind::ControlCharacters, 1) => "1 control character".to_owned(),
            (NoticeKind::ControlCharacters, count) => format!("{count} control characters"),
            (_, 1) => "1 character".to_owned(),
            (_, count) => format!("{count} characters"),
        };
        let width = source.text()[self.first..].chars().next().map_or(0, char::len_utf8);
        notices.push(Notice::new(kind, message(&noun), Some(source.range(self.first..self.first + width))));
    }
}
