//! Options: in a table function, and in the connection.

use crate::*;

#[tokio::test]
async fn table_functions_take_options() {
    let folder = with(&[
        ("a.csv", "x;zip;n\n1;02134;1,5\n2;00501;NA\n"),
        ("tab.txt", "1\t2\n3\t4\n"),
    ]);
    let source = over(folder.path()).await;
    for from in [
        "read_csv('a.csv', delim => ';', decimal_separator => ',', null_text => 'NA')",
        "read('a.csv', delim = ';', decimal_separator = ',', null_text = ['NA'])",
        "READ_CSV('a.csv', types => {'n': 'decimal(38,1)'}, decimal_separator => ',', null_text => 'NA')",
    ] {
        let sql = format!("SELECT * FROM {from}");
        assert_eq!(
            rows(&source, &sql).await,
            ["1|02134|1.5", "2|00501|∅"],
            "{from}"
        );
        let expected = ["Int64", "Utf8", "Decimal128(38, 1)"];
        assert_eq!(types(&source, &sql).await, expected, "{from}");
    }
    let text = "SELECT * FROM read_csv('a.csv', types => 'text', skip => 1, header => false)";
    assert_eq!(types(&source, text).await, ["Utf8", "Utf8", "Utf8"]);
    let tab = "SELECT t.b FROM read_csv('tab.txt', delim => '\\t', names => ['a', 'b'], header => false) AS t";
    assert_eq!(rows(&source, tab).await, ["2", "4"]);
    // Without an alias, a call has the name of its function, and a second one a number.
    let two = "SELECT read_csv.x, read_csv_2.x FROM read_csv('a.csv') JOIN read_csv('a.csv') ON read_csv.x = read_csv_2.x - 1";
    assert_eq!(rows(&source, two).await, ["1|2"]);
    let nested = "WITH t AS (SELECT * FROM read_csv('a.csv', types => 'text')) SELECT count(*) FROM t WHERE x IN (SELECT x FROM read_csv('a.csv', types => 'text'))";
    assert_eq!(rows(&source, nested).await, ["2"]);
    for (sql, kind, part) in [
        (
            "read_csv('a.csv', delimm => ';')",
            ErrorKind::InvalidOption,
            "did you mean `delim`?",
        ),
        (
            "read_csv('a.csv', nullstr => 'NA')",
            ErrorKind::InvalidOption,
            "`null_text`",
        ),
        (
            "read_csv('a.csv', skip => 'x')",
            ErrorKind::InvalidOption,
            "skip",
        ),
        (
            "read_csv('a.csv', types => {'y': 'text'})",
            ErrorKind::InvalidOption,
            "`y`",
        ),
        (
            "read_csv('a.csv', skip => 1 + 1)",
            ErrorKind::InvalidOption,
            "written out",
        ),
        ("read_csv()", ErrorKind::InvalidOption, "pattern"),
        ("read_csv('gone.csv')", ErrorKind::NotFound, "`gone.csv`"),
        (
            "read_parquet('a.csv')",
            ErrorKind::InvalidData,
            "no Parquet file",
        ),
        (
            "read('a.csv', hive_typs => {})",
            ErrorKind::InvalidOption,
            "`hive_types`",
        ),
    ] {
        let error = refused(&source, &format!("SELECT * FROM {sql}")).await;
        assert_eq!(error.kind(), kind, "{sql}: {error:#}");
        assert!(error.to_string().contains(part), "{sql}: {error}");
    }
}

