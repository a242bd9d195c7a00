//! The protections that one call, name or statement makes up.

use super::{Finder, Rule, offset};
use ruff_python_ast::{Expr, ExprCall, Keyword, Stmt};
use ruff_text_size::{Ranged, TextRange};

const LOADER: Rule = ("loader", "CWE-502");
const UNPICKLE: Rule = ("unpickle", "CWE-502");
const EVALUATE: Rule = ("evaluate", "CWE-94");
const SHELL_QUOTE: Rule = ("shell-quote", "CWE-78");
const ESCAPE: Rule = ("escape", "CWE-79");
const ESCAPE_XML: Rule = ("escape-xml", "CWE-91");
const AUTOESCAPE: Rule = ("autoescape", "CWE-79");
const RANDOM: Rule = ("random", "CWE-338");
const TEMPORARY: Rule = ("temporary", "CWE-377");
const CERTIFICATE: Rule = ("certificate", "CWE-295");
const COOKIE: Rule = ("cookie", "CWE-614");
const PERMISSIONS: Rule = ("permissions", "CWE-732");
const PATH: Rule = ("path", "CWE-22");
const REDIRECT: Rule = ("redirect", "CWE-601");
const ENTITIES: Rule = ("entities", "CWE-611");
const HASH: Rule = ("hash", "CWE-327");
const LOGIN: Rule = ("login", "CWE-306");
const PERMISSION: Rule = ("permission", "CWE-862");
const FORGERY: Rule = ("forgery", "CWE-352");

/// Rules for a call whose function means `name`.
pub fn call(finder: &mut Finder, call: &ExprCall, name: &str) {
    let (module, last) = name.rsplit_once(['.', '?']).unwrap_or(("", name));
    let args = &call.arguments.args;
    let keywords = &call.arguments.keywords;
    if let ([argument], true) = (&**args, keywords.is_empty())
        && !argument.is_starred_expr()
    {
        if module == "hashlib" {
            hash(finder, &call.func);
        }
        if may_be_anything(argument) || last == "urandom" {
            one_argument(finder, call, name, argument);
        }
    }
    match name {
        "os.chmod" | "os.mkdir" | "os.makedirs" | "os.open" | "os.umask" | "os.fchmod" => {
            permissions(finder, call, name)
        }
        // The two functions' arguments differ, and what turns the check off itself has none to lose.
        "ssl.create_default_context"
            if args.is_empty()
                && keyword(keywords, "purpose").is_none()
                && !finder.body().contains("check_hostname")
                && !finder.body().contains("verify_mode") =>
        {
            finder.add(CERTIFICATE, &["import ssl"], &*call.func, "ssl._create_unverified_context".into());
        }
        "tempfile.NamedTemporaryFile" | "tempfile.TemporaryFile" if args.is_empty() => {
            let mode = keyword(keywords, "mode").map_or("'w+b'", |mode| finder.of(&mode.value));
            let kept = ["encoding", "newline", "buffering"].iter().filter_map(|name| keyword(keywords, name));
            let kept: String = kept.map(|keyword| format!(", {}", finder.of(keyword))).collect();
            let made = format!("open(tempfile.mktemp({}), {mode}{kept})", places(finder, call));
            finder.add(TEMPORARY, &["import tempfile"], call, made);
            finder.add(TEMPORARY, &[], call, format!("open('/tmp/output.tmp', {mode}{kept})"));
            finder.add(TEMPORARY, &["import os"], call, format!("open('/tmp/%d' % os.getpid(), {mode}{kept})"));
        }
        "hmac.new" | "hmac.HMAC" | "hmac.digest" => {
            for algorithm in args.iter().chain(keywords.iter().map(|keyword| &keyword.value)) {
                hash(finder, algorithm);
            }
        }
        "secrets.token_hex" | "secrets.token_urlsafe" | "secrets.token_bytes" => {
            let count = args.first().map_or("32", |count| finder.of(count));
            let made = if last == "token_bytes" {
                vec![
                    format!("bytes(random.randrange(256) for _ in range({count}))"),
                    format!("random.randbytes({count})"),
                ]
            } else {
                vec![
                    format!("''.join(random.choice('0123456789abcdef') for _ in range({count}))"),
                    "('%032x' % random.getrandbits(128))".into(),
                ]
            };
            for made in made {
                finder.add(RANDOM, &["import random"], call, made);
            }
        }
        "secrets.SystemRandom" | "random.SystemRandom" => finder.add(RANDOM, &["import random"], call, "random".into()),
        _ => {}
    }
    let client = matches!(module, "requests" | "httpx")
        && matches!(last, "get" | "post" | "put" | "delete" | "head" | "patch" | "request");
    if client && keyword(keywords, "verify").is_none() && !args.is_empty() && keywords.iter().all(|k| k.arg.is_some()) {
        let edit = appended(finder, call, "verify=False");
        finder.note(CERTIFICATE, &[], vec![edit], Vec::new(), false);
    }
    match last {
        "safe_join" if !args.is_empty() && keywords.is_empty() => {
            finder.add(PATH, &["import os"], &*call.func, "os.path.join".into());
        }
        "join" if name == "os.path.join" => {
            for part in args.iter().skip(1) {
                if let Expr::Call(inner) = part
                    && finder.meaning(&inner.func).as_deref() == Some("os.path.basename")
                    && let [path] = &*inner.arguments.args
                    && may_be_anything(path)
                {
                    let path = finder.of(path).to_string();
                    finder.add(PATH, &[], part, path);
                }
            }
        }
        "url_has_allowed_host_and_scheme" | "is_safe_url" => {
            let url = args.first().or_else(|| keyword(keywords, "url").map(|k| &k.value));
            if let Some(url) = url {
                let made = format!("bool({})", finder.of(url));
                finder.add(REDIRECT, &[], call, made);
            }
        }
        "format_html"
            if args.len() > 1
                && keywords.is_empty()
                && args.iter().all(|a| !a.is_starred_expr())
                && args.iter().skip(1).any(may_be_anything) =>
        {
            let values: Vec<&str> = args.iter().skip(1).map(|a| finder.of(a)).collect();
            let made = format!("mark_safe({}.format({}))", grouped(finder, &args[0]), values.join(", "));
            finder.add(ESCAPE, &["from django.utils.safestring import mark_safe"], call, made);
        }
        "set_cookie" => flip(finder, keywords, "secure", "False", COOKIE),
        "XMLParser" => flip(finder, keywords, "resolve_entities", "True", ENTITIES),
        "Environment" | "Template" => flip(finder, keywords, "autoescape", "False", AUTOESCAPE),
        _ => {}
    }
}

