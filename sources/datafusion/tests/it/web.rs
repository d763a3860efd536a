//! Files of the web, from servers that allow more or less.

use std::collections::BTreeMap;
use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::*;

/// What a server allows.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Allows {
    All,
    /// No parts of files.
    Whole,
    /// Nothing but GET.
    Get,
}

struct Web {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

/// Serves files until the test ends. `/secret.csv` is there for those who have the token.
async fn serve(files: &[(&str, Vec<u8>)], allows: Allows) -> Web {
    let files: BTreeMap<String, Vec<u8>> = files
        .iter()
        .map(|(name, bytes)| (format!("/{name}"), bytes.clone()))
        .collect();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let (files, log) = (files.clone(), Arc::clone(&log));
            tokio::spawn(async move {
                let (mut text, mut buffer) = (String::new(), [0; 4096]);
                while !text.contains("\r\n\r\n") {
                    match socket.read(&mut buffer).await {
                        Ok(read) if read > 0 => {
                            text.push_str(&String::from_utf8_lossy(&buffer[..read]));
                        }
                        _ => return,
                    }
                }
                let _ = socket.write_all(&answer(&files, allows, &log, &text)).await;
                let _ = socket.shutdown().await;
            });
        }
    });
    Web { url, asked }
}

fn answer(
    files: &BTreeMap<String, Vec<u8>>,
    allows: Allows,
    log: &Mutex<Vec<String>>,
    request: &str,
) -> Vec<u8> {
    let line = request.lines().next().unwrap_or_default().to_owned();
    let mut words = line.split(' ');
    let (method, target) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let range = request.lines().find_map(|line| {
        let (key, value) = line.split_once(": ")?;
        let value = value.strip_prefix("bytes=")?;
        let (from, to) = value.split_once('-')?;
        let bounds = (from.parse::<usize>().ok(), to.parse::<usize>().ok());
        key.eq_ignore_ascii_case("range").then_some(bounds)
    });
    log.lock().expect("whole").push(format!("{line} {range:?}"));
    let empty = |status: &str| {
        format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").into_bytes()
    };
    if method == "HEAD" && allows == Allows::Get {
        return empty("405 Method Not Allowed");
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let Some(bytes) = files.get(path) else {
        return empty("404 Not Found");
    };
    if path == "/secret.csv" && query != "token=a%2Fb" {
        return empty("403 Forbidden");
    }
    let (status, body, extra) = match range.filter(|_| allows == Allows::All) {
        None => ("200 OK", bytes.as_slice(), String::new()),
        Some((from, to)) => {
            let (from, to) = match (from, to) {
                (Some(from), to) => (from, to.map_or(bytes.len(), |to| to + 1).min(bytes.len())),
                (None, last) => (
                    bytes.len() - last.unwrap_or(0).min(bytes.len()),
                    bytes.len(),
                ),
            };
            let extra = format!("Content-Range: bytes {from}-{}/{}\r\n", to - 1, bytes.len());
            ("206 Partial Content", &bytes[from..to], extra)
        }
    };
    let mut answer = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n{extra}Connection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    if method != "HEAD" {
        answer.extend_from_slice(body);
    }
    answer
}

fn files() -> Vec<(&'static str, Vec<u8>)> {
    let folder = folder();
    let path = folder.path().join("p.parquet");
    parquet(&path, &people(0..1_000));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(b"id,zip\n1,02134\n2,90210\n")
        .expect("packed");
    vec![
        ("p.parquet", std::fs::read(path).expect("read")),
        ("x.csv.gz", gzip.finish().expect("packed")),
        ("secret.csv", b"id\n7\n".to_vec()),
        ("page.csv", b"<!DOCTYPE html><html></html>".to_vec()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_any_server_are_read() {
    let folder = folder();
    for allows in [Allows::All, Allows::Whole, Allows::Get] {
        let web = serve(&files(), allows).await;
        let source = over(folder.path()).await;
        let at = |name: &str| format!("'{}/{name}'", web.url);
        let sql = format!("SELECT * FROM {}", at("x.csv.gz"));
        assert_eq!(
            rows(&source, &sql).await,
            ["1|02134", "2|90210"],
            "{allows:?}"
        );
        let sql = format!(
            "SELECT count(*), sum(id), max(name) FROM {}",
            at("p.parquet")
        );
        assert_eq!(
            rows(&source, &sql).await,
            ["1000|499500|name 999"],
            "{allows:?}"
        );
        let sql = format!("SELECT * FROM {}", at("secret.csv?token=a%2Fb"));
        assert_eq!(rows(&source, &sql).await, ["7"], "{allows:?}");
        let asked = web.asked.lock().expect("whole").join("\n");
        assert!(!asked.contains("PROPFIND"), "{asked}");
        for (name, kind) in [
            ("gone.csv", ErrorKind::NotFound),
            ("secret.csv", ErrorKind::PermissionDenied),
            ("page.csv", ErrorKind::InvalidData),
        ] {
            let error = refused(&source, &format!("SELECT * FROM {}", at(name))).await;
            assert_eq!(error.kind(), kind, "{allows:?} {name}: {error:#}");
        }
    }
}
