//! Folders named `key=value`.

use crate::*;

#[tokio::test]
async fn folders_are_columns_as_others_read_them() {
    let folder = folder();
    for (name, ids) in [
        ("month=01", 1..2),
        ("month=02", 2..3),
        ("month=__HIVE_DEFAULT_PARTITION__", 3..4),
        ("month=a%2Fb%3Dc d", 4..5),
        ("month=x%252Fy", 5..6),
    ] {
        let path = folder.path().join("p").join(name).join("x.parquet");
        parquet(&path, &people(ids.clone()));
        let text = format!("id\n{}\n", ids.start);
        write(folder.path(), &format!("c/{name}/x.csv"), text);
    }
    for (name, id) in [
        ("year=2023", 1),
        ("year=2024", 2),
        ("year=__HIVE_DEFAULT_PARTITION__", 3),
    ] {
        parquet(
            &folder.path().join(format!("y/{name}/x.parquet")),
            &people(id..id + 1),
        );
    }
    let source = over(folder.path()).await;
    for table in ["p", "'p/'", "c", "'c/*/*.csv'"] {
        let sql = format!("SELECT id, month FROM {table} ORDER BY id");
        let expected = ["1|01", "2|02", "3|∅", "4|a/b=c d", "5|x%2Fy"];
        assert_eq!(rows(&source, &sql).await, expected, "{table}");
        let sql = format!("SELECT id FROM {table} WHERE month IS NULL");
        assert_eq!(rows(&source, &sql).await, ["3"], "{table}");
        let sql = format!("SELECT count(*) FROM {table} WHERE month = '01'");
        assert_eq!(rows(&source, &sql).await, ["1"], "{table}");
    }
    let sql = "SELECT year FROM y ORDER BY year";
    assert_eq!(types(&source, sql).await, ["Int64"]);
    assert_eq!(rows(&source, sql).await, ["2023", "2024", "∅"]);
    let sql =
        "SELECT year FROM read_parquet('y', hive_types => {'year': 'int32'}) WHERE year > 2023";
    assert_eq!(types(&source, sql).await, ["Int32"]);
    assert_eq!(rows(&source, sql).await, ["2024"]);
    let none = "SELECT * FROM read_csv('c', hive_partitioning => false) LIMIT 0";
    assert_eq!(types(&source, none).await, ["Int64"]);
    let wrong = refused(
        &source,
        "SELECT * FROM read_csv('c', hive_types => {'m': 'text'})",
    )
    .await;
    assert!(wrong.to_string().contains("month"), "{wrong}");
}

#[tokio::test]
async fn a_column_that_is_also_a_folders_key_needs_a_word() {
    let folder = folder();
    write(folder.path(), "c/day=1/x.csv", "id,day\n1,7\n");
    parquet(&folder.path().join("p/id=9/x.parquet"), &people(1..2));
    let source = over(folder.path()).await;
    for sql in ["SELECT * FROM c", "SELECT id FROM p"] {
        let error = refused(&source, sql).await;
        assert_eq!(error.kind(), ErrorKind::SchemaMismatch);
        assert!(error.to_string().contains("hive_partitioning"), "{error}");
    }
    for (option, csv, parquet) in [("true", "1|1", "9"), ("false", "1|7", "1")] {
        let sql = format!("SELECT id, day FROM read_csv('c', hive_partitioning => {option})");
        assert_eq!(rows(&source, &sql).await, [csv]);
        let sql = format!("SELECT id FROM read_parquet('p', hive_partitioning => {option})");
        assert_eq!(rows(&source, &sql).await, [parquet]);
    }
}

#[tokio::test]
async fn conditions_on_folders_leave_files_unread() {
    let folder = folder();
    parquet(
        &folder.path().join("p/day=2024-01-01/a.parquet"),
        &people(0..3),
    );
    write(folder.path(), "c/day=2024-01-01/a.csv", "id\n1\n");
    // Whoever reads it, fails.
    write(folder.path(), "c/day=2024-01-02/b.csv", "id,x\n1,2\n3\n");
    parquet(
        &folder.path().join("p/day=2024-01-02/b.parquet"),
        &people(3..7),
    );
    let source = over(folder.path()).await;
    refused(&source, "SELECT count(id) FROM c").await;
    for table in ["c", "p"] {
        let sql = format!("SELECT count(*) FROM {table} WHERE day < '2024-01-02'");
        let expected = if table == "c" { "1" } else { "3" };
        assert_eq!(rows(&source, &sql).await, [expected], "{table}");
    }
    let sql = "EXPLAIN SELECT name FROM p WHERE day = DATE '2024-01-02' AND id > 5";
    let plan = rows(&source, sql).await.join("\n");
    assert!(
        plan.contains("b.parquet") && !plan.contains("a.parquet"),
        "{plan}"
    );
    assert!(plan.contains(", predicate=id"), "{plan}");
    assert_eq!(
        rows(&source, "SELECT count(*) FROM c WHERE day = '1999-01-01'").await,
        ["0"]
    );
}
