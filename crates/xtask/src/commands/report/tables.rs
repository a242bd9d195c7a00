//! The tables of docs/EVALUATION.md and the figures of the model card.

use serde_json::{Value, json};

use super::bandit;

/// The columns of the table: the key in `cloister eval`'s JSON, and the heading.
const METRICS: [(&str, &str); 11] = [
    ("recall", "recall"),
    ("false_positive_rate", "false positives"),
    ("difference", "R − FPR"),
    ("pair_accuracy", "pairs"),
    ("pair_ranking", "pairs ranked"),
    ("exact_top", "exact CWE"),
    ("family_top", "family"),
    ("class_named", "class named"),
    ("line_top", "line ±1"),
    ("f1", "F1"),
    ("calibration_error", "ECE"),
];

/// The figures that the package carries, for the model card.
const CARD: [&str; 5] = ["recall", "false_positive_rate", "difference", "pair_accuracy", "exact_top"];

/// The table of one set: a row for each system, the model's first.
pub fn section(set: &str, results: &[(&str, Value)]) -> String {
    let overall = results.first().map(|(_, value)| &value["overall"]);
    let count = |key: &str| overall.map_or(0, |overall| overall[key].as_u64().unwrap_or(0));
    let mut text = format!(
        "\n## {}\n\nn = {} rows ({} weak, {} safe) of {} groups.\n\n| system |",
        set,
        count("n"),
        count("weak"),
        count("safe"),
        count("groups")
    );
    text.extend(METRICS.iter().map(|(_, heading)| format!(" {heading} |")));
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(METRICS.len()));
    for (system, value) in results {
        text.push_str(&format!("\n| {system} |"));
        for (key, _) in METRICS {
            // The others say nothing of lines.
            let told = key != "line_top" || ["Cloister", bandit::NAME].contains(system);
            let measure = if told { &value["overall"]["metrics"][key] } else { &Value::Null };
            text.push_str(&format!(" {} |", cell(measure)));
        }
    }
    let metric = |key: &str| overall.map_or("–".into(), |overall| cell(&overall["metrics"][key]));
    text.push_str(&format!(
        "\n\nCloister's accuracy is {}, its precision {}.\n",
        metric("accuracy"),
        metric("precision")
    ));
    text
}

/// `.46 [.38, .54]`, or a dash where the metric is undefined.
fn cell(measure: &Value) -> String {
    let short = |value: f64| format!("{value:.2}").replacen("0.", ".", 1);
    let Some(value) = measure["value"].as_f64() else { return "–".into() };
    let interval = &measure["interval"];
    match (interval["low"].as_f64(), interval["high"].as_f64()) {
        (Some(low), Some(high)) => format!("{} [{}, {}]", short(value), short(low), short(high)),
        _ => short(value),
    }
}

/// What the model card shows of a set.
pub fn figures(set: &str, value: &Value) -> Vec<Value> {
    let overall = &value["overall"];
    CARD.iter()
        .filter_map(|key| {
            let measure = &overall["metrics"][key];
            let heading = METRICS.iter().find(|(known, _)| known == key).map_or(*key, |(_, heading)| heading);
            Some(json!({
                "name": heading,
                "value": measure["value"].as_f64()?,
                "low": measure["interval"]["low"],
                "high": measure["interval"]["high"],
                "n": overall["n"],
                "data": set,
                "command": "cargo xtask report --data DIR",
            }))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_short() {
        assert_eq!(cell(&json!({"value": 0.456, "interval": {"low": 0.4, "high": 0.5}})), ".46 [.40, .50]");
        assert_eq!(cell(&json!({"value": 1.0, "interval": null})), "1.00");
        assert_eq!(cell(&json!({"value": null, "interval": null})), "–");
        assert_eq!(cell(&json!({"value": -0.05, "interval": null})), "-.05");
    }
}
