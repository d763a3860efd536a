//! `arrowload run`: dependencies, variables, going on after a failure.

use serde_json::Value;

use crate::{PEOPLE, Place};

const JOB: &str = r#"
at_once = 2
[vars]
day = "2024-01-01"
[loads.people]
from = "people.csv"
to = "file"
target = "out/people/"
options = { format = "parquet" }
[loads.names]
sql = "SELECT name, '{{ day }}' AS day FROM 'people.csv' WHERE id > $least"
params = { least = 1 }
to = "file"
target = "out/names/"
options = { format = "parquet" }
after = ["people"]
[loads.second]
table = "second.csv"
to = "file"
target = "out/second/"
options = { format = "parquet" }
after = ["names"]
"#;

#[test]
fn loads_run_in_the_order_of_their_dependencies_and_can_be_resumed() {
    let place = Place::new();
    place.write("people.csv", PEOPLE).write("job.toml", JOB);
    let failed = place.run(&["run", "job.toml"]);
    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(
        failed.out.contains("2 of 3 loads") && failed.out.contains("--resume"),
        "{failed:?}"
    );
    let day = place.ok(&["query", "--table", "out/names/*.parquet", "--format", "csv"]);
    assert_eq!(day, "name,day\nGrace,2024-01-01\n");
    place.write("second.csv", "a\n1\n");
    let resumed: Value =
        serde_json::from_str(&place.ok(&["run", "job.toml", "--resume", "--output", "json"]))
            .expect("JSON");
    let status = |name: &str| {
        resumed["loads"][name]["status"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(
        [status("people"), status("names"), status("second")],
        ["already there", "already there", "loaded"]
    );
    assert_eq!(
        place.ok(&[
            "query",
            "--table",
            "out/people/*.parquet",
            "--format",
            "csv"
        ]),
        PEOPLE
    );
    // Nothing is left to go on with; a new run loads again.
    let again = place.ok(&["run", "job.toml", "--resume"]);
    assert_eq!(again.matches("already there").count(), 3, "{again}");
    place.ok(&["run", "job.toml"]);
    assert_eq!(
        place.ok(&[
            "query",
            "--sql",
            "SELECT count(*) AS n FROM 'out/people/*.parquet'",
            "--format",
            "csv"
        ]),
        "n\n4\n"
    );
    // Other variables are another run.
    place.ok(&[
        "run",
        "job.toml",
        "--var",
        "day=2024-01-02",
        "--only",
        "names",
    ]);
    assert_eq!(
        place.ok(&[
            "query",
            "--sql",
            "SELECT count(*) AS n FROM 'out/names/*.parquet'",
            "--format",
            "csv"
        ]),
        "n\n3\n"
    );
}

#[test]
fn mistakes_in_a_job_are_found_before_it_runs() {
    let place = Place::new();
    place.write("people.csv", PEOPLE);
    for (from, to, words) in [
        ("at_once = 2", "at_onse = 2", "at_onse"),
        (
            "after = [\"people\"]",
            "after = [\"peple\"]",
            "did you mean `people`?",
        ),
        ("[vars]", "[other]", "other"),
        (
            "{{ day }}",
            "{{ dya }}",
            "no variable `dya`; give it with --var dya=VALUE, or under [vars]",
        ),
        (
            "{{ day }}",
            "{{ day }}{{ env.NO_SUCH }}",
            "the environment has no variable NO_SUCH; set it before the command: NO_SUCH=VALUE",
        ),
        (
            "2024-01-01",
            "{{ env.NO_SUCH }}",
            "vars.day: the environment has no variable NO_SUCH",
        ),
        ("table = \"second.csv\"", "sqll = \"x\"", "sqll"),
        (
            "after = [\"people\"]",
            "after = [\"second\"]",
            "wait for each other",
        ),
        (
            "to = \"file\"\ntarget = \"out/people/\"",
            "to = \"fil\"\ntarget = \"out/people/\"",
            "did you mean `file`?",
        ),
        ("from = \"people.csv\"", "from = \"-\"", "standard input"),
        (
            "format = \"parquet\" }\n[loads.names]",
            "fromat = \"parquet\" }\n[loads.names]",
            "did you mean `format`?",
        ),
    ] {
        assert!(JOB.contains(from), "{from}");
        place.write("job.toml", &JOB.replacen(from, to, 1));
        let error = place.refused(2, &["run", "job.toml"]);
        assert!(error.contains(words), "{to}: {error}");
    }
    assert!(!place.path().join("out").exists());
    place.write("job.toml", JOB);
    assert!(
        place
            .refused(2, &["run", "job.toml", "--only", "nmes"])
            .contains("did you mean `names`?")
    );
    assert!(
        place
            .refused(2, &["run", "job.toml", "--var", "day"])
            .contains("KEY=VALUE")
    );
}

#[test]
fn a_run_is_not_gone_on_with_by_another_job_of_its_name() {
    let place = Place::new();
    place.write("people.csv", PEOPLE).write("job.toml", JOB);
    assert_eq!(place.run(&["run", "job.toml"]).code, 1);
    let rows = || {
        place.ok(&[
            "query",
            "--sql",
            "SELECT count(*) AS n FROM 'out/people/*.parquet'",
            "--format",
            "csv",
        ])
    };
    // What failed may be mended; what was loaded may not be another load.
    place
        .write("second.csv", "a\n1\n")
        .write("third.csv", "a\n1\n");
    for (from, to) in [
        ("from = \"people.csv\"", "from = \"second.csv\""),
        ("WHERE id > $least", "WHERE id >= $least"),
        ("least = 1", "least = 0"),
    ] {
        place.write("job.toml", &JOB.replacen(from, to, 1));
        let ended = place.run(&["run", "job.toml", "--resume"]);
        assert!(
            ended.code == 1 && ended.err.contains("this load_id was another load"),
            "{to}: {ended:?}"
        );
        assert_eq!(rows(), "n\n2\n", "{to}");
    }
    std::fs::create_dir(place.path().join("other")).expect("a folder");
    place.write("other/job.toml", JOB);
    let error = place.refused(2, &["run", "other/job.toml", "--resume"]);
    assert!(error.contains("of another file"), "{error}");
    place.write("job.toml", &JOB.replacen("second.csv", "third.csv", 1));
    let resumed = place.ok(&["run", "job.toml", "--resume"]);
    assert_eq!(
        (resumed.matches("already there").count(), rows().as_str()),
        (2, "n\n2\n"),
        "{resumed}"
    );
    // A machine that knows nothing of the run needs its id, and goes on as the stores say.
    let id = resumed.split(", run ").nth(1).expect("an id").trim();
    std::fs::remove_dir_all(place.path().join(".local")).expect("removed");
    let error = place.refused(2, &["run", "job.toml", "--resume"]);
    assert!(error.contains("knows no run"), "{error}");
    let elsewhere = place.ok(&["run", "job.toml", "--resume", id]);
    assert_eq!(elsewhere.matches("already there").count(), 3, "{elsewhere}");
}

#[test]
fn a_plan_of_what_a_load_before_has_yet_to_make_waits() {
    let place = Place::new();
    place.write("people.csv", PEOPLE).write(
        "job.toml",
        "name = \"chain\"\n[loads.a]\nfrom = \"people.csv\"\nto = \"file\"\ntarget = \"a.parquet\"\n\
         [loads.b]\nsql = \"SELECT id FROM 'a.parquet'\"\nto = \"file\"\ntarget = \"b.parquet\"\nafter = [\"a\"]\n\
         [loads.c]\nsql = \"SELECT id FROM 'b.parquet'\"\nto = \"file\"\ntarget = \"c.parquet\"\nafter = [\"b\"]\n",
    );
    let planned = place.run(&["run", "job.toml", "--dry-run"]);
    assert_eq!(planned.code, 0, "{planned:?}");
    assert!(
        planned
            .out
            .contains("it runs after `a`, whose target is not there")
            && planned.out.contains("it runs after `b`"),
        "{planned:?}"
    );
    let object: Value =
        serde_json::from_str(&place.ok(&["run", "job.toml", "-n", "--output", "json"]))
            .expect("an object");
    assert_eq!(object["loads"]["b"]["status"], "waits", "{object:#}");
    place.ok(&["run", "job.toml"]);
    // Once it is there, a query that is wrong is wrong.
    let job = place
        .read("job.toml")
        .replace("SELECT id FROM 'a", "SELECT di FROM 'a");
    place.write("job.toml", &job);
    let planned = place.run(&["run", "job.toml", "--dry-run"]);
    assert_ne!(planned.code, 0, "{planned:?}");
}