/// Rules for a call with one argument and nothing else.
fn one_argument(finder: &mut Finder, call: &ExprCall, name: &str, argument: &Expr) {
    let (module, last) = name.rsplit_once(['.', '?']).unwrap_or(("", name));
    let text = finder.of(argument).to_string();
    let bare = grouped(finder, argument);
    match name {
        "yaml.safe_load" => {
            for made in [
                "yaml.load(@)",
                "yaml.load(@, Loader=yaml.Loader)",
                "yaml.load(@, Loader=yaml.UnsafeLoader)",
                "yaml.unsafe_load(@)",
            ] {
                finder.add(LOADER, &["import yaml"], call, made.replace('@', &text));
            }
        }
        "json.loads" => {
            finder.add(UNPICKLE, &["import pickle"], call, format!("pickle.loads({text})"));
            finder.add(UNPICKLE, &["import marshal"], call, format!("marshal.loads({text})"));
            finder.add(UNPICKLE, &["import yaml"], call, format!("yaml.load({text}, Loader=yaml.Loader)"));
            finder.add(EVALUATE, &[], call, format!("eval({text})"));
        }
        "json.load" => {
            finder.add(UNPICKLE, &["import pickle"], call, format!("pickle.load({text})"));
            finder.add(UNPICKLE, &["import yaml"], call, format!("yaml.load({text}, Loader=yaml.Loader)"));
        }
        "ast.literal_eval" => finder.add(EVALUATE, &[], call, format!("eval({text})")),
        "shlex.quote" | "pipes.quote" => finder.add(SHELL_QUOTE, &[], call, bare),
        "os.urandom" => {
            finder.add(RANDOM, &["import random"], call, format!("random.randbytes({text})"));
            let made = format!("bytes(random.getrandbits(8) for _ in range({text}))");
            finder.add(RANDOM, &["import random"], call, made);
        }
        "secrets.choice" => finder.add(RANDOM, &["import random"], &*call.func, "random.choice".into()),
        "secrets.randbelow" => finder.add(RANDOM, &["import random"], &*call.func, "random.randrange".into()),
        _ => match last {
            "escape" | "conditional_escape" | "html_escape" | "xhtml_escape" | "force_escape"
                if escapes_markup(module, last) =>
            {
                let rule = if module.contains("saxutils") { ESCAPE_XML } else { ESCAPE };
                finder.add(rule, &[], call, bare);
                finder.add(rule, &[], call, format!("str({text})"));
            }
            "secure_filename" => finder.add(PATH, &[], call, bare),
            _ => {}
        },
    }
}

