//! How the program ends when it is not left in peace: closed pipes, a full disk, interrupts.
#![cfg(unix)]

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use arrowload_testkit::ThrowawayRedis;

use crate::{Ended, PEOPLE, Place};

const LOAD: [&str; 7] = [
    "load",
    "--from",
    "people.csv",
    "--to",
    "memory",
    "--target",
    "t",
];

#[test]
fn a_closed_pipe_ends_quietly() {
    let place = Place::new();
    place.write("people.csv", PEOPLE);
    let missing = [&LOAD[..], &["-O", "create_table=false"]].concat();
    let many = [
        "query",
        "--sql",
        "SELECT * FROM generate_series(1, 1000000)",
    ];
    for (arguments, code) in [
        (&LOAD[..], 0),
        (&[&LOAD[..], &["--dry-run"]].concat(), 0),
        (&[&LOAD[..], &["-vv", "--log-format", "json"]].concat(), 0),
        (&missing, 1),
        (&[&missing[..], &["--output", "json"]].concat(), 1),
        (&many, 0),
    ] {
        for closed in ["out", "err", "both"] {
            let mut child = place.spawn(arguments);
            let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
            if closed != "err" {
                out = None;
            }
            if closed != "out" {
                err = None;
            }
            // What stays open is read, so that nothing waits for it.
            let reading = std::thread::spawn(move || {
                let mut text = String::new();
                out.map(|mut out| out.read_to_string(&mut text));
            });
            let mut said = String::new();
            err.map(|mut err| err.read_to_string(&mut said));
            reading.join().expect("read");
            let status = child.wait().expect("it ends");
            assert_eq!(status.code(), Some(code), "{closed}, {arguments:?}: {said}");
            assert!(
                !said.contains("panicked") && !said.contains("Broken pipe"),
                "{said}"
            );
        }
    }
}

#[test]
fn a_report_that_cannot_be_written_is_no_load_that_failed() {
    let place = Place::new();
    place.write("people.csv", PEOPLE);
    let Ok(full) = std::fs::File::options().write(true).open("/dev/full") else {
        return;
    };
    for more in [&[][..], &["--output", "json"]] {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("arrowload"));
        command
            .args(LOAD)
            .args(more)
            .current_dir(place.path())
            .env("HOME", place.path())
            .stdout(full.try_clone().expect("a handle"))
            .stderr(Stdio::piped());
        let output = command.output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(4), "{said}");
        assert!(
            said.contains("the load has ended, and what it did cannot be printed"),
            "{said}"
        );
    }
}

/// Interrupts a load once it is under way, and waits for its end.
fn interrupted(mut child: Child, signal: &str, is_under_way: impl Fn() -> bool) -> Ended {
    let started = Instant::now();
    let mut by_itself = false;
    while !is_under_way() && !by_itself {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "it does not begin"
        );
        std::thread::sleep(Duration::from_millis(20));
        by_itself = child.try_wait().expect("a state").is_some();
    }
    if by_itself {
        panic!("it ended by itself: {:?}", child.wait_with_output());
    }
    let killed = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status();
    assert!(killed.expect("kill").success());
    let signalled = Instant::now();
    let output = child.wait_with_output().expect("it ends");
    assert!(
        signalled.elapsed() < Duration::from_secs(10),
        "it takes too long"
    );
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended {
        code: output
            .status
            .code()
            .unwrap_or_else(|| panic!("{:?}", output.status)),
        out: text(&output.stdout),
        err: text(&output.stderr),
    }
}

#[test]
fn an_interrupt_says_what_became_of_each_target() {
    for signal in ["-INT", "-TERM"] {
        let place = Place::new();
        // No row ever comes, so that it does not end.
        let sql = "SELECT value FROM generate_series(1, 100000000000) WHERE value < 0";
        let child = place.spawn(&[
            "load", "--sql", sql, "--to", "memory", "--target", "t", "--to", "memory", "--target",
            "u",
        ]);
        let begun = Instant::now();
        let ended = interrupted(child, signal, || {
            begun.elapsed() > Duration::from_millis(1_500)
        });
        assert_eq!(
            (ended.code, ended.out.as_str()),
            (130, ""),
            "{signal}: {ended:?}"
        );
        assert_eq!(
            ended.err,
            "interrupted: memory `t`: the target is unchanged\ninterrupted: memory `u`: the target is unchanged\n"
        );
    }
}

#[test]
fn an_interrupt_that_leaves_rows_says_so() {
    let Some(server) = ThrowawayRedis::available() else {
        return;
    };
    let place = Place::new();
    let keys = || {
        let size = server.cli(&["dbsize"]).expect("a number");
        size.trim().parse::<u64>().expect("a number")
    };
    let before = keys();
    let sql = "SELECT value AS id, repeat('x', 50) AS filler FROM generate_series(1, 100000000000)";
    let child = place.spawn(&[
        "load",
        "--sql",
        sql,
        "--to",
        server.url(),
        "--target",
        "left:{id}",
        "--load-id",
        "day 1",
    ]);
    // The handler is in place as soon as the program first waits for something, which so many rows make sure of.
    let ended = interrupted(child, "-INT", || keys() > before + 50_000);
    assert!(keys() > before + 50_000, "they are gone after all");
    assert_eq!(ended.code, 4, "{ended:?}");
    assert!(
        ended
            .err
            .starts_with("interrupted: redis `left:{id}`: rows of this load may remain")
            && ended.err.contains("load_id: day 1"),
        "{ended:?}"
    );
}
