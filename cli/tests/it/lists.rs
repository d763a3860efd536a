//! `arrowload list`.

use arrowload_testkit::{ThrowawayPostgres, ThrowawayRedis};

use crate::{PEOPLE, Place};

#[test]
fn a_database_lists_what_it_has() {
    let Some(server) = ThrowawayPostgres::available() else {
        return;
    };
    let place = Place::new();
    let url = server.create_database("lists").expect("a database");
    let sql = "CREATE SCHEMA shop; CREATE TABLE shop.orders (id int); CREATE VIEW shop.open_orders AS SELECT 1 AS one; CREATE TABLE here (id int)";
    server.psql("lists", sql).expect("tables");
    let list =
        |words: &[&str]| place.ok(&[&["list", "--from", &url, "--format", "csv"], words].concat());
    assert_eq!(
        list(&[]),
        "catalog_name,db_schema_name,table_name,table_type\nlists,public,here,TABLE\nlists,shop,open_orders,VIEW\nlists,shop,orders,TABLE\n"
    );
    assert_eq!(
        list(&["tables", "--schema", "sh%", "--name", "%!_orders"])
            .lines()
            .count(),
        1
    );
    assert_eq!(
        list(&["tables", "--schema", "sh%", "--name", "open%"])
            .lines()
            .count(),
        2
    );
    assert_eq!(
        list(&["schemas"]),
        "catalog_name,db_schema_name\nlists,public\nlists,shop\n"
    );
    assert!(list(&["catalogs"]).contains("\nlists\n"));
    assert!(list(&["types"]).contains("pg_catalog,timestamp with time zone\n"));
    assert!(list(&["info"]).contains("server_version,"));
    assert!(list(&["tables", "--schema", "pg\\_catalog"]).contains(",pg_class,TABLE\n"));
}

#[test]
fn what_cannot_be_listed_is_said() {
    let place = Place::new();
    place.write("people.csv", PEOPLE);
    for (words, code, said) in [
        (
            vec!["list", "schemas", "--from", "datafusion"],
            2,
            "files have no list of schemas",
        ),
        (
            vec!["list", "--from", "people.csv"],
            2,
            "`arrowload peek people.csv` says what a file is",
        ),
        (
            vec!["list", "--from", "datafusion", "--schema", "x"],
            2,
            "in no catalog or schema",
        ),
        (
            vec!["list", "catalogs", "--from", "datafusion", "--name", "x"],
            2,
            "--name does not narrow a list of catalogs",
        ),
        (vec!["list", "--from", "nosuch"], 2, "nosuch"),
        (vec!["list"], 2, "--from"),
        (vec!["list", "tabels", "--from", "datafusion"], 2, "tables"),
    ] {
        let ended = place.run(&words);
        assert!(
            ended.code == code && ended.err.contains(said),
            "{words:?}: {ended:?}"
        );
    }
}

#[test]
fn a_folder_lists_its_files_as_tables() {
    let place = Place::new();
    std::fs::create_dir_all(place.path().join("data/days/day=1")).expect("a folder");
    place
        .write("data/people.csv", PEOPLE)
        .write("data/notes.txt", "no data")
        .write("data/twice.csv", PEOPLE)
        .write("data/days/day=1/a.csv", PEOPLE)
        .write("data/broken.parquet", "PAR1 or not");
    for file in ["data/people_2.parquet", "data/twice.parquet"] {
        place.ok(&["query", "--from", "data/people.csv", "-o", file]);
    }
    let list = |words: &[&str]| {
        place.ok(&[&["list", "--from", "data/", "--format", "csv"], words].concat())
    };
    let bytes = std::fs::metadata(place.path().join("data/people_2.parquet"))
        .expect("a file")
        .len();
    let all = list(&[]);
    let lines: Vec<&str> = all.lines().collect();
    assert_eq!(lines.len(), 7, "{all}");
    assert_eq!(
        lines[0],
        "table_name,table_type,format,files,bytes,rows,note"
    );
    assert!(
        all.contains(&format!("\npeople_2,FILE,parquet,1,{bytes},2,\n")),
        "{all}"
    );
    assert!(all.contains("\npeople,FILE,csv,1,22,,\n"), "{all}");
    assert!(all.contains("\ndays,FOLDER,csv,1,22,,\n"), "{all}");
    assert!(
        all.contains("\ntwice.csv,FILE,csv,") && all.contains("\ntwice.parquet,FILE,parquet,"),
        "{all}"
    );
    // One that is broken is listed, and why.
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("broken,FILE,,1,11,,") && line.len() > 25),
        "{all}"
    );
    // Each is called as it is listed, in quotes as other names are.
    for name in ["people", "people_2", "days", "twice.csv", "twice.parquet"] {
        let sql = format!("SELECT count(*) FROM \"{name}\"");
        let url = format!("datafusion://{}", place.path().join("data").display());
        assert!(
            place
                .ok(&["query", "--from", &url, "--sql", &sql])
                .contains('2'),
            "{name}"
        );
    }
    assert_eq!(list(&["--name", "people%"]).lines().count(), 3);
    place.write(
        "arrowload.toml",
        "[connections.lake]\ntype = \"file\"\nroot = \"data\"\n",
    );
    assert_eq!(
        place.ok(&["list", "--from", "lake", "--format", "csv"]),
        all
    );
}

