//! Whole evaluations whose figures were worked out by hand.

use cloister_eval::{EvalError, Evaluation, Finding, Metric, Options, Prediction, Row, evaluate, wilson};

/// A weak row where there is a CWE id, else a safe one.
fn row(id: &str, group: &str, cwe: Option<&str>, line: Option<u32>) -> Row {
    Row {
        id: id.into(),
        source: "test".into(),
        code: "pass\n".into(),
        cwe: cwe.map(Into::into),
        safe: cwe.is_none(),
        line,
        group: group.into(),
        cluster: None,
    }
}

/// A prediction that flags where there are findings (CWE id, line, confidence).
fn predict(id: &str, findings: &[(&str, u32, f64)], scores: &[(&str, f64)]) -> Prediction {
    let finding =
        |&(cwe, line, confidence): &(&str, u32, f64)| Finding { cwe: cwe.into(), line, end_line: line + 9, confidence };
    Prediction {
        id: id.into(),
        vulnerable: !findings.is_empty(),
        findings: findings.iter().map(finding).collect(),
        probability: None,
        scores: scores.iter().map(|&(cwe, score)| (cwe.to_owned(), score)).collect(),
    }
}

fn database(a: &str, b: &str) -> bool {
    let family = ["CWE-89", "CWE-564", "CWE-943"];
    family.contains(&a) && family.contains(&b)
}

fn run(rows: &[Row], predictions: &[Prediction]) -> Result<Evaluation, EvalError> {
    evaluate(rows, predictions, database, &Options::default())
}

fn mixed() -> (Vec<Row>, Vec<Prediction>) {
    let rows = vec![
        row("a", "g1", Some("CWE-89"), Some(10)),
        row("b", "g1", None, None),
        row("c", "g2", Some("CWE-79"), Some(5)),
        row("d", "g2", None, None),
        row("e", "g3", Some("CWE-89"), Some(1)),
        row("f", "g3", None, None),
        row("g", "g4", Some("CWE-22"), None),
        row("h", "g5", None, None),
        row("i", "g6", None, None),
    ];
    let predictions = vec![
        predict("a", &[("CWE-78", 3, 0.6), ("CWE-564", 11, 0.9)], &[("CWE-89", 0.7), ("CWE-78", 0.1)]),
        predict("b", &[], &[("CWE-89", 0.2)]),
        predict("c", &[("CWE-79", 5, 0.5), ("CWE-22", 8, 0.8)], &[]),
        predict("d", &[("CWE-89", 1, 0.6)], &[]),
        predict("e", &[], &[]),
        predict("f", &[("CWE-943", 1, 0.9)], &[]),
        predict("g", &[("CWE-22", 1, 1.0)], &[]),
        predict("h", &[("CWE-400", 1, 0.3)], &[]),
        predict("i", &[], &[]),
    ];
    (rows, predictions)
}

#[test]
fn every_metric_comes_out_as_by_hand() {
    let (rows, predictions) = mixed();
    let overall = run(&rows, &predictions).unwrap().overall;
    assert_eq!((overall.n, overall.weak, overall.safe, overall.groups), (9, 4, 5, 6));
    let expected = [
        (Metric::Recall, 3.0 / 4.0),
        (Metric::FalsePositiveRate, 3.0 / 5.0),
        (Metric::Difference, 0.15),
        // d is flagged, but not with the family of c; h has no weak twin, so that anything counts.
        (Metric::MatchedFalsePositiveRate, 2.0 / 5.0),
        (Metric::MatchedDifference, 0.35),
        (Metric::ExactTop, 1.0 / 4.0),
        (Metric::ExactAny, 2.0 / 4.0),
        (Metric::FamilyTop, 2.0 / 4.0),
        (Metric::FamilyAny, 3.0 / 4.0),
        (Metric::PairAccuracy, 1.0 / 3.0),
        // a .7 against b .2, c .8 against d .6, e 0 against f .9.
        (Metric::PairRanking, 2.0 / 3.0),
        // a by its scores, g by its finding.
        (Metric::ClassNamed, 2.0 / 4.0),
        // a and c are found and have a line; the top finding of c is three lines away.
        (Metric::LineTop, 1.0 / 2.0),
        (Metric::LineAny, 1.0),
        (Metric::Accuracy, 5.0 / 9.0),
        (Metric::Precision, 3.0 / 6.0),
        (Metric::F1, 0.6),
        // By bin: e, i 1; b .2; h .3; d .6; a .3; c .2; f, g .9.
        (Metric::CalibrationError, 3.5 / 9.0),
    ];
    assert_eq!(expected.map(|(metric, _)| metric), Metric::ALL);
    for (metric, value) in expected {
        let found = overall.value(metric).unwrap();
        assert!((found - value).abs() < 1e-12, "{metric:?}: {found} where {value} is right");
        let interval = overall.interval(metric).unwrap();
        assert!(interval.low <= value + 1e-12 && value <= interval.high + 1e-12, "{metric:?}: {interval:?}");
    }
    assert_eq!(overall.accuracy_wilson, wilson(5, 9));
}

