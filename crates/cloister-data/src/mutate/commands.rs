//! Commands: lists of words are put together into one text for a shell, and what a shell's text is built of is quoted.

use super::built::Built;
use super::queries::with_comma;
use super::rules::{appended, keyword, may_be_anything};
use super::{Finder, Rule};
use ruff_python_ast::{Expr, ExprCall};
use ruff_text_size::Ranged;

const SHELL: Rule = ("shell", "CWE-78");
const SHELL_JOINED: Rule = ("shell-joined", "CWE-78");
const SHELL_BUILT: Rule = ("built-command", "CWE-78");

/// `subprocess.run([...])` becomes a shell's command line.
pub fn subprocess(finder: &mut Finder, call: &ExprCall, name: &str) {
    let starts = matches!(
        name,
        "subprocess.run" | "subprocess.call" | "subprocess.check_call" | "subprocess.check_output" | "subprocess.Popen"
    );
    let keywords = &call.arguments.keywords;
    let shell = keywords.iter().any(|k| k.arg.as_ref().is_none_or(|arg| arg.as_str() == "shell"));
    let ([first], true, false) = (&*call.arguments.args, starts, shell) else { return };
    // The call's other lines stay as they are: layout is not to tell the twins apart.
    let flag = appended(finder, call, "shell=True");
    let with_shell = |command: String| vec![(first.range(), command), flag.clone()];
    let list = match (first, finder.bindings.resolve(first)) {
        (Expr::List(list), _) => list,
        (Expr::Name(name), Expr::List(list)) if list.elts.iter().any(may_be_anything) => {
            finder.note(SHELL_JOINED, &[], with_shell(format!("\" \".join({})", name.id)), Vec::new(), false);
            return;
        }
        (Expr::Call(inner), _) if finder.meaning(&inner.func).as_deref() == Some("shlex.split") => {
            if let [text] = &*inner.arguments.args
                && may_be_anything(text)
            {
                finder.note(SHELL_JOINED, &[], with_shell(finder.of(text).to_string()), Vec::new(), false);
            }
            return;
        }
        _ => return,
    };
    if list.elts.iter().any(Expr::is_starred_expr) {
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
    for command in made {
        finder.note(SHELL, &[], with_shell(command), Vec::new(), false);
    }
}

/// A shell's command line with values in it: each is quoted.
pub fn mended(finder: &mut Finder, call: &ExprCall, name: &str) {
    let shell = match name.rsplit_once('.') {
        Some(("subprocess", _)) => {
            keyword(&call.arguments.keywords, "shell").is_some_and(|k| finder.of(&k.value) == "True")
        }
        _ => matches!(name, "os.system" | "os.popen"),
    };
    let getoutput = matches!(name, "subprocess.getoutput" | "subprocess.getstatusoutput");
    let Some(command) = call.arguments.args.first().filter(|_| shell || getoutput) else { return };
    // What is written down for people as well would be quoted there too.
    if finder.line(call).to_ascii_lowercase().contains("log") {
        return;
    }
    let text = finder.bindings.resolve(command);
    let Some(built) = Built::read(finder, text) else { return };
    if built.quotes_by_hand() || built.shape.contains("\n") {
        return;
    }
    let open: Vec<&Expr> = built.holes.into_iter().filter(|hole| may_be_anything(hole)).collect();
    if open.iter().any(|hole| finder.of(*hole).contains("quote(")) {
        return;
    }
    let edits = open.iter().map(|hole| (hole.range(), format!("shlex.quote({})", finder.of(*hole)))).collect();
    finder.note(SHELL_BUILT, &["import shlex"], edits, vec![call.range()], true);
}
