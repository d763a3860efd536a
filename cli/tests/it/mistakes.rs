//! Every mistake is answered in a line that names it and says what to do.

use crate::snapshots::assert_shown;
use crate::{PEOPLE, Place};

#[test]
fn each_mistake_is_named_with_what_to_do() {
    let place = Place::new();
    place.write("people.csv", PEOPLE).write(
        "arrowload.toml",
        "[connections.lake]\ntype = \"file\"\nroot = \"lake\"\n",
    );
    place.write("job.toml", "[vars]\nday = \"2024-01-01\"\n[loads.a]\nfrom = \"people.csv\"\nto = \"file\"\ntarget = \"{{ day }}.csv\"\n");
    let mut shown = String::new();
    let load = |more: &[&'static str]| [&["load", "--from", "people.csv"][..], more].concat();
    for (arguments, words) in [
        (vec!["lod"], "load"),
        (vec!["load", "--fron", "x"], "--from"),
        (vec!["load", "--from", "people.csv"], "--to"),
        (load(&["--to", "file"]), "--target is missing"),
        (
            load(&["--to", "fil", "--target", "x.csv"]),
            "did you mean `file`?",
        ),
        (
            load(&["--to", "lak", "--target", "x.csv"]),
            "did you mean `lake`?",
        ),
        (
            load(&["--to", "postgr", "--target", "t"]),
            "did you mean `postgresql`?",
        ),
        (
            load(&["--to", "file", "--target", "x.csv", "--connection", "lakke"]),
            "did you mean `lake`?",
        ),
        (
            load(&[
                "--to",
                "postgresql",
                "--target",
                "t",
                "-c",
                "host=h password=hunter2",
            ]),
            "may hold a password",
        ),
        (
            load(&["--to", "lake", "--target", "x.csv", "--connection", "lake"]),
            "--to lake is no loader",
        ),
        (
            load(&["--to", "postgres//u:hunter2@h/d", "--target", "t"]),
            "may hold a password",
        ),
        (load(&["--to", "pg://h/d", "--target", "t"]), "pg"),
        (load(&["--to", "postgresql://h/d"]), "--target is missing"),
        (
            load(&["--to", "postgresql://h/d?tabel=ttt"]),
            "did you mean `table`?",
        ),
        (
            load(&["--to", "postgresql://h/d?sslmod=require", "--target", "t"]),
            "did you mean `sslmode`?",
        ),
        (
            load(&["--to", "file", "--target", "x.csv", "--mode", "overwrit"]),
            "overwrite",
        ),
        (
            load(&[
                "--to", "file", "--target", "x.csv", "--mode", "upsert", "--keys", "id",
            ]),
            "upsert",
        ),
        (
            load(&["--to", "file", "--target", "x.csv", "--keys", "id"]),
            "file does not support keys",
        ),
        (
            load(&[
                "--to",
                "delta_lake",
                "--target",
                "x",
                "--keys",
                "id",
                "--load-id",
                "a",
            ]),
            "`keys` is an option of mode upsert",
        ),
        (
            load(&[
                "--to",
                "file",
                "--target",
                "x.parquet",
                "--option",
                "compresion=zstd",
            ]),
            "did you mean `compression`?",
        ),
        (
            load(&[
                "--to",
                "file",
                "--target",
                "x.parquet",
                "--option",
                "compression",
            ]),
            "KEY=VALUE",
        ),
        (
            load(&[
                "--to",
                "file",
                "--target",
                "x.parquet",
                "--option",
                "batch_size=many",
            ]),
            "--option batch_size",
        ),
        (
            load(&["--to", "file", "--target", "x.parquet", "--config", "rot=x"]),
            "did you mean `root`?",
        ),
        (
            load(&["--to", "file", "--target", "x.parquet", "--verify", "x"]),
            "--",
        ),
        (
            load(&["--to", "file", "--target", "x.parquet", "--param", "id"]),
            "KEY=VALUE",
        ),
        (
            load(&[
                "--to",
                "file",
                "--target",
                "x.parquet",
                "--sql",
                "SELECT 1",
                "--table",
                "t",
            ]),
            "cannot be used with",
        ),
        (
            vec!["load", "--to", "file", "--target", "x"],
            "there is nothing to read",
        ),
        (vec!["query"], "there is nothing to read"),
        (vec!["query", "--from", "peple.csv"], "no such file"),
        (
            vec!["query", "--from", "peple", "--sql", "SELECT 1"],
            "peple",
        ),
        (vec!["query", "--from", "peple"], "no connection is named"),
        (
            vec!["peek", "people.cvs"],
            "there is no such file, and no connection of this name; did you mean `people.csv`?",
        ),
        (
            vec!["load", "--from", "people.cvs", "--to", "x.csv"],
            "did you mean `people.csv`?",
        ),
        (
            vec!["peek", "redis://h"],
            "peek is about files, and `redis` is none",
        ),
        (
            vec!["query", "--from", "detla://lake/orders"],
            "did you mean delta://?",
        ),
        (
            load(&["--to", "posgresql://h/d?table=t"]),
            "did you mean postgresql://?",
        ),
        (load(&["--to", "x.parqet"]), "did you mean `x.parquet`?"),
        (
            load(&["--to", "postgresql://h/d?table=t", "--target", "u"]),
            "`t`, and --target that they go to `u`",
        ),
        (
            load(&["--to", "redis", "--target", "p:{id}", "-O", "tll=5"]),
            "did you mean `ttl`?",
        ),
        (
            vec!["query", "--from", "people.csv", "--format", "xml"],
            "ndjson",
        ),
        (
            vec!["query", "--from", "people.csv", "-o", "x.xls"],
            "--format",
        ),
        (
            vec!["query", "--sql", "SELECT 1", "--input-format", "csv"],
            "--from FILE",
        ),
        (
            vec!["query", "--from", "sub/none.csv", "--sql", "SELECT 1"],
            "no such file",
        ),
        (
            load(&["--to", "x.csv", "--target", "y"]),
            "the target itself",
        ),
        (
            vec![
                "query",
                "--from",
                "redis://h",
                "--table",
                "t",
                "--types",
                "text",
            ],
            "about files",
        ),
        (vec!["query", "--sql-file", "no.sql"], "no.sql"),
        (
            vec!["query", "--sql", "SELECT 1", "--param", "a:dat=x"],
            "did you mean `date`?",
        ),
        (vec!["describe", "postgre"], "did you mean `postgresql`?"),
        (vec!["connections", "test", "laek"], "did you mean `lake`?"),
        (vec!["connections", "add", "x", "nosuch://h"], "nosuch://"),
        (
            vec!["connections", "add", "x", "file", "rooot=1"],
            "did you mean `root`?",
        ),
        (vec!["connections", "add", "lake", "file"], "--force"),
        (vec!["init"], "--force"),
        (vec!["run", "no.toml"], "no.toml"),
        (
            vec!["run", "job.toml", "--var", "dya=2024-01-01"],
            "did you mean `day`?",
        ),
        (
            load(&[
                "--to",
                "file",
                "--target",
                "x.csv",
                "--mode",
                "append",
                "--option",
                "mode=overwrite",
            ]),
            "say the same thing",
        ),
        (
            load(&[
                "--to",
                "file",
                "--target",
                "x.csv",
                "--load-id",
                "a",
                "--option",
                "load_id=b",
            ]),
            "say the same thing",
        ),
        (vec!["completions", "zhs"], "zsh"),
    ] {
        let error = place.refused(2, &arguments);
        assert!(
            error.starts_with("error: ") && error.contains(words),
            "{arguments:?}: {error}"
        );
        shown += &format!("$ arrowload {}\n{error}", arguments.join(" "));
    }
    for (arguments, words) in [
        (vec!["query", "--sql", "SELEC 1"], "SELEC"),
        (vec!["query", "--sql", "SELECT * FROM peple"], "peple"),
        (
            vec!["query", "--sql", "SELECT nam FROM 'people.csv'"],
            "nam",
        ),
        (vec!["query", "--sql", "DROP TABLE x"], "SELECT"),
        (vec!["replay", "no.arrow"], "no.arrow"),
        (
            vec![
                "load",
                "--from",
                "people.csv",
                "--to",
                "postgresql://u:hunter2@127.0.0.1:1/d?table=t",
                "-O",
                "max_retries=0",
            ],
            "127.0.0.1:1",
        ),
    ] {
        let ended = place.run(&arguments);
        assert!(
            matches!(ended.code, 1 | 2)
                && ended.err.starts_with("error: ")
                && ended.err.contains(words),
            "{arguments:?}: {ended:?}"
        );
        assert!(
            !ended.err.contains("hunter2") && ended.err.trim_end().lines().count() == 1,
            "{ended:?}"
        );
        let error = ended
            .err
            .split(", load_id: ")
            .next()
            .unwrap_or_default()
            .trim_end();
        shown += &format!("$ arrowload {}\n{error}\n", arguments.join(" "));
    }
    assert_shown(&place, "mistakes.txt", &shown);
}

/// Of two values for one key, one would win without a word.
#[test]
fn flags_that_contradict_each_other_are_refused() {
    let place = Place::new();
    place.write("x.csv", "id,email\n1,a@x.org\n");
    let job = "[loads.a]\nfrom = \"x.csv\"\nshape = { columns = [\"id\"], exclude_columns = [\"id\"] }\nto = \"out.csv\"\n";
    place.write("job.toml", job);
    let load = "load --from x.csv --to out.csv";
    let twice = "is given twice, with different values";
    for (command, flags, words) in [
        (load, "--mask email=sha256,email=null", "--mask email=…"),
        (
            load,
            "--mask email=sha256 --mask email=null",
            "--mask email=…",
        ),
        (load, "--rename id=x,id=y", "--rename id=…"),
        (load, "--cast id=text,id=date", "--cast id=…"),
        (load, "--types id=text,id=int64", "--types id=…"),
        (load, "--read-option types=id=text,id=int64", "--types id=…"),
        (load, "-O mode=append -O mode=overwrite", "--option mode=…"),
        (load, "--config root=a --config root=b", "--config root=…"),
        (load, "--read-option delim=; --read-option delim=,", "twice"),
        (
            load,
            "--metrics-file m.prom --metrics-label a=b --metrics-label a=c",
            "--metrics-label a=…",
        ),
        (load, "--columns id,id", "--columns names `id` twice"),
        (load, "--rename id=email", "two columns `email`"),
        (load, "--rename id=a,email=a", "two columns `a`"),
        ("query --from x.csv", "--rename id=email", "two columns"),
        ("peek x.csv", "--types id=text,id=int64", "--types id=…"),
        ("run job.toml", "--var a=b --var a=c", "--var a=…"),
        (
            "run job.toml",
            "--dry-run --quiet",
            "columns and exclude_columns cannot be combined",
        ),
        (
            "run job.toml",
            "",
            "columns and exclude_columns cannot be combined",
        ),
    ] {
        let arguments = command.split(' ').chain(flags.split(' '));
        let arguments: Vec<&str> = arguments.filter(|text| !text.is_empty()).collect();
        let line = place.refused(2, &arguments);
        assert!(line.contains(words), "{arguments:?}: {line}");
        assert!(!words.ends_with('…') || line.contains(twice), "{line}");
        assert!(!place.path().join("out.csv").exists(), "{arguments:?}");
    }
    // One value, said twice, is no contradiction, and names may change places.
    let same = "--rename id=email,email=id,id=email --cast id=text --cast id=text -O mode=append -O mode=append";
    let arguments: Vec<&str> = load.split(' ').chain(same.split(' ')).collect();
    place.ok(&arguments);
    assert_eq!(place.read("out.csv"), "email,id\n1,a@x.org\n");
}
