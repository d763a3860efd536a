//! `arrowload load` and jobs with several destinations: each has its own end, and the exit code is that of the worst.

use serde_json::Value;

use crate::{PEOPLE, Place};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn place() -> Place {
    let place = Place::new();
    place.write("people.csv", PEOPLE);
    place
}

/// Into two stores in memory, of which the second is not there and may not be made.
const HALF: [&str; 13] = [
    "load",
    "--from",
    "people.csv",
    "--load-id",
    "day 1",
    "--to",
    "memory",
    "--target",
    "t",
    "--to",
    "memory",
    "--target",
    "u",
];

const MISSING: [&str; 2] = ["-O", "create_table=false"];

#[test]
fn each_destination_says_what_it_did() {
    let place = place();
    let both = place.ok(&HALF);
    let lines: Vec<&str> = both.lines().collect();
    assert_eq!(lines.len(), 2, "{both}");
    assert!(
        lines[0].starts_with("memory `t`: 2 rows in ")
            && lines[1].starts_with("memory `u`: 2 rows in "),
        "{both}"
    );
    let shown = json(&place.ok(&[&HALF[..], &["--output", "json"]].concat()));
    assert_eq!(
        (&shown["arrived"], &shown["failed"]),
        (&2.into(), &0.into())
    );
    let second = &shown["destinations"][1];
    assert_eq!(
        (
            &second["status"],
            &second["report"]["rows"],
            &second["asked_again"]
        ),
        (&"loaded".into(), &2.into(), &false.into())
    );
}

#[test]
fn one_that_fails_is_said_and_the_others_arrive() {
    let place = place();
    let half = [&HALF[..], &MISSING].concat();
    let ended = place.run(&half);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.out.starts_with("memory `t`: 2 rows in "), "{ended:?}");
    let said: Vec<&str> = ended.err.lines().collect();
    assert!(
        said[0].starts_with("error: `u` does not exist and create_table is false (target: u")
            && said[0].ends_with("; the target is unchanged")
            && said[1]
                .starts_with("1 of 2 destinations failed; repeat the load with --load-id day 1"),
        "{ended:?}"
    );
    let ended = place.run(&[&half[..], &["--output", "json"]].concat());
    let shown = json(&ended.out);
    assert_eq!((ended.code, &shown["failed"]), (1, &1.into()));
    let error = &shown["destinations"][1]["error"];
    assert_eq!(
        (
            &error["kind"],
            &error["aftermath"],
            &error["context"]["load_id"]
        ),
        (
            &"target_not_found".into(),
            &"unchanged".into(),
            &"day 1".into()
        )
    );

    let stopped = place.run(&[&half[..], &["--fail-fast"]].concat());
    assert!(
        stopped.code == 1
            && stopped.out.is_empty()
            && stopped.err.contains("another destination failed")
            && stopped.err.contains("2 of 2 destinations failed"),
        "{stopped:?}"
    );
}

#[test]
fn a_dry_run_refuses_what_the_load_would_in_the_same_words() {
    let place = place();
    for (to, words) in [(&HALF[..9], "t"), (&HALF[..], "u")] {
        let load = [to, &MISSING].concat();
        let message = |err: &str| err.split(" (").next().unwrap_or_default().to_owned();
        let (loaded, planned) = (
            place.run(&load),
            place.run(&[&load[..], &["--dry-run"]].concat()),
        );
        assert_eq!((loaded.code, planned.code), (1, 1), "{planned:?}");
        assert_eq!(message(&loaded.err), message(&planned.err));
        assert_eq!(
            message(&planned.err),
            format!("error: `{words}` does not exist and create_table is false")
        );
    }
    let plans = place.ok(&[&HALF[..], &["--dry-run"]].concat());
    assert!(
        plans.contains("append into memory `t`")
            && plans.contains("append into memory `u`")
            && plans
                .matches("if it fails, the target is unchanged")
                .count()
                == 2,
        "{plans}"
    );
    let half = [&HALF[..], &MISSING, &["--dry-run", "--output", "json"]].concat();
    let shown = json(&place.run(&half).out);
    assert_eq!(
        shown["destinations"][0]["plan"]["columns"][1]["name"],
        "name"
    );
    assert_eq!(
        shown["destinations"][1]["error"]["kind"],
        "target_not_found"
    );
}

#[test]
fn one_target_is_named_once() {
    let place = place();
    place.write(
        "arrowload.toml",
        "[connections.one]\ntype = \"memory\"\ndatabase = \"d\"\n[connections.two]\ntype = \"memory\"\ndatabase = \"d\"\n",
    );
    let load = |one: &'static str, other: &'static str| {
        vec![
            "load",
            "--from",
            "people.csv",
            "-T",
            "t",
            "--to",
            one,
            "--to",
            other,
        ]
    };
    for (one, other, words) in [
        ("one", "one", "named twice; name it once"),
        ("one", "two", "connections `one` and `two`, which are one"),
    ] {
        let error = place.refused(2, &load(one, other));
        assert!(error.contains(words), "{error}");
    }
    place.ok(&load("one", "memory"));
}