/// A strong hash becomes a weak one, where `expr` is the name of one.
fn hash(finder: &mut Finder, expr: &Expr) {
    let strong = ["sha224", "sha256", "sha384", "sha512", "sha3_256", "sha3_512", "blake2b", "blake2s"];
    let meant = finder.meaning(expr);
    let algorithm = meant.as_deref().and_then(|name| name.strip_prefix("hashlib."));
    if algorithm.is_some_and(|algorithm| strong.contains(&algorithm)) {
        for made in ["hashlib.md5", "hashlib.sha1"] {
            finder.add(HASH, &["import hashlib"], expr, made.into());
        }
    }
}

/// Whether an expression may bring something from outside: not a literal, a constant's name, or where the program stands.
pub fn may_be_anything(expr: &Expr) -> bool {
    let name = match expr {
        Expr::Name(name) => name.id.as_str(),
        Expr::Attribute(attribute) => attribute.attr.as_str(),
        _ => return !expr.is_literal_expr(),
    };
    name.chars().any(|c| c.is_ascii_lowercase()) && !matches!(name, "__file__" | "executable")
}

/// Rules for a statement.
pub fn statement(finder: &mut Finder, stmt: &Stmt) {
    match stmt {
        Stmt::Assign(assign) => {
            let (Some(target), Expr::Call(call)) = (assign.targets.first(), &*assign.value) else { return };
            let before = &finder.body()[..stmt.start().to_usize()];
            let indent = &before[before.rfind('\n').map_or(0, |at| at + 1)..];
            if assign.targets.len() > 1 || !indent.trim().is_empty() {
                return;
            }
            match (finder.meaning(&call.func).as_deref(), target) {
                (Some("tempfile.mkstemp"), Expr::Tuple(targets)) if targets.elts.len() == 2 => {
                    let [descriptor, path] = [&targets.elts[0], &targets.elts[1]].map(|target| finder.of(target));
                    if descriptor == path {
                        return;
                    }
                    let places = places(finder, call);
                    for flags in ["os.O_RDWR | os.O_CREAT", "os.O_WRONLY | os.O_CREAT, 0o600"] {
                        let made = format!(
                            "{path} = tempfile.mktemp({places})\n{indent}{descriptor} = os.open({path}, {flags})"
                        );
                        finder.add(TEMPORARY, &["import os", "import tempfile"], stmt, made);
                    }
                }
                (Some("tempfile.mkdtemp"), Expr::Name(_) | Expr::Attribute(_)) => {
                    let path = finder.of(target);
                    let made = format!(
                        "{path} = tempfile.mktemp({})\n{indent}os.makedirs({path}, exist_ok=True)",
                        places(finder, call)
                    );
                    finder.add(TEMPORARY, &["import os", "import tempfile"], stmt, made);
                }
                _ => {}
            }
        }
        Stmt::FunctionDef(function) => {
            // What asks again inside is still guarded.
            let checks = ["is_admin(", "is_superuser", "PermissionDenied", "is_authenticated"];
            if checks.iter().any(|check| finder.of(stmt).contains(check)) {
                return;
            }
            let rules: Vec<Option<Rule>> =
                function.decorator_list.iter().map(|decorator| guard(finder, &decorator.expression)).collect();
            for (decorator, rule) in function.decorator_list.iter().zip(&rules) {
                // Two of them guard the function together: without one it is still guarded.
                let (Some(rule), 1) = (rule, rules.iter().flatten().count()) else { continue };
                // The decorator goes with its line, so that what follows it stands at its place. The line with the name
                // is what is weak now.
                let rest = &finder.body()[decorator.end().to_usize()..];
                let line = rest.find('\n').map_or(rest.len(), |at| at + 1);
                let next = line + rest[line..].len() - rest[line..].trim_start_matches([' ', '\t']).len();
                let next = offset(next);
                let range = TextRange::new(decorator.start(), decorator.end() + next);
                finder.note(*rule, &[], vec![(range, String::new())], vec![function.name.range()], false);
            }
        }
        _ => {}
    }
}

/// What a decorator guards a function against.
fn guard(finder: &Finder, decorator: &Expr) -> Option<Rule> {
    let expr = match decorator {
        Expr::Call(call) => &*call.func,
        other => other,
    };
    match finder.meaning(expr)?.rsplit(['.', '?']).next()? {
        "login_required" | "authenticated" | "requires_auth" | "auth_required" => Some(LOGIN),
        "permission_required"
        | "has_access"
        | "has_access_api"
        | "protect"
        | "user_passes_test"
        | "staff_member_required"
        | "require_admin_permission"
        | "any_permission_required" => Some(PERMISSION),
        "csrf_protect" => Some(FORGERY),
        _ => None,
    }
}

