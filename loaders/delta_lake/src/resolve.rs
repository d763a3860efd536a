//! The one look at a target, and everything that is decided before the first row.

use arrow_schema::DataType;
use arrowload_core::{LoadRequest, Mode, Result};

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
        /// The types of the load's columns, where the table knows better.
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

/// Refuses an overwrite that removes every row of the table if that is more than is allowed. What other loads change is known
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
