//! Resolves a target: reads it once, and decides everything that can be decided before the first row.

use std::future::ready;

use arrow_schema::DataType;
use arrowload_common_object_store::from_store;
use arrowload_core::{Error, ErrorKind, LoadRequest, Mode, Result};
use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::path::Path;

use crate::lease;
use crate::options::DeltaLakeOptions;
use crate::place::Place;
use crate::table::Table;
use crate::target::{Target, check_after, load_schema};
use crate::types::stored;

/// What was found.
pub(crate) enum Found {
    /// The load fits the table.
    Fits(Box<Target>),
    /// A column has a type that Delta cannot hold: the plan says which.
    Unsupported {
        exists: bool,
        /// The types of the load's columns; where the table has a more precise type, that one.
        columns: Vec<DataType>,
    },
}

/// Looks at a target, and changes nothing.
pub(crate) async fn resolve(
    place: Place,
    request: &LoadRequest<DeltaLakeOptions>,
) -> Result<Found> {
    DeltaLakeOptions::check(request)?;
    place.check_writable()?;
    let lists_files = matches!(request.load.mode, Mode::Overwrite | Mode::Upsert);
    let table = Table::open(&place.log_store, lists_files).await?;
    let create = request.must_create(table.is_some())?;
    if create {
        check_empty(&place).await?;
    }
    check_after(table.as_ref(), &request.options, &request.schema)?;
    let load = load_schema(table.as_ref(), &request.schema)?;
    let nanoseconds = request.options.nanoseconds;
    let is_held = |data_type: &DataType| stored(data_type, nanoseconds).is_ok();
    let columns = || load.fields().iter().map(|field| field.data_type().clone());
    if !columns().all(|data_type| is_held(&data_type)) {
        return Ok(Found::Unsupported {
            exists: table.is_some(),
            columns: columns().collect(),
        });
    }
    let target = Target::new(place, table, create, request, &load)?;
    check_limits(&target, request)?;
    Ok(Found::Fits(Box::new(target)))
}

/// Refuses to make a table in a folder with Parquet files of others: they are not part of it, readers may take them for its rows,
/// and a vacuum removes them. Files that a killed load has left are no reason to refuse.
async fn check_empty(place: &Place) -> Result<()> {
    let store = place.log_store.object_store(None);
    let is_foreign = |path: &Path| {
        let is_hidden = path
            .parts()
            .next()
            .is_some_and(|part| part.as_ref().starts_with(['_', '.']));
        let is_parquet = path
            .extension()
            .is_some_and(|ending| ending.eq_ignore_ascii_case("parquet"));
        is_parquet && !is_hidden && !lease::is_ours(path)
    };
    let files = store.list(None).map_ok(|file| file.location);
    let mut foreign = std::pin::pin!(files.try_filter(|path| ready(is_foreign(path))));
    let first = match foreign.try_next().await {
        Ok(first) => first,
        // A folder that is not there.
        Err(object_store::Error::NotFound { .. }) => None,
        Err(error) => return Err(from_store(error)),
    };
    let Some(file) = first else {
        return Ok(());
    };
    let message = format!(
        "there is no Delta table at this place, and it holds other Parquet files, such as `{file}`; name an empty folder, or one that is not there"
    );
    Err(Error::new(ErrorKind::Unsupported, message).with("file", file))
}

/// Refuses an overwrite that removes every row of the table if that is more than is allowed. For other loads the number is known
/// only when their rows are.
fn check_limits(target: &Target, request: &LoadRequest<DeltaLakeOptions>) -> Result<()> {
    let limits = request.load.limits();
    let (Some(table), Mode::Overwrite) = (&target.table, request.load.mode) else {
        return Ok(());
    };
    let is_whole = target.replaces.is_none() && !request.options.overwrite_partitions;
    if limits.is_empty() || !is_whole {
        return Ok(());
    }
    let rows = table.rows()?;
    limits.check(0, rows, rows)
}
