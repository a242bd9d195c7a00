//! Texts made to hurt: each gives an answer within bounds.

mod common;

use std::fmt::Write;
use std::time::{Duration, Instant};

use cloister_source::{Limits, NoticeKind, analyse_source, visible};
use common::{analyse, context, kinds, lines, names, unit};

const AFTER: &str = "\ndef after(x):\n    return eval(x)\n";

/// Left out with a notice, and the function after it is read.
fn assert_left_out(name: &str, text: &str) {
    let parsed = analyse(&format!("{text}{AFTER}"));
    assert!(kinds(&parsed).contains(&NoticeKind::Truncated), "{name}: {:?}", parsed.notices);
    assert!(names(&parsed).contains(&"after"), "{name}: {:?}", parsed.notices);
}

#[test]
fn what_nests_too_deeply_is_left_out() {
    let n = 20_000;
    assert_left_out("brackets", &format!("x = {}1{}", "(".repeat(n), ")".repeat(n)));
    assert_left_out("mixed brackets", &format!("x = {}1{}", "{1:[(".repeat(n), ")]}".repeat(n)));
    assert_left_out("sums", &format!("x = {}1", "a + ".repeat(n)));
    assert_left_out("attributes", &format!("x = a{}", ".b".repeat(n)));
    assert_left_out("calls", &format!("x = f{}", "(1)".repeat(n)));
    assert_left_out("not", &format!("x = {}1", "not ".repeat(n)));
    assert_left_out("signs", &format!("x = {}1", "-+~".repeat(n)));
    assert_left_out("lambdas", &format!("x = {}1", "lambda a, b: ".repeat(n)));
    assert_left_out("conditions", &format!("x = {}1", "a if b else ".repeat(n)));
    assert_left_out("powers", &format!("x = {}1", "a ** ".repeat(n)));
    assert_left_out("async", &format!("{}x", "async ".repeat(n)));
    assert_left_out("f-strings", &(0..300).fold("1".to_owned(), |inner, _| format!("f'{{{inner}}}'")));
    assert_left_out("subscripts", &format!("def f(a: {}int{}): pass", "list[".repeat(n), "]".repeat(n)));
}

#[test]
fn deep_blocks_are_left_out_and_the_code_around_them_stays() {
    let mut text = "def deep(x):\n".to_owned();
    for depth in 1..2_000 {
        writeln!(text, "{}if x:", " ".repeat(depth)).unwrap();
    }
    let parsed = analyse(&format!("{text}{}run(x)\n{AFTER}", " ".repeat(2_000)));
    assert_eq!(kinds(&parsed), [NoticeKind::Truncated], "{:?}", parsed.notices);
    assert_eq!(names(&parsed), ["deep", "after"]);
    let deep = unit(&parsed, "deep");
    assert!((101..=105).contains(&deep.lines.len()), "{} lines", deep.lines.len());
    assert_eq!(deep.lines.last().map(|line| line.text.trim()), Some("pass"));
}

#[test]
fn unclosed_brackets_do_not_hide_the_depth() {
    let mut text = "x = f(\n".to_owned();
    for depth in 0..2_000 {
        writeln!(text, "{}while x:", " ".repeat(depth)).unwrap();
    }
    analyse(&text);
    for opener in ["(", "[", "{", "(\n", "f'{", "f'{x:{", "'''", "f'''{", "x = (\n", "def f(x\n", "lambda x=("] {
        analyse(&opener.repeat(20_000));
    }
}

#[test]
fn ordinary_nesting_is_kept() {
    let brackets = format!("x = {}1{}\n", "(".repeat(199), ")".repeat(199));
    let sum = format!("y = {}1\n", "a + ".repeat(1_500));
    let table: String =
        (0..5_000).map(|key| format!("    '{key}': (lambda a, b: -a.b[{key}].c(not b), [not x]),\n")).collect();
    let parsed = analyse(&format!("{brackets}{sum}TABLE = {{\n{table}}}\n"));
    assert!(parsed.notices.is_empty(), "{:?}", parsed.notices);
    let mut blocks = String::new();
    for depth in 0..90 {
        writeln!(blocks, "{}if x:", " ".repeat(depth)).unwrap();
    }
    let parsed = analyse(&format!("{blocks}{}f((1, (2, (3))))\n", " ".repeat(90)));
    assert!(parsed.notices.is_empty(), "{:?}", parsed.notices);
}