#[test]
fn an_error_is_json_where_the_report_would_be() {
    let place = place();
    let load = [&HALF[..9], &MISSING, &["--output", "json"]].concat();
    let ended = place.run(&load);
    let shown = json(&ended.out);
    assert_eq!((ended.code, &shown["status"]), (1, &"failed".into()));
    assert_eq!(shown["error"]["aftermath"], "unchanged");
    assert!(
        ended.err.starts_with("error: `t` does not exist"),
        "{ended:?}"
    );
}

#[test]
fn a_repetition_writes_only_where_the_load_is_missing() {
    let place = place();
    let load = |more: &[&str]| {
        let both = [
            &[
                "load",
                "--from",
                "people.csv",
                "--load-id",
                "day 1",
                "-O",
                "format=parquet",
            ][..],
            &[
                "--to",
                "file",
                "--target",
                "a.parquet",
                "--to",
                "file",
                "--target",
                "b.parquet",
            ],
            more,
        ];
        place.run(&both.concat())
    };
    let first = load(&MISSING);
    assert!(
        first.code == 1 && first.err.contains("repeat the load with --load-id day 1"),
        "{first:?}"
    );
    place.write("people.csv", "id,name\n3,Edsger\n");
    let plans = load(&["--dry-run"]);
    assert!(
        plans.code == 0
            && plans.out.contains("is there already, 2 rows")
            && plans.out.contains("would be run again"),
        "{plans:?}"
    );
    let second = load(&[]);
    let lines: Vec<&str> = second.out.lines().collect();
    assert!(
        second.code == 0
            && lines[0].contains("was already there, 2 rows")
            && lines[1].starts_with("file `b.parquet`: 1 rows")
            && lines[2].contains("the query was run again for this destination"),
        "{second:?}"
    );
    let rows = |file: &str| place.ok(&["query", "--table", file, "--format", "csv"]);
    assert_eq!(
        (rows("a.parquet").as_str(), rows("b.parquet").as_str()),
        (PEOPLE, "id,name\n3,Edsger\n")
    );
}

const JOB: &str = r#"
[loads.people]
from = "people.csv"
to = ["memory", { to = "memory", target = "u", mode = "overwrite", config = { database = "b" } }]
target = "t"
mode = "append"
[loads.after]
from = "people.csv"
to = "memory"
target = "v"
after = ["people"]
"#;

#[test]
fn a_load_of_a_job_may_have_several_destinations() {
    let place = place();
    place.write("job.toml", JOB);
    let done = place.ok(&["run", "job.toml"]);
    assert!(
        done.contains("memory t") && done.contains("memory u"),
        "{done}"
    );
    assert!(done.contains("2 of 2 loads"), "{done}");
    let plans = place.ok(&["run", "job.toml", "--dry-run"]);
    assert!(
        plans.contains("append into memory `t`") && plans.contains("overwrite into memory `u`"),
        "{plans}"
    );

    let half = JOB.replace("mode = \"overwrite\"", "options = { create_table = false }");
    place.write("job.toml", &half);
    let ended = place.run(&["run", "job.toml", "--output", "json"]);
    let shown = json(&ended.out);
    assert_eq!((ended.code, &shown["failed"]), (1, &2.into()), "{shown}");
    let people = &shown["loads"]["people"];
    assert_eq!(people["status"], "failed");
    assert_eq!(people["destinations"][0]["status"], "loaded");
    assert_eq!(people["destinations"][1]["error"]["aftermath"], "unchanged");
    assert_eq!(shown["loads"]["after"]["status"], "not run");
    let planned = place.run(&["run", "job.toml", "--dry-run"]);
    assert!(
        planned.code == 1
            && planned.out.contains("`v` (would be created)")
            && planned.err.contains("`u` does not exist"),
        "{planned:?}"
    );

    place.write(
        "job.toml",
        &half.replace("target = \"t\"\n", "target = \"t\"\nfail_fast = true\n"),
    );
    let stopped = json(&place.run(&["run", "job.toml", "--output", "json"]).out);
    let first = &stopped["loads"]["people"]["destinations"][0]["error"];
    assert_eq!(first["kind"], "stopped");
}

#[test]
fn mistakes_in_the_destinations_of_a_job_are_named() {
    let place = place();
    for (from, to, words) in [
        ("target = \"u\"", "tagret = \"u\"", "tagret"),
        (
            "\"memory\", {",
            "{ target = \"w\" }, {",
            "missing field `to`",
        ),
        ("\"memory\", {", "7, {", "a table with a `to`"),
        (
            "to = \"memory\"\ntarget = \"v\"",
            "to = []\ntarget = \"v\"",
            "at least one",
        ),
        (
            "{ to = \"memory\"",
            "{ to = \"memori\"",
            "did you mean `memory`?",
        ),
        (
            "config = { database = \"b\" }",
            "target = \"t\"",
            "duplicate",
        ),
        (
            "target = \"u\", mode = \"overwrite\", config = { database = \"b\" }",
            "target = \"t\"",
            "named twice",
        ),
    ] {
        assert!(JOB.contains(from), "{from}");
        place.write("job.toml", &JOB.replacen(from, to, 1));
        let ended = place.run(&["run", "job.toml", "--dry-run"]);
        assert!(
            ended.code == 2 && ended.err.contains(words),
            "{to}: {ended:?}"
        );
    }
}
