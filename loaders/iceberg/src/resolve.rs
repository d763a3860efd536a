//! Resolves a target: reads it once, and decides everything that can be decided before the first row.

use arrow_schema::DataType;
use arrowload_core::{LoadRequest, Mode, Result};
use iceberg::TableIdent;
use iceberg::spec::FormatVersion;

use crate::catalog::Catalog;
use crate::config::IcebergConfig;
use crate::options::IcebergOptions;
use crate::storage::Stores;
use crate::table::Table;
use crate::target::{Asked, Target, format_version, load_schema};
use crate::types::{Form, stored};

/// What was found.
pub(crate) enum Found {
    /// The load fits the table.
    Fits(Box<Target>),
    /// A column has a type that the table cannot hold: the plan says which.
    Unsupported {
        exists: bool,
        /// The types of the load's columns; where the table has a more precise type, that one.
        columns: Vec<DataType>,
        form: Form,
    },
}

/// Looks at a target, and changes nothing.
pub(crate) async fn resolve(
    config: &IcebergConfig,
    stores: &Stores,
    catalog: &Catalog,
    ident: TableIdent,
    request: &LoadRequest<IcebergOptions>,
) -> Result<Found> {
    IcebergOptions::check(request)?;
    let table = open(stores, catalog, &ident).await?;
    // A mode that makes tables and finds one has been refused.
    request.must_create(table.is_some())?;
    let version = match &table {
        Some(table) => table.format_version(),
        None => format_version(config, &request.options)?,
    };
    let form = Form {
        has_nanoseconds: version == FormatVersion::V3,
        nanoseconds: request.options.nanoseconds,
    };
    let load = load_schema(table.as_ref(), &request.schema)?;
    let columns = || load.fields().iter().map(|field| field.data_type().clone());
    if !columns().all(|data_type| stored(&data_type, form).is_ok()) {
        return Ok(Found::Unsupported {
            exists: table.is_some(),
            columns: columns().collect(),
            form,
        });
    }
    let location = match (&table, &request.options.location) {
        (Some(table), _) => table.metadata().location().to_owned(),
        (None, Some(location)) => crate::catalog::as_location(location)?,
        (None, None) => catalog.location(config, &ident).await?,
    };
    // Whether its store can be reached at all.
    stores.place(&location)?;
    let stores = table.as_ref().map_or(stores, |table| &table.stores).clone();
    let asked = Asked {
        ident,
        stores: &stores,
        config,
        location,
        request,
    };
    let target = match table {
        Some(table) => Target::existing(&asked, table, &load, form)?,
        None => Target::new(&asked, &load, form)?,
    };
    check_limits(&target, request).await?;
    Ok(Found::Fits(Box::new(target)))
}

/// The table, if it exists.
pub(crate) async fn open(
    stores: &Stores,
    catalog: &Catalog,
    ident: &TableIdent,
) -> Result<Option<Table>> {
    let known = catalog.load(ident).await?;
    Ok(known.map(|known| Table::new(ident, known, stores)))
}

/// Refuses an overwrite that removes every row of the table if that is more than is allowed. What other loads change is known
/// only when their rows are.
async fn check_limits(target: &Target, request: &LoadRequest<IcebergOptions>) -> Result<()> {
    let limits = request.load.limits();
    let (Some(table), Mode::Overwrite) = (&target.table, request.load.mode) else {
        return Ok(());
    };
    let is_whole = target.replaces.is_none() && !request.options.overwrite_partitions;
    if limits.is_empty() || !is_whole {
        return Ok(());
    }
    let rows = table.rows().await?;
    limits.check(0, rows, rows)
}