#[test]
fn a_megabyte_is_read_in_reasonable_time() {
    // An unoptimised build reads an eighth of it.
    let of = |count: usize| if cfg!(debug_assertions) { count / 8 } else { count };
    let texts = [
        "def f(x):\n    return os.path.join(x, 'a')\n".repeat(of(24_000)),
        format!("def f(x):\n{}", "    y = os.path.join(x, 'a')\n".repeat(of(36_000))),
        format!("x = '{}'\ny = f(1)\n", "a".repeat(of(1_000_000))),
        "x = f(1); ".repeat(of(100_000)),
        "g = f(1)\ndef h(x):\n    return g\n".repeat(of(30_000)),
        format!("class C:\n{}", "  a = 1\n  def f(self):\n    return self.a\n".repeat(of(25_000))),
        ":".repeat(of(1_000_000)),
        "x = = 1\n".repeat(of(125_000)),
        "'a';".repeat(of(250_000)),
        "\n".repeat(of(1_000_000)),
        "@a\n".repeat(of(300_000)),
        format!("TABLE = [{}]\n{}", "1, ".repeat(of(200_000)), "def f(): return TABLE\n".repeat(of(20_000))),
    ];
    for text in texts {
        let started = Instant::now();
        analyse(&text);
        let took = started.elapsed();
        // Generous, for a busy machine: this is to notice work that grows with the square of the text.
        assert!(took < Duration::from_secs(120), "{} …: {took:?}", &text[..30]);
    }
}

#[test]
fn too_long_a_text_is_cut_after_a_whole_line() {
    let text = "x = f(1)\n".repeat(1_000);
    let parsed = analyse_source(&text, &Limits { max_bytes: 100, ..Limits::default() });
    assert_eq!(kinds(&parsed), [NoticeKind::Truncated]);
    assert_eq!(parsed.units[0].lines.len(), 11);
    let range = parsed.notices[0].range.unwrap();
    assert_eq!((range.start.line, range.start.utf16, range.end.utf16), (12, 99, 9_000));
    // A single line is cut inside, at a character.
    let parsed = analyse_source(&format!("x = '{}'", "é".repeat(100)), &Limits { max_bytes: 50, ..Limits::default() });
    assert_eq!(kinds(&parsed)[0], NoticeKind::Truncated);
}

#[test]
fn too_many_units_are_cut() {
    let text = "def f(): return 1\n".repeat(10);
    let parsed = analyse_source(&text, &Limits { max_units: 3, ..Limits::default() });
    assert_eq!(names(&parsed), ["f", "f (2)", "f (3)"]);
    assert_eq!(kinds(&parsed), [NoticeKind::Truncated]);
}

#[test]
fn nuls_do_not_end_the_text() {
    let parsed = analyse("x = f('a\0b')\ny\0 = f(2)\n");
    assert_eq!(kinds(&parsed), [NoticeKind::ControlCharacters], "{:?}", parsed.notices);
    assert_eq!(lines(&parsed.units[0]), ["1 x = f('a\\u0000b')", "2 y\\u0000 = f(2)"]);
}

#[test]
fn hidden_characters_are_shown_and_told() {
    let text =
        "def f(user):\n    if user != 'admin\u{202e} \u{2066}# check\u{2069}':\n        return 'a\u{200b}b\u{1b}[0m'\n";
    let parsed = analyse(text);
    assert_eq!(kinds(&parsed), [NoticeKind::ControlCharacters, NoticeKind::BidiCharacters]);
    let range = parsed.notices[1].range.unwrap();
    assert_eq!((range.start.line, range.start.column, range.end.column), (2, 22, 23));
    let shown = lines(&parsed.units[0]);
    assert_eq!(shown[1], "2     if user != 'admin\\u202e \\u2066# check\\u2069':");
    assert_eq!(shown[2], "3         return 'a\\u200bb\\u001b[0m'");
}

#[test]
fn undecodable_characters_are_told() {
    let parsed = analyse("x = f('\u{fffd}')\n");
    assert_eq!(kinds(&parsed), [NoticeKind::LoneSurrogate]);
    assert_eq!(lines(&parsed.units[0]), ["1 x = f('\u{fffd}')"]);
}

#[test]
fn ordinary_letters_and_emoji_are_left_alone() {
    let parsed = analyse("größe = f('日本語 🙂 👩\u{200d}💻 ❤\u{fe0f}')\n");
    assert!(parsed.notices.is_empty(), "{:?}", parsed.notices);
}

#[test]
fn a_byte_order_mark_and_form_feeds_are_white_space() {
    let parsed = analyse("\u{feff}import os\n\u{c}\ndef f(x):\n    return os.popen(x)\n");
    assert!(parsed.notices.is_empty(), "{:?}", parsed.notices);
    assert_eq!(names(&parsed), ["f"]);
    assert_eq!(context(&parsed.units[0]), ["1 import os"]);
    let parsed = analyse("\u{feff}x = f(1)\n");
    assert_eq!(lines(&parsed.units[0]), ["1 x = f(1)"]);
    // Elsewhere a mark is an error and is told.
    assert!(kinds(&analyse("x = f(1)\n\u{feff}y = f(2)\n")).contains(&NoticeKind::BidiCharacters));
}

#[test]
fn visible_escapes_what_cannot_be_seen() {
    assert_eq!(visible("a\tb"), "a    b");
    assert_eq!(visible("\u{7f}\u{85}\u{2028}\u{e0041}\u{feff}\n"), "\\u007f\\u0085\\u2028\\U000e0041\\ufeff\\u000a");
    assert_eq!(visible("plain é 🙂"), "plain é 🙂");
}
