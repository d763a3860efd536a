//! `arrowload list`.

use arrowload_testkit::ThrowawayPostgres;

use crate::Place;

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
    for (words, code, said) in [
        (
            vec!["list", "--from", "datafusion"],
            2,
            "does not list its tables; ask it in SQL",
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
