//! Queries over an object store, set up by the connection.

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrowload_core::{DataSource, ErrorKind, Query};
use arrowload_datafusion::{DataFusionConfig, DataFusionSource};
use arrowload_testkit::ThrowawayS3;
use futures::TryStreamExt;

async fn sum(source: &DataFusionSource, sql: &str) -> arrowload_core::Result<i64> {
    let batches: Vec<_> = source.query(&Query::new(sql)).await?.try_collect().await?;
    Ok(batches[0].column(0).as_primitive::<Int64Type>().value(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_patterns_in_a_bucket_are_tables() {
    let Some(store) = ThrowawayS3::available() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in [("a.csv", "id\n1\n2\n"), ("b.csv", "id\n40\n")] {
        std::fs::write(folder.path().join(name), text).expect("a file");
        store
            .put(&format!("queries/{name}"), &folder.path().join(name))
            .expect("put");
    }
    let options: serde_json::Map<_, _> = store
        .options()
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.into()))
        .collect();
    let config: DataFusionConfig =
        serde_json::from_value(serde_json::json!({ "storage_options": options }))
            .expect("a config");
    assert!(!format!("{config:?}").contains("secret\""), "{config:?}");
    let source = DataFusionSource::connect(config).await.expect("a source");
    assert_eq!(
        sum(
            &source,
            &format!("SELECT sum(id) FROM '{}'", store.url("queries/a.csv"))
        )
        .await
        .expect("rows"),
        3
    );
    assert_eq!(
        sum(
            &source,
            &format!("SELECT sum(id) FROM '{}'", store.url("queries/*.csv"))
        )
        .await
        .expect("rows"),
        43
    );
    let error = sum(
        &source,
        &format!("SELECT sum(id) FROM '{}'", store.url("queries/c.csv")),
    )
    .await
    .expect_err("no such file");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:#}");
}
