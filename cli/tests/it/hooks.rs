//! Hooks of jobs: who is called, with what, and that one that fails changes nothing of what is said of the loads.
#![cfg(unix)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{PEOPLE, Place};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A server that answers with these codes, one a request, and tells what it was sent.
fn server(codes: &'static [u16]) -> (u16, mpsc::Receiver<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (sender, received) = mpsc::channel();
    std::thread::spawn(move || {
        for code in codes {
            let (stream, _) = listener.accept().expect("a client");
            let mut reader = BufReader::new(stream);
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).expect("a line");
                if let Some(number) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = number.trim().parse().expect("a length");
                }
                if line.trim().is_empty() {
                    break;
                }
                head += &line;
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).expect("a body");
            let answer =
                format!("HTTP/1.1 {code} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            reader
                .get_mut()
                .write_all(answer.as_bytes())
                .expect("answered");
            let body = String::from_utf8(body).expect("text");
            sender.send((head, body)).expect("a test");
        }
    });
    (port, received)
}

#[test]
fn commands_get_the_facts_and_the_report() {
    let place = Place::new();
    place.write("people.csv", PEOPLE).write(
        "job.toml",
        r#"
on_success = "cat > job-ok.json"
on_failure = "cat > job-failed.json; echo said"
[vars]
out = "a.parquet"
[loads.people]
from = "people.csv"
to = "{{ out }}"
mode = "overwrite"
on_success = ["sh", "-c", "cat > $ARROWLOAD_LOAD.json; echo $ARROWLOAD_HOOK $ARROWLOAD_JOB $ARROWLOAD_RUN_ID $ARROWLOAD_STATUS {{ out }} > facts"]
on_failure = "touch never"
[loads.missing]
from = "missing.csv"
to = "b.parquet"
on_success = "touch never"
on_failure = "cat > $ARROWLOAD_LOAD.json"
[loads.behind]
from = "people.csv"
to = "c.parquet"
after = ["missing"]
on_failure = "touch never"
"#,
    );
    // Nothing is called for a plan.
    place.run(&["run", "job.toml", "--dry-run"]);
    assert!(!place.path().join("facts").exists() && !place.path().join("job-failed.json").exists());

    let ended = place.run(&["run", "job.toml", "--run-id", "day 1", "--output", "json"]);
    assert_eq!(ended.code, 1, "{ended:?}");
    let report = json(&ended.out);
    assert_eq!(
        place.read("facts"),
        "on_success job day 1 loaded a.parquet\n"
    );
    let people = json(&place.read("people.json"));
    assert_eq!(
        (&people["load"], &people["report"]["rows"], &people["run"]),
        (&"people".into(), &2.into(), &"day 1".into())
    );
    let missing = json(&place.read("missing.json"));
    assert_eq!(
        (&missing["status"], &missing["error"]["kind"]),
        (
            &"failed".into(),
            &report["loads"]["missing"]["error"]["kind"]
        )
    );
    let job = json(&place.read("job-failed.json"));
    assert_eq!(
        (&job["status"], &job["loads"]),
        (&"failed".into(), &report["loads"])
    );
    // What it prints is no part of the report.
    assert!(ended.err.contains("said"), "{ended:?}");
    let hooks = report["hooks"].as_array().expect("a list");
    assert!(
        hooks.len() == 3 && hooks.iter().all(|hook| hook["status"] == "done"),
        "{report}"
    );
    assert!(!place.path().join("never").exists() && !place.path().join("job-ok.json").exists());

    place.write("missing.csv", PEOPLE);
    place.ok(&["run", "job.toml", "--resume"]);
    assert_eq!(json(&place.read("job-ok.json"))["status"], "done");
}

