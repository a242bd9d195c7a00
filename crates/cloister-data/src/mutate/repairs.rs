//! Weak forms that real functions have, mended: the original is the weak twin.

use super::built::Built;
use super::rules::{appended, keyword, loader, may_be_anything, mode_of, places};
use super::values::about_connections;
use super::{Finder, Rule};
use ruff_python_ast::{Expr, ExprCall, Stmt};
use ruff_text_size::Ranged;

const MARKUP: Rule = ("built-markup", "CWE-79");
const LOADER: Rule = ("plain-loader", "CWE-502");
const UNPICKLE: Rule = ("pickle", "CWE-502");
const EVALUATE: Rule = ("eval", "CWE-94");
const HASH: Rule = ("weak-hash", "CWE-327");
const RANDOM: Rule = ("weak-random", "CWE-338");
const TEMPORARY: Rule = ("mktemp", "CWE-377");
const CERTIFICATE: Rule = ("unverified", "CWE-295");
const PROTOCOL: Rule = ("old-protocol", "CWE-327");
const CIPHER: Rule = ("old-cipher", "CWE-327");
const PERMISSIONS: Rule = ("wide-permissions", "CWE-732");
const ARCHIVE: Rule = ("extract-all", "CWE-22");
const ENTITIES: Rule = ("lxml-entities", "CWE-611");
const AUTOESCAPE: Rule = ("no-autoescape", "CWE-79");

/// What a function is about that needs strong hashes and unguessable values.
const SECRETS: [&str; 12] = [
    "password",
    "passwd",
    "token",
    "secret",
    "signature",
    "nonce",
    "salt",
    "csrf",
    "session_id",
    "otp",
    "credential",
    "api_key",
];

/// What a hash is for that need not be strong.
const SUMS: [&str; 8] =
    ["cache", "etag", "checksum", "fingerprint", "md5sum", "dedup", "usedforsecurity", "content-md5"];

/// What a value is called, or made by, that is markup already or cannot be any.
const MARKUP_OR_PLAIN: [&str; 16] = [
    "escape",
    "quote",
    "format_html",
    "int(",
    "len(",
    "conditional",
    "html",
    "attr",
    "param",
    "render",
    "widget",
    "join(",
    "checked",
    "body",
    "content",
    "markup",
];

