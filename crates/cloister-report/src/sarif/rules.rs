//! One rule for each class that was found.

use super::level;
use super::log::{Configuration, Rule, RuleProperties, Text};
use crate::escape::{is_web_address, markdown};
use crate::markdown::address;
use crate::{Finding, Severity};

/// The rules of these findings, by number of the class.
pub(super) fn rules(findings: &[Finding]) -> Vec<Rule<'_>> {
    let mut firsts: Vec<&Finding> = findings.iter().collect();
    firsts.sort_by_key(|finding| order(&finding.cwe));
    firsts.dedup_by_key(|finding| &finding.cwe);
    firsts.into_iter().map(rule).collect()
}

/// Sorts ids by number, and what is no id behind them.
pub(super) fn order(cwe: &str) -> (u32, &str) {
    (number(cwe).unwrap_or(u32::MAX), cwe)
}

fn number(cwe: &str) -> Option<u32> {
    cwe.strip_prefix("CWE-")?.parse().ok()
}

fn rule(finding: &Finding) -> Rule<'_> {
    let Finding { cwe, name, problem, remedy, links, severity, .. } = finding;
    let mut text = format!("{problem}\n\nRemedy: {remedy}");
    let mut formatted = format!("{}\n\n**Remedy.** {}", markdown(problem), markdown(remedy));
    if !links.is_empty() {
        text += &format!("\n\n{}", links.join("\n"));
        let items: Vec<_> = links.iter().map(|link| format!("- {}", address(link))).collect();
        formatted += &format!("\n\n{}", items.join("\n"));
    }
    let mut tags = vec!["security".to_owned()];
    // Code hosts know the tag with at least three digits.
    tags.extend(number(cwe).map(|number| format!("external/cwe/cwe-{number:03}")));
    Rule {
        id: cwe,
        name: identifier(name),
        short_description: Text { text: name.clone(), markdown: None },
        full_description: Text { text: problem.clone(), markdown: None },
        help: Text { text, markdown: Some(formatted) },
        help_uri: links.iter().map(String::as_str).find(|link| is_web_address(link)),
        default_configuration: Configuration { level: level(*severity) },
        properties: RuleProperties { tags, security_severity: score(*severity) },
    }
}

/// A name as SARIF likes a rule's: its words, each with a capital, without what is between them.
fn identifier(name: &str) -> String {
    let words = name.split(|character: char| !character.is_alphanumeric());
    words
        .map(|word| {
            let mut characters = word.chars();
            characters
                .next()
                .map(|first| first.to_uppercase().chain(characters).collect::<String>())
                .unwrap_or_default()
        })
        .collect()
}

/// A score from 0 to 10 inside the band that code hosts give the same name: above 9 critical, from 7 high, from 4
/// medium. It says no more than the severity does.
fn score(severity: Severity) -> &'static str {
    match severity {
        Severity::Low => "2.0",
        Severity::Medium => "5.5",
        Severity::High => "8.0",
        Severity::Critical => "9.5",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_identifiers() {
        assert_eq!(identifier("SQL injection ('SQLi')"), "SQLInjectionSQLi");
        assert_eq!(identifier("über-x"), "ÜberX");
    }

    #[test]
    fn ids_sort_by_number() {
        let mut ids = ["other", "CWE-502", "CWE-89", "CWE-22"];
        ids.sort_by_key(|id| order(id));
        assert_eq!(ids, ["CWE-22", "CWE-89", "CWE-502", "other"]);
    }
}
