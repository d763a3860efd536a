//! Mistakes, each with a message that says what is wrong and what to do.

use std::future::IntoFuture;

use arrowload::{Client, Connections, Error, ErrorKind, LoadBuilder};
use serde_json::json;

use crate::{client, file};

const SQL: &str = "SELECT 1 AS id";

#[track_caller]
fn says(error: &Error, kind: ErrorKind, parts: &[&str]) {
    let message = format!("{error:#}");
    assert_eq!(error.kind(), kind, "{message}");
    for part in parts {
        assert!(message.contains(part), "`{part}` in: {message}");
    }
}

async fn failure(load: LoadBuilder) -> Error {
    load.into_future().await.expect_err("a mistake")
}

#[tokio::test]
async fn names_that_are_not_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let client = client(folder.path()).await;
    let error = failure(client.sql(SQL).load("fiel", "x.parquet")).await;
    says(
        &error,
        ErrorKind::LoaderNotFound,
        &["did you mean `file`?", "Linked in: "],
    );
    let error = failure(
        client
            .sql(SQL)
            .load("file", "x.parquet")
            .connection("my_lake"),
    )
    .await;
    says(&error, ErrorKind::ConnectionNotFound, &["my_lake"]);
    let error = Client::connect("nosuch://host")
        .await
        .expect_err("no such scheme");
    says(&error, ErrorKind::SourceNotFound, &["nosuch", "datafusion"]);
    let error = Client::connect("no_such_name")
        .await
        .expect_err("no such name");
    says(&error, ErrorKind::ConnectionNotFound, &["no_such_name"]);
    let error = client
        .configure_connection("x", "postgrs", json!({}))
        .expect_err("no such loader");
    says(&error, ErrorKind::LoaderNotFound, &["postgrs"]);
}

#[tokio::test]
async fn queries_that_cannot_run() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("people.csv"), "id,name\n1,Ann\n").expect("written");
    let client = client(folder.path()).await;
    let run = async |sql: &str| failure(client.sql(sql).load("memory", "mistakes")).await;
    says(
        &run("SELECT * FROM 'missing.parquet'").await,
        ErrorKind::NotFound,
        &["missing.parquet"],
    );
    says(
        &run("SELECT * FROM poeple").await,
        ErrorKind::NotFound,
        &["poeple", "people"],
    );
    says(&run("SELEC 1").await, ErrorKind::Query, &["SELEC"]);
    says(
        &run("SELECT nme FROM people").await,
        ErrorKind::Query,
        &["nme", "name"],
    );
    says(&run("DROP TABLE people").await, ErrorKind::Unsupported, &[]);
    says(
        &run("SELECT 1 AS a, 2 AS a").await,
        ErrorKind::Query,
        &["a"],
    );
    std::fs::write(
        folder.path().join("broken.parquet"),
        "PAR1 this is no Parquet file PAR1",
    )
    .expect("written");
    says(
        &run("SELECT * FROM 'broken.parquet'").await,
        ErrorKind::InvalidData,
        &["broken.parquet"],
    );
}

#[tokio::test]
async fn options_and_values_that_do_not_fit() {
    let folder = tempfile::tempdir().expect("a folder");
    let client = client(folder.path()).await;
    let target = file(folder.path(), "x.parquet");
    let load = || client.sql(SQL).load("file", &target);
    let error = failure(load().option("compresion", "zstd")).await;
    says(
        &error,
        ErrorKind::InvalidOption,
        &[
            "`compresion`",
            ".option(\"compresion\", ..)",
            "did you mean `compression`?",
        ],
    );
    says(
        &failure(load().option("mode", "upsert")).await,
        ErrorKind::Unsupported,
        &["file has no mode upsert", "append"],
    );
    says(
        &failure(load().option("batch_size", "ten")).await,
        ErrorKind::InvalidOption,
        &["batch_size", ".option(\"batch_size\", ..)"],
    );
    says(
        &failure(load().config(json!({"rot": "/"}))).await,
        ErrorKind::InvalidOption,
        &["`rot`", ".config(..)", "did you mean `root`?"],
    );
    says(
        &failure(load().config_key("rot", "/")).await,
        ErrorKind::InvalidOption,
        &["`rot`", ".config_key(\"rot\", ..)", "did you mean `root`?"],
    );
    says(
        &failure(load().config("postgresql://localhost/db")).await,
        ErrorKind::InvalidOption,
        &[".connection(url)", ".config_key(key, value)"],
    );
    says(
        &failure(client.sql(SQL).load("file", "")).await,
        ErrorKind::InvalidOption,
        &["target is empty"],
    );
    says(
        &failure(client.sql(SQL).load("file", "x.xyz")).await,
        ErrorKind::InvalidOption,
        &["format"],
    );
    assert!(
        !std::path::Path::new(&target).exists(),
        "nothing was written"
    );
}

#[tokio::test]
async fn a_value_from_the_wrong_layer_is_traced_to_it() {
    let environment = [(
        "ARROWLOAD_CONNECTIONS__LAKE__BATCH_SIZE".to_owned(),
        "many".to_owned(),
    )];
    let connections = Connections::builder()
        .no_config_file()
        .environment(environment)
        .build()
        .expect("layers");
    let client = Client::builder()
        .connections(connections)
        .build()
        .expect("a client");
    let error = failure(client.sql(SQL).load("file", "x.parquet").connection("lake")).await;
    says(
        &error,
        ErrorKind::InvalidOption,
        &["batch_size", "ARROWLOAD_CONNECTIONS__LAKE__BATCH_SIZE"],
    );
}

#[tokio::test]
async fn a_type_that_cannot_be_held_is_refused_by_column() {
    let folder = tempfile::tempdir().expect("a folder");
    let client = client(folder.path()).await;
    let sql = "SELECT 1 AS id, INTERVAL '1' MONTH AS span";
    let target = file(folder.path(), "x.csv");
    let plan = client
        .sql("SELECT 1 AS id, [1, 2] AS list")
        .load("file", &target)
        .plan()
        .await
        .expect("a plan says so");
    let refused = plan
        .columns
        .iter()
        .find(|column| column.name == "list")
        .expect("planned");
    if refused.support.word() == "refused" {
        let error = failure(
            client
                .sql("SELECT 1 AS id, [1, 2] AS list")
                .load("file", &target),
        )
        .await;
        says(&error, ErrorKind::UnsupportedType, &["`list`"]);
    }
    let parquet = failure(
        client
            .sql(sql)
            .load("file", file(folder.path(), "x.parquet")),
    )
    .await;
    says(&parquet, ErrorKind::UnsupportedType, &["`span`"]);
    assert_eq!(
        std::fs::read_dir(folder.path()).expect("a folder").count(),
        0,
        "nothing is left"
    );
}
