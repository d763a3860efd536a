//! Runs of a job by their ids: what is gone on with, and what is refused.

use serde_json::Value;

use crate::{Ended, PEOPLE, Place};

const JOB: &str = r#"
[loads.people]
from = "people.csv"
to = "file"
target = "out/people/"
options = { format = "parquet" }
[loads.second]
from = "second.csv"
to = "file"
target = "out/second/"
options = { format = "parquet" }
after = ["people"]
"#;

fn rows(place: &Place, load: &str) -> String {
    let sql = format!("SELECT count(*) AS n FROM 'out/{load}/*.parquet'");
    let rows = place.ok(&["query", "--sql", &sql, "--format", "csv"]);
    rows.replace("n\n", "").trim().to_owned()
}

/// Runs the job, and answers with its exit code and summary.
fn run(place: &Place, more: &[&str]) -> (i32, Value) {
    let ended = place.run(&[&["run", "job.toml", "--output", "json"][..], more].concat());
    let shown = serde_json::from_str(&ended.out);
    (
        ended.code,
        shown.unwrap_or_else(|error| panic!("{error}: {ended:?}")),
    )
}

fn statuses(shown: &Value) -> [&str; 2] {
    ["people", "second"].map(|name| shown["loads"][name]["status"].as_str().unwrap_or_default())
}

#[test]
fn a_resumed_run_is_the_one_that_was_last_even_if_it_committed_nothing() {
    let place = Place::new();
    place.write("job.toml", JOB).write("people.csv", PEOPLE);
    place.write("second.csv", "a\n1\n");
    let (code, first) = run(&place, &[]);
    assert_eq!((code, statuses(&first)), (0, ["loaded", "loaded"]));
    // A run that commits nothing is gone on with, and not an older one.
    std::fs::remove_file(place.path().join("people.csv")).expect("removed");
    let (code, nothing) = run(&place, &[]);
    assert_eq!(
        (code, statuses(&nothing)),
        (1, ["failed", "not run"]),
        "{nothing}"
    );
    place.write("people.csv", PEOPLE);
    let (code, resumed) = run(&place, &["--resume"]);
    assert_eq!(resumed["run"], nothing["run"]);
    assert_eq!((code, statuses(&resumed)), (0, ["loaded", "loaded"]));
    // The first run's rows are another run's.
    place.write("second.csv", "");
    let (code, failed) = run(&place, &[]);
    assert_eq!(
        (code, statuses(&failed)),
        (1, ["loaded", "failed"]),
        "{failed}"
    );
    place.write("second.csv", "a\n1\n");
    let (code, resumed) = run(&place, &["--resume"]);
    assert_eq!(resumed["run"], failed["run"]);
    assert_eq!(
        (code, statuses(&resumed)),
        (0, ["already there", "loaded"]),
        "{resumed}"
    );
    assert_eq!([rows(&place, "people"), rows(&place, "second")], ["6", "3"]);
    // An older one, by its id.
    let id = first["run"].as_str().expect("an id");
    let (_, older) = run(&place, &["--resume", id]);
    assert_eq!(
        (older["run"].as_str(), statuses(&older)),
        (Some(id), ["already there", "already there"])
    );
}

#[test]
fn a_run_has_the_id_of_its_scheduler() {
    let place = Place::new();
    place.write("job.toml", JOB).write("people.csv", PEOPLE);
    place.write("second.csv", "a\n1\n");
    for status in ["loaded", "already there"] {
        let (code, shown) = run(&place, &["--run-id", "2024-01-01"]);
        assert_eq!((code, statuses(&shown)), (0, [status, status]));
        assert_eq!(shown["run"], "2024-01-01");
    }
    // It is the last one.
    let (_, shown) = run(&place, &["--resume"]);
    assert_eq!(shown["run"], "2024-01-01");
    // Another load under the same id is refused, and how it is carried out is no part of what it is.
    let job = JOB.replace(
        "format = \"parquet\"",
        "format = \"parquet\", batch_size = 1",
    );
    place.write("job.toml", &job);
    let (code, shown) = run(&place, &["--resume"]);
    assert_eq!((code, statuses(&shown)[0]), (0, "already there"));
    place.write(
        "job.toml",
        &JOB.replace("from = \"people.csv\"", "sql = \"SELECT 1 AS id\""),
    );
    let (code, shown) = run(&place, &["--resume"]);
    let message = shown["loads"]["people"]["error"]["message"].as_str();
    assert!(
        code != 0 && message.is_some_and(|text| text.contains("this load_id was another load")),
        "{shown}"
    );
    // To go on with the run would be refused each time.
    let told = place.run(&["run", "job.toml", "--resume"]).out;
    assert!(
        told.contains("begin a new run") && !told.contains("goes on with the rest"),
        "{told}"
    );
}

