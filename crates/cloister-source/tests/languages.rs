//! What is Python, what is not, and what is broken Python.

mod common;

use cloister_source::NoticeKind;
use common::{analyse, kinds, lines, names, unit};

const PROSE: &str = "Dear all,\n\nplease find the report for the last quarter attached. We didn't meet every goal, but\n\
the numbers are better than in spring (see page 3).\n\nIf you have questions: ask me.\nKind regards\n";
const JSON: &str = "{\n  \"name\": \"x\",\n  \"list\": [1, 2.5, true, null],\n  \"nested\": {\"a\": \"b\"}\n}\n";
const HTML: &str = "<!doctype html>\n<html>\n<head><title>A page</title>\n<script>run(1);</script></head>\n\
<body class=\"x\"><p>Some text, isn't it?</p>\n</body>\n</html>\n";
const CSV: &str = "id,name,total\n1,apple,2.5\n2,pear,3.75\n";
const JAVASCRIPT: &str = "const fs = require('fs');\nimport http from 'http';\n\nfunction read(path) {\n  console.log(path);\n\
  return fs.readFileSync(path);\n}\n\nclass Server {\n  constructor(port) {\n    this.port = port;\n  }\n}\nread('x');\n";
const JAVA: &str = "package org.example;\n\nimport java.util.List;\nimport java.io.File;\n\npublic class Main {\n\
    public static void main(String[] args) {\n        List<String> names = List.of(args);\n\
        for (String name : names) {\n            System.out.println(name);\n        }\n    }\n}\n";
const C: &str = "#include <stdio.h>\n#include <string.h>\n\nint main(int argc, char **argv) {\n    char buffer[16];\n\
    strcpy(buffer, argv[1]);\n    printf(\"%s\\n\", buffer);\n    return 0;\n}\n";
const GO: &str = "package main\n\nimport \"fmt\"\n\nfunc main() {\n\tname := \"x\"\n\tfmt.Println(name)\n}\n";
const RUST: &str = "use std::fs;\n\nfn main() -> Result<(), Error> {\n    let text = fs::read_to_string(\"x\")?;\n\
    println!(\"{text}\");\n    Ok(())\n}\n";
const RUBY: &str = "require 'json'\n\nclass Thing < Base\n  def read(path)\n    File.open(path) do |file|\n\
      puts file.read\n    end\n  end\nend\n";
const SHELL: &str = "#!/bin/sh\nset -e\nfor f in *.txt; do\n  echo \"$f\" | grep -q x && rm \"$f\"\ndone\nexport A=b\n";
const SQL: &str = "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT);\nINSERT INTO users VALUES (1, 'x');\n\
SELECT name FROM users WHERE id = 1;\n";
const YAML: &str = "name: test\non:\n  push:\n    branches: [main]\njobs:\n  - run: make all\n  - run: make test\n";
const INI: &str = "[section]\nkey = some value here\nother = another value\n\n[next]\npath = /usr/local/bin\n";

#[test]
fn other_languages_and_prose_are_told() {
    let samples = [
        ("prose", PROSE),
        ("JSON", JSON),
        ("HTML", HTML),
        ("CSV", CSV),
        ("JavaScript", JAVASCRIPT),
        ("Java", JAVA),
        ("C", C),
        ("Go", GO),
        ("Rust", RUST),
        ("Ruby", RUBY),
        ("shell", SHELL),
        ("SQL", SQL),
        ("YAML", YAML),
        ("INI", INI),
        ("a word", "hello"),
        ("a number", "42\n"),
        ("a URL", "https://example.org/path?x=1"),
    ];
    for (name, text) in samples {
        let parsed = analyse(text);
        assert_eq!(kinds(&parsed), [NoticeKind::NotPython], "{name}: {:?} {:?}", names(&parsed), parsed.notices);
        assert!(parsed.units.is_empty(), "{name}");
    }
}

#[test]
fn the_message_names_what_it_looks_like() {
    assert!(analyse(HTML).notices[0].message.contains("HTML"));
    assert!(analyse(JSON).notices[0].message.contains("JSON"));
    assert!(analyse("hello").notices[0].message.contains("no Python statement"));
}