#[test]
fn the_table_by_cwe_takes_the_twins_along() {
    let (rows, predictions) = mixed();
    let evaluation = run(&rows, &predictions).unwrap();
    let names: Vec<&str> = evaluation.per_cwe.iter().map(|entry| entry.cwe.as_str()).collect();
    assert_eq!(names, ["CWE-22", "CWE-79", "CWE-89"]);
    let [path, script, query] = &evaluation.per_cwe[..] else { panic!("three ids") };
    assert_eq!((path.summary.weak, path.summary.safe), (1, 0));
    assert_eq!(path.summary.value(Metric::FalsePositiveRate), None);
    assert_eq!((script.summary.weak, script.summary.safe), (1, 1));
    assert_eq!(script.summary.value(Metric::Difference), Some(0.0));
    assert_eq!(script.summary.value(Metric::MatchedDifference), Some(1.0));
    assert_eq!((query.summary.weak, query.summary.safe, query.summary.groups), (2, 2, 2));
    assert_eq!(query.summary.value(Metric::Recall), Some(0.5));
    assert_eq!(query.summary.value(Metric::PairAccuracy), Some(0.5));
    assert_eq!(script.summary.interval(Metric::Recall), None, "one group has no interval");
}

#[test]
fn flagging_everything_scores_two_thirds_and_is_worth_nothing() {
    let mut rows = Vec::new();
    let mut predictions = Vec::new();
    for at in 0..20 {
        let (weak, safe, group) = (format!("{at}w"), format!("{at}s"), format!("{at}"));
        rows.extend([row(&weak, &group, Some("CWE-89"), Some(1)), row(&safe, &group, None, None)]);
        predictions.extend([weak, safe].map(|id| predict(&id, &[("CWE-89", 1, 1.0)], &[])));
    }
    let overall = run(&rows, &predictions).unwrap().overall;
    assert!((overall.value(Metric::F1).unwrap() - 2.0 / 3.0).abs() < 1e-12);
    assert_eq!(overall.value(Metric::Recall), Some(1.0));
    assert_eq!(overall.value(Metric::Difference), Some(0.0));
    assert_eq!(overall.value(Metric::MatchedDifference), Some(0.0));
    assert_eq!(overall.value(Metric::PairAccuracy), Some(0.0));
    assert_eq!(overall.value(Metric::PairRanking), Some(0.5));
    assert_eq!(overall.value(Metric::Accuracy), Some(0.5));
    assert_eq!(overall.value(Metric::CalibrationError), Some(0.5));
    // Every group is alike, so no resample differs.
    let interval = overall.interval(Metric::Difference).unwrap();
    assert_eq!((interval.low, interval.high), (0.0, 0.0));
}

#[test]
fn without_safe_rows_what_needs_them_is_undefined() {
    let rows = [row("a", "g1", Some("CWE-89"), None), row("b", "g2", Some("CWE-78"), None)];
    let predictions = [predict("a", &[("CWE-89", 1, 0.5)], &[]), predict("b", &[], &[])];
    let evaluation = run(&rows, &predictions).unwrap();
    let needs_safe = [
        Metric::FalsePositiveRate,
        Metric::Difference,
        Metric::MatchedFalsePositiveRate,
        Metric::MatchedDifference,
        Metric::PairAccuracy,
        Metric::PairRanking,
    ];
    for metric in needs_safe {
        assert_eq!(evaluation.overall.value(metric), None, "{metric:?}");
        assert_eq!(evaluation.overall.interval(metric), None, "{metric:?}");
    }
    assert_eq!(evaluation.overall.value(Metric::Recall), Some(0.5));
    assert_eq!(evaluation.overall.value(Metric::LineTop), None, "no line is known");
    let shown = |text: &str, label: &str| text.lines().find(|line| line.contains(label)).map(str::to_owned);
    assert_eq!(shown(&evaluation.to_text(), "pair accuracy").unwrap().matches('–').count(), 2);
    assert_eq!(shown(&evaluation.to_markdown(), "pair accuracy").unwrap(), "| pair accuracy | – | – |");
}