#[test]
fn a_run_that_nobody_knows_is_not_gone_on_with() {
    let place = Place::new();
    place.write("job.toml", JOB).write("people.csv", PEOPLE);
    place.write("second.csv", "a\n1\n");
    let (code, _) = run(&place, &["--run-id", "2024-01-01"]);
    assert_eq!(code, 0);
    let error = place.refused(2, &["run", "job.toml", "--resume", "2024-01-1"]);
    assert!(
        error.contains("no load of it has committed") && error.contains("--run-id 2024-01-1"),
        "{error}"
    );
    assert_eq!([rows(&place, "people"), rows(&place, "second")], ["2", "1"]);
    // On another machine it is known by what has committed.
    let elsewhere = |arguments: &[&str]| {
        let state = place.path().join("elsewhere");
        Ended::of(place.command(arguments).env("XDG_STATE_HOME", state))
    };
    let ended = elsewhere(&["run", "job.toml", "--resume", "2024-01-01"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!([rows(&place, "people"), rows(&place, "second")], ["2", "1"]);
    // One that has committed nothing is known where it began.
    std::fs::remove_file(place.path().join("people.csv")).expect("removed");
    let (code, _) = run(&place, &["--run-id", "2024-01-02"]);
    assert_eq!(code, 1);
    place.write("people.csv", PEOPLE);
    let ended = elsewhere(&["run", "job.toml", "--resume", "2024-01-02"]);
    assert_eq!(ended.code, 2, "{ended:?}");
    let (code, resumed) = run(&place, &["--resume", "2024-01-02"]);
    assert_eq!((code, statuses(&resumed)), (0, ["loaded", "loaded"]));
}

#[test]
fn what_is_gone_since_is_loaded_again_if_that_is_wanted() {
    let place = Place::new();
    place.write("job.toml", JOB).write("people.csv", PEOPLE);
    place.write("second.csv", "a\n1\n");
    let (code, _) = run(&place, &[]);
    assert_eq!(code, 0);
    std::fs::remove_dir_all(place.path().join("out/people")).expect("removed");
    let error = place.refused(2, &["run", "job.toml", "--resume"]);
    assert!(
        error.contains("loads.people") && error.contains("--again"),
        "{error}"
    );
    let (code, again) = run(&place, &["--resume", "--again"]);
    assert_eq!((code, statuses(&again)), (0, ["loaded", "already there"]));
    // Which is known from then on.
    let (code, again) = run(&place, &["--resume"]);
    assert_eq!(
        (code, statuses(&again)),
        (0, ["already there", "already there"])
    );
    assert_eq!(rows(&place, "people"), "2");
}

#[test]
fn a_job_may_say_the_id_of_a_load() {
    let place = Place::new();
    place
        .write("people.csv", PEOPLE)
        .write("second.csv", "a\n1\n");
    let job = JOB.replace(
        "target = \"out/people/\"",
        "target = \"out/people/\"\nload_id = \"people of {{ env.HOME }}\"",
    );
    place.write("job.toml", &job);
    let (_, shown) = run(&place, &[]);
    let id = shown["loads"]["people"]["report"]["load_id"].as_str();
    assert_eq!(id, Some(&*format!("people of {}", place.path().display())));
    let (_, shown) = run(&place, &[]);
    assert_eq!(statuses(&shown), ["already there", "loaded"]);
}

#[test]
fn without_a_run_there_is_nothing_to_go_on_with() {
    let place = Place::new();
    place.write("job.toml", JOB).write("people.csv", PEOPLE);
    place.write("second.csv", "a\n1\n");
    let error = place.refused(2, &["run", "job.toml", "--resume"]);
    assert!(error.contains("knows no run"), "{error}");
    // A job of the same name is another one.
    place.ok(&["run", "job.toml", "-q"]);
    std::fs::create_dir(place.path().join("other")).expect("a folder");
    place.write("other/job.toml", JOB);
    let error = place.refused(2, &["run", "other/job.toml", "--resume"]);
    assert!(error.contains("of another file"), "{error}");
}