#[test]
fn binary_data_is_told() {
    let binary: String = (0..4_000_u32).map(|index| char::from(u8::try_from(index * 7 % 256).unwrap())).collect();
    assert_eq!(kinds(&analyse(&binary)), [NoticeKind::NotPython]);
    assert_eq!(kinds(&analyse(&"\0".repeat(100))), [NoticeKind::NotPython]);
}

#[test]
fn short_python_is_python() {
    for text in [
        "os.system(cmd)",
        "eval(input())\n",
        "x = 1",
        "password = 'hunter2'\n",
        "cursor.execute('select ' + x);\n",
        "import os; os.system(x)",
        "for x in y: print(x)\n",
        "return os.popen(x)\n",
        "await run(x)\n",
        "with open(x) as f:\n    f.read()\n",
        "assert user.is_admin\n",
    ] {
        let parsed = analyse(text);
        assert!(!kinds(&parsed).contains(&NoticeKind::NotPython), "{text}: {:?}", parsed.notices);
        assert_eq!(parsed.units.len(), 1, "{text}");
    }
}

#[test]
fn python_2_is_read_as_far_as_it_goes() {
    let text = "import os\nprint \"start\"\n\ndef run(cmd):\n    print \"running %s\" % cmd\n    exec \"x = 1\"\n    try:\n\
        \x20       os.system(cmd)\n    except OSError, e:\n        raise Failed, e\n";
    let parsed = analyse(text);
    assert_eq!(kinds(&parsed), [NoticeKind::SyntaxError], "{:?}", parsed.notices);
    assert!(parsed.notices[0].message.contains("Python 2"));
    let run = lines(unit(&parsed, "run"));
    // The strings belong to the statements: they are not taken for docstrings.
    assert_eq!(run[1], "5     print \"running %s\" % cmd");
    assert_eq!(run[2], "6     exec \"x = 1\"");
    assert_eq!(run.len(), 7);
}

#[test]
fn a_script_of_prints_is_python_2_and_not_prose() {
    let parsed = analyse("name = raw_input()\nprint \"hello\"\nprint name\nprint \"done\"\n");
    assert_eq!(kinds(&parsed), [NoticeKind::SyntaxError]);
    assert_eq!(parsed.units.len(), 1);
}

#[test]
fn broken_code_gives_notices_and_the_units_that_could_be_read() {
    let text = "def good(x):\n    return eval(x)\n\ndef bad(x):\n    return x +\n\ndef also_good(y):\n    return y\n";
    let parsed = analyse(text);
    assert!(names(&parsed).contains(&"good") && names(&parsed).contains(&"also_good"), "{:?}", names(&parsed));
    assert!(kinds(&parsed).iter().all(|kind| *kind == NoticeKind::SyntaxError));
    let first = &parsed.notices[0];
    assert_eq!(first.range.map(|range| range.start.line), Some(5));
    assert!(first.message.starts_with("Line 5: "), "{}", first.message);
}

#[test]
fn only_the_first_errors_are_named() {
    let text = format!("def f():\n    return 1\n{}", "x = = 1\n".repeat(20));
    let parsed = analyse(&text);
    assert_eq!(parsed.notices.len(), 6);
    assert!(parsed.notices[5].message.contains("15 more"), "{}", parsed.notices[5].message);
}

#[test]
fn a_document_with_a_function_in_it_is_checked() {
    let text = format!("# A heading\n\n{PROSE}\n```python\ndef f(x):\n    return eval(x)\n```\n");
    assert!(names(&analyse(&text)).contains(&"f"));
}

#[test]
fn empty_texts_are_told() {
    for text in
        ["", "   \n\t\n", "\u{feff}", "# only a comment\n", "import os\n", "'''only documentation'''\n", "pass\n"]
    {
        let parsed = analyse(text);
        assert_eq!(kinds(&parsed), [NoticeKind::Empty], "{text:?}");
        assert!(parsed.units.is_empty());
    }
}