/// Rules for a call whose function means `name`.
pub fn call(finder: &mut Finder, call: &ExprCall, name: &str) {
    let (module, last) = name.rsplit_once(['.', '?']).unwrap_or(("", name));
    let args = &call.arguments.args;
    let keywords = &call.arguments.keywords;
    let one = match &**args {
        [argument] if keywords.is_empty() && may_be_anything(argument) && !argument.is_starred_expr() => Some(argument),
        _ => None,
    };
    match name {
        "yaml.load" if keywords.is_empty() && args.len() == 1 => {
            let imports: &[&str] = if call.func.is_name_expr() { &["from yaml import safe_load"] } else { &[] };
            finder.mend(LOADER, imports, &*call.func, called(finder, call, "safe_load"));
        }
        "yaml.load" | "yaml.load_all" => {
            if let Some(loader) =
                loader(call).filter(|l| matches!(finder.of(*l), "yaml.Loader" | "yaml.UnsafeLoader" | "Loader"))
            {
                finder.mend(LOADER, &["import yaml"], loader, "yaml.SafeLoader".into());
            }
        }
        "pickle.load" | "pickle.loads" | "marshal.loads" | "cPickle.loads" | "cPickle.load"
            // What was pickled on the spot is the program's own.
            if one.is_some_and(|argument| !finder.of(argument).contains("dumps(")) =>
        {
            finder.mend(UNPICKLE, &["import json"], &*call.func, format!("json.{last}"));
        }
        "?eval" if one.is_some_and(|a| !a.is_f_string_expr()) => {
            finder.mend(EVALUATE, &["import ast"], &*call.func, "ast.literal_eval".into());
        }
        "hashlib.md5" | "hashlib.sha1" if is_about(finder, call, &SECRETS) && !finder.mentions(&SUMS) => {
            let imports: &[&str] = if call.func.is_name_expr() { &["from hashlib import sha256"] } else { &[] };
            finder.mend(HASH, imports, &*call.func, called(finder, call, "sha256"));
        }
        "random.choice" | "random.randint" | "random.sample" | "random.randrange" | "random.getrandbits"
            if is_about(finder, call, &SECRETS) =>
        {
            let made =
                if last == "choice" { "secrets.choice".into() } else { format!("secrets.SystemRandom().{last}") };
            finder.mend(RANDOM, &["import secrets"], &*call.func, made);
        }
        "tempfile.mktemp" => {
            let made = format!("tempfile.mkstemp({})[1]", places(finder, call));
            finder.mend(TEMPORARY, &["import tempfile"], call, made);
        }
        "ssl._create_unverified_context" if args.is_empty() && keywords.is_empty() => {
            finder.mend(CERTIFICATE, &[], &*call.func, called(finder, call, "create_default_context"));
        }
        "os.chmod" | "os.mkdir" | "os.makedirs" | "os.open" => {
            if let Some(mode) = mode_of(call, name).filter(|mode| matches!(finder.of(*mode), "0o777" | "0o666" | "0o776")) {
                let made = if finder.of(mode) == "0o666" { "0o600" } else { "0o700" };
                finder.mend(PERMISSIONS, &[], mode, made.into());
            }
        }
        // A mask that is set to read the old one is set back in the next statement.
        "os.umask" if finder.body()[call.end().to_usize()..].trim_start().starts_with(finder.of(&*call.func)) => {}
        "os.umask" if args.first().is_some_and(|mode| matches!(finder.of(mode), "0" | "0o0" | "0o000")) => {
            finder.mend(PERMISSIONS, &[], &args[0], "0o077".into());
        }
        "lxml.etree.parse" | "lxml.etree.fromstring" if one.is_some() => {
            let text = finder.of(&args[0]);
            let module = finder.of(&*call.func).rsplit_once('.').map_or("", |(module, _)| module);
            if !module.is_empty() {
                let parser = format!("{module}.XMLParser(resolve_entities=False)");
                finder.mend(ENTITIES, &[], call, format!("{}({text}, parser={parser})", finder.of(&*call.func)));
            }
        }
        "jinja2.Environment"
            if keyword(keywords, "autoescape").is_none()
                && !keywords.is_empty()
                && keywords.iter().all(|keyword| keyword.arg.is_some())
                && args.is_empty() =>
        {
            finder.note(AUTOESCAPE, &[], vec![appended(finder, call, "autoescape=True")], vec![call.range()], true);
        }
        _ => {}
    }
    if let Some(verify) = keyword(keywords, "verify")
        && finder.of(&verify.value) == "False"
        && about_connections(finder, call)
    {
        finder.mend(CERTIFICATE, &[], &verify.value, "True".into());
    }
    match last {
        "mark_safe" | "Markup" | "HttpResponse" | "HTMLResponse" | "SafeString" | "SafeText" => {
            markup(finder, call, module)
        }
        // What writes a document is not what answers a request.
        "write"
            if matches!(module, "?self" | "?self.wfile" | "?response" | "?resp" | "?self.response")
                && finder.mentions(&["request", "wfile", "handler"]) =>
        {
            markup(finder, call, module)
        }
        // Members that are chosen may have been looked at.
        "extractall"
            if finder.mentions(&["tarfile"])
                && !finder.mentions(&["zipfile"])
                && args.len() <= 1
                && keywords.iter().all(|keyword| keyword.arg.as_ref().is_some_and(|arg| arg.as_str() == "path")) =>
        {
            finder.note(ARCHIVE, &[], vec![appended(finder, call, "filter=\"data\"")], vec![call.range()], true);
        }
        "set_missing_host_key_policy" => {
            if let [policy] = &**args
                && let text = finder.of(policy)
                && (text.contains("AutoAddPolicy") || text.contains("WarningPolicy"))
            {
                let made = text.replace("AutoAddPolicy", "RejectPolicy").replace("WarningPolicy", "RejectPolicy");
                finder.mend(CERTIFICATE, &[], policy, made);
            }
        }
        "new" if module.ends_with("DES") || module.ends_with("ARC4") || module.ends_with("Blowfish") => {
            let function = finder.of(&*call.func);
            let made = ["DES3", "DES", "ARC4", "Blowfish"].iter().find(|old| function.starts_with(**old));
            if let Some(old) = made {
                finder.mend(CIPHER, &["from Crypto.Cipher import AES"], &*call.func, function.replacen(old, "AES", 1));
            }
        }
        _ => {}
    }
}