#[test]
fn webhooks_are_sent_again_and_their_failure_is_only_said() {
    let place = Place::new();
    let (port, received) = server(&[503, 204, 400]);
    place.write("people.csv", PEOPLE).write(
        "job.toml",
        &format!(
            r#"
on_success = {{ url = "http://127.0.0.1:{port}/${{env:TOKEN}}", headers = {{ Authorization = "Bearer ${{env:TOKEN}}" }} }}
[loads.people]
from = "people.csv"
to = "a.parquet"
mode = "overwrite"
"#
        ),
    );
    // A secret that is not there is noticed before anything is loaded.
    let line = place.refused(2, &["run", "job.toml"]);
    assert!(
        line.contains("on_success: url: the environment variable TOKEN"),
        "{line}"
    );
    assert!(!place.path().join("a.parquet").exists());

    let run = |arguments: &[&str]| {
        let mut command = place.command(arguments);
        crate::Ended::of(command.env("TOKEN", "hunter2").env("NO_PROXY", "127.0.0.1"))
    };
    let ended = run(&["run", "job.toml", "-vv"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(!ended.err.contains("hunter2"), "{ended:?}");
    for _ in 0..2 {
        let (head, body) = received.recv().expect("a request");
        assert!(head.starts_with("POST /hunter2 HTTP/1.1"), "{head}");
        let head = head.to_ascii_lowercase();
        assert!(
            head.contains("authorization: bearer hunter2") && head.contains("application/json"),
            "{head}"
        );
        assert_eq!(json(&body)["status"], "done");
    }
    // What it does not want is not sent again.
    let ended = run(&["run", "job.toml", "--output", "json"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(
        ended
            .err
            .contains("the hook on_success failed: it answered 400")
            && !ended.err.contains("hunter2"),
        "{ended:?}"
    );
    let report = json(&ended.out);
    assert_eq!(
        (&report["status"], &report["hooks"][0]["status"]),
        (&"done".into(), &"failed".into())
    );
    received.recv().expect("a request");
    // Nobody is there any more.
    let ended = run(&["run", "job.toml", "--output", "json"]);
    assert!(
        ended.code == 0 && !ended.err.contains("hunter2"),
        "{ended:?}"
    );
    assert_eq!(json(&ended.out)["hooks"][0]["status"], "failed");
}

#[test]
fn an_interrupted_job_and_one_that_is_refused_call_on_failure() {
    let place = Place::new();
    place.write(
        "job.toml",
        r#"
on_failure = "cat > job.json"
[loads.endless]
sql = "SELECT value FROM generate_series(1, 100000000000)"
to = "a.csv"
on_failure = "cat > load.json"
"#,
    );
    let mut child = place.spawn(&["run", "job.toml", "--metrics-file", "a.prom"]);
    let began = Instant::now();
    while !place.path().join("a.prom").exists() && began.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(1_000));
    let _ = Command::new("kill").arg(child.id().to_string()).status();
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    assert_eq!(json(&place.read("load.json"))["status"], "interrupted");
    let job = json(&place.read("job.json"));
    assert_eq!(
        (&job["status"], &job["loads"]["endless"]["status"]),
        (&"interrupted".into(), &"interrupted".into())
    );

    place.write(
        "wrong.toml",
        "on_failure = \"cat > wrong.json\"\n[loads.x]\nsql = \"SELECT 1\"\nto = \"nowhere\"\ntarget = \"t\"\n",
    );
    assert_eq!(place.run(&["run", "wrong.toml"]).code, 2);
    assert_eq!(json(&place.read("wrong.json"))["status"], "failed");
}

#[test]
fn an_interrupt_behind_the_last_load_calls_no_second_hook() {
    let place = Place::new();
    place.write("people.csv", PEOPLE).write(
        "job.toml",
        r#"
on_success = "echo well >> said; sleep 1; echo to its end >> said"
on_failure = "echo failed >> said"
[loads.people]
from = "people.csv"
to = "a.parquet"
"#,
    );
    let mut child = place.spawn(&["run", "job.toml"]);
    let began = Instant::now();
    while !place.path().join("said").exists() && began.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = Command::new("kill").arg(child.id().to_string()).status();
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    assert_eq!(place.read("said"), "well\nto its end\n");
}
