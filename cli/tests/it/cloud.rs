//! Files in a bucket and on the web, read and written by the program as it is released.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command as Process, Stdio};

use arrowload_testkit::{ThrowawayS3, python};
use assert_cmd::Command;

use crate::{Ended, PEOPLE, Place};

/// The program, with the store's address and keys as a user's environment has them.
fn with_store(place: &Place, store: &ThrowawayS3, arguments: &[&str]) -> Command {
    let mut command = place.command(arguments);
    for (name, value) in store.options() {
        command.env(name.to_uppercase(), value);
    }
    command
}

#[test]
fn a_bucket_is_read_and_written() {
    let Some(store) = ThrowawayS3::available() else {
        return;
    };
    let place = Place::new();
    place
        .write("a.csv", PEOPLE)
        .write("b.csv", "name,id\nEdsger,3\n");
    for name in ["a.csv", "b.csv"] {
        let put = store.put(&format!("cli/in/{name}"), &place.path().join(name));
        put.expect("an object");
    }
    let run = |arguments: &[&str]| Ended::of(&mut with_store(&place, &store, arguments));
    let (from, to) = (
        store.url("cli/in/*.csv"),
        store.url("cli/out/people.parquet"),
    );
    let ended = run(&["load", "--from", &from, "--to", &to]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let copied = place.path().join("copied");
    store.copy("cli/out/", &copied).expect("copied");
    let sql = "SELECT id, name FROM read_parquet($file) ORDER BY id";
    let rows = python::query(sql, &copied.join("people.parquet"));
    if let Some(rows) = rows.expect("a reader") {
        assert_eq!(rows.num_rows(), 3);
    }
    let ended = run(&["query", "--from", &to, "--format", "csv"]);
    assert!(
        ended.out.contains("1,Ada") && ended.out.contains("3,Edsger"),
        "{ended:?}"
    );

    // As single files, by another name and with a missing one.
    let ended = run(&[
        "query",
        "--from",
        &store.url("cli/in/b.csv"),
        "--format",
        "csv",
    ]);
    assert_eq!(ended.out, "name,id\nEdsger,3\n", "{ended:?}");
    let ended = run(&["query", "--from", &store.url("cli/in/none.csv")]);
    assert!(
        ended.code == 1 && ended.err.contains("none.csv"),
        "{ended:?}"
    );
    let ended = run(&["load", "--from", "a.csv", "--to", &to, "-m", "create"]);
    assert!(
        ended.code != 0 && ended.err.contains("people.parquet"),
        "{ended:?}"
    );
}

/// Python's own server of a folder, behind TLS; it ends with the test.
struct Web {
    server: Child,
    port: String,
}

const SERVER: &str = "
import http.server, ssl, sys, threading
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), http.server.SimpleHTTPRequestHandler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('cert.pem', 'key.pem')
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stdin.read()
";

impl Web {
    fn serve(place: &Place) -> Option<Self> {
        let python = python::interpreter().ok()?;
        let mut server = Process::new(python)
            .args(["-c", SERVER])
            .current_dir(place.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("Python starts");
        let mut port = String::new();
        let output = server.stdout.take().expect("its output");
        BufReader::new(output).read_line(&mut port).expect("a port");
        let port = port.trim().to_owned();
        Some(Self { server, port })
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[test]
fn a_file_of_the_web_is_read_over_tls() {
    let place = Place::new();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("a certificate");
    place
        .write("people.csv", PEOPLE)
        .write(
            "page",
            "<!DOCTYPE html>\n<html><body>Please sign in</body></html>\n",
        )
        .write("cert.pem", &made.cert.pem())
        .write("key.pem", &made.signing_key.serialize_pem());
    place.ok(&["query", "--from", "people.csv", "-o", "people.csv.gz"]);
    place.ok(&["query", "--from", "people.csv", "-o", "people.parquet"]);
    if !python::available() {
        return;
    }
    let Some(web) = Web::serve(&place) else {
        return;
    };
    let url = |name: &str| format!("https://localhost:{}/{name}", web.port);
    let query = |name: &str, is_trusted: bool| {
        let mut command = place.command(&["query", "--from", &url(name), "--format", "csv"]);
        if is_trusted {
            command.env("SSL_CERT_FILE", place.path().join("cert.pem"));
        }
        Ended::of(&mut command)
    };
    for name in ["people.csv", "people.csv.gz", "people.parquet"] {
        let ended = query(name, true);
        assert_eq!(
            (ended.code, ended.out.as_str()),
            (0, PEOPLE),
            "{name}: {ended:?}"
        );
    }
    let ended = query("people.csv", false);
    assert!(
        ended.code == 1 && ended.err.contains("certificate"),
        "{ended:?}"
    );
    let ended = query("none.csv", true);
    assert!(
        ended.code == 1 && ended.err.contains("none.csv"),
        "{ended:?}"
    );
    let ended = query("page", true);
    assert!(ended.code == 1 && ended.err.contains("HTML"), "{ended:?}");
}