/// Rules for a statement.
pub fn statement(finder: &mut Finder, stmt: &Stmt) {
    let Stmt::Assign(assign) = stmt else {
        if let Stmt::Expr(_) | Stmt::Return(_) | Stmt::With(_) = stmt {
            protocols(finder, stmt);
        }
        return;
    };
    protocols(finder, stmt);
    let [target] = assign.targets.as_slice() else { return };
    let (target, value) = (finder.of(target), finder.of(&*assign.value));
    if target.ends_with(".check_hostname") && value == "False" {
        finder.mend(CERTIFICATE, &[], &*assign.value, "True".into());
    }
    if target.ends_with(".verify_mode") && value.ends_with("CERT_NONE") {
        finder.mend(CERTIFICATE, &[], &*assign.value, value.replace("CERT_NONE", "CERT_REQUIRED"));
    }
}

/// Versions of TLS and modes of ciphers that are broken, in a statement of one line.
fn protocols(finder: &mut Finder, stmt: &Stmt) {
    let text = finder.of(stmt);
    if text.contains('\n') {
        return;
    }
    for (rule, old, new) in [
        (PROTOCOL, "ssl.PROTOCOL_SSLv3", "ssl.PROTOCOL_TLS_CLIENT"),
        (PROTOCOL, "ssl.PROTOCOL_TLSv1_1", "ssl.PROTOCOL_TLS_CLIENT"),
        (CIPHER, "AES.MODE_ECB", "AES.MODE_GCM"),
        (CIPHER, "modes.ECB()", "modes.GCM(iv)"),
    ] {
        if text.contains(old) {
            finder.mend(rule, &[], stmt, text.replace(old, new));
        }
    }
}

/// Markup with values in it: each is escaped.
fn markup(finder: &mut Finder, call: &ExprCall, module: &str) {
    let Some(argument) = call.arguments.args.first() else { return };
    let text = finder.bindings.resolve(argument);
    let Some(built) = Built::read(finder, text) else { return };
    let tag = built.shape.find('<').and_then(|at| built.shape[at + 1..].chars().next());
    if !tag.is_some_and(|next| next.is_ascii_alphabetic() || next == '/') {
        return;
    }
    let plain = |hole: &&Expr| {
        let text = finder.of(*hole);
        may_be_anything(hole) && !MARKUP_OR_PLAIN.iter().any(|word| text.contains(word))
    };
    let open: Vec<&Expr> = built.holes.iter().copied().filter(plain).collect();
    if open.is_empty() {
        return;
    }
    let import = if module.contains("django") {
        "from django.utils.html import escape"
    } else if module.contains("markupsafe") || module.contains("flask") {
        "from markupsafe import escape"
    } else {
        "from html import escape"
    };
    let edits = open.iter().map(|hole| (hole.range(), format!("escape({})", finder.of(*hole)))).collect();
    finder.note(MARKUP, &[import], edits, vec![text.range()], true);
}

/// Whether the line of a call, or the function's name, has one of the words.
fn is_about(finder: &Finder, call: &ExprCall, words: &[&str]) -> bool {
    let name = finder.body().lines().find(|line| line.trim_start().starts_with(['d', 'a']) && line.contains("def "));
    let near = format!("{}\n{}", name.unwrap_or_default(), finder.line(call)).to_ascii_lowercase();
    words.iter().any(|word| near.contains(word))
}

/// The function of a call with another last name.
fn called(finder: &Finder, call: &ExprCall, last: &str) -> String {
    let text = finder.of(&*call.func);
    let before = text.rfind('.').map_or("", |at| &text[..=at]);
    format!("{before}{last}")
}
