//! Where connections come from, through the client.

use arrowload::{Client, Connections, ErrorKind};
use serde_json::json;

use crate::client;

const SQL: &str = "SELECT 1 AS id";

#[tokio::test]
async fn a_profile_holds_connection_keys_and_load_defaults() {
    let folder = tempfile::tempdir().expect("a folder");
    let client = client(folder.path()).await;
    let root = folder.path().display().to_string();
    let profile = json!({"root": root, "mode": "overwrite", "batch_size": 10, "compression": "zstd", "create_table": true});
    client
        .configure_connection("lake", "file", profile)
        .expect("known keys");
    for _ in 0..2 {
        client
            .sql(SQL)
            .load("file", "a.parquet")
            .connection("lake")
            .await
            .expect("overwritten");
    }
    // What is said with the load stands over the profile.
    let error = client
        .sql(SQL)
        .load("file", "a.parquet")
        .connection("lake")
        .option("mode", "create")
        .await
        .expect_err("it is there");
    assert_eq!(error.kind(), ErrorKind::TargetExists);
    client
        .sql(SQL)
        .load("file", "b.parquet")
        .config(json!({"root": root}))
        .await
        .expect("inline");
    assert!(folder.path().join("a.parquet").exists() && folder.path().join("b.parquet").exists());
}

#[tokio::test]
async fn a_file_and_the_environment_name_connections() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("arrowload.toml");
    let text = "[connections.lake]\ntype = \"file\"\nroot = \"${env:ROOT}\"\n[connections.here]\nurl = \"datafusion://\"\n";
    std::fs::write(&config, text).expect("written");
    let environment = [("ROOT".to_owned(), folder.path().display().to_string())];
    let connections = Connections::builder()
        .config_file(&config)
        .environment(environment)
        .build()
        .expect("layers");
    let client = Client::builder()
        .connections(connections)
        .source("here")
        .connect()
        .await
        .expect("a source by name");
    client
        .sql(SQL)
        .load("file", "c.csv")
        .connection("lake")
        .await
        .expect("loaded");
    assert_eq!(
        std::fs::read_to_string(folder.path().join("c.csv")).expect("a file"),
        "id\n1\n"
    );
}
