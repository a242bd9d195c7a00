//! Checks: a statement that turns bad input away is left out.

use super::{Finder, Mutation, Rule};
use ruff_python_ast::visitor::{Visitor, walk_expr};
use ruff_python_ast::{CmpOp, Expr, Stmt, UnaryOp};
use ruff_text_size::{Ranged, TextRange};

const PATH_CHECK: Rule = ("path-check", "CWE-22");
const UPLOAD_CHECK: Rule = ("upload-check", "CWE-434");
const ACCESS_CHECK: Rule = ("access-check", "CWE-862");
const SIGNATURE_CHECK: Rule = ("signature-check", "CWE-347");
const REDIRECT_CHECK: Rule = ("redirect-check", "CWE-601");
const INPUT_CHECK: Rule = ("input-check", "CWE-20");

/// Rules for the statements of a block.
pub fn body(finder: &mut Finder, body: &[Stmt]) {
    for (index, stmt) in body.iter().enumerate() {
        let Stmt::If(check) = stmt else { continue };
        let turns_away =
            check.elif_else_clauses.is_empty() && check.body.last().is_some_and(|last| leaves(finder, last));
        // Without what follows nothing is left to be weak.
        if !turns_away || body.len() == index + 1 {
            continue;
        }
        let Some(rule) = checked(finder, &check.test, finder.of(stmt)) else { continue };
        // What is weak now is where the value that was checked is used next; of a check of who asks, what follows.
        let names = names_in(&check.test);
        let mut rest = body[index + 1..].iter();
        let carrier = match rule {
            ACCESS_CHECK => rest.next().map(first_line(finder)),
            _ => rest.find(|stmt| uses(stmt, &names)).map(first_line(finder)),
        };
        let Some(carrier) = carrier else { continue };
        finder.note(
            rule,
            &[],
            vec![(TextRange::new(stmt.start(), body[index + 1].start()), String::new())],
            vec![carrier],
            false,
        );
    }
}

/// Two checks of one path are worth one: without one of them the other still stands.
pub fn alone(found: &mut Vec<Mutation>) {
    if found.iter().filter(|mutation| mutation.rule == PATH_CHECK.0).count() > 1 {
        found.retain(|mutation| mutation.rule != PATH_CHECK.0);
    }
}

/// The first line of a statement.
fn first_line<'f>(finder: &'f Finder<'_>) -> impl Fn(&Stmt) -> TextRange + 'f {
    |stmt| {
        let text = finder.of(stmt);
        let length = text.find('\n').unwrap_or(text.len());
        TextRange::at(stmt.start(), super::offset(length))
    }
}

/// Whether a statement ends the function, and not well.
fn leaves(finder: &Finder, stmt: &Stmt) -> bool {
    match stmt {
        Stmt::Raise(_) => true,
        Stmt::Return(value) => match value.value.as_deref() {
            None => true,
            Some(Expr::NoneLiteral(_)) => true,
            Some(Expr::BooleanLiteral(literal)) => !literal.value,
            Some(other) => {
                let text = finder.of(other).to_ascii_lowercase();
                ["40", "error", "forbidden", "denied", "badrequest", "notfound", "redirect", "invalid"]
                    .iter()
                    .any(|word| text.contains(word))
            }
        },
        Stmt::Expr(expr) => {
            let text = finder.of(&*expr.value);
            text.starts_with("abort(") || text.contains("send_error(") || text.contains("sys.exit(")
        }
        _ => false,
    }
}