#[test]
fn delta_tables_are_listed_with_their_versions() {
    let place = Place::new();
    place.write("people.csv", PEOPLE);
    for target in [
        "delta://lake/people",
        "delta://lake/people",
        "delta://lake/sales/orders",
    ] {
        place.ok(&["load", "--from", "people.csv", "--to", target]);
    }
    std::fs::create_dir_all(place.path().join("lake/broken/_delta_log")).expect("a folder");
    let list = |from: &str| place.ok(&["list", "--from", from, "--format", "csv"]);
    let all = list("delta://lake");
    let lines: Vec<Vec<&str>> = all
        .lines()
        .map(|line| line.splitn(6, ',').collect())
        .collect();
    let shown = |line: usize| {
        (
            lines[line][0],
            lines[line][1],
            lines[line][2],
            lines[line][3],
        )
    };
    assert_eq!(lines.len(), 4, "{all}");
    assert_eq!(shown(0), ("table_name", "version", "rows", "files"));
    assert_eq!((lines[1][0], lines[1][1]), ("broken", ""), "{all}");
    assert_eq!(
        (shown(2).0, shown(2).2, shown(2).3),
        ("people", "4", "2"),
        "{all}"
    );
    assert_eq!((shown(3).0, shown(3).2), ("sales/orders", "2"), "{all}");
    assert!(lines[2][5].contains("id long, name string"), "{all}");
    // One table, by its URL and by its folder.
    for from in ["delta://lake/people", "lake/people", "lake/people/"] {
        let one = list(from);
        assert!(
            one.lines().count() == 2 && one.contains("\npeople,"),
            "{from}: {one}"
        );
    }
    // An earlier version is one of fewer rows.
    let earlier = list(&format!(
        "delta://lake/people@{}",
        lines[2][1].parse::<u64>().expect("a version") - 1
    ));
    assert!(earlier.contains(",2,1,"), "{earlier}");
    // In a folder of files it is told from a folder of Parquet files, some of which are no longer of it.
    assert!(
        list("lake").contains("\npeople,DELTA TABLE,,,,,read it as delta://"),
        "{}",
        list("lake")
    );
}

#[test]
fn redis_lists_the_patterns_of_its_keys() {
    let Some(server) = ThrowawayRedis::available() else {
        return;
    };
    let place = Place::new();
    place.write("people.csv", PEOPLE);
    let url = server.url();
    place.ok(&[
        "load",
        "--from",
        "people.csv",
        "--to",
        url,
        "-T",
        "person",
        "-O",
        "key_pattern=person:{id}",
    ]);
    let all = place.ok(&[
        "list", "--from", url, "--format", "csv", "--name", "person%",
    ]);
    assert_eq!(
        all,
        "table_name,table_type,keys,complete\nperson:*,hash,2,true\n"
    );
    assert!(
        !place
            .ok(&["list", "--from", url, "--format", "csv"])
            .contains("arrowload")
    );
}
