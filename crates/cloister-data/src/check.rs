//! The rules that every entry keeps.

use crate::pattern::{fill, slot_names};
use crate::{DataError, Dataset, weak_lines};
use std::collections::{BTreeMap, BTreeSet};

/// Checks a data set: unique ids, code that parses, weak lines that are there, twins that differ, slots that are listed,
/// changes that can be made.
///
/// # Errors
/// [`DataError::Entry`] for the first entry that breaks a rule.
pub fn check(dataset: &Dataset) -> Result<(), DataError> {
    let mut ids = BTreeSet::new();
    let mut unique = |id: &str| {
        if ids.insert(id.to_string()) { Ok(()) } else { Err(fault(id, "the id is used twice")) }
    };
    for pair in &dataset.pairs {
        unique(&pair.id)?;
        parses(&pair.id, &pair.vulnerable)?;
        parses(&pair.id, &pair.fixed)?;
        if pair.vulnerable.trim() == pair.fixed.trim() {
            return Err(fault(&pair.id, "the halves are the same"));
        }
        if weak_lines(pair)?.is_empty() {
            return Err(fault(&pair.id, "no weak line is named"));
        }
        is_cwe(&pair.id, &pair.cwe)?;
    }
    for snippet in &dataset.safe {
        unique(&snippet.id)?;
        parses(&snippet.id, &snippet.code)?;
    }
    for pattern in &dataset.patterns {
        unique(&pattern.id)?;
        is_cwe(&pattern.id, &pattern.cwe)?;
        for template in [&pattern.weak, &pattern.safe] {
            let mut bound = BTreeMap::new();
            for slot in slot_names(template) {
                let free = slot == "VAR" || slot == "VAR2" || slot.starts_with("NEW");
                let value = match pattern.slots.get(slot).and_then(|values| values.first()) {
                    Some(value) => value.clone(),
                    None if free => slot.to_lowercase(),
                    None => return Err(fault(&pattern.id, &format!("the slot ${slot} has no values"))),
                };
                bound.insert(slot.to_string(), value);
            }
            let body: String =
                fill(template, &bound).trim_matches('\n').lines().map(|line| format!("    {line}\n")).collect();
            parses(&pattern.id, &format!("async def host():\n{body}"))?;
        }
        let lines = pattern.weak.trim_matches('\n').lines().count() as u32;
        if pattern.weak_lines.is_empty() || pattern.weak_lines.iter().any(|line| !(1..=lines).contains(line)) {
            return Err(fault(&pattern.id, "a weak line is outside the unsafe form"));
        }
    }
    for module in &dataset.modules {
        unique(&module.name)?;
        parses(&module.name, &module.text)?;
        for change in &module.changes {
            is_cwe(&module.name, &change.cwe)?;
            if change.weak.is_empty() {
                return Err(fault(&module.name, &format!("a change of {} has no weak form", change.function)));
            }
            for variant in 0..change.weak.len() {
                if let Some((text, _)) = module.changed(change, variant)? {
                    parses(&format!("{} in modules/{}", change.function, module.name), &text)?;
                    if text == module.text {
                        return Err(fault(&module.name, &format!("a change of {} changes nothing", change.function)));
                    }
                }
            }
        }
    }
    Ok(())
}

fn fault(id: &str, reason: &str) -> DataError {
    DataError::Entry { id: id.into(), reason: reason.into() }
}

fn parses(id: &str, code: &str) -> Result<(), DataError> {
    match ruff_python_parser::parse_module(code) {
        Ok(_) => Ok(()),
        Err(error) => Err(fault(id, &format!("the code does not parse ({error})"))),
    }
}

fn is_cwe(id: &str, cwe: &str) -> Result<(), DataError> {
    let digits = cwe.strip_prefix("CWE-").unwrap_or_default();
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        Ok(())
    } else {
        Err(fault(id, &format!("{cwe} is not a CWE id")))
    }
}
