//! `arrowload sync`: many tables of a database at once, into another and into files, read back by programs that are not ours.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrowload_testkit::{ThrowawayPostgres, python};
use serde_json::Value;

use crate::{Ended, Place};

/// Two databases of one server, and a folder.
struct Pair {
    server: Arc<ThrowawayPostgres>,
    place: Place,
    from: String,
    to: String,
    names: [String; 2],
}

impl Pair {
    fn new(name: &str, sql: &str) -> Option<Self> {
        let server = ThrowawayPostgres::available()?;
        let names = [format!("sync_{name}"), format!("sync_{name}_to")];
        let [from, to] = names
            .each_ref()
            .map(|name| server.create_database(name).expect("a database"));
        let pair = Self {
            server,
            place: Place::new(),
            from,
            to,
            names,
        };
        pair.source(sql);
        Some(pair)
    }

    fn source(&self, sql: &str) -> String {
        self.server.psql(&self.names[0], sql).expect(sql)
    }

    fn target(&self, sql: &str) -> String {
        self.server.psql(&self.names[1], sql).expect(sql)
    }

    /// The words of a sync from one database to the other.
    fn words<'a>(&'a self, tables: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let mut words = vec![
            "sync", "--from", &self.from, "--tables", tables, "--to", &self.to,
        ];
        words.extend(["--target", "{schema}.{table}"]);
        words.extend(more);
        words
    }

    fn sync(&self, tables: &str, more: &[&str]) -> Ended {
        self.place.run(&self.words(tables, more))
    }

    fn ok(&self, tables: &str, more: &[&str]) -> Ended {
        let ended = self.sync(tables, more);
        assert_eq!(ended.code, 0, "{ended:?}");
        ended
    }

    /// The same question to both.
    fn same(&self, sql: &str) {
        assert_eq!(self.target(sql), self.source(sql), "{sql}");
    }
}

/// What the catalog says of columns, keys and comments of all tables but the ledger.
const DEFINITIONS: &str = "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
        col_description(c.oid, a.attnum), obj_description(c.oid, 'pg_class'),
        (SELECT pg_get_constraintdef(k.oid) FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'p')
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND c.relname <> 'arrowload_loads' AND a.attnum > 0
    ORDER BY 1, a.attnum";

