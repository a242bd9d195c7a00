//! What holds for every text.

mod common;

use std::collections::BTreeSet;

use cloister_source::{Limits, SourceText, UnitKind, WindowOptions, analyse_source, visible, windows};
use common::{analyse, context, lines};
use proptest::prelude::*;
use proptest::sample::{Index, select};

const PYTHON: &str = r#"import os, sys
from flask import Flask, request as req

app = Flask(__name__)
LIMIT = 10

@app.route("/x", methods=["GET"])
def index(path: str = "a") -> str:
    query = f"select {req.args['q']!r:>{LIMIT}} from t"
    if query and not path or LIMIT > 3:
        with open(path) as file:
            return file.read()
    elif sys.argv:
        try:
            os.system("ls " + path)
        except (OSError, ValueError) as error:
            raise RuntimeError(error) from error
    return {"a": [x for x in query if x], "b": lambda y, z=1: y ** -z}

class Store(dict):
    timeout: int = 30

    async def fetch(self, url):
        async for part in self.session.get(url, timeout=self.timeout):
            yield part

    @property
    def size(self): return len(self); pass

match LIMIT:
    case [1, *rest] | {"k": rest}:
        print(rest)
    case _:
        del app
while True:
    break
"#;

/// Pieces of Python and of trouble.
fn fragment() -> impl Strategy<Value = String> {
    let pieces = vec![
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "'",
        "\"",
        "'''",
        "\"\"\"",
        "f'",
        "f'''{",
        "\\",
        "\n",
        "\r",
        "\r\n",
        "\t",
        "    ",
        "#",
        "# x\n",
        ":",
        ";",
        ",",
        ".",
        "=",
        "@",
        "*",
        "**",
        "->",
        ":=",
        "!",
        "lambda ",
        "def f(",
        "class A:",
        "if x:",
        "else:",
        "try:",
        "match x:",
        "case ",
        "async ",
        "await ",
        "yield ",
        "import ",
        "from . import *",
        "return",
        "not ",
        "print ",
        "0x",
        "1_000",
        "1e",
        "\0",
        "\u{feff}",
        "\u{202e}",
        "\u{fffd}",
        "é",
        "🙂",
        "\u{c}",
        "\u{2028}",
        "'doc'\n",
        "pass\n",
    ];
    prop_oneof![4 => select(pieces).prop_map(str::to_owned), 1 => "\\PC{0,12}"]
}

/// Python with fragments put in and parts taken out.
fn mutated() -> impl Strategy<Value = String> {
    prop::collection::vec((any::<Index>(), fragment(), 0..12_usize), 0..12).prop_map(|changes| {
        let mut text: Vec<char> = PYTHON.chars().collect();
        for (place, fragment, taken) in changes {
            let start = place.index(text.len() + 1);
            let end = (start + taken).min(text.len());
            text.splice(start..end, fragment.chars());
        }
        text.into_iter().collect()
    })
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| !character.is_alphanumeric() && character != '_').filter(|word| !word.is_empty())
}