#[tokio::test]
async fn a_connection_has_options_and_tables() {
    let folder = with(&[("a.csv", "x,y\n1,02\n"), ("deep/noname", "p|q\n1|2\n")]);
    parquet(&folder.path().join("p.parquet"), &people(0..1));
    let connect = async |read: serde_json::Value| {
        let config = serde_json::json!({
            "path": folder.path(),
            "read": read,
            "tables": { "data": "deep/noname", "all": "*.csv" },
        });
        let settings = Settings::from_map(config.as_object().expect("an object").clone(), "a test");
        Source::connect(&descriptor(), &settings, 0).await
    };
    let source = connect(serde_json::json!({ "any": { "header": false, "filename": "f" }, "csv": { "types": "text" } }))
        .await
        .expect("connected");
    assert_eq!(
        rows(&source, "SELECT * FROM a").await,
        ["x|y|a.csv", "1|02|a.csv"]
    );
    assert_eq!(rows(&source, "SELECT count(*) FROM data").await, ["2"]);
    assert_eq!(rows(&source, "SELECT count(*) FROM \"all\"").await, ["2"]);
    let own = "SELECT * FROM read_csv('a.csv', header => true, filename => false)";
    assert_eq!(rows(&source, own).await, ["1|02"]);
    // An option of CSV is passed over where a file is Parquet.
    assert_eq!(rows(&source, "SELECT id, f FROM p").await, ["0|p.parquet"]);
    for read in [
        serde_json::json!({ "any": { "delimm": ";" } }),
        serde_json::json!({ "csv": { "skip": [] } }),
        serde_json::json!({ "parquet": { "delim": ";" } }),
        serde_json::json!({ "cvs": {} }),
    ] {
        let error = connect(read.clone()).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidOption, "{read}: {error:#}");
    }
    let url = "datafusion://?read=%7B%22csv%22%3A%7B%22delim%22%3A%22%3B%22%7D%7D";
    crate::source(url).await.expect("connected");
}

#[tokio::test]
async fn every_option_is_documented() {
    for format in ["csv", "json", "arrow", "parquet"] {
        let schema = arrowload_datafusion::read_options(format).expect("known");
        let properties = schema.as_value()["properties"]
            .as_object()
            .expect("options");
        assert!(properties.contains_key("filename"), "{format}");
        for (key, property) in properties {
            assert!(property["description"].is_string(), "{format}: {key}");
        }
    }
    let csv = arrowload_datafusion::read_options("csv").expect("known");
    assert!(csv.contains("delim") && csv.is_closed());
    assert!(arrowload_datafusion::read_options("xls").is_none());
}

#[tokio::test]
async fn peek_says_what_files_are() {
    let folder = with(&[("a.csv", "zip;n\n02134;1\n00501;2\n")]);
    parquet(&folder.path().join("p.parquet"), &people(0..5));
    let source = over(folder.path()).await;
    let sql = "SELECT file, format, position, name, type, certainty, rows FROM peek('a.csv')";
    assert_eq!(
        rows(&source, sql).await,
        [
            "a.csv|csv|1|zip|text|proved|∅",
            "a.csv|csv|2|n|int64|proved|∅"
        ]
    );
    let found = rows(&source, "SELECT found, reason FROM peek('a.csv') LIMIT 1").await;
    assert!(
        found[0].contains("delimiter `;`") && found[0].contains("02134"),
        "{found:?}"
    );
    let sql = "SELECT name, type, certainty, rows FROM peek('p.parquet')";
    assert_eq!(
        rows(&source, sql).await,
        ["id|int64|typed|5", "name|text|typed|5"]
    );
    let declared =
        "SELECT type, certainty FROM peek('a.csv', types => 'n=decimal(20,2)') WHERE name = 'n'";
    assert_eq!(rows(&source, declared).await, ["decimal(20,2)|declared"]);
}

#[tokio::test]
async fn options_of_a_command_line_are_text() {
    let folder = with(&[("a.csv", "id,b\n1,x\n")]);
    let source = over(folder.path()).await;
    for (option, columns) in [
        ("filename => 'true'", vec!["id", "b", "filename"]),
        ("filename => 'false'", vec!["id", "b"]),
        ("filename => 'file'", vec!["id", "b", "file"]),
        ("infer_rows => '1000'", vec!["id", "b"]),
        ("infer_rows => 'all'", vec!["id", "b"]),
        ("strict_types => 'id=int64,b=text'", vec!["id", "b"]),
    ] {
        let sql = format!("SELECT * FROM read_csv('a.csv', {option})");
        let schema = source.schema(&Query::new(&sql)).await;
        let schema = schema.unwrap_or_else(|error| panic!("{sql}: {error:#}"));
        let names: Vec<&str> = schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        assert_eq!(names, columns, "{sql}");
    }
}