#[test]
fn types_keys_comments_and_values_are_the_same_in_the_other_database() {
    let Some(pair) = Pair::new(
        "types",
        "CREATE TABLE plain (id bigint PRIMARY KEY, a smallint NOT NULL, b integer, c real, d double precision, e boolean, f text,
            g bytea, h date, i uuid, j json, k jsonb, l interval, m timestamp, n timestamptz, o time);
         INSERT INTO plain SELECT n, n, n, n, n / 3.0, n % 2 = 0, 'x' || n, '\\x00ff', '2024-02-29', gen_random_uuid(), '{\"a\": 1}',
            '{\"b\":[1,null]}', '1 month 2 days 03:04:05', '2024-01-02 03:04:05.123456', '2024-01-02 03:04:05.123456+02', '03:04:05.5'
            FROM generate_series(1, 100) AS n;
         CREATE TABLE exact (v varchar(20) NOT NULL, w varchar, c char(3), n numeric, p numeric(10,2) NOT NULL, t timestamp(3),
            z timestamptz(0), s time(2), i inet, k cidr, l integer[], m varchar(4)[], q numeric(4,1)[], PRIMARY KEY (p, v));
         INSERT INTO exact VALUES
            ('ä''\"\\', 'w', 'a', '1.2300', 1.5, '2024-01-02 03:04:05.123', '2024-01-02 03:04:05+02', '03:04:05.12', '10.0.0.1',
             '10.0.0.0/8', '{1,NULL,3}', '{ab,cd}', '{1.5,NULL}'),
            ('', NULL, 'abc', '-12345678901234567890123456789.000000000000000000000000000001', 99999999.99, NULL, NULL, NULL,
             '::1/64', NULL, '{}', NULL, NULL),
            ('NaN', NULL, NULL, 'NaN', 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
            ('small', NULL, NULL, '0.00000000000000000000000000000000000000000001', 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
            ('large', NULL, NULL, ('1' || repeat('0', 1000) || '.0')::numeric, 2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
         CREATE TABLE empty (a integer NOT NULL, b varchar(7));
         COMMENT ON TABLE plain IS 'it''s \\ \"one\"'; COMMENT ON COLUMN exact.v IS 'a; DROP TABLE plain; --';
         CREATE INDEX ON plain (b); ALTER TABLE empty ADD FOREIGN KEY (a) REFERENCES plain (id) NOT VALID;
         CREATE VIEW seen AS SELECT 1 AS one",
    ) else {
        return;
    };
    let plan = pair.ok("public.*", &["-n"]);
    for words in [
        "public.plain  public.plain  16       would be created",
        "public.plain: not carried over: 1 index",
        "public.empty: not carried over: 1 foreign key",
        "3 tables, 0 of them refused; nothing was changed",
    ] {
        assert!(plan.out.contains(words), "{words}: {plan:?}");
    }
    assert_eq!(
        pair.target("SELECT count(*) FROM pg_class WHERE relname = 'plain'"),
        "0"
    );
    let done = pair.ok("public.*", &[]);
    assert!(
        done.out.contains("3 of 3 loads")
            && done
                .err
                .contains("2 of 3 tables have what is not carried over"),
        "{done:?}"
    );
    pair.same(DEFINITIONS);
    for table in ["plain", "exact", "empty"] {
        pair.same(&format!(
            "SELECT count(*), md5(string_agg(t::text, E'\\n' ORDER BY t::text)) FROM {table} AS t"
        ));
    }
    // A view is taken if it is asked for, and without a dot the default schema is meant.
    let refused = pair.sync("seen", &[]);
    assert!(
        refused.code == 2
            && refused
                .err
                .contains("no table fits; public.seen is no table: --views"),
        "{refused:?}"
    );
    pair.ok("see?", &["--views"]);
    assert_eq!(pair.target("SELECT one FROM seen"), "1");
}

#[test]
fn a_second_sync_replaces_adds_or_updates_only_if_it_is_told_to() {
    let sql = "CREATE TABLE a (id int PRIMARY KEY, v text); INSERT INTO a VALUES (1, 'x'), (2, 'y');
               CREATE TABLE b (id int PRIMARY KEY); INSERT INTO b VALUES (7); CREATE TABLE keyless (v int)";
    let Some(pair) = Pair::new("modes", sql) else {
        return;
    };
    pair.ok("a,b", &[]);
    pair.source("UPDATE a SET v = 'z' WHERE id = 1; DELETE FROM a WHERE id = 2; INSERT INTO a VALUES (3, 'w')");
    let there = pair.sync("*", &[]);
    assert!(
        there.code == 2
            && there
                .err
                .contains("2 of 3 targets exist already: `public.a`, `public.b`; choose"),
        "{there:?}"
    );
    let tables = "SELECT count(*) FROM pg_class WHERE relname = 'keyless'";
    assert_eq!(
        (
            pair.target("SELECT * FROM a ORDER BY 1").as_str(),
            pair.target(tables).as_str()
        ),
        ("1|x\n2|y", "0")
    );
    let keyless = pair.sync("*", &["-m", "upsert"]);
    assert!(
        keyless.code == 2 && keyless.err.contains("no primary key of public.keyless"),
        "{keyless:?}"
    );
    pair.ok("*", &["-m", "upsert", "--exclude", "key*"]);
    assert_eq!(pair.target("SELECT * FROM a ORDER BY 1"), "1|z\n2|y\n3|w");
    pair.ok("*", &["-m", "overwrite"]);
    pair.same("SELECT * FROM a ORDER BY 1");
    // What the source has gained is said before it is added.
    pair.source("ALTER TABLE a ADD COLUMN more varchar(5) DEFAULT 'm'");
    let refused = pair.sync("a,b", &["-m", "overwrite"]);
    assert!(
        refused.code == 1
            && refused.err.contains("no column `more`")
            && refused.out.contains("1 of 2 loads"),
        "{refused:?}"
    );
    let evolved = pair.ok("a", &["-m", "overwrite", "-O", "schema_evolution=true"]);
    let said = evolved.err.find(
        "the target changes: ALTER TABLE \"public\".\"a\" ADD COLUMN \"more\" character varying(5)",
    );
    assert!(
        said.is_some() && said < evolved.err.find("run 0"),
        "{evolved:?}"
    );
    pair.same("SELECT * FROM a ORDER BY 1");
    let lossy = pair.sync("a", &["-m", "overwrite", "--schema-only"]);
    assert!(
        lossy.code == 2 && lossy.err.contains("--schema-only loads no rows"),
        "{lossy:?}"
    );
}

#[test]
fn names_are_taken_as_they_are_and_lead_nowhere_else() {
    let names = [
        "My Table",
        "a.b",
        "q\"uote",
        "../up",
        "semi;colon",
        "été",
        "50%",
        "it's",
    ];
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let create = names.iter().map(|name| {
        format!(
            "CREATE TABLE {0} (\"Odd \"\"col\" int); INSERT INTO {0} VALUES ({1});",
            quoted(name),
            name.len()
        )
    });
    let Some(pair) = Pair::new("names", &create.collect::<String>()) else {
        return;
    };
    pair.ok("public.*", &[]);
    for name in names {
        pair.same(&format!("SELECT \"Odd \"\"col\" FROM {}", quoted(name)));
    }
    pair.same("SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'arrowload_loads' ORDER BY 1");
    // As files below a folder, from which `../up` does not lead.
    std::fs::create_dir(pair.place.path().join("lake")).expect("a folder");
    let root = pair.place.path().join("lake").display().to_string();
    let config = format!("root={root}");
    let files = [
        "sync",
        "--from",
        &pair.from,
        "--tables",
        "public.*",
        "--to",
        "file",
        "--config",
        &config,
        "--target",
        "{schema}/{table}.parquet",
    ];
    let done = pair.place.run(&files);
    assert_eq!(done.code, 0, "{done:?}");
    let listed = |folder: &str| {
        let entries = std::fs::read_dir(pair.place.path().join(folder)).expect("a folder");
        let mut names: Vec<String> = entries
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        names.sort();
        names
    };
    assert_eq!(listed("lake"), ["public"]);
    let expected = [
        "%2E.%2Fup.parquet",
        "50%25.parquet",
        "My Table.parquet",
        "a.b.parquet",
        "it's.parquet",
        "q%22uote.parquet",
        "semi;colon.parquet",
        "été.parquet",
    ];
    assert_eq!(listed("lake/public"), expected);
    let file = pair.place.path().join("lake/public/%2E.%2Fup.parquet");
    if let Some(rows) = python::read("parquet", &file).expect("read") {
        let column = format!("{:?}", rows.column(0));
        assert!(rows.num_rows() == 1 && column.contains("  5,"), "{column}");
    }
}

#[test]
fn a_table_that_fails_does_not_stop_the_others() {
    let sql = "CREATE TABLE good (id int); INSERT INTO good VALUES (1); CREATE TABLE none (); CREATE TABLE late (d date);
               INSERT INTO late VALUES ('infinity'); CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE moods (m mood, b bit(3));
               INSERT INTO moods VALUES ('ok', '101'); CREATE TABLE part (k int) PARTITION BY LIST (k);
               CREATE TABLE part_1 PARTITION OF part FOR VALUES IN (1); INSERT INTO part VALUES (1)";
    let Some(pair) = Pair::new("fails", sql) else {
        return;
    };
    let plan = pair.sync("*", &["-n"]);
    assert!(
        plan.code == 1
            && plan.out.contains("public.none")
            && plan.out.contains("refused")
            && plan
                .out
                .contains("public.moods: column `m` is mood in the source, and would be text")
            && plan
                .out
                .contains("public.part: not carried over: its partitions"),
        "{plan:?}"
    );
    let ended = pair.sync("*", &["--output", "json"]);
    assert_eq!(ended.code, 1, "{ended:?}");
    let told: Value = serde_json::from_str(&ended.out).expect("JSON");
    let status = |name: &str| {
        told["loads"][name]["status"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let all = [
        "public.good",
        "public.late",
        "public.moods",
        "public.none",
        "public.part",
        "public.part_1",
    ];
    assert_eq!(
        all.map(status),
        ["loaded", "failed", "loaded", "failed", "loaded", ""]
    );
    assert!(
        ended.err.contains("public.late: ") && ended.err.contains("infinity"),
        "{ended:?}"
    );
    assert_eq!(pair.target("SELECT * FROM good"), "1");
    assert_eq!(pair.target("SELECT * FROM moods"), "ok|101");
    assert_eq!(pair.target("SELECT * FROM part"), "1");
    assert_eq!(
        pair.target("SELECT count(*) FROM pg_class WHERE relname IN ('late', 'none', 'part_1')"),
        "0"
    );
    // One at a time, and none after the first that fails.
    let stopped = pair.sync(
        "good,late,moods",
        &["-m", "overwrite", "--fail-fast", "--jobs", "1"],
    );
    assert!(
        stopped.code == 1
            && stopped.out.contains("after public.late")
            && stopped.out.contains("1 of 3 loads"),
        "{stopped:?}"
    );
    // The whole name of a partition means it.
    pair.ok("public.part_1", &[]);
    assert_eq!(pair.target("SELECT * FROM part_1"), "1");
}

#[test]
fn rows_that_a_user_may_not_see_are_not_passed_over() {
    let sql = "CREATE TABLE seen (id int); INSERT INTO seen VALUES (1); CREATE TABLE secret (id int); INSERT INTO secret VALUES (1), (2);
               ALTER TABLE secret ENABLE ROW LEVEL SECURITY; CREATE POLICY one ON secret USING (id = 1);
               DROP ROLE IF EXISTS sync_reader; CREATE ROLE sync_reader LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO sync_reader";
    let Some(pair) = Pair::new("policies", sql) else {
        return;
    };
    let from = pair.from.replace("postgres@", "sync_reader@");
    assert_ne!(from, pair.from);
    let words = [
        "sync", "--from", &from, "--tables", "*", "--to", &pair.to, "-T", "{table}",
    ];
    let ended = pair.place.run(&words);
    assert!(
        ended.code == 1
            && ended
                .err
                .contains("row-level security hides rows of public.secret")
            && ended.out.contains("1 of 2 loads"),
        "{ended:?}"
    );
    assert_eq!(pair.target("SELECT * FROM seen"), "1");
    let odd = pair.ok("secret", &["--exclude", "sceret"]);
    assert!(
        odd.err
            .contains("--exclude sceret: it fits none of the tables"),
        "{odd:?}"
    );
    pair.same("SELECT count(*), sum(id) FROM secret");
}

#[test]
fn what_is_wrong_is_refused_before_anything_is_done() {
    let sql = "CREATE TABLE t (id int); CREATE SCHEMA other; CREATE TABLE other.t (id int)";
    let Some(pair) = Pair::new("wrong", sql) else {
        return;
    };
    for (words, said) in [
        (
            pair.words("public.nosuch*", &[]),
            "--tables public.nosuch*: no table fits",
        ),
        (
            pair.words("nosuch", &[]),
            "a pattern without a dot is about the source's default schema",
        ),
        (
            pair.words("*", &["--tables", "public.x"]),
            "--tables public.x: no table fits",
        ),
        (
            pair.words("t", &["--exclude", "public.*"]),
            "--exclude leaves no table",
        ),
        (pair.words(".t", &[]), "write schema.table or table"),
        (
            pair.words("*.pg_class", &[]),
            "--tables *.pg_class: no table fits",
        ),
        (pair.words("t", &["--jobs", "0"]), "0 is not in 1.."),
        (
            pair.words("t", &["-m", "merge"]),
            "possible values: create, append, overwrite, upsert",
        ),
        (
            vec![
                "sync", "--from", &pair.from, "--tables", "*.t", "--to", &pair.to, "-T", "{table}",
            ],
            "other.t and public.t would both go to `t`",
        ),
        (
            vec![
                "sync", "--from", &pair.from, "--tables", "t", "--to", &pair.to, "-T", "{tabel}",
            ],
            "there is {catalog}, {schema}, {table}",
        ),
        (
            vec![
                "sync",
                "--from",
                "datafusion",
                "--tables",
                "nosuch",
                "--to",
                &pair.to,
                "-T",
                "{table}",
            ],
            "--tables nosuch: no table fits",
        ),
    ] {
        let ended = pair.place.run(&words);
        assert!(
            ended.code == 2 && ended.err.contains(said) && ended.out.is_empty(),
            "{words:?}: {ended:?}"
        );
    }
    assert_eq!(
        pair.target("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"),
        "0"
    );
}

#[test]
fn schemas_alone_are_created_without_rows() {
    let sql = "CREATE TABLE a (id int PRIMARY KEY, v varchar(3) NOT NULL); INSERT INTO a VALUES (1, 'x'); CREATE TABLE b (n numeric(5,1))";
    let Some(pair) = Pair::new("schemas", sql) else {
        return;
    };
    pair.ok("public.*", &["--schema-only"]);
    assert_eq!(pair.target("SELECT count(*) FROM a"), "0");
    pair.same(DEFINITIONS);
}

#[test]
fn a_run_that_was_killed_is_gone_on_with() {
    let tables: String = (0..12)
        .map(|n| format!("CREATE TABLE t{n:02} AS SELECT n AS id, repeat('x', 100) AS v FROM generate_series(1, 2000) AS n;"))
        .collect();
    let Some(pair) = Pair::new("resume", &tables) else {
        return;
    };
    // A lock in the target keeps the seventh from being loaded, so that the run cannot end before it is killed.
    pair.target("CREATE TABLE t06 (id int, v text)");
    let (server, database) = (Arc::clone(&pair.server), pair.names[1].clone());
    let hold = "BEGIN; LOCK TABLE t06 IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(60)";
    // Its connection is ended below, which it takes for an error.
    let holder = std::thread::spawn(move || drop(server.psql(&database, hold)));
    let held = "FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND relation = 't06'::regclass";
    wait(|| pair.target(&format!("SELECT count(*) {held}")) == "1");
    let words = pair.words(
        "public.*",
        &["--run-id", "nightly", "--jobs", "1", "-m", "append"],
    );
    let mut killed = pair.place.spawn(&words);
    let there = "SELECT count(*) FROM pg_class WHERE relname ~ '^t0[0-5]$'";
    wait(|| pair.target(there) == "6");
    killed.kill().expect("killed");
    killed.wait().expect("ended");
    pair.target(&format!("SELECT pg_terminate_backend(pid) {held}"));
    holder.join().expect("ended");
    let unknown = pair.sync("public.*", &["--resume", "x", "-m", "append"]);
    assert!(
        unknown.code == 2 && unknown.err.contains("no load of it has committed"),
        "{unknown:?}"
    );
    let resumed = pair.ok(
        "public.*",
        &["--run-id", "nightly", "-m", "append", "--output", "json"],
    );
    let told: Value = serde_json::from_str(&resumed.out).expect("JSON");
    let loads = told["loads"].as_object().expect("loads");
    let with = |status: &str| {
        loads
            .values()
            .filter(|load| load["status"] == status)
            .count() as u32
    };
    assert_eq!(
        (with("already there"), with("loaded")),
        (6, 6),
        "{resumed:?}"
    );
    for n in 0..12 {
        pair.same(&format!("SELECT count(*), sum(id) FROM t{n:02}"));
    }
    // Of a run that is over nothing is loaded again; what is gone since is said, and loaded again if it is wanted.
    let again = pair.ok("public.*", &["--resume", "-m", "append"]);
    assert_eq!(again.out.matches("already there").count(), 12, "{again:?}");
    pair.target("DROP TABLE t03");
    let gone = pair.sync("public.*", &["--resume", "-m", "append"]);
    assert!(
        gone.code == 2
            && gone.err.contains("public.t03 committed in this run")
            && gone.err.contains("--exclude"),
        "{gone:?}"
    );
    pair.ok("public.*", &["--resume", "-m", "append", "--again"]);
    pair.same("SELECT count(*), sum(id) FROM t03");
}

/// A run that is broken off while it looks at the targets is the last one, and a refused one is none.
#[cfg(unix)]
#[test]
fn an_older_run_is_not_gone_on_with_instead_of_the_last() {
    let Some(pair) = Pair::new(
        "older",
        "CREATE TABLE t0 (id int); CREATE TABLE t1 (id int); INSERT INTO t0 VALUES (1); INSERT INTO t1 VALUES (1)",
    ) else {
        return;
    };
    pair.ok("public.*", &["--run-id", "first"]);
    pair.source("INSERT INTO t0 VALUES (2); INSERT INTO t1 VALUES (2)");
    // Targets are there, so that nothing begins.
    assert_eq!(pair.sync("public.*", &["--run-id", "refused"]).code, 2);
    let resumed = pair.ok("public.*", &["--resume"]);
    assert!(resumed.out.contains("run first"), "{resumed:?}");
    // A lock of the catalog keeps the next one from looking at the targets, until it is interrupted.
    let (server, database) = (Arc::clone(&pair.server), pair.names[1].clone());
    let hold = "BEGIN; LOCK TABLE pg_attribute IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(60)";
    let holder = std::thread::spawn(move || drop(server.psql(&database, hold)));
    let held = format!(
        "FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND relation = 1249 AND database = (SELECT oid FROM pg_database \
         WHERE datname = '{}')",
        pair.names[1]
    );
    let ask = |sql: &str| pair.server.psql(&pair.names[0], sql).expect("an answer");
    wait(|| ask(&format!("SELECT count(*) {held}")) == "1");
    let words = pair.words(
        "public.*",
        &["--run-id", "second", "-m", "overwrite", "--output", "json"],
    );
    let child = pair.place.spawn(&words);
    // One that is being connected waits too, and is no activity yet.
    let waiting = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND relation = 1249";
    wait(|| ask(waiting) == "t");
    let signalled = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(signalled.expect("kill").success());
    let ended = child.wait_with_output().expect("ended");
    ask(&format!("SELECT pg_terminate_backend(pid) {held}"));
    holder.join().expect("ended");
    let told: Value = serde_json::from_slice(&ended.stdout).expect("JSON");
    assert_eq!(
        (&told["status"], &told["run"], ended.status.code()),
        (&"interrupted".into(), &"second".into(), Some(130)),
        "{ended:?}"
    );
    let resumed = pair.ok("public.*", &["--resume", "-m", "overwrite"]);
    assert!(
        resumed.out.contains("run second") && !resumed.out.contains("already there"),
        "{resumed:?}"
    );
    for table in ["t0", "t1"] {
        pair.same(&format!("SELECT sum(id) FROM {table}"));
    }
}

/// Files of a folder are tables, but for what is there and is another thing than it looks like.
#[test]
fn a_folder_of_files_is_synced_and_what_cannot_be_read_as_it_is_refuses_all() {
    let place = Place::new();
    place
        .write("orders.csv", "id,zip\n1,02134\n")
        .write("people.csv", "id\n7\n");
    let folder = place.path().join("lake");
    std::fs::create_dir(&folder).expect("a folder");
    for name in ["orders.csv", "people.csv"] {
        std::fs::rename(place.path().join(name), folder.join(name)).expect("moved");
    }
    place.ok(&[
        "load",
        "--from",
        "lake/orders.csv",
        "--to",
        "delta_lake",
        "-T",
        "lake/events",
    ]);
    let sync = |more: &[&str]| {
        let words = ["sync", "--from", "datafusion://lake", "--tables", "*"];
        let to = ["--to", "file", "--target", "out/{table}.csv"];
        place.run(&[&words[..], &to, more].concat())
    };
    let refused = sync(&[]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(
        refused
            .err
            .contains("events cannot be read from here: read it as delta://"),
        "{refused:?}"
    );
    assert!(!place.path().join("out").exists());
    let synced = sync(&["--exclude", "events"]);
    assert_eq!(synced.code, 0, "{synced:?}");
    assert_eq!(place.read("out/orders.csv"), "id,zip\n1,02134\n");
    assert_eq!(place.read("out/people.csv"), "id\n7\n");

    // Two files of one name are told apart by their endings.
    place.write("lake/orders.json", "{\"id\":2}\n");
    let synced = sync(&["--exclude", "events", "--mode", "overwrite"]);
    assert_eq!(synced.code, 0, "{synced:?}");
    assert_eq!(place.read("out/orders.csv.csv"), "id,zip\n1,02134\n");
    assert_eq!(place.read("out/orders.json.csv"), "id\n2\n");
}

/// Waits until something holds.
fn wait(holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "it never happens"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}
