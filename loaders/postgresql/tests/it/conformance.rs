//! The conformance suite, read back by way of the server's own text.

use std::path::Path;

use arrow_array::RecordBatch;
use arrowload_core::{LoaderDescriptor, Settings};
use arrowload_testkit::{Subject, check_support_table, conformance};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::server::{Database, database};
use crate::{reader, support};

struct Tables(Database);

impl Subject for Tables {
    fn descriptor(&self) -> LoaderDescriptor {
        support::descriptor()
    }

    fn connection(&self) -> Settings {
        self.0.settings()
    }

    fn read<'a>(&'a self, target: &'a str) -> BoxFuture<'a, Result<Option<RecordBatch>, String>> {
        async move { reader::read(&self.0.client().await, target).await }.boxed()
    }
}

/// What the suite expects of every store and PostgreSQL cannot hold, with the words of its refusal: values within a type
/// that is taken otherwise. And what arrives as JSON, which the reader does not turn back: see `values.rs` for those.
const KNOWN: [(&str, &str); 15] = [
    ("type Utf8 with a NUL", "holds a NUL byte"),
    ("type Time64(ns)", "is finer than the microseconds"),
    ("type Duration(ns)", "is finer than the microseconds"),
    (
        "type Interval(MonthDayNano)",
        "is finer than the microseconds",
    ),
    ("type Timestamp(ns)", "is finer than the microseconds"),
    ("type Timestamp(ns, UTC)", "is finer than the microseconds"),
    (
        "type Timestamp(ns, Europe/Zurich)",
        "is finer than the microseconds",
    ),
    (
        "type Timestamp(ns, +05:30)",
        "is finer than the microseconds",
    ),
    ("type List(List(Int32))", "rows should be there"),
    ("type Struct", "rows should be there"),
    ("type Struct(Struct, List)", "rows should be there"),
    ("type List(Struct)", "rows should be there"),
    ("type Map(Utf8, Int64)", "rows should be there"),
    ("type Union(dense)", "rows should be there"),
    ("type Union(sparse)", "rows should be there"),
];

#[tokio::test(flavor = "multi_thread")]
async fn tables_keep_their_promises() {
    let Some(database) = database("conformance").await else {
        return;
    };
    let report = conformance(&Tables(database)).await;
    let is_known = |name: &str, why: &str| {
        KNOWN
            .iter()
            .any(|(known, words)| *known == name && why.contains(words))
    };
    let failures: Vec<_> = report
        .failures()
        .into_iter()
        .filter(|(name, why)| !is_known(name, why))
        .collect();
    assert!(failures.is_empty(), "{failures:#?}");
    check_support_table(
        &report,
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/types/postgresql.md"),
    );
}
