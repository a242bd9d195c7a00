//! From the path of a request to a file below the served folder, or to nothing.

use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;

/// A compressed form that lies beside a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Brotli, `.br`.
    Brotli,
    /// Gzip, `.gz`.
    Gzip,
}

impl Encoding {
    /// Best first.
    const ALL: [Self; 2] = [Self::Brotli, Self::Gzip];

    /// The word in the headers.
    pub fn token(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    /// What is added to the name of the file.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Brotli => ".br",
            Self::Gzip => ".gz",
        }
    }
}

/// A file to send.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// The file whose bytes are sent.
    pub file: PathBuf,
    /// The name that was asked for, which gives the type.
    pub name: String,
    /// How those bytes are encoded.
    pub encoding: Option<Encoding>,
}

/// Finds what a request asks for. `root` has to be canonical. None for everything outside it, however written.
pub fn resolve(root: &Path, url: &str, accept_encoding: &str) -> Option<Found> {
    let name = relative(url)?;
    let file = inside(root, &root.join(&name))?;
    for encoding in Encoding::ALL {
        if accepts(accept_encoding, encoding.token()) {
            let beside = root.join(format!("{name}{}", encoding.suffix()));
            if let Some(file) = inside(root, &beside) {
                return Some(Found { file, name, encoding: Some(encoding) });
            }
        }
    }
    Some(Found { file, name, encoding: None })
}

/// The path below the root in plain letters; a folder means its index.html.
fn relative(url: &str) -> Option<String> {
    let path = url.split(['?', '#']).next()?.strip_prefix('/')?;
    let path = percent_decode_str(path).decode_utf8().ok()?;
    let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    let odd = |letter: char| letter.is_control() || matches!(letter, '\\' | ':');
    if path.contains(odd) {
        return None;
    }
    match path.strip_suffix('/') {
        _ if path.is_empty() => Some("index.html".to_owned()),
        Some(folder) if folder.split('/').all(plain) => Some(format!("{folder}/index.html")),
        None if path.split('/').all(plain) => Some(path.into_owned()),
        _ => None,
    }
}

/// The file itself, if it is one and if no link leads out of the root.
fn inside(root: &Path, file: &Path) -> Option<PathBuf> {
    let file = file.canonicalize().ok()?;
    (file.starts_with(root) && file.is_file()).then_some(file)
}

/// Whether an Accept-Encoding header takes this encoding. A quality of zero refuses it.
fn accepts(header: &str, token: &str) -> bool {
    header.split(',').any(|part| {
        let mut words = part.split(';').map(str::trim);
        let named = words.next().is_some_and(|name| name.eq_ignore_ascii_case(token));
        let quality = words.find_map(|word| word.strip_prefix("q=")?.trim().parse::<f32>().ok());
        named && quality.unwrap_or(1.0) > 0.0
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn plain_paths_are_kept() {
        assert_eq!(relative("/").as_deref(), Some("index.html"));
        assert_eq!(relative("/?sample=1").as_deref(), Some("index.html"));
        assert_eq!(relative("/model/model.json#x").as_deref(), Some("model/model.json"));
        assert_eq!(relative("/model/").as_deref(), Some("model/index.html"));
        assert_eq!(relative("/a%20b.js").as_deref(), Some("a b.js"));
    }

    #[test]
    fn nothing_leads_upwards() {
        let refused = [
            "/../Cargo.toml",
            "/model/../../Cargo.toml",
            "/%2e%2e/Cargo.toml",
            "/..%2fCargo.toml",
            "/..%5cCargo.toml",
            "//etc/passwd",
            "/./index.html",
            "/a%00.js",
            "/C:/index.html",
            "/%ff",
            "index.html",
            "",
        ];
        for url in refused {
            assert_eq!(relative(url), None, "{url:?}");
        }
    }

    #[test]
    fn a_link_out_of_the_folder_is_refused() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().canonicalize().unwrap().join("site");
        fs::create_dir(&root).unwrap();
        fs::write(outer.path().join("secret.txt"), "x").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(outer.path().join("secret.txt"), root.join("link.txt")).unwrap();
        assert_eq!(resolve(&root, "/link.txt", ""), None);
        assert_eq!(resolve(&root, "/", ""), None, "a folder without index.html");
    }

    #[test]
    fn the_best_accepted_encoding_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for name in ["page.js", "page.js.br", "page.js.gz", "lone.js"] {
            fs::write(root.join(name), name).unwrap();
        }
        let encoding = |url, header| resolve(&root, url, header).unwrap().encoding;
        assert_eq!(encoding("/page.js", "gzip, deflate, br, zstd"), Some(Encoding::Brotli));
        assert_eq!(encoding("/page.js", "gzip;q=0.5, br;q=0"), Some(Encoding::Gzip));
        assert_eq!(encoding("/page.js", "identity"), None);
        assert_eq!(encoding("/lone.js", "br"), None);
        assert_eq!(resolve(&root, "/page.js", "br").unwrap().name, "page.js");
    }
}
