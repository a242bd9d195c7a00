//! Every format against its expected text in `snapshots/`. `UPDATE_SNAPSHOTS=1` writes them anew: read the difference.

#![allow(clippy::unwrap_used)]

use cloister_report::{
    Analysis, ClassProbability, Finding, Format, ModelInfo, Notice, NoticeKind, Position, Range, ReportError, Severity,
    SourceFile, UnitInfo, UnitKind, UnitVerdict, render,
};
use serde_json::{Value, json};
use std::path::Path;

const APP: &str = "\
import sqlite3

def fetch(db, name):
    cur = db.cursor()
    cur.execute(\"SELECT * FROM t WHERE n = '😀%s'\" % name)
    rows = cur.fetchall()

    db.execute(f\"DELETE FROM {name}\")
    return rows
";

/// Text that tries to act in every format.
const HOSTILE: &str =
    "class A:\r\n\tdef b(self): # ``` \u{202e}</script>\u{1b}[2J\r\n\t\treturn eval(self.x) # ````\r\n";

fn files() -> Vec<SourceFile> {
    let file = |name: &str, text: &str| SourceFile { name: name.into(), text: text.into() };
    vec![file("src/app.py", APP), file("a b<img>\u{202e}`[x](y)`.py", HOSTILE), file("empty.py", "")]
}

/// The place of a line and column of the text, with its offset counted.
fn position(text: &str, line: u32, column: u32) -> Position {
    let ahead: String = text.split_inclusive('\n').take(line as usize - 1).collect();
    Position { line, column, utf16: ahead.encode_utf16().count() as u32 + column - 1 }
}

fn range(text: &str, start: (u32, u32), end: (u32, u32)) -> Range {
    Range { start: position(text, start.0, start.1), end: position(text, end.0, end.1) }
}

fn analysis() -> Analysis {
    let files = files();
    let fetch = UnitInfo { name: "fetch".into(), kind: UnitKind::Function, range: range(APP, (3, 1), (9, 16)) };
    let method = UnitInfo { name: "A.b".into(), kind: UnitKind::Method, range: range(HOSTILE, (2, 2), (3, 31)) };
    let injection = Finding {
        id: "0011223344556677".into(),
        file: files[0].name.clone(),
        cwe: "CWE-89".into(),
        name: "SQL injection".into(),
        severity: Severity::High,
        confidence: 0.8742,
        unit: fetch.clone(),
        range: range(APP, (4, 5), (5, 62)),
        lines: vec![4, 5, 8],
        problem:
            "The statement is put together from text that a user may choose, such as `name` in f\"{name}\", so the \
                  user can change what it does."
                .into(),
        remedy: "Pass the values apart from the statement, as parameters: execute(sql, [name]).".into(),
        links: vec!["https://cwe.mitre.org/data/definitions/89.html".into()],
    };
    let eval = Finding {
        id: "8899aabbccddeeff".into(),
        file: files[1].name.clone(),
        cwe: "CWE-95".into(),
        name: "Eval injection".into(),
        severity: Severity::Critical,
        confidence: 0.9996,
        unit: method.clone(),
        range: range(HOSTILE, (3, 3), (3, 29)),
        lines: vec![3],
        problem: "Text that a user may choose is run as <b>code</b>.".into(),
        remedy: "1. Do not use eval.".into(),
        links: vec!["javascript:alert(1)".into(), "https://cwe.mitre.org/data/definitions/95.html".into()],
    };
    let top = |cwe: &str, probability| vec![ClassProbability { cwe: cwe.into(), probability }];
    let verdict =
        |file: usize, unit, safe, top, cached| UnitVerdict { file: files[file].name.clone(), unit, safe, top, cached };
    let notice = |file: usize, kind, message: &str, range| Notice {
        file: files[file].name.clone(),
        kind,
        message: message.into(),
        range,
    };
    Analysis {
        findings: vec![injection, eval],
        units: vec![
            verdict(0, fetch, 0.1258, top("CWE-89", 0.75), false),
            verdict(1, method, 0.0004, top("CWE-95", 0.9375), true),
        ],
        notices: vec![
            notice(
                1,
                NoticeKind::BidiCharacters,
                "The text holds [1] *hidden* character.",
                Some(range(HOSTILE, (2, 22), (2, 23))),
            ),
            notice(2, NoticeKind::Empty, "There is no code here.", None),
        ],
        cancelled: false,
        millis: 12.5,
        tokens: 321,
        units_run: 1,
        units_cached: 1,
    }
}

fn model() -> ModelInfo {
    ModelInfo { id: "cloister-small".into(), hash: "ab".repeat(32) }
}

fn rendered(format: Format) -> String {
    render(&analysis(), &files(), &model(), format).unwrap()
}

fn check(format: Format, file: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(file);
    // A new version alone changes no expectation.
    let got = rendered(format).replace(env!("CARGO_PKG_VERSION"), "{VERSION}");
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, &got).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert!(got == expected, "{file} differs; what was written:\n{got}");
}

#[test]
fn sarif_is_as_expected() {
    check(Format::Sarif, "report.sarif");
}

#[test]
fn json_is_as_expected() {
    check(Format::Json, "report.json");
}

#[test]
fn markdown_is_as_expected() {
    check(Format::Markdown, "report.md");
}

#[test]
fn text_is_as_expected() {
    check(Format::Text, "report.txt");
}

#[test]
fn no_format_for_people_lets_hidden_characters_through() {
    for format in [Format::Markdown, Format::Text] {
        let text = rendered(format);
        assert!(!text.contains(['\u{1b}', '\u{202e}', '\r', '\t']), "{format}");
    }
}

#[test]
fn json_reads_back_as_the_analysis() {
    let report: Value = serde_json::from_str(&rendered(Format::Json)).unwrap();
    assert_eq!(report["schemaVersion"], 1);
    assert_eq!(report["files"].as_array().unwrap().len(), 3);
    assert_eq!(serde_json::from_value::<Analysis>(report).unwrap(), analysis());
}

#[test]
fn names_are_those_of_the_page() {
    let value = serde_json::to_value(analysis()).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let all = ["cancelled", "findings", "millis", "notices", "tokens", "units", "unitsCached", "unitsRun"];
    assert_eq!(keys(&value), all);
    let finding =
        ["confidence", "cwe", "file", "id", "lines", "links", "name", "problem", "range", "remedy", "severity", "unit"];
    assert_eq!(keys(&value["findings"][0]), finding);
    assert_eq!(keys(&value["units"][0]), ["cached", "file", "safe", "top", "unit"]);
    assert_eq!(value["findings"][1]["unit"]["kind"], "method");
    assert_eq!(value["findings"][1]["severity"], "critical");
    assert_eq!(value["findings"][0]["range"]["start"], json!({ "line": 4, "column": 5, "utf16": 41 }));
    assert_eq!(value["notices"][0]["kind"], "bidi-characters");
    assert_eq!(value["notices"][1]["range"], Value::Null);
}

fn fingerprints(analysis: &Analysis, files: &[SourceFile]) -> Vec<String> {
    let log: Value = serde_json::from_str(&render(analysis, files, &model(), Format::Sarif).unwrap()).unwrap();
    let results = log["runs"][0]["results"].as_array().unwrap();
    let fingerprint = |result: &Value| result["partialFingerprints"]["cloisterFinding/v1"].as_str().unwrap().to_owned();
    results.iter().map(fingerprint).collect()
}

#[test]
fn fingerprints_survive_shifted_lines_and_tell_findings_apart() {
    let (mut analysis, mut files) = (analysis(), files());
    analysis.findings.truncate(1);
    analysis.findings.push(analysis.findings[0].clone());
    let before = fingerprints(&analysis, &files);
    assert!(before[0].ends_with(":1") && before[1].ends_with(":2"), "{before:?}");

    files[0].text = format!("# new\n\n{}", APP.replace("    db", "  db"));
    for finding in &mut analysis.findings {
        finding.lines.iter_mut().for_each(|line| *line += 2);
        finding.range.start.line += 2;
        finding.range.end.line += 2;
    }
    assert_eq!(fingerprints(&analysis, &files), before);

    files[0].text = files[0].text.replace("DELETE", "INSERT");
    assert_ne!(fingerprints(&analysis, &files), before);
}

#[test]
fn a_cancelled_run_says_so() {
    let analysis = Analysis { cancelled: true, ..analysis() };
    for format in [Format::Markdown, Format::Text, Format::Sarif] {
        let text = render(&analysis, &files(), &model(), format).unwrap();
        assert!(text.contains("The analysis was stopped before all units were judged."), "{format}");
    }
    let log: Value = serde_json::from_str(&render(&analysis, &files(), &model(), Format::Sarif).unwrap()).unwrap();
    assert_eq!(log["runs"][0]["invocations"][0]["executionSuccessful"], false);
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let error =
        |analysis: &Analysis, files: &[SourceFile]| render(analysis, files, &model(), Format::Text).unwrap_err();
    assert_eq!(error(&analysis(), &files()[1..]), ReportError::UnknownFile { file: "src/app.py".into() });
    let mut short = files();
    short[0].text = "pass\n".into();
    assert_eq!(error(&analysis(), &short), ReportError::NoSuchLine { file: "src/app.py".into(), line: 4 });
    let mut odd = analysis();
    odd.findings[0].confidence = 1.5;
    assert_eq!(error(&odd, &files()), ReportError::NotAProbability { file: "src/app.py".into(), value: 1.5 });
}
