//! An interrupt ends a load, and leaves its target as it was.
#![cfg(unix)]

use std::io::Read;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::Place;

#[test]
fn an_interrupt_leaves_the_target_as_it_was() {
    for signal in ["-INT", "-TERM"] {
        let place = Place::new();
        place.write("rows.csv", "before");
        let sql = "SELECT value, repeat('x', 100) AS filler FROM generate_series(1, 100000000000)";
        let mut child = place.spawn(&[
            "load",
            "--sql",
            sql,
            "--to",
            "file",
            "--target",
            "rows.csv",
            "--mode",
            "overwrite",
        ]);
        std::thread::sleep(Duration::from_millis(1_500));
        assert!(
            child.try_wait().expect("a state").is_none(),
            "it ended by itself"
        );
        assert!(
            Command::new("kill")
                .args([signal, &child.id().to_string()])
                .status()
                .expect("kill")
                .success()
        );
        let (signalled, mut code) = (Instant::now(), None);
        while code.is_none() && signalled.elapsed() < Duration::from_secs(10) {
            code = child.try_wait().expect("a state");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(code.and_then(|status| status.code()), Some(130), "{signal}");
        assert_eq!(place.read("rows.csv"), "before");
        let mut said = String::new();
        let err = child
            .stderr
            .take()
            .map(|mut err| err.read_to_string(&mut said));
        err.expect("standard error").expect("text");
        assert_eq!(
            said,
            "interrupted: file `rows.csv`: the target is unchanged\n"
        );
        let files: Vec<_> = std::fs::read_dir(place.path())
            .expect("a folder")
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        assert_eq!(files.len(), 1, "{files:?}");
    }
}
