//! The engine over tables in memory, and one that panics.

use std::sync::Arc;

use arrow_array::{Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use arrowload_core::{Error, ErrorKind, Param, Params, Query, Result};
use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, SessionState, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::prelude::SessionConfig;
use futures::TryStreamExt;

use crate::{Asked, Engine, EngineOptions, Tables, from_datafusion};

#[derive(Debug)]
struct Memory;

fn schema() -> Arc<Schema> {
    Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false)]))
}

#[derive(Debug)]
struct Panics(Arc<Schema>);

impl PartitionStream for Panics {
    fn schema(&self) -> &Arc<Schema> {
        &self.0
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let stream = futures::stream::poll_fn(|_| panic!("a bad day"));
        Box::pin(RecordBatchStreamAdapter::new(schema(), stream))
    }
}

#[async_trait]
impl Tables for Memory {
    fn names(&self) -> Vec<String> {
        vec!["numbers".into()]
    }

    async fn open(
        &self,
        name: &str,
        _: &SessionState,
        _: &Asked,
    ) -> Result<Option<Arc<dyn TableProvider>>> {
        let ids = Int64Array::from_iter_values(0..10);
        let batch = RecordBatch::try_new(schema(), vec![Arc::new(ids)])?;
        Ok(match name {
            "numbers" => Some(Arc::new(
                MemTable::try_new(schema(), vec![vec![batch]]).map_err(from_datafusion)?,
            )),
            "broken" => Some(Arc::new(
                StreamingTable::try_new(schema(), vec![Arc::new(Panics(schema()))])
                    .map_err(from_datafusion)?,
            )),
            "planning" => panic!("a bad plan"),
            "refused" => {
                return Err(Error::new(ErrorKind::PermissionDenied, "not for you").transient());
            }
            _ => None,
        })
    }

    fn missing(&self, name: &str) -> Error {
        Error::new(ErrorKind::NotFound, format!("there is no table `{name}`"))
    }
}

fn engine() -> Engine {
    Engine::new(
        &EngineOptions::default(),
        SessionConfig::new(),
        Arc::new(Memory),
    )
    .expect("an engine")
}

async fn rows(query: Query) -> Result<usize> {
    let batches: Vec<RecordBatch> = engine().query(&query).await?.try_collect().await?;
    Ok(batches.iter().map(RecordBatch::num_rows).sum())
}

#[tokio::test]
async fn tables_are_opened_as_queries_name_them() {
    assert_eq!(
        rows(Query::new("SELECT * FROM numbers")).await.ok(),
        Some(10)
    );
    let listed = "SELECT * FROM information_schema.tables WHERE table_name = 'numbers'";
    assert_eq!(rows(Query::new(listed)).await.ok(), Some(1));
    for (sql, kind, part) in [
        ("SELECT * FROM letters", ErrorKind::NotFound, "`letters`"),
        (
            "SELECT * FROM numbers, letters",
            ErrorKind::NotFound,
            "`letters`",
        ),
        (
            "WITH letters AS (SELECT 1) SELECT x FROM letters",
            ErrorKind::Query,
            "x",
        ),
        ("SELECT x FROM generate_series(1, 2)", ErrorKind::Query, "x"),
        ("SELEC 1", ErrorKind::Query, "the SQL is malformed"),
        (
            "SELECT * FROM refused",
            ErrorKind::PermissionDenied,
            "not for you",
        ),
    ] {
        let error = rows(Query::new(sql)).await.expect_err(sql);
        assert_eq!(error.kind(), kind, "{sql}: {error:#}");
        assert!(error.to_string().contains(part), "{sql}: {error}");
    }
    let error = rows(Query::new("SELECT * FROM refused")).await;
    assert!(error.is_err_and(|error| error.is_transient()));
}

