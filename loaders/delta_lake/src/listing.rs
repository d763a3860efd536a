//! The Delta tables at and below a place.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrowload_common_object_store::from_store;
use arrowload_core::{Error, ErrorKind, Listed, Listing, Result};
use deltalake::{DeltaTable, DeltaTableConfig};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use object_store::ObjectStore;
use object_store::path::Path;

use crate::config::{DeltaLakeConfig, Version};
use crate::error::from_delta;
use crate::place::Place;
use crate::versions::Versions;

/// How many folders deep tables are looked for.
const DEPTH: usize = 3;
/// Tables whose logs are read at once.
const AT_ONCE: usize = 4;
/// The folder that tells a table.
const LOG: &str = "_delta_log";

/// A table, as far as its log says.
#[derive(Default)]
struct Row {
    /// As a query calls it.
    name: String,
    version: Option<i64>,
    rows: Option<i64>,
    files: Option<i64>,
    bytes: Option<i64>,
    columns: Option<String>,
    /// Why nothing is known.
    note: Option<String>,
}

/// Lists the tables. One whose log cannot be read is listed with the reason.
pub(crate) async fn list(
    config: &DeltaLakeConfig,
    version: Option<Version>,
    own_name: &str,
    listing: &Listing,
) -> Result<RecordBatch> {
    let refused = |what: &str| Err(Error::new(ErrorKind::Unsupported, what.to_owned()));
    if listing.what != Listed::Tables {
        return refused(&format!(
            "Delta Lake has no list of {}; list its tables",
            listing.what
        ));
    }
    if listing.catalog.is_some() || listing.schema.is_some() {
        return refused(
            "Delta tables of a folder are in no catalog or schema; narrow the list by the name",
        );
    }
    let root = Place::find(config, ".")?.log_store.object_store(None);
    let mut targets = Vec::new();
    find(root, Path::default(), DEPTH, &mut targets).await?;
    targets.sort();
    let named = targets.into_iter().map(|target| match target.as_str() {
        "" => (own_name.to_owned(), ".".to_owned()),
        below => (below.to_owned(), below.to_owned()),
    });
    let named: Vec<(String, String)> = named.filter(|(name, _)| listing.takes_name(name)).collect();
    let rows = futures::stream::iter(named).map(|(name, target)| async move {
        let mut row = Row {
            name,
            ..Row::default()
        };
        if let Err(error) = read(config, &target, version, &mut row).await {
            row.note = Some(error.message().to_owned());
        }
        row
    });
    let rows: Vec<Row> = rows.buffered(AT_ONCE).collect().await;
    batch(&rows)
}

/// Finds the folders with a log. What is in a table is none.
fn find(
    store: Arc<dyn ObjectStore>,
    folder: Path,
    depth: usize,
    found: &mut Vec<String>,
) -> BoxFuture<'_, Result<()>> {
    async move {
        let prefix = Some(&folder).filter(|folder| !folder.as_ref().is_empty());
        let listed = store
            .list_with_delimiter(prefix)
            .await
            .map_err(from_store)?;
        let is_log = |folder: &Path| folder.filename() == Some(LOG);
        if listed.common_prefixes.iter().any(is_log) {
            found.push(folder.to_string());
            return Ok(());
        }
        for below in listed.common_prefixes {
            let is_hidden = below
                .filename()
                .is_none_or(|name| name.starts_with(['.', '_']));
            if depth > 0 && !is_hidden {
                find(Arc::clone(&store), below, depth - 1, found).await?;
            }
        }
        Ok(())
    }
    .boxed()
}

async fn read(
    config: &DeltaLakeConfig,
    target: &str,
    version: Option<Version>,
    row: &mut Row,
) -> Result<()> {
    let log_store = Place::find(config, target)?.log_store;
    let mut table = DeltaTable::new(log_store.clone(), DeltaTableConfig::default());
    match version {
        None => table.load().await,
        Some(version) => {
            let number = Versions::list(&log_store).await?.find(version)?;
            table.load_version(number).await
        }
    }
    .map_err(from_delta)?;
    let state = table.snapshot().map_err(from_delta)?;
    let (mut files, mut bytes, mut rows) = (0, 0, Some(0));
    for file in state.log_data().iter() {
        files += 1;
        bytes += file.size();
        let gone = file
            .deletion_vector_descriptor()
            .map_or(0, |gone| gone.cardinality);
        let own = file.num_records().map(|rows| rows as i64 - gone);
        rows = rows.zip(own).map(|(all, own)| all + own);
    }
    let columns = state.schema();
    let columns: Vec<String> = columns
        .fields()
        .map(|field| format!("{} {}", field.name(), field.data_type()))
        .collect();
    row.version = i64::try_from(state.version()).ok();
    (row.files, row.bytes, row.rows) = (Some(files), Some(bytes), rows);
    row.columns = Some(columns.join(", "));
    Ok(())
}

fn batch(rows: &[Row]) -> Result<RecordBatch> {
    let texts = |value: fn(&Row) -> Option<&str>| -> ArrayRef {
        Arc::new(rows.iter().map(value).collect::<StringArray>())
    };
    let numbers = |value: fn(&Row) -> Option<i64>| -> ArrayRef {
        Arc::new(rows.iter().map(value).collect::<Int64Array>())
    };
    let columns = [
        ("table_name", texts(|row| Some(row.name.as_str())), false),
        ("version", numbers(|row| row.version), true),
        ("rows", numbers(|row| row.rows), true),
        ("files", numbers(|row| row.files), true),
        ("bytes", numbers(|row| row.bytes), true),
        ("columns", texts(|row| row.columns.as_deref()), true),
        ("note", texts(|row| row.note.as_deref()), true),
    ];
    Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
}