/// Every unit is well formed, and every word of it stands on its line of the text.
fn check(text: &str) -> Result<(), TestCaseError> {
    let parsed = analyse_source(text, &Limits::default());
    let source = SourceText::new(text);
    let mut names = BTreeSet::new();
    for unit in &parsed.units {
        prop_assert!(names.insert(&unit.name), "two units are named {}", unit.name);
        prop_assert!(!unit.lines.is_empty() && unit.header <= unit.lines.len());
        prop_assert!(unit.bytes.end <= text.len() && text.get(unit.bytes.clone()).is_some());
        prop_assert_eq!(source.range(unit.bytes.clone()), unit.range);
        prop_assert!(unit.lines.windows(2).all(|pair| pair[0].number < pair[1].number));
        for line in &unit.lines {
            prop_assert!((unit.range.start.line..=unit.range.end.line).contains(&line.number));
            let original = source.line_text(line.number);
            prop_assert!(original.is_some(), "line {} is not in the text", line.number);
            let original = visible(original.unwrap_or_default());
            prop_assert!(!line.text.trim().is_empty() && !line.text.contains(['\n', '\r', '\t', '\0']));
            // On a line with errors, a definition that is taken out of the module may stand between halves of a word.
            if line.text.contains("...") || unit.kind == UnitKind::Module && !parsed.notices.is_empty() {
                continue;
            }
            for word in words(&line.text) {
                prop_assert!(word == "pass" || original.contains(word), "{word:?} is not on line {}", line.number);
            }
        }
        for context in &unit.context {
            let number = context.line.number;
            prop_assert!((1..=source.line_count()).contains(&number));
            prop_assert!(!context.line.text.contains(['\n', '\r', '\t', '\0']));
        }
        let cut = windows(unit, &|text| text.len(), &WindowOptions::new(120));
        prop_assert!(!cut.windows.is_empty() && cut.windows.iter().all(|window| !window.lines.is_empty()));
    }
    for range in parsed.notices.iter().filter_map(|notice| notice.range) {
        prop_assert!(range.start <= range.end && range.end.line <= source.line_count());
    }
    Ok(())
}

/// The units without their places in the file, which change when lines are added.
fn shown(text: &str) -> Vec<(String, Vec<String>)> {
    let strip = |line: &String| line.split_once(' ').map(|(_, code)| code.to_owned()).unwrap_or_default();
    let parsed = analyse(text);
    parsed
        .units
        .iter()
        .map(|unit| (unit.name.clone(), context(unit).iter().chain(&lines(unit)).map(strip).collect()))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn any_text_is_read(text in any::<String>()) {
        check(&text)?;
    }

    #[test]
    fn any_mixture_of_python_is_read(parts in prop::collection::vec(fragment(), 0..60)) {
        check(&parts.concat())?;
    }

    #[test]
    fn damaged_python_is_read(text in mutated()) {
        check(&text)?;
    }

    #[test]
    fn comments_change_nothing(
        remarks in prop::collection::vec("[ -~]{0,40}", PYTHON.lines().count()),
        own_line in prop::collection::vec(any::<bool>(), PYTHON.lines().count()),
    ) {
        let mut text = String::new();
        for ((line, remark), own_line) in PYTHON.lines().zip(&remarks).zip(&own_line) {
            if *own_line {
                text.push_str(&format!("{line}\n        # {remark}\n"));
            } else {
                text.push_str(&format!("{line}  # {remark}\n"));
            }
        }
        prop_assert_eq!(shown(&text), shown(PYTHON));
    }

    #[test]
    fn docstrings_change_nothing(remark in "[ -!#-Z_a-z\\n]{0,60}") {
        let text = PYTHON
            .replace("-> str:\n", &format!("-> str:\n    \"\"\"{remark}\"\"\"\n"))
            .replace("(dict):\n", &format!("(dict):\n    '{}'\n", remark.replace(['\n', '\''], " ")));
        let text = format!("\"\"\"{remark}\"\"\"\n{text}\nb'{}'\n", remark.replace(['\n', '\''], " "));
        prop_assert_eq!(shown(&text), shown(PYTHON));
    }

    #[test]
    fn the_width_of_blocks_changes_nothing(
        width in 1..12usize,
        tabs in any::<bool>(),
        inside in prop::collection::vec(0..30usize, PYTHON.lines().count()),
    ) {
        let mut text = String::new();
        for (line, inside) in PYTHON.lines().zip(&inside) {
            let code = line.trim_start();
            let levels = (line.len() - code.len()) / 4;
            let indent = if tabs { "\t".repeat(levels) } else { " ".repeat(levels * width) };
            // A bracket lets its lines stand where they will.
            let code = code.replace("x for x in query", &format!("x for x\n\n{}in query", " ".repeat(*inside)));
            text.push_str(&format!("{indent}{code}\n"));
        }
        let plain = PYTHON.replace("x for x in query", "x for x\n            in query");
        prop_assert_eq!(shown(&text), shown(&plain));
    }
}
