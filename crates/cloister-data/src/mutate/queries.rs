//! SQL: values that are handed over apart from a statement are put into its text, and the other way round.

use super::built::{Built, HOLE};
use super::rules::may_be_anything;
use super::{Finder, Rule};
use ruff_python_ast::{Expr, ExprCall};
use ruff_text_size::Ranged;

/// A statement that takes values begins with one of these.
const VERBS: [&str; 6] = ["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "REPLACE ", "WITH "];

/// What database drivers and the layers above them call the method that runs a statement.
const METHODS: [&str; 24] = [
    "execute",
    "_execute",
    "execute_sql",
    "execute_query",
    "exec_driver_sql",
    "fetch",
    "fetchone",
    "fetchrow",
    "fetchval",
    "fetchall",
    "fetch_one",
    "fetch_all",
    "fetch_val",
    "fetch_row",
    "query",
    "run_query",
    "do_query",
    "run_sql",
    "raw",
    "sql",
    "select",
    "select_one",
    "select_all",
    "execute_fetchall",
];

const TAKEN_IN: Rule = ("query", "CWE-89");
const HANDED_OVER: Rule = ("built-query", "CWE-89");

/// Rules for a call that runs a statement.
pub fn call(finder: &mut Finder, call: &ExprCall) {
    let runs = match &*call.func {
        Expr::Attribute(function) => METHODS.contains(&function.attr.as_str()),
        _ => false,
    };
    let Some(first) = call.arguments.args.first().filter(|_| runs && call.arguments.keywords.is_empty()) else {
        return;
    };
    let rest = &call.arguments.args[1..];
    if rest.is_empty() {
        hand_over(finder, call, first);
    } else if rest.iter().all(|value| !value.is_starred_expr()) {
        take_in(finder, call, first, rest);
    }
}

fn is_statement(literal: &str) -> bool {
    let text = literal.trim_start_matches(|c: char| !c.is_ascii_alphabetic()).to_ascii_uppercase().replace('\n', " ");
    VERBS.iter().any(|verb| text.starts_with(verb))
}

/// `execute(sql, parameters)` becomes one text.
fn take_in(finder: &mut Finder, call: &ExprCall, sql: &Expr, rest: &[Expr]) {
    // SQLAlchemy's `text(...)` around the statement.
    let (wrapper, inner) = match sql {
        Expr::Call(inner) if inner.arguments.args.len() == 1 && inner.arguments.keywords.is_empty() => {
            (Some(finder.of(&*inner.func)), &inner.arguments.args[0])
        }
        _ => (None, sql),
    };
    if wrapper.is_some_and(|wrapper| !wrapper.ends_with("text")) {
        return;
    }
    let literal = finder.bindings.resolve(inner);
    let source = finder.of(literal).to_string();
    if !literal.is_string_literal_expr() || !is_statement(&source) {
        return;
    }
    let elements: Option<Vec<&Expr>> = match rest {
        [Expr::Tuple(tuple)] => Some(tuple.elts.iter().collect()),
        [Expr::List(list)] => Some(list.elts.iter().collect()),
        [Expr::Dict(_)] => None,
        [Expr::Name(_)] if !source.contains("$1") => None,
        values => Some(values.iter().collect()),
    };
    let function = finder.of(&*call.func).to_string();
    let wrapped = |made: String| match wrapper {
        Some(wrapper) => format!("{function}({wrapper}({made}))"),
        None => format!("{function}({made})"),
    };
    // The call, and the literal where it stands apart.
    let apart = inner.range() != literal.range();
    let edits = |holes: &str, values: &str| {
        let text = if apart { finder.of(inner).to_string() } else { holes.to_string() };
        let mut edits = vec![(call.range(), wrapped(format!("{text} % {values}")))];
        if apart && holes != source {
            edits.push((literal.range(), holes.to_string()));
        }
        (edits, if apart { vec![call.range()] } else { Vec::new() })
    };
    let mut made = Vec::new();
    if let Some(elements) = elements {
        let values: Vec<&str> = elements.iter().map(|value| finder.of(*value)).collect();
        let tuple = format!("({})", with_comma(&values));
        let holes = spelled(&source, values.len());
        let open = elements.iter().any(|e| may_be_anything(e)) && elements.iter().all(|e| !e.is_starred_expr());
        let fits = !elements.is_empty()
            && open
            && holes.matches("%s").count() == elements.len()
            && holes.matches('%').count() == elements.len();
        if !fits {
            return;
        }
        let quoted = if source.starts_with('\'') { "\"%s\"" } else { "'%s'" };
        made.push(edits(&holes, &tuple));
        made.push(edits(&holes.replace("%s", quoted), &tuple));
        let formatted = !apart && !holes.contains(['{', '}']);
        if formatted {
            let text = format!("{}.format({})", holes.replace("%s", "{}"), values.join(", "));
            made.push((vec![(call.range(), wrapped(text))], Vec::new()));
        }
        let simple = values.iter().all(|value| !value.contains(['"', '\'', '\\', '\n', '{', '#', '!', ':']));
        // The mark of an f-string stands before its first literal alone.
        let single = literal.as_string_literal_expr().is_some_and(|text| !text.value.is_implicit_concatenated());
        if formatted && simple && single && holes.starts_with(['"', '\'']) && !holes[1..].contains("\"\n") {
            let mut left = values.iter();
            let quote = &quoted[..1];
            let parts: Vec<&str> = holes.split("%s").collect();
            let mut text = format!("f{}", parts[0]);
            for part in &parts[1..] {
                text += &format!("{quote}{{{}}}{quote}{part}", left.next().copied().unwrap_or_default());
            }
            made.push((vec![(call.range(), wrapped(text))], Vec::new()));
        }
    } else if let [values] = rest {
        // A name that holds the values, or values by name: as many as the statement has holes, nobody can say more.
        let named = source.matches("%(").count() + source.matches("%s").count();
        if named == 0 || source.matches('%').count() != named || (values.is_dict_expr() && source.contains("%s")) {
            return;
        }
        made.push(edits(&source, finder.of(values)));
    }
    for (edits, carriers) in made {
        finder.note(TAKEN_IN, &[], edits, carriers, false);
    }
}

/// A statement's holes as %-format spells them.
fn spelled(source: &str, count: usize) -> String {
    if source.contains("$1") {
        return (1..=count).rev().fold(source.to_string(), |text, n| text.replace(&format!("${n}"), "%s"));
    }
    source.replace('?', "%s")
}

/// A statement that values are put into becomes one that they are handed over with.
fn hand_over(finder: &mut Finder, call: &ExprCall, sql: &Expr) {
    let text = finder.bindings.resolve(sql);
    let Some(built) = Built::read(finder, text) else { return };
    if !is_statement(&built.shape) {
        return;
    }
    let mark = if finder.mentions(&["sqlite"]) { "?" } else { "%s" };
    let Some(literal) = with_marks(&built.shape, mark) else { return };
    let values: Vec<&str> = built.holes.iter().map(|hole| finder.of(*hole)).collect();
    // A sum has to make texts of its values first.
    let values: Vec<&str> =
        values.iter().map(|v| v.strip_prefix("str(").and_then(|v| v.strip_suffix(')')).unwrap_or(v)).collect();
    if literal.contains('%') && mark == "?" || literal.matches('%').count() != values.len() && mark == "%s" {
        return;
    }
    let parameters = format!("({})", with_comma(&values));
    let function = finder.of(&*call.func).to_string();
    let edits = if sql.range() == text.range() {
        vec![(call.range(), format!("{function}({literal}, {parameters})"))]
    } else {
        let name = finder.of(sql);
        vec![(text.range(), literal), (call.range(), format!("{function}({name}, {parameters})"))]
    };
    finder.note(HANDED_OVER, &[], edits, vec![call.range()], true);
}

/// The literal with a driver's mark at every hole. `None` where one does not stand for a value: names of tables and columns
/// cannot be handed over.
fn with_marks(shape: &str, mark: &str) -> Option<String> {
    // A prefix is not the delimiter.
    let delimiter = shape.chars().next().filter(|first| matches!(first, '"' | '\''))?;
    let other = if delimiter == '"' { '\'' } else { '"' };
    let parts: Vec<&str> = shape.split(HOLE).collect();
    let mut made = String::new();
    for (index, part) in parts.iter().enumerate() {
        let (mut part, first, last) = (*part, index == 0, index + 1 == parts.len());
        let quoted_before = !first && parts[index - 1].ends_with(other);
        let quoted_after = !last && parts[index + 1].starts_with(other);
        if quoted_before {
            part = part.strip_prefix(other)?;
        }
        let mut stripped = false;
        if quoted_after && let Some(rest) = part.strip_suffix(other) {
            part = rest;
            stripped = true;
        }
        made.push_str(part);
        if !last {
            let before = made.trim_end_matches([' ', '\n', '(']).to_ascii_uppercase();
            let compared = before.ends_with(['=', '<', '>']) || before.ends_with(" LIKE") || before.ends_with(" LIMIT");
            let listed = before.contains("VALUES") && (made.trim_end().ends_with(['(', ',']));
            if !compared && !listed && !stripped {
                return None;
            }
            made.push_str(mark);
        }
    }
    Some(made)
}

/// The parts of a tuple, which needs a comma behind a single one.
pub fn with_comma(values: &[&str]) -> String {
    match values {
        [only] => format!("{only},"),
        _ => values.join(", "),
    }
}
