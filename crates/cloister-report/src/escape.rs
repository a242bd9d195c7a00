//! Making hostile text harmless.

use std::fmt::Write;

/// The text on one line, with every character that cannot be seen, or that moves the characters around it, written as
/// `\uXXXX` (or `\UXXXXXXXX`), and every tab as four spaces. A terminal finds no command in it.
pub(crate) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        let code = u32::from(character);
        // Writing to a String cannot fail.
        let _ = match character {
            '\t' => shown.write_str("    "),
            _ if !is_hidden(character) => shown.write_char(character),
            _ if code > 0xffff => write!(shown, "\\U{code:08x}"),
            _ => write!(shown, "\\u{code:04x}"),
        };
    }
    shown
}

/// Control and format characters, line and paragraph separators, fillers and variation selectors.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e01ef}'
        )
}

/// A paragraph on one line: white space as single spaces, the rest as by [`visible`].
pub(crate) fn paragraph(text: &str) -> String {
    visible(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// A paragraph that Markdown shows as it stands: no markup, no HTML, no links, no mentions.
pub(crate) fn markdown(text: &str) -> String {
    let text = paragraph(text);
    let mut escaped = String::with_capacity(text.len());
    // What makes a list or a heading does so only at the start.
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let marker =
        if text[digits..].starts_with(['.', ')']) || text.starts_with(['+', '-', '=']) { digits } else { usize::MAX };
    for (byte, character) in text.char_indices() {
        // `http://` and `www.` become links without any markup.
        let links =
            text[byte..].starts_with("://") || (character == '.' && text[..byte].to_ascii_lowercase().ends_with("www"));
        if byte == marker || links || "\\`*_{}[]<>&#|~!$@".contains(character) {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

/// A code span that holds the text, whatever it is.
pub(crate) fn code_span(text: &str) -> String {
    let text = visible(text);
    let fence = "`".repeat(longest_backticks(&text) + 1);
    // Markdown takes one space off both ends; without them backticks at the ends would belong to the fence.
    let pad = if text.starts_with(['`', ' ']) || text.ends_with(['`', ' ']) || text.is_empty() { " " } else { "" };
    format!("{fence}{pad}{text}{pad}{fence}")
}

/// The fence of a code block that holds the text.
pub(crate) fn fence(text: &str) -> String {
    "`".repeat((longest_backticks(text) + 1).max(3))
}

fn longest_backticks(text: &str) -> usize {
    text.split(|character| character != '`').map(str::len).max().unwrap_or(0)
}

/// Whether the text is an address on the web with nothing in it that could end it early.
pub(crate) fn is_web_address(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        !rest.is_empty()
            && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:/?#@!$&'*+,;=%".contains(&byte))
    })
}

/// A file's name as a URI reference: a relative one stays relative.
pub(crate) fn uri(name: &str) -> String {
    let mut uri = String::with_capacity(name.len());
    let bytes = name.as_bytes();
    let has_drive = bytes.len() > 2 && bytes[0].is_ascii_alphabetic() && &bytes[1..3] == b":/";
    if has_drive {
        uri.push_str("file:///");
    } else if name.starts_with('/') {
        uri.push_str("file://");
    }
    for (index, &byte) in bytes.iter().enumerate() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) || (has_drive && index == 1) {
            uri.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_are_shown() {
        assert_eq!(visible("a\u{1b}[31m\tb\u{202e}c\u{e0041}\n"), "a\\u001b[31m    b\\u202ec\\U000e0041\\u000a");
        assert_eq!(visible("naïve 😀"), "naïve 😀");
        assert_eq!(paragraph("  one\n\ttwo  "), "one two");
    }

    #[test]
    fn markdown_does_not_act() {
        assert_eq!(markdown("<img src=x> [a](b) *c* `d`"), "\\<img src=x\\> \\[a\\](b) \\*c\\* \\`d\\`");
        assert_eq!(markdown("see https://x.y, WWW.x.y, me@x.y"), "see https\\://x.y, WWW\\.x.y, me\\@x.y");
        assert_eq!(markdown("- item"), "\\- item");
        assert_eq!(markdown("1. item"), "1\\. item");
        assert_eq!(markdown("# head"), "\\# head");
        assert_eq!(markdown("CWE-89, 3.5"), "CWE-89, 3.5");
    }

    #[test]
    fn code_stays_in_its_span() {
        assert_eq!(code_span("a"), "`a`");
        assert_eq!(code_span("a``b"), "```a``b```");
        assert_eq!(code_span("`a"), "`` `a ``");
        assert_eq!(code_span("a\n# b"), "`a\\u000a# b`");
        assert_eq!(fence("x ```` y"), "`````");
        assert_eq!(fence("x"), "```");
    }

    #[test]
    fn names_become_uris() {
        assert_eq!(uri("src/a b.py"), "src/a%20b.py");
        assert_eq!(uri("/home/ü.py"), "file:///home/%C3%BC.py");
        assert_eq!(uri("C:/a.py"), "file:///C:/a.py");
        assert_eq!(uri("javascript:x"), "javascript%3Ax");
    }

    #[test]
    fn only_web_addresses_are_links() {
        assert!(is_web_address("https://cwe.mitre.org/data/definitions/89.html"));
        for text in ["javascript:alert(1)", "https://", "https://a b", "https://a>b", "HTTPS//a"] {
            assert!(!is_web_address(text), "{text}");
        }
    }
}
