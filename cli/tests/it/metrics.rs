//! Metrics of loads: a text file, an endpoint, and what is refused before anything is done.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use arrowload_testkit::python;

use crate::{PEOPLE, Place};

const LOAD: [&str; 7] = [
    "load",
    "--from",
    "people.csv",
    "--to",
    "file",
    "--target",
    "out.parquet",
];

/// The samples of a text by name and labels, and the types of the metrics. What is neither is no line of the format.
fn parsed(text: &str) -> (BTreeMap<String, f64>, BTreeMap<String, String>) {
    let (mut samples, mut types) = (BTreeMap::new(), BTreeMap::new());
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect(line);
            let other = types.insert(name.to_owned(), kind.to_owned());
            assert!(other.is_none(), "{line}");
        } else if !line.starts_with("# HELP ") {
            let (name, value) = line.rsplit_once(' ').expect(line);
            samples.insert(name.to_owned(), value.parse().expect(line));
        }
    }
    (samples, types)
}

#[test]
fn the_file_has_what_loads_did_and_how_the_command_ended() {
    let place = Place::new();
    place.write("people.csv", PEOPLE);
    let metrics = ["--metrics-file", "a.prom", "--metrics-label", "cron=people"];
    place.ok(&[&LOAD[..], &metrics].concat());
    let text = place.read("a.prom");
    let (samples, types) = parsed(&text);
    for (name, value) in [
        (
            "arrowload_loads_total{cron=\"people\",loader=\"file\",outcome=\"ok\"}",
            1.0,
        ),
        (
            "arrowload_loaded_rows_total{cron=\"people\",loader=\"file\"}",
            2.0,
        ),
        (
            "arrowload_written_rows_total{cron=\"people\",loader=\"file\"}",
            2.0,
        ),
        (
            "arrowload_retries_total{cron=\"people\",loader=\"file\"}",
            0.0,
        ),
        (
            "arrowload_loads_in_progress{cron=\"people\",loader=\"file\"}",
            0.0,
        ),
        (
            "arrowload_load_duration_seconds_count{cron=\"people\",loader=\"file\"}",
            1.0,
        ),
        (
            "arrowload_command_exit_code{cron=\"people\",command=\"load\"}",
            0.0,
        ),
    ] {
        assert_eq!(samples.get(name), Some(&value), "{name}: {text}");
    }
    assert_eq!(types["arrowload_loads_total"], "counter");
    assert_eq!(types["arrowload_load_duration_seconds"], "histogram");
    let start = samples["arrowload_command_start_time_seconds{cron=\"people\",command=\"load\"}"];
    let end = samples["arrowload_command_end_time_seconds{cron=\"people\",command=\"load\"}"];
    assert!(start > 1.7e9 && end >= start, "{text}");
    for (name, kind) in &types {
        assert!(text.contains(&format!("# HELP {name} ")), "{name}: {text}");
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
    }
    // Another user reads it; and no other file is left.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let file = std::fs::metadata(place.path().join("a.prom")).expect("a file");
        assert_eq!(file.permissions().mode() & 0o044, 0o044);
    }
    assert_eq!(
        std::fs::read_dir(place.path()).expect("a folder").count(),
        3
    );

    // The target is there by now.
    let failed = place.run(&[&LOAD[..], &metrics].concat());
    assert_ne!(failed.code, 0, "{failed:?}");
    let (samples, _) = parsed(&place.read("a.prom"));
    let code = samples["arrowload_command_exit_code{cron=\"people\",command=\"load\"}"];
    assert_eq!(code, f64::from(failed.code));
    // A plan loads nothing.
    place.write("a.prom", "as it was");
    place.ok(&[
        &["load", "--dry-run", "--mode", "overwrite"],
        &LOAD[1..],
        &metrics,
    ]
    .concat());
    assert_eq!(place.read("a.prom"), "as it was");
}

#[test]
fn a_sync_counts_the_loads_of_all_its_tables() {
    let place = Place::new();
    std::fs::create_dir(place.path().join("data")).expect("a folder");
    place
        .write("data/people.csv", PEOPLE)
        .write("data/more.csv", PEOPLE);
    let sync = |more: &[&str]| {
        let from = ["sync", "--from", "datafusion://data", "--tables", "*"];
        let to = ["--to", "file", "--target", "out/{table}.csv"];
        place.ok(&[&from[..], &to, &["--metrics-file", "a.prom"], more].concat())
    };
    sync(&["--dry-run"]);
    assert!(!place.path().join("a.prom").exists());
    sync(&[]);
    let (samples, _) = parsed(&place.read("a.prom"));
    for (name, value) in [
        ("arrowload_loads_total{loader=\"file\",outcome=\"ok\"}", 2.0),
        ("arrowload_loaded_rows_total{loader=\"file\"}", 4.0),
        ("arrowload_command_exit_code{command=\"sync\"}", 0.0),
    ] {
        assert_eq!(samples.get(name), Some(&value), "{name}: {samples:?}");
    }
}

/// The parser of Prometheus's own Python client understands the file too.
#[test]
fn prometheus_reads_the_file() {
    if !python::available() {
        return;
    }
    let python = python::interpreter().expect("it is available");
    let place = Place::new();
    place.write("people.csv", PEOPLE);
    place.ok(&[&LOAD[..], &["--metrics-file", "a.prom"]].concat());
    let script = "import sys\nfrom prometheus_client.parser import text_string_to_metric_families as parse\nfor family in \
                  parse(open('a.prom').read()):\n    assert family.documentation, family.name\n    print(family.name, family.type, \
                  len(family.samples))";
    let read = Command::new(python)
        .args(["-c", script])
        .current_dir(place.path())
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&read.stdout);
    assert!(
        read.status.success() && said.contains("arrowload_loaded_rows counter 1"),
        "{said} {}",
        String::from_utf8_lossy(&read.stderr)
    );
}

