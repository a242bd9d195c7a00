//! Requests over a real connection.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use super::headers::POLICY;
use super::*;

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

fn ask(server: &Server, request: &str, headers: &str) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    write!(stream, "{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n").unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body: bytes[end + 4..].to_vec() }
}

fn site() -> (tempfile::TempDir, Server) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("site");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("index.html"), "<!doctype html>").unwrap();
    fs::write(root.join("engine_bg.wasm"), vec![7; 200_000]).unwrap();
    fs::write(root.join("engine_bg.wasm.br"), "small").unwrap();
    fs::write(folder.path().join("secret"), "secret").unwrap();
    let server = Server::start(&root, 0).unwrap();
    (folder, server)
}

#[test]
fn the_page_comes_with_its_headers() {
    let (_folder, server) = site();
    let answer = ask(&server, "GET /", "");
    assert_eq!((answer.status, answer.body.as_slice()), (200, b"<!doctype html>".as_slice()));
    assert_eq!(answer.header("Content-Type"), Some("text/html; charset=utf-8"));
    assert_eq!(answer.header("Content-Security-Policy"), Some(POLICY));
    assert_eq!(answer.header("Cache-Control"), Some("no-cache"));
    assert!(server.url().starts_with("http://localhost:"));
}

#[test]
fn wasm_is_sent_whole_or_compressed() {
    let (_folder, server) = site();
    let whole = ask(&server, "GET /engine_bg.wasm", "");
    assert_eq!((whole.header("Content-Length"), whole.body.len()), (Some("200000"), 200_000));
    assert_eq!(whole.header("Content-Type"), Some("application/wasm"));
    let small = ask(&server, "GET /engine_bg.wasm", "Accept-Encoding: gzip, br\r\n");
    assert_eq!((small.header("Content-Encoding"), small.body.as_slice()), (Some("br"), b"small".as_slice()));
    assert_eq!(small.header("Content-Type"), Some("application/wasm"));
    assert_ne!(small.header("ETag"), whole.header("ETag"));
}

#[test]
fn a_known_file_is_not_sent_again() {
    let (_folder, server) = site();
    let first = ask(&server, "GET /index.html", "");
    let tag = first.header("ETag").unwrap();
    let again = ask(&server, "GET /index.html", &format!("If-None-Match: {tag}\r\n"));
    assert_eq!((again.status, again.body.len()), (304, 0));
    assert_eq!(again.header("ETag"), Some(tag));
}

#[test]
fn other_requests_are_refused() {
    let (_folder, server) = site();
    for path in ["/../secret", "/%2e%2e/secret", "/..%5csecret", "/absent.js"] {
        assert_eq!(ask(&server, &format!("GET {path}"), "").status, 404, "{path}");
    }
    let post = ask(&server, "POST /", "Content-Length: 0\r\n");
    assert_eq!((post.status, post.header("Allow")), (405, Some("GET, HEAD")));
    let head = ask(&server, "HEAD /engine_bg.wasm", "");
    assert_eq!((head.status, head.body.len(), head.header("Content-Length")), (200, 0, Some("200000")));
}

#[test]
fn a_taken_port_is_named() {
    let (_folder, server) = site();
    let other = tempfile::tempdir().unwrap();
    let error = Server::start(other.path(), server.port).err().unwrap().to_string();
    assert!(error.contains(&server.port.to_string()) && error.contains("--port"), "{error}");
}