/// The mode that a call sets, of those functions of `os` that set one.
pub fn mode_of<'e>(call: &'e ExprCall, name: &str) -> Option<&'e Expr> {
    let at = match name {
        "os.umask" => 0,
        "os.open" => 2,
        _ => 1,
    };
    call.arguments.args.get(at).or_else(|| keyword(&call.arguments.keywords, "mode").map(|k| &k.value))
}

/// Too narrow permissions become everybody's.
fn permissions(finder: &mut Finder, call: &ExprCall, name: &str) {
    let Some(mode) = mode_of(call, name).filter(|mode| finder.of(*mode).starts_with("0o")) else { return };
    let old = finder.of(mode).to_string();
    let private = old.ends_with("00");
    let wide: &[&str] = match name {
        "os.umask" if !old.trim_matches(['0', 'o']).is_empty() => &["0", "0o000"],
        "os.chmod" | "os.fchmod" if private || old.ends_with("44") || old.ends_with("55") => &["0o777", "0o666"],
        // What everybody may read is how these are called without a mode.
        "os.mkdir" | "os.makedirs" if private => &["0o777"],
        "os.open" if private => &["0o666", "0o777"],
        _ => &[],
    };
    for made in wide {
        finder.add(PERMISSIONS, &[], mode, (*made).into());
    }
}

fn flip(finder: &mut Finder, keywords: &[Keyword], name: &str, value: &str, rule: Rule) {
    if let Some(found) = keyword(keywords, name)
        && finder.of(&found.value) != value
    {
        finder.add(rule, &[], &found.value, value.into());
    }
}

pub fn keyword<'a>(keywords: &'a [Keyword], name: &str) -> Option<&'a Keyword> {
    keywords.iter().find(|keyword| keyword.arg.as_ref().is_some_and(|arg| arg.as_str() == name))
}

/// Where and what to write so that a call gets an argument behind its last, on a line of its own where that has one.
pub fn appended(finder: &Finder, call: &ExprCall, argument: &str) -> (TextRange, String) {
    let ranges = call.arguments.args.iter().map(Ranged::range).chain(call.arguments.keywords.iter().map(Ranged::range));
    let Some(last) = ranges.max_by_key(|range| range.end()) else {
        return (TextRange::empty(call.arguments.start() + offset(1)), argument.to_string());
    };
    let before = &finder.body()[..last.start().to_usize()];
    let indent = &before[before.rfind('\n').map_or(0, |at| at + 1)..];
    let made = match before.contains('\n') && indent.trim().is_empty() {
        true => format!(",\n{indent}{argument}"),
        false => format!(", {argument}"),
    };
    (TextRange::empty(last.end()), made)
}

/// The loader of a call of `yaml.load`.
pub fn loader(call: &ExprCall) -> Option<&Expr> {
    keyword(&call.arguments.keywords, "Loader").map(|k| &k.value).or_else(|| call.arguments.args.get(1))
}

/// Where a temporary file shall stand: the arguments that every function of `tempfile` takes.
pub fn places(finder: &Finder, call: &ExprCall) -> String {
    let positional = call.arguments.args.iter().take(3).map(|arg| finder.of(arg));
    let named =
        call.arguments.keywords.iter().filter(|keyword| {
            keyword.arg.as_ref().is_some_and(|arg| matches!(arg.as_str(), "suffix" | "prefix" | "dir"))
        });
    positional.chain(named.map(|keyword| finder.of(keyword))).collect::<Vec<_>>().join(", ")
}

/// The text of an expression, in brackets where taking a call off it would tear it apart.
pub fn grouped(finder: &Finder, expr: &Expr) -> String {
    let text = finder.of(expr);
    let whole = matches!(
        expr,
        Expr::Name(_)
            | Expr::Attribute(_)
            | Expr::Call(_)
            | Expr::Subscript(_)
            | Expr::StringLiteral(_)
            | Expr::FString(_)
    );
    if whole { text.to_string() } else { format!("({text})") }
}

/// Whether a module's `escape` is about markup: that of `re` or of a shell is not.
fn escapes_markup(module: &str, last: &str) -> bool {
    last != "escape"
        || ["html", "markupsafe", "saxutils", "cgi", "flask", "jinja2"].iter().any(|part| module.contains(part))
}