#[test]
fn what_cannot_be_written_or_listened_at_is_refused_before_anything_is_done() {
    let place = Place::new();
    place.write("people.csv", PEOPLE);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("an address").to_string();
    for (flags, words) in [
        (
            &["--metrics-file", "no/a.prom"][..],
            "--metrics-file no/a.prom",
        ),
        (&["--metrics-file", "."], "--metrics-file ."),
        (&["--metrics-listen", &taken], "in use"),
        (&["--metrics-listen", "9464"], "127.0.0.1:9464"),
        (&["--metrics-listen", "127.0.0.1:99999"], "not an address"),
        (
            &["--metrics-label", "a=b"],
            "--metrics-file and --metrics-listen",
        ),
        (
            &["--metrics-file", "x.prom", "--metrics-label", "a-b=c"],
            "letters, digits and _",
        ),
        (
            &["--metrics-file", "x.prom", "--metrics-label", "loader=c"],
            "already",
        ),
    ] {
        let line = place.refused(2, &[&LOAD[..], flags].concat());
        assert!(line.contains(words), "{flags:?}: {line}");
    }
    assert!(!place.path().join("out.parquet").exists());
}

#[test]
fn no_file_but_one_of_metrics_is_overwritten() {
    let place = Place::new();
    place
        .write("people.csv", PEOPLE)
        .write(
            "job.toml",
            "[loads.a]\nfrom = \"people.csv\"\nto = \"out.csv\"\n",
        )
        .write("notes.txt", "what I know\n");
    for (arguments, words) in [
        (
            "load --from people.csv --to out.csv --metrics-file notes.txt",
            "does not hold metrics",
        ),
        (
            "load --from people.csv --to out.csv --metrics-file people.csv",
            "itself reads or writes",
        ),
        (
            "load --from people.csv --to out.csv --metrics-file ./out.csv",
            "itself reads or writes",
        ),
        (
            "load --from people.csv --to file --target out.csv --metrics-file out.csv",
            "itself reads or writes",
        ),
        (
            "query --from people.csv -o out.csv --metrics-file out.csv",
            "itself reads or writes",
        ),
        (
            "run job.toml --metrics-file ./job.toml",
            "itself reads or writes",
        ),
        (
            "replay notes.txt --to out.csv --metrics-file notes.txt",
            "itself reads or writes",
        ),
    ] {
        let before = [place.read("people.csv"), place.read("job.toml")];
        let line = place.refused(2, &arguments.split(' ').collect::<Vec<_>>());
        assert!(line.contains(words), "{arguments}: {line}");
        let after = [place.read("people.csv"), place.read("job.toml")];
        assert_eq!(before, after, "{arguments}");
        assert_eq!(place.read("notes.txt"), "what I know\n", "{arguments}");
        assert!(!place.path().join("out.csv").exists(), "{arguments}");
    }
    // An empty file holds nothing, and one of metrics is written again.
    place.write("a.prom", "");
    for _ in 0..2 {
        place.ok(&["query", "--from", "people.csv", "--metrics-file", "a.prom"]);
        assert!(place.read("a.prom").starts_with("# "));
    }
}

fn get(address: &str, request: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream
        .write_all(format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
        .ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

#[test]
fn the_endpoint_is_there_while_the_command_runs() {
    let place = Place::new();
    let sql = "SELECT value FROM generate_series(1, 100000000000)";
    let mut child = place.spawn(&[
        "load",
        "--sql",
        sql,
        "--to",
        "file",
        "--target",
        "x.csv",
        "--metrics-listen",
        "127.0.0.1:0",
        "--metrics-file",
        "a.prom",
    ]);
    let mut lines = BufReader::new(child.stderr.take().expect("standard error")).lines();
    let line = lines.next().expect("a line").expect("text");
    let address = line
        .strip_prefix("metrics at http://")
        .and_then(|rest| rest.strip_suffix("/metrics"))
        .expect(&line)
        .to_owned();
    // Rows count while they are written, and not at the end only.
    let (began, mut written) = (Instant::now(), 0.0);
    while written == 0.0 && began.elapsed() < Duration::from_secs(60) {
        let answer = get(&address, "GET /metrics").expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a body");
        let head = head.to_ascii_lowercase();
        assert!(
            head.starts_with("http/1.1 200") && head.contains("text/plain; version=0.0.4"),
            "{head}"
        );
        let (samples, _) = parsed(body);
        let name = "arrowload_written_rows_total{loader=\"file\"}";
        written = samples.get(name).copied().unwrap_or_default();
    }
    assert!(written > 0.0);
    assert!(
        get(&address, "GET /")
            .expect("an answer")
            .starts_with("HTTP/1.1 404")
    );
    assert!(
        get(&address, "POST /metrics")
            .expect("an answer")
            .starts_with("HTTP/1.1 405")
    );
    // The file is not waited for until the end either.
    let in_progress = "arrowload_loads_in_progress{loader=\"file\"}";
    let began = Instant::now();
    while parsed(&place.read("a.prom")).0.get(in_progress) != Some(&1.0) {
        assert!(began.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(100));
    }
    let _ = Command::new("kill").arg(child.id().to_string()).status();
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    let (samples, _) = parsed(&place.read("a.prom"));
    assert_eq!(
        samples["arrowload_command_exit_code{command=\"load\"}"],
        130.0
    );
    assert_eq!(samples[in_progress], 0.0);
    assert!(TcpStream::connect(&address).is_err());
}
