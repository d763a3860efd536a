//! Short ways to load and to look.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::{Field, Schema};
use arrowload_core::{
    BatchStream, Error, Input, LoadReport, LoadSpec, Loader, LoaderDescriptor, Mode, Result,
    Settings, load,
};
use arrowload_postgresql::PostgresqlLoader;

use futures::FutureExt;

use crate::server::Database;

pub(crate) fn descriptor() -> LoaderDescriptor {
    LoaderDescriptor::of::<PostgresqlLoader>(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
}

pub(crate) fn spec(target: &str, mode: Mode) -> LoadSpec {
    let mut spec = LoadSpec::new(target);
    spec.load.mode = mode;
    spec.load.max_retries = 0;
    spec
}

/// A spec with keys of the common options and of the loader, as a user writes them.
pub(crate) fn with(target: &str, options: serde_json::Value) -> LoadSpec {
    let serde_json::Value::Object(map) = options else {
        panic!("an object")
    };
    let (split, load) = descriptor()
        .split(Settings::from_map(map, "the test"))
        .expect("known keys");
    let mut spec = LoadSpec::new(target);
    (spec.load, spec.options) = (load, split.options);
    spec.load.max_retries = 0;
    spec
}

/// A load into the table `t` of people, under this id.
pub(crate) fn staged_spec(mode: Mode, load_id: &str) -> LoadSpec {
    let mut spec = spec("t", mode);
    spec.load.load_id = Some(load_id.to_owned());
    if mode == Mode::Upsert {
        spec.load.keys = vec!["id".into()];
    }
    spec
}

/// The rows as a query gives them, which can be run again.
pub(crate) fn query(rows: &RecordBatch) -> Input {
    let rows = rows.clone();
    Input::repeatable(move |_| {
        let rows = rows.clone();
        async move { Ok(BatchStream::from_batches(rows.schema(), vec![rows])) }.boxed()
    })
}

pub(crate) fn input(batches: &[RecordBatch]) -> Input {
    Input::stream(BatchStream::from_batches(
        batches[0].schema(),
        batches.to_vec(),
    ))
}

impl Database {
    pub(crate) async fn loader(&self) -> Loader {
        Loader::connect(&descriptor(), &self.settings(), 0)
            .await
            .expect("connected")
    }

    pub(crate) async fn try_load(
        &self,
        spec: &LoadSpec,
        batch: &RecordBatch,
    ) -> Result<LoadReport> {
        load(
            &self.loader().await,
            spec,
            &input(std::slice::from_ref(batch)),
        )
        .await
    }

    pub(crate) async fn load(&self, spec: &LoadSpec, batch: &RecordBatch) -> LoadReport {
        self.try_load(spec, batch)
            .await
            .unwrap_or_else(|error| panic!("the load failed: {error:?}"))
    }

    /// The table `t` as it is before a load of this mode, for people whose ids begin at 0, and that load.
    pub(crate) async fn stage(&self, mode: Mode, load_id: &str) -> LoadSpec {
        let table = "CREATE TABLE t (id bigint PRIMARY KEY, name text); INSERT INTO t SELECT i, 'old' FROM generate_series(-100, -1) AS i";
        let made = match mode {
            Mode::Create => String::new(),
            Mode::Append => table.to_owned(),
            Mode::Overwrite | Mode::Upsert => format!("{table}; INSERT INTO t VALUES (7, 'old')"),
        };
        self.run(&format!("DROP TABLE IF EXISTS t; {made}")).await;
        staged_spec(mode, load_id)
    }

    /// Every row of the table `t`, in short; `None` if it is not there.
    pub(crate) async fn seen(&self) -> Option<String> {
        const SEEN: &str = "SELECT count(*), COALESCE(md5(string_agg(id || ' ' || name, ',' ORDER BY id, name)), '') FROM t";
        let there = self.rows("SELECT to_regclass('t') IS NOT NULL").await;
        if there == ["t"] {
            self.rows(SEEN).await.pop()
        } else {
            None
        }
    }

    pub(crate) async fn refused(&self, spec: &LoadSpec, batch: &RecordBatch) -> Error {
        self.try_load(spec, batch)
            .await
            .expect_err("the load should have been refused")
    }
}

/// A batch of nullable columns.
pub(crate) fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, array)| Field::new(*name, array.data_type().clone(), true))
        .collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).expect("columns of one length")
}

/// Ids and names.
pub(crate) fn people(ids: std::ops::Range<i64>, version: &str) -> RecordBatch {
    let names = ids
        .clone()
        .map(|id| format!("{version}{id}"))
        .collect::<Vec<_>>();
    batch(vec![
        ("id", Arc::new(Int64Array::from_iter_values(ids))),
        ("name", Arc::new(StringArray::from(names))),
    ])
}
