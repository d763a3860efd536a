//! `arrowload connections` and `arrowload init`.

use crate::{Ended, PEOPLE, Place};

#[test]
fn connections_are_shown_removed_and_tested_together() {
    let place = Place::new();
    place.write(
        "arrowload.toml",
        "# ours\n[connections.lake]\ntype = \"file\"\nroot = \"lake\" # here\n\n[connections.gone]\ntype = \"file\"\n\n[connections.pg]\nurl = \"postgresql://u:hunter2@127.0.0.1:1/d?connect_timeout=1\"\n",
    );
    let shown = place.ok(&["connections", "show", "pg"]);
    assert!(
        shown.contains("127.0.0.1") && shown.contains("***") && !shown.contains("hunter2"),
        "{shown}"
    );
    let ended = place.run(&["connections", "test", "--all"]);
    assert!(
        ended.code == 1
            && ended.out.contains("lake: file is reached")
            && ended.err.contains("pg: ")
            && !ended.err.contains("hunter2"),
        "{ended:?}"
    );
    place.ok(&["connections", "remove", "gone"]);
    let text = place.read("arrowload.toml");
    assert!(
        text.starts_with("# ours\n") && text.contains("# here") && !text.contains("gone"),
        "{text}"
    );
    let error = place.refused(2, &["connections", "remove", "gone"]);
    assert!(error.contains("no connection `gone`"), "{error}");
}

#[test]
fn connections_are_added_listed_tested_and_used() {
    let place = Place::new();
    assert!(
        place
            .ok(&["connections", "list"])
            .contains("arrowload init")
    );
    assert!(place.ok(&["init"]).contains("arrowload.toml"));
    assert!(
        place.ok(&["connections", "list"]).contains("no connection"),
        "the template names none"
    );
    place.ok(&[
        "connections",
        "add",
        "lake",
        "file",
        "root=lake",
        "batch_size=1000",
    ]);
    let added = place.run(&[
        "connections",
        "add",
        "pg",
        "postgresql://u@127.0.0.1:1/d",
        "password=hunter2",
    ]);
    assert!(
        added.code == 0 && added.err.contains("${env:NAME}"),
        "{added:?}"
    );
    let text = place.read("arrowload.toml");
    assert!(
        text.starts_with("# Connections of arrowload")
            && text.contains("[connections.lake]\ntype = \"file\"\nroot = \"lake\""),
        "{text}"
    );
    let list = place.ok(&["connections", "list"]);
    assert!(
        list.contains("lake")
            && list.contains("file")
            && list.contains("arrowload.toml")
            && !list.contains("hunter2"),
        "{list}"
    );
    assert!(
        place
            .ok(&["connections", "test", "lake"])
            .contains("lake: file is reached")
    );
    place.write("people.csv", PEOPLE);
    place.ok(&[
        "load",
        "--from",
        "people.csv",
        "--to",
        "lake",
        "--target",
        "people.csv",
    ]);
    assert_eq!(place.read("lake/people.csv"), PEOPLE);
    let ended = place.run(&["connections", "test", "pg"]);
    assert!(
        ended.code == 1 && ended.err.contains("127.0.0.1:1") && !ended.err.contains("hunter2"),
        "{ended:?}"
    );
}

#[test]
fn the_environment_names_connections_too() {
    let place = Place::new();
    place.write("people.csv", PEOPLE);
    let mut load = place.command(&["load", "-f", "people.csv", "-t", "bucket", "-T", "x.csv"]);
    load.env("ARROWLOAD_CONNECTIONS__BUCKET__TYPE", "file")
        .env("ARROWLOAD_CONNECTIONS__BUCKET__ROOT", "elsewhere");
    let ended = Ended::of(&mut load);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(place.read("elsewhere/x.csv"), PEOPLE);
    let broken = Ended::of(
        place
            .command(&["loaders"])
            .env("ARROWLOAD_CONFIG", "nowhere.toml"),
    );
    assert_eq!(
        broken.code, 0,
        "what needs no connection does not read the file: {broken:?}"
    );
}

#[test]
fn a_connection_shows_what_loads_by_it_do() {
    let place = Place::new();
    place.write(
        "arrowload.toml",
        "[connections.lake]\ntype = \"file\"\nroot = \"data\"\nmode = \"overwrite\"\ncompression = \"zstd\"\n",
    );
    let shown = place.ok(&["connections", "show", "lake"]);
    for words in [
        ["root", "data"],
        ["mode", "overwrite"],
        ["compression", "zstd"],
    ] {
        let line = shown.lines().find(|line| line.starts_with(words[0]));
        assert!(
            line.is_some_and(|line| line.contains(words[1]) && line.contains("arrowload.toml")),
            "{shown}"
        );
    }
    let refused = place.refused(2, &["connections", "add", "two words", "file", "rot=x"]);
    assert!(refused.contains("connections add"), "{refused}");
    let added = place.ok(&["connections", "add", "two words", "file", "root=x"]);
    assert!(added.contains("connections test 'two words'"), "{added}");
}
