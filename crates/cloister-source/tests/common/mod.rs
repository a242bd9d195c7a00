//! Short ways to write what the tests compare.
#![allow(dead_code, reason = "every test file uses a part of it")]

use cloister_source::{ContextRole, Limits, NoticeKind, ParsedSource, Unit, analyse_source};

pub fn analyse(text: &str) -> ParsedSource {
    analyse_source(text, &Limits::default())
}

pub fn names(parsed: &ParsedSource) -> Vec<&str> {
    parsed.units.iter().map(|unit| unit.name.as_str()).collect()
}

pub fn kinds(parsed: &ParsedSource) -> Vec<NoticeKind> {
    parsed.notices.iter().map(|notice| notice.kind).collect()
}

pub fn unit<'a>(parsed: &'a ParsedSource, name: &str) -> &'a Unit {
    parsed.units.iter().find(|unit| unit.name == name).unwrap_or_else(|| panic!("no {name} in {:?}", names(parsed)))
}

/// The lines of a unit as `number text`.
pub fn lines(unit: &Unit) -> Vec<String> {
    unit.lines.iter().map(|line| format!("{} {}", line.number, line.text)).collect()
}

/// The context of a unit as `number text`.
pub fn context(unit: &Unit) -> Vec<String> {
    unit.context.iter().map(|context| format!("{} {}", context.line.number, context.line.text)).collect()
}

pub fn roles(unit: &Unit) -> Vec<ContextRole> {
    unit.context.iter().map(|context| context.role).collect()
}
