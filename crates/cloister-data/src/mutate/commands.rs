//! Commands and queries whose parts were kept apart are put together into one text.

use super::Finder;
use super::rules::may_be_anything;
use ruff_python_ast::{Expr, ExprCall};

/// One of these stands in every query that takes values.
const VERBS: [&str; 5] = ["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "REPLACE "];

const SHELL: (&str, &str) = ("shell", "CWE-78");
const QUERY: (&str, &str) = ("query", "CWE-89");

/// `subprocess.run([...])` becomes a shell's command line.
pub fn subprocess(finder: &mut Finder, call: &ExprCall, name: &str) {
    let starts = matches!(
        name,
        "subprocess.run" | "subprocess.call" | "subprocess.check_call" | "subprocess.check_output" | "subprocess.Popen"
    );
    let (true, Some(Expr::List(list))) = (starts, call.arguments.args.first()) else { return };
    let keywords = &call.arguments.keywords;
    let shell = keywords.iter().any(|k| k.arg.as_ref().is_none_or(|arg| arg.as_str() == "shell"));
    if shell || call.arguments.args.len() != 1 || list.elts.iter().any(Expr::is_starred_expr) {
        return;
    }
    let mut values = Vec::new();
    let mut words = Vec::new();
    let mut open = false;
    for part in &list.elts {
        match part {
            Expr::StringLiteral(literal) => words.push(Some(literal.value.to_str().to_string())),
            _ => {
                open |= may_be_anything(part);
                values.push(finder.of(part));
                words.push(None);
            }
        }
    }
    let plain = |text: &str| !text.contains(['"', '\'', '\\', '{', '}', '%', '\n', ' ']) && !text.is_empty();
    if !open || words.iter().flatten().any(|word| !plain(word)) {
        return;
    }
    let mut left = values.iter();
    let spell = |hole: &mut dyn FnMut() -> String| {
        words.iter().map(|word| word.clone().unwrap_or_else(&mut *hole)).collect::<Vec<_>>().join(" ")
    };
    let mut made = vec![
        match values.as_slice() {
            [only] if only.chars().all(|c| c.is_alphanumeric() || "_.".contains(c)) => {
                format!("\"{}\" % {only}", spell(&mut || "%s".into()))
            }
            _ => format!("\"{}\" % ({})", spell(&mut || "%s".into()), with_comma(&values)),
        },
        format!("\"{}\".format({})", spell(&mut || "{}".into()), values.join(", ")),
    ];
    if values.iter().all(|value| !value.contains(['"', '\\', '\n', '{', '#'])) {
        made.push(format!("f\"{}\"", spell(&mut || format!("{{{}}}", left.next().copied().unwrap_or_default()))));
    }
    let rest: Vec<&str> = keywords.iter().map(|keyword| finder.of(keyword)).collect();
    let rest: String = rest.iter().map(|keyword| format!("{keyword}, ")).collect();
    let function = finder.of(&*call.func).to_string();
    for command in made {
        finder.add(SHELL, &[], call, format!("{function}({command}, {rest}shell=True)"));
    }
}

/// `execute(sql, parameters)` becomes one text.
pub fn execute(finder: &mut Finder, call: &ExprCall) {
    let Expr::Attribute(function) = &*call.func else { return };
    let [sql, parameters] = &*call.arguments.args else { return };
    if function.attr.as_str() != "execute" || !call.arguments.keywords.is_empty() {
        return;
    }
    let elements = match parameters {
        Expr::Tuple(tuple) => &tuple.elts,
        Expr::List(list) => &list.elts,
        _ => return,
    };
    let values: Vec<&str> = elements.iter().map(|value| finder.of(value)).collect();
    let tuple = format!("({})", with_comma(&values));
    if elements.is_empty() || elements.iter().any(Expr::is_starred_expr) {
        return;
    }
    let text = finder.of(sql).to_string();
    let holes = text.replace('?', "%s");
    let upper = text.to_uppercase();
    let query = sql.is_string_literal_expr() && VERBS.iter().any(|verb| upper.contains(verb));
    // Another percent sign would be taken for a hole.
    let fits = holes.matches("%s").count() == elements.len() && holes.matches('%').count() == elements.len();
    if !query || !fits || !elements.iter().any(may_be_anything) {
        return;
    }
    let function = finder.of(function).to_string();
    finder.add(QUERY, &[], call, format!("{function}({holes} % {tuple})"));
    let quoted = if text.starts_with('\'') { "\"%s\"" } else { "'%s'" };
    finder.add(QUERY, &[], call, format!("{function}({} % {tuple})", holes.replace("%s", quoted)));
    if !holes.contains(['{', '}']) {
        let made = format!("{function}({}.format({}))", holes.replace("%s", "{}"), values.join(", "));
        finder.add(QUERY, &[], call, made);
    }
}

/// The parts of a tuple, which needs a comma behind a single one.
fn with_comma(values: &[&str]) -> String {
    match values {
        [only] => format!("{only},"),
        _ => values.join(", "),
    }
}