/// What an `if` that turns away checks, by what it asks and says.
fn checked(finder: &Finder, test: &Expr, whole: &str) -> Option<Rule> {
    let text = finder.of(test).to_ascii_lowercase();
    let whole = whole.to_ascii_lowercase();
    let asks = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let denies = |words: &[&str]| denies(finder, test, words);
    let affirms = |words: &[&str]| affirms(finder, test, words);
    // What follows may need the name.
    if text.contains(":=") {
        return None;
    }
    let resolved = ["realpath", "abspath", "normpath", "resolve()"].iter().any(|word| finder.body().contains(word));
    let path = finder.mentions(&["path", "filename", "dir"]);
    if denies(&["commonpath", "commonprefix", "is_relative_to", ".parents"])
        || (resolved && denies(&[".startswith("]))
        || (path && affirms(&["'..' in", "\"..\" in", ".startswith('/')", ".startswith(\"/\")", "isabs("]))
    {
        return Some(PATH_CHECK);
    }
    if finder.mentions(&["upload", "request.files"])
        && (denies(&["allowed_file", "allowed_ext", "valid_ext"])
            || asks(&["content_type not in", "mimetype not in", " ext not in"]))
    {
        return Some(UPLOAD_CHECK);
    }
    if (denies(&["safe_url", "has_allowed_host", "is_safe_redirect", "netloc"]) || affirms(&[".netloc"]))
        && finder.mentions(&["redirect"])
    {
        return Some(REDIRECT_CHECK);
    }
    if denies(&["compare_digest", "verify_sig", "check_sig", "valid_sig", "verify_hash"]) {
        return Some(SIGNATURE_CHECK);
    }
    let refuses = ["denied", "forbidden", "unauthorized", "401", "403", "notauthorized", "accessdenied"];
    let refuses = refuses.iter().any(|word| whole.contains(word));
    let who = [
        "has_perm",
        "has_role",
        "is_admin",
        "is_staff",
        "is_superuser",
        "can_",
        "is_owner",
        "is_authorized",
        "check_access",
        ".owner",
        "user_id",
        ".user",
        "created_by",
        ".author",
    ];
    if refuses && denies(&who) {
        return Some(ACCESS_CHECK);
    }
    let matches =
        ["re.match(", "re.fullmatch(", ".fullmatch(", "_re.match(", "_regex.match(", ".isalnum()", ".isdigit()"];
    (denies(&matches) && whole.contains("raise ")).then_some(INPUT_CHECK)
}

/// Whether a test holds where something that has one of the words does not: `not a.startswith(b)`, `a.owner != b`,
/// `re.match(p, a) is None`.
fn denies(finder: &Finder, test: &Expr, words: &[&str]) -> bool {
    match test {
        Expr::BoolOp(several) => several.values.iter().any(|value| denies(finder, value, words)),
        Expr::UnaryOp(not) if not.op == UnaryOp::Not => has(finder, &not.operand, words),
        Expr::Compare(compare) => {
            let nothing = |value: &Expr| match value {
                Expr::NoneLiteral(_) => true,
                Expr::BooleanLiteral(literal) => !literal.value,
                _ => false,
            };
            let differs = match &*compare.ops {
                [CmpOp::NotEq | CmpOp::NotIn | CmpOp::IsNot] => !compare.comparators.iter().any(nothing),
                [CmpOp::Is | CmpOp::Eq] => compare.comparators.iter().any(nothing),
                _ => false,
            };
            differs && has(finder, test, words)
        }
        _ => false,
    }
}

/// Whether a test holds where something that has one of the words does.
fn affirms(finder: &Finder, test: &Expr, words: &[&str]) -> bool {
    match test {
        Expr::BoolOp(several) => several.values.iter().any(|value| affirms(finder, value, words)),
        Expr::UnaryOp(_) => false,
        Expr::Compare(compare) => matches!(&*compare.ops, [CmpOp::In]) && has(finder, test, words),
        _ => has(finder, test, words),
    }
}

fn has(finder: &Finder, expr: &Expr, words: &[&str]) -> bool {
    let text = finder.of(expr).to_ascii_lowercase();
    words.iter().any(|word| text.contains(word))
}

/// Names that an expression reads.
fn names_in(expr: &Expr) -> Vec<&str> {
    struct Names<'a>(Vec<&'a str>);
    impl<'a> Visitor<'a> for Names<'a> {
        fn visit_expr(&mut self, expr: &'a Expr) {
            match expr {
                Expr::Name(name) => self.0.push(name.id.as_str()),
                // What is called is not what is checked.
                Expr::Call(call) => {
                    if let Expr::Attribute(function) = &*call.func {
                        self.visit_expr(&function.value);
                    }
                    call.arguments.args.iter().for_each(|arg| self.visit_expr(arg));
                }
                _ => walk_expr(self, expr),
            }
        }
    }
    let mut names = Names(Vec::new());
    names.visit_expr(expr);
    names.0.retain(|name| !matches!(*name, "os" | "re" | "self" | "hmac" | "str" | "len"));
    names.0
}

/// Whether a statement reads one of the names.
fn uses(stmt: &Stmt, names: &[&str]) -> bool {
    struct Uses<'n> {
        names: &'n [&'n str],
        found: bool,
    }
    impl<'a> Visitor<'a> for Uses<'_> {
        fn visit_expr(&mut self, expr: &'a Expr) {
            self.found |= matches!(expr, Expr::Name(name) if self.names.contains(&name.id.as_str()));
            walk_expr(self, expr);
        }
    }
    let mut uses = Uses { names, found: false };
    uses.visit_stmt(stmt);
    uses.found
}
