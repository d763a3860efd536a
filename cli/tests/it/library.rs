//! The command as a library, with a loader of somebody else's crate in it.

use std::process::Command;

use arrowload_testkit::skip;

use crate::{Ended, PEOPLE, Place};

#[test]
fn a_program_that_names_a_loader_is_the_command_with_it() {
    // Cargo builds examples with the tests, unless it is told which tests to build.
    let folder = assert_cmd::cargo::cargo_bin!("arrowload").parent();
    let program = folder.expect("a folder").join(format!(
        "examples/with_a_loader{}",
        std::env::consts::EXE_SUFFIX
    ));
    if !program.exists() {
        return skip("examples", "the example `with_a_loader` is not built");
    }
    let place = Place::new();
    place.write("people.csv", PEOPLE);
    let run = |words: &[&str]| {
        let ended = Ended::of(
            assert_cmd::Command::from(Command::new(&program))
                .current_dir(place.path())
                .env("HOME", place.path())
                .args(words),
        );
        assert_eq!(ended.code, 0, "{words:?}: {ended:?}");
        ended.out
    };
    assert!(run(&["loaders"]).contains("plugin_template"));
    assert!(!place.ok(&["loaders"]).contains("plugin_template"));
    run(&[
        "load",
        "--from",
        "people.csv",
        "--to",
        "plugin_template",
        "--config",
        "root=store",
        "--target",
        "people",
    ]);
    let files = std::fs::read_dir(place.path().join("store/people")).expect("a folder");
    assert!(files.count() > 0);
}
