//! A small static server with the headers that the page needs.

mod headers;
mod paths;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tiny_http::{Header, Method, Request, Response, StatusCode};

use crate::error::{Error, Result};

/// Connections that are answered at the same time.
const THREADS: usize = 4;

/// A running server. It stops when dropped.
pub struct Server {
    http: Arc<tiny_http::Server>,
    threads: Vec<JoinHandle<()>>,
    port: u16,
}

impl Server {
    /// Serves a folder on 127.0.0.1. Port 0 takes a free one.
    pub fn start(root: &Path, port: u16) -> Result<Self> {
        let root = root.canonicalize().map_err(Error::file("serve", root))?;
        let listen = |reason: String| Error::Listen { port, reason };
        let http = tiny_http::Server::http(("127.0.0.1", port)).map_err(|error| listen(error.to_string()))?;
        let http = Arc::new(http);
        let port = http.server_addr().to_ip().map_or(port, |address| address.port());
        let threads = (0..THREADS).map(|_| answer_all(Arc::clone(&http), root.clone())).collect();
        Ok(Self { http, threads, port })
    }

    /// The address of the page. Browsers treat localhost as a secure place, where WebGPU is allowed.
    pub fn url(&self) -> String {
        format!("http://localhost:{}/", self.port)
    }

    /// Serves until the program is ended.
    pub fn wait(mut self) {
        for thread in self.threads.drain(..) {
            // A thread ends only with the server.
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for _ in &self.threads {
            self.http.unblock();
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn answer_all(http: Arc<tiny_http::Server>, root: PathBuf) -> JoinHandle<()> {
    thread::spawn(move || {
        while let Ok(request) = http.recv() {
            // A client that goes away in the middle of an answer is its own business.
            let _ = answer(&root, request);
        }
    })
}

fn answer(root: &Path, request: Request) -> io::Result<()> {
    if !matches!(request.method(), Method::Get | Method::Head) {
        return plain(request, 405, "Only GET and HEAD are answered here.", &[("Allow", "GET, HEAD")]);
    }
    let accepts = header_of(&request, "Accept-Encoding").unwrap_or_default();
    let Some(found) = paths::resolve(root, request.url(), &accepts) else {
        return plain(request, 404, "There is no such file.", &[]);
    };
    let (Ok(file), Ok(data)) = (File::open(&found.file), found.file.metadata()) else {
        return plain(request, 404, "There is no such file.", &[]);
    };
    let tag = headers::entity_tag(&data, found.encoding);
    let wanted = headers::for_file(&found.name, found.encoding, &tag);
    if header_of(&request, "If-None-Match").is_some_and(|known| headers::matches(&known, &tag)) {
        return request.respond(Response::new(StatusCode(304), lines(&wanted), io::empty(), Some(0), None));
    }
    let length = usize::try_from(data.len()).map_err(io::Error::other)?;
    let response = Response::new(StatusCode(200), lines(&wanted), file, Some(length), None);
    // With a known length a page can show how far a download is.
    request.respond(response.with_chunked_threshold(usize::MAX))
}

fn plain(request: Request, status: u16, text: &str, more: &[(&str, &str)]) -> io::Result<()> {
    let mut all = headers::for_text();
    all.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let body = text.as_bytes();
    request.respond(Response::new(StatusCode(status), lines(&all), body, Some(body.len()), None))
}

fn header_of(request: &Request, name: &'static str) -> Option<String> {
    request.headers().iter().find(|header| header.field.equiv(name)).map(|header| header.value.to_string())
}

fn lines(pairs: &[(String, String)]) -> Vec<Header> {
    // Names and values are our own ASCII text, so none is ever left out.
    pairs.iter().filter_map(|(name, value)| Header::from_bytes(name.as_bytes(), value.as_bytes()).ok()).collect()
}

#[cfg(test)]
mod tests;
