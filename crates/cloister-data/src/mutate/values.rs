//! Protections that are a value: a constant, an option, a secret from outside.

use super::rules::{keyword, loader, may_be_anything};
use super::{Finder, Rule};
use ruff_python_ast::{Expr, ExprCall};
use ruff_text_size::Ranged;

const CERTIFICATE: Rule = ("certificate-value", "CWE-295");
const PROTOCOL: Rule = ("protocol", "CWE-327");
const CIPHER: Rule = ("cipher", "CWE-327");
const DIGEST: Rule = ("digest", "CWE-327");
const KEY_SIZE: Rule = ("key-size", "CWE-326");
const SIGNATURE: Rule = ("signature", "CWE-347");
const SECRET: Rule = ("secret", "CWE-798");
const LOADER: Rule = ("loader", "CWE-502");
const FILTER: Rule = ("ldap-filter", "CWE-90");
const PASSWORD: Rule = ("password-hash", "CWE-916");

/// What people leave in code.
const SECRETS: [&str; 8] = [
    "admin123",
    "s3cr3t!",
    "changeme",
    "hunter2",
    "k3y-7f92ab41c0de",
    "P@ssw0rd2020",
    "sk_live_4f9a8b7c6d5e",
    "super-secret-key",
];

/// Rules for a name or a chain of attributes.
pub fn name(finder: &mut Finder, expr: &Expr) {
    let Some(meaning) = finder.meaning(expr) else { return };
    let (module, last) = meaning.rsplit_once(['.', '?']).unwrap_or(("", &meaning));
    let called = finder.body()[expr.end().to_usize()..].starts_with('(');
    let (rule, others): (Rule, &[&str]) = match (module, last) {
        ("ssl", "CERT_REQUIRED") => (CERTIFICATE, &["CERT_NONE"]),
        ("ssl", "PROTOCOL_TLS_CLIENT" | "PROTOCOL_TLS" | "PROTOCOL_TLSv1_2" | "PROTOCOL_TLS_SERVER") => {
            (PROTOCOL, &["PROTOCOL_SSLv3", "PROTOCOL_TLSv1", "PROTOCOL_SSLv2", "PROTOCOL_TLSv1_1"])
        }
        ("ssl.TLSVersion", "TLSv1_2" | "TLSv1_3") => (PROTOCOL, &["TLSv1", "SSLv3", "TLSv1_1"]),
        (_, "MODE_CBC" | "MODE_GCM" | "MODE_CTR" | "MODE_EAX") => (CIPHER, &["MODE_ECB"]),
        // The class as a type, or an attribute of it, protects nothing.
        (module, "SHA256" | "SHA384" | "SHA512") if called && module.ends_with("hashes") => (DIGEST, &["MD5", "SHA1"]),
        (module, "AES") if called && module.ends_with("algorithms") => (CIPHER, &["TripleDES", "Blowfish", "ARC4"]),
        _ => return,
    };
    // Names are compared as Python reads them, which need not be how they are written.
    let Some(before) = finder.of(expr).strip_suffix(last).map(str::to_string) else { return };
    for other in others {
        finder.add(rule, &[], expr, format!("{before}{other}"));
    }
}

/// Rules for a call whose function means `name`.
pub fn call(finder: &mut Finder, call: &ExprCall, name: &str) {
    let (module, last) = name.rsplit_once(['.', '?']).unwrap_or(("", name));
    let args = &call.arguments.args;
    let keywords = &call.arguments.keywords;
    if let Some(verify) = keyword(keywords, "verify")
        && !verify.value.is_literal_expr()
        && about_connections(finder, call)
    {
        finder.add(CERTIFICATE, &[], &verify.value, "False".into());
    }
    match name {
        "yaml.load" | "yaml.load_all" => {
            if let Some(loader) = loader(call).filter(|loader| finder.of(*loader).contains("Safe")) {
                for made in ["yaml.Loader", "yaml.UnsafeLoader"] {
                    finder.add(LOADER, &["import yaml"], loader, made.into());
                }
            }
        }
        "os.getenv" | "os.environ.get" => secret(finder, call, args.first()),
        "jwt.decode" if keyword(keywords, "options").is_none() => {
            // What is not checked needs no key, but people leave it.
            if let Some(algorithms) = keyword(keywords, "algorithms") {
                let made = format!("{}, options={{\"verify_signature\": False}}", finder.of(algorithms));
                finder.add(SIGNATURE, &[], algorithms, made);
                finder.add(SIGNATURE, &[], algorithms, "options={\"verify_signature\": False}".into());
            }
        }
        _ => {}
    }
    match last {
        "generate_private_key" if module.ends_with("rsa") || module.ends_with("dsa") => {
            let size = keyword(keywords, "key_size").map(|k| &k.value).or_else(|| args.get(1));
            key_size(finder, size);
        }
        "generate" if module.ends_with("RSA") || module.ends_with("DSA") => key_size(finder, args.first()),
        "escape_filter_chars" | "escape_dn_chars" => {
            if let [value] = &**args {
                let value = super::rules::grouped(finder, value);
                finder.add(FILTER, &[], call, value);
            }
        }
        "generate_password_hash" | "make_password" => {
            if let Some(password) = args.first().filter(|password| may_be_anything(password)) {
                let password = super::rules::grouped(finder, password);
                for algorithm in ["md5", "sha1", "sha256"] {
                    let made = format!("hashlib.{algorithm}({password}.encode()).hexdigest()");
                    finder.add(PASSWORD, &["import hashlib"], call, made);
                }
            }
        }
        _ => {}
    }
}

/// Whether a call is about connections: `verify` is a common word.
pub fn about_connections(finder: &Finder, call: &ExprCall) -> bool {
    let text = finder.of(call).to_ascii_lowercase();
    ["http", "request", "url", "ssl", "tls", "session", "cert"].iter().any(|word| text.contains(word))
}

fn key_size(finder: &mut Finder, size: Option<&Expr>) {
    let Some(size) = size.filter(|size| matches!(finder.of(*size), "2048" | "3072" | "4096")) else { return };
    for made in ["1024", "512"] {
        finder.add(KEY_SIZE, &[], size, made.into());
    }
}

/// A secret from the environment is written down instead.
fn secret(finder: &mut Finder, whole: &ExprCall, name: Option<&Expr>) {
    let Some(Expr::StringLiteral(name)) = name else { return };
    let name = name.value.to_str().to_ascii_uppercase();
    let says =
        ["PASSWORD", "PASSWD", "SECRET", "TOKEN", "API_KEY", "APIKEY", "PRIVATE_KEY"].iter().any(|w| name.contains(w));
    let elsewhere = ["FILE", "PATH", "URL", "TTL", "NAME", "HOST", "_ID"].iter().any(|w| name.contains(w));
    // What only asks whether it is set does not use it.
    let before = finder.body()[..whole.start().to_usize()].trim_end();
    let asked = ["if", "elif", "while", "not", "and", "in"].iter().any(|word| before.ends_with(word));
    if says && !elsewhere && !asked {
        for secret in SECRETS {
            finder.add(SECRET, &[], whole, format!("\"{secret}\""));
        }
    }
}