#[test]
fn a_pair_needs_every_twin_unflagged_and_counts_each_weak_row() {
    let rows = [
        row("a", "g", Some("CWE-89"), None),
        row("b", "g", Some("CWE-79"), None),
        row("c", "g", None, None),
        row("d", "g", None, None),
    ];
    let quiet = |id| predict(id, &[], &[]);
    let flag = |id| predict(id, &[("CWE-79", 1, 0.5)], &[]);
    let pairs = |predictions: [Prediction; 4]| run(&rows, &predictions).unwrap().overall.value(Metric::PairAccuracy);
    assert_eq!(pairs([flag("a"), flag("b"), quiet("c"), quiet("d")]), Some(1.0));
    assert_eq!(pairs([flag("a"), quiet("b"), quiet("c"), quiet("d")]), Some(0.5));
    assert_eq!(pairs([flag("a"), flag("b"), quiet("c"), flag("d")]), Some(0.0));
    // By CWE, the flag on d is of the family of b and not of a.
    let evaluation = run(&rows, &[flag("a"), flag("b"), quiet("c"), flag("d")]).unwrap();
    let matched = |at: usize| evaluation.per_cwe[at].summary.value(Metric::MatchedFalsePositiveRate);
    assert_eq!((matched(0), matched(1)), (Some(0.5), Some(0.0)));
}

#[test]
fn findings_of_a_row_that_is_not_flagged_are_no_hits() {
    let rows = [row("a", "g", Some("CWE-89"), Some(1)), row("b", "g", None, None)];
    let mut predictions = ["a", "b"].map(|id| predict(id, &[("CWE-89", 1, 0.4)], &[]));
    for prediction in &mut predictions {
        prediction.vulnerable = false;
    }
    let overall = run(&rows, &predictions).unwrap().overall;
    for metric in [Metric::Recall, Metric::ExactAny, Metric::FamilyAny, Metric::MatchedFalsePositiveRate] {
        assert_eq!(overall.value(metric), Some(0.0), "{metric:?}");
    }
    assert_eq!(overall.value(Metric::LineAny), None);
    // Both probabilities are .4, half the rows are weak.
    assert!((overall.value(Metric::CalibrationError).unwrap() - 0.1).abs() < 1e-12);
}

#[test]
fn the_order_of_the_rows_changes_nothing() {
    let (mut rows, mut predictions) = mixed();
    let before = run(&rows, &predictions).unwrap();
    predictions.rotate_left(4);
    assert_eq!(run(&rows, &predictions).unwrap(), before);
    rows.rotate_left(2);
    assert_eq!(run(&rows, &predictions).unwrap().to_text(), before.to_text());
}

#[test]
fn rows_and_predictions_must_belong_together() {
    let (rows, predictions) = mixed();
    assert_eq!(run(&rows, &predictions[2..]), Err(EvalError::MissingPrediction { id: "a".into(), count: 2 }));
    assert_eq!(run(&rows[..8], &predictions), Err(EvalError::UnknownPrediction { id: "i".into(), count: 1 }));
    let twice = [&rows[..], &rows[..1]].concat();
    assert_eq!(run(&twice, &predictions), Err(EvalError::Duplicate { what: "rows", id: "a".into() }));
    let mut wrong = rows.clone();
    wrong[0].cwe = None;
    assert!(matches!(run(&wrong, &predictions), Err(EvalError::Invalid { id, .. }) if id == "a"));
    assert_eq!(run(&[], &[]).unwrap().overall.value(Metric::Recall), None);
}

#[test]
fn the_json_names_the_metrics() {
    let (rows, predictions) = mixed();
    let evaluation = run(&rows, &predictions).unwrap();
    let json: serde_json::Value = serde_json::from_str(&evaluation.to_json().unwrap()).unwrap();
    assert_eq!(json["overall"]["metrics"]["recall"]["value"], 0.75);
    assert_eq!(json["per_cwe"][0]["cwe"], "CWE-22");
    assert!(json["per_cwe"][0]["metrics"]["false_positive_rate"]["value"].is_null());
    assert_eq!(json["resamples"], 2000);
    let back: Evaluation = serde_json::from_value(json).unwrap();
    assert_eq!(back.to_text(), evaluation.to_text());
}

#[test]
fn the_groups_of_a_cluster_are_drawn_together() {
    // Twenty groups of two templates, one always found and one never: a resample finds 0, half or all of them.
    let rows: Vec<Row> = (0..20)
        .map(|at| Row {
            cluster: Some(format!("template {}", at % 2)),
            ..row(&format!("r{at}"), &format!("g{at}"), Some("CWE-89"), None)
        })
        .collect();
    let flagged = [("CWE-89", 1, 0.9)];
    let found = |at: usize| if at.is_multiple_of(2) { &flagged[..] } else { &[] };
    let predictions: Vec<Prediction> = (0..20).map(|at| predict(&format!("r{at}"), found(at), &[])).collect();
    let evaluation = run(&rows, &predictions).unwrap();
    assert_eq!(evaluation.overall.groups, 20);
    let interval = evaluation.overall.interval(Metric::Recall).unwrap();
    assert_eq!((interval.low, interval.high), (0.0, 1.0));
}
