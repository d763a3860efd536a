//! Ports that answer otherwise than they should: the program ends in time, and says what they look like.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::{Ended, Place};

/// A server that treats each connection so; it counts them.
fn server(treat: impl Fn(TcpStream) + Send + Sync + 'static) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (treat, count) = (Arc::new(treat), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            counted.fetch_add(1, Ordering::Relaxed);
            let treat = Arc::clone(&treat);
            std::thread::spawn(move || treat(stream));
        }
    });
    (port, count)
}

/// Waits until the other side is gone.
fn wait(mut stream: TcpStream) {
    let mut rest = [0; 1024];
    while stream.read(&mut rest).is_ok_and(|read| read > 0) {}
}

fn web(mut stream: TcpStream) {
    let mut asked = [0; 1024];
    let _ = stream.read(&mut asked);
    let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    wait(stream);
}

fn ssh(mut stream: TcpStream) {
    let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2p1\r\n");
    wait(stream);
}

#[test]
fn a_port_of_something_else_is_named_in_time() {
    let place = Place::new();
    let (silent, web, ssh) = (server(wait).0, server(web).0, server(ssh).0);
    for (port, words) in [
        (silent, "does not answer"),
        (web, "it looks like a web server"),
        (ssh, "it looks like SSH"),
    ] {
        for url in [
            format!("postgresql://u@127.0.0.1:{port}/d?connect_timeout=2"),
            format!("redis://127.0.0.1:{port}?connect_timeout=2"),
            format!("grpc://127.0.0.1:{port}?connect_timeout=2"),
        ] {
            let began = Instant::now();
            let ended = place.run(&["query", "--from", &url, "--sql", "SELECT 1"]);
            let took = began.elapsed();
            assert_eq!(ended.code, 1, "{url}: {ended:?}");
            assert!(took < Duration::from_secs(6), "{url}: {took:?}: {ended:?}");
            // A silent one is not known for what it is.
            let said = match words {
                "does not answer" => ["does not answer", "did not answer", "cannot be reached"]
                    .iter()
                    .any(|words| ended.err.contains(words)),
                words => ended.err.contains(words),
            };
            assert!(said, "{url}: {ended:?}");
        }
    }
}

/// What a pooler says before anything else: an error of its own.
fn pooler(message: &'static str) -> impl Fn(TcpStream) + Send + Sync + 'static {
    move |mut stream| {
        let mut first = [0; 8];
        let _ = stream.read_exact(&mut first);
        // The request for encryption is answered with no, and a startup message follows.
        if first[4..] == [4, 210, 22, 47] {
            let _ = stream.write_all(b"N");
            let mut startup = [0; 1024];
            let _ = stream.read(&mut startup);
        }
        let mut fields = Vec::new();
        for (kind, text) in [
            (b'S', "FATAL"),
            (b'V', "FATAL"),
            (b'C', "08P01"),
            (b'M', message),
        ] {
            fields.push(kind);
            fields.extend_from_slice(text.as_bytes());
            fields.push(0);
        }
        fields.push(0);
        let length = u32::try_from(fields.len() + 4).expect("short");
        let _ = stream.write_all(&[&b"E"[..], &length.to_be_bytes(), &fields].concat());
    }
}

#[test]
fn what_a_pooler_refuses_is_not_asked_again() {
    let place = Place::new();
    for message in [
        "no more connections allowed (max_client_conn)",
        "unsupported startup parameter: options",
    ] {
        let (port, count) = server(pooler(message));
        let url = format!("postgresql://u@127.0.0.1:{port}/d?options=-c%20geqo%3Doff");
        let ended: Ended = place.run(&["query", "--from", &url, "--sql", "SELECT 1"]);
        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(
            ended.err.contains(message) && ended.err.contains("pooler"),
            "{ended:?}"
        );
        assert_eq!(count.load(Ordering::Relaxed), 1, "{ended:?}");
    }
}
