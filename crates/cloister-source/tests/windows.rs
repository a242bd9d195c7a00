//! Windows that fit the model's context.

mod common;

use std::collections::BTreeSet;

use cloister_source::{Window, WindowOptions, windows};
use common::{analyse, unit};
use proptest::prelude::*;

/// Counts words and marks, roughly as a tokenizer does.
fn count(text: &str) -> usize {
    text.split_inclusive(|character: char| !character.is_alphanumeric()).count()
}

fn numbers(window: &Window) -> Vec<u32> {
    window.lines.iter().map(|line| line.number).collect()
}

fn long_function(lines: usize) -> String {
    let body: String = (0..lines).map(|line| format!("    step_{line}(os.path, sys.argv)\n")).collect();
    format!("import os\nimport sys\nimport re\n@route\ndef long(x):\n    re.compile(x)\n{body}    return LIMIT\n")
}

#[test]
fn a_unit_that_fits_stays_whole() {
    let parsed = analyse("import os\ndef f(x):\n    return os.popen(x)\n");
    let cut = windows(unit(&parsed, "f"), &count, &WindowOptions::new(100));
    assert_eq!((cut.windows.len(), cut.left_out_from), (1, None));
    let rendered = cut.windows[0].render();
    assert_eq!(rendered.text, "import os\ndef f(x):\n    return os.popen(x)\n");
    let places: Vec<_> = rendered.lines.iter().map(|line| (line.number, line.is_context)).collect();
    assert_eq!(places, [(1, true), (2, false), (3, false)]);
}

#[test]
fn the_context_goes_before_the_code_is_cut() {
    let text = "from a import name\nTABLE = call(1, 2, 3, 4, 5, 6, 7, 8, 9)\ndef f(x):\n    return TABLE, name, x\n";
    let parsed = analyse(text);
    let f = unit(&parsed, "f");
    let code: usize = f.lines.iter().map(|line| count(&format!("{}\n", line.text))).sum();
    let cut = windows(f, &count, &WindowOptions::new(code + 6));
    assert_eq!(cut.windows.len(), 1);
    assert_eq!(cut.windows[0].lines, f.lines);
    // The long global went, the import stayed.
    assert_eq!(cut.windows[0].render().text.lines().next(), Some("from a import name"));
}

#[test]
fn a_long_unit_is_cut_into_overlapping_windows_under_its_header() {
    let text = long_function(300);
    let parsed = analyse(&text);
    let long = unit(&parsed, "long");
    let cut = windows(long, &count, &WindowOptions::new(200));
    assert!(cut.windows.len() > 5 && cut.left_out_from.is_none());
    for pair in cut.windows.windows(2) {
        let (first, second) = (numbers(&pair[0]), numbers(&pair[1]));
        assert_eq!(second[..2], [4, 5], "the decorator and the def");
        let overlap = first.iter().filter(|number| **number > 5 && second.contains(number)).count();
        assert!(overlap >= 1 && overlap * 2 < first.len(), "{overlap} of {}", first.len());
    }
    // Each window has the imports of its own lines only.
    assert!(cut.windows[0].render().text.contains("import re\n"));
    let second = cut.windows[1].render().text;
    assert!(second.starts_with("import os\nimport sys\n@route\ndef long(x):\n"), "{second}");
}

#[test]
fn there_are_not_more_windows_than_asked_for() {
    let text = long_function(5_000);
    let parsed = analyse(&text);
    let long = unit(&parsed, "long");
    let cut = windows(long, &count, &WindowOptions { budget: 200, max_windows: 3 });
    assert_eq!(cut.windows.len(), 3);
    let last = numbers(&cut.windows[2]).last().copied().unwrap();
    assert_eq!(cut.left_out_from, Some(last + 1));
    let cut = windows(long, &count, &WindowOptions::new(200));
    assert_eq!(cut.windows.len(), 64);
}

#[test]
fn a_line_that_does_not_fit_is_shortened() {
    let parsed = analyse(&format!("def f(x):\n    run('{}')\n    return x\n", "a b ".repeat(90)));
    let cut = windows(unit(&parsed, "f"), &count, &WindowOptions::new(40));
    assert!(cut.windows.iter().all(|window| count(&window.render().text) <= 40));
    assert!(cut.windows[0].render().text.contains("..."));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn windows_keep_to_the_budget_and_cover_the_unit(
        lines in 1..400_usize,
        budget in 60..400_usize,
        width in 1..12_usize,
    ) {
        let body: String = (0..lines)
            .map(|line| format!("    call_{line}({})\n", "a.b, ".repeat(line * 7 % width)))
            .collect();
        let text = format!("import a\n@deco(\n    1)\ndef f(x):\n{body}");
        let parsed = analyse(&text);
        let f = unit(&parsed, "f");
        let cut = windows(f, &count, &WindowOptions { budget, max_windows: usize::MAX });
        prop_assert_eq!(cut.left_out_from, None);
        let mut seen = BTreeSet::new();
        for window in &cut.windows {
            prop_assert!(count(&window.render().text) <= budget);
            prop_assert!(!window.lines.is_empty());
            seen.extend(numbers(window));
        }
        prop_assert_eq!(seen, f.lines.iter().map(|line| line.number).collect::<BTreeSet<_>>());
    }
}