#[tokio::test]
async fn only_queries_run_and_nothing_in_them_writes() {
    let out = std::env::temp_dir().join("arrowload-common-datafusion-must-not-be-there.parquet");
    let copy = format!("COPY numbers TO '{}'", out.display());
    for sql in [
        copy.as_str(),
        "INSERT INTO numbers VALUES (1)",
        "EXPLAIN ANALYZE INSERT INTO numbers VALUES (1)",
        "EXPLAIN ANALYZE INSERT INTO numbers SELECT id FROM numbers",
        "CREATE VIEW x AS SELECT 1",
        "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/tmp/x.csv'",
        "SET datafusion.execution.batch_size = 1",
        "PREPARE p AS SELECT 1",
    ] {
        let error = rows(Query::new(sql)).await.expect_err(sql);
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{sql}: {error:#}");
        assert!(error.to_string().contains("only reads"), "{sql}: {error}");
    }
    let explained = rows(Query::new(format!("EXPLAIN ANALYZE {copy}"))).await;
    assert!(explained.is_err());
    assert!(!out.exists());
    assert!(
        rows(Query::new("EXPLAIN ANALYZE SELECT * FROM numbers"))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn parameters_and_values_match() {
    let query = |sql: &str, values: &[i64]| {
        Query::new(sql).with_params(Params::Positional(
            values.iter().map(|value| Param::from(*value)).collect(),
        ))
    };
    let sql = "SELECT * FROM numbers WHERE id >= $1";
    assert_eq!(rows(query(sql, &[7])).await.ok(), Some(3));
    for (values, part) in [
        (&[][..], "no value is given for it"),
        (&[1, 2], "given for $2, "),
    ] {
        let error = rows(query(sql, values)).await.expect_err(part);
        assert_eq!(error.kind(), ErrorKind::InvalidOption, "{error:#}");
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[tokio::test]
async fn the_schema_and_the_number_of_rows_are_known_before_the_first_batch() {
    let query = Query::new("SELECT id, 'x' AS text FROM numbers LIMIT 4");
    let stream = engine().query(&query).await.expect("a stream");
    assert_eq!(stream.expected_rows(), Some(4));
    let schema = engine().schema(&query).await.expect("a schema");
    assert_eq!(&schema, stream.schema());
    // It would panic if it ran.
    let schema = engine().schema(&Query::new("SELECT id FROM broken")).await;
    assert_eq!(schema.expect("a schema").field(0).name(), "id");
}

#[tokio::test]
async fn a_panic_of_the_engine_is_an_error() {
    for (sql, part) in [
        ("SELECT * FROM broken", "a bad day"),
        ("SELECT count(*) FROM broken GROUP BY id", "a bad day"),
        ("SELECT * FROM planning", "a bad plan"),
    ] {
        let error = rows(Query::new(sql)).await.expect_err(sql);
        assert_eq!(error.kind(), ErrorKind::Unexpected, "{sql}: {error:#}");
        assert!(error.to_string().contains(part), "{sql}: {error}");
    }
}

#[test]
fn limits_of_zero_are_refused() {
    for (key, options) in [
        (
            "threads",
            EngineOptions {
                threads: Some(0),
                ..EngineOptions::default()
            },
        ),
        (
            "batch_size",
            EngineOptions {
                batch_size: Some(0),
                ..EngineOptions::default()
            },
        ),
    ] {
        let error = Engine::new(&options, SessionConfig::new(), Arc::new(Memory)).err();
        assert_eq!(error.expect("refused").get("key"), Some(key));
    }
}

#[test]
fn kinds_follow_the_cause() {
    let store = |source: &str| datafusion::object_store::Error::Generic {
        store: "S3",
        source: source.into(),
    };
    let lost = from_datafusion(DataFusionError::ObjectStore(Box::new(store("reset"))));
    assert_eq!(
        (lost.kind(), lost.is_transient()),
        (ErrorKind::Connection, true)
    );
    let gone = datafusion::object_store::Error::NotFound {
        path: "x".into(),
        source: "gone".into(),
    };
    // As a reader of Parquet wraps it.
    let gone = datafusion::parquet::errors::ParquetError::External(Box::new(gone));
    let gone =
        from_datafusion(DataFusionError::ParquetError(Box::new(gone)).context("`t.parquet`"));
    assert_eq!(
        (gone.kind(), gone.is_transient()),
        (ErrorKind::NotFound, false)
    );
    assert!(gone.to_string().starts_with("`t.parquet`: "), "{gone}");
    let full = from_datafusion(DataFusionError::ResourcesExhausted("no".into()));
    assert!(full.to_string().contains("memory_limit"), "{full}");
}
