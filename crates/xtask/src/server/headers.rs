//! What the server says about a file.

use std::fs::Metadata;
use std::time::UNIX_EPOCH;

use super::paths::Encoding;

/// What the page may do: run its own scripts and its own WebAssembly, and talk to nobody but this server. The page
/// carries the same policy in itself, for servers that send none.
pub const POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; \
    style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'none'; \
    base-uri 'none'; require-trusted-types-for 'script'; trusted-types cloister";

/// The headers of a file under its own name, in whatever encoding its bytes are sent.
pub fn for_file(name: &str, encoding: Option<Encoding>, tag: &str) -> Vec<(String, String)> {
    let mut all = vec![pair("Content-Type", media_type(name)), pair("Vary", "Accept-Encoding"), pair("ETag", tag)];
    if let Some(encoding) = encoding {
        all.push(pair("Content-Encoding", encoding.token()));
    }
    all.extend(for_everything());
    all
}

/// The headers of a short message.
pub fn for_text() -> Vec<(String, String)> {
    let mut all = vec![pair("Content-Type", "text/plain; charset=utf-8")];
    all.extend(for_everything());
    all
}

fn for_everything() -> [(String, String); 5] {
    [
        pair("Content-Security-Policy", POLICY),
        pair("X-Content-Type-Options", "nosniff"),
        pair("Referrer-Policy", "no-referrer"),
        pair("Cross-Origin-Opener-Policy", "same-origin"),
        // Kept, but asked for again each time: a new build shows at once, an old one costs no bytes.
        pair("Cache-Control", "no-cache"),
    ]
}

/// A name for these very bytes: size, time of writing and encoding.
pub fn entity_tag(data: &Metadata, encoding: Option<Encoding>) -> String {
    let written = data.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let written = written.map_or(0, |time| time.as_nanos());
    let encoding = encoding.map_or("id", Encoding::token);
    format!("\"{:x}-{written:x}-{encoding}\"", data.len())
}

/// Whether an If-None-Match header names this tag.
pub fn matches(known: &str, tag: &str) -> bool {
    known.split(',').map(str::trim).any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "wasm" => "application/wasm",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "txt" | "md" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wasm_has_its_own_type() {
        let all = for_file("cloister_wasm_bg.wasm", Some(Encoding::Brotli), "\"1\"");
        assert!(all.contains(&pair("Content-Type", "application/wasm")));
        assert!(all.contains(&pair("Content-Encoding", "br")));
        assert!(all.contains(&pair("Vary", "Accept-Encoding")));
    }

    #[test]
    fn an_unknown_type_is_bytes_and_never_guessed() {
        let all = for_file("model/shard.safetensors", None, "\"1\"");
        assert!(all.contains(&pair("Content-Type", "application/octet-stream")));
        assert!(all.contains(&pair("X-Content-Type-Options", "nosniff")));
        assert!(!all.iter().any(|(name, _)| name == "Content-Encoding"));
    }

    #[test]
    fn every_answer_carries_the_policy() {
        for all in [for_text(), for_file("index.html", None, "\"1\"")] {
            assert!(all.contains(&pair("Content-Security-Policy", POLICY)));
            assert!(all.contains(&pair("Cross-Origin-Opener-Policy", "same-origin")));
            assert!(all.contains(&pair("Referrer-Policy", "no-referrer")));
        }
    }

    #[test]
    fn the_page_carries_the_same_policy() {
        let page = include_str!("../../../../web/index.html");
        assert!(page.contains(&format!("content=\"{POLICY}\"")), "web/index.html and the server disagree");
    }

    #[test]
    fn tags_are_found_in_lists() {
        assert!(matches("\"a\", W/\"b\"", "\"b\""));
        assert!(matches("*", "\"b\""));
        assert!(!matches("\"a\"", "\"b\""));
    }
}
