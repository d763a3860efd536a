//! Lists the catalogs, schemas, tables and so on of a server.

use arrow_flight::sql::{
    Any, CommandGetCatalogs, CommandGetDbSchemas, CommandGetSqlInfo, CommandGetTableTypes,
    CommandGetTables, CommandGetXdbcTypeInfo, ProstMessageExt,
};
use arrowload_core::{Error, ErrorKind, Listed, Listing, Result};

/// The command for a listing.
pub(crate) fn command(listing: &Listing) -> Result<Any> {
    let (catalog, schema, name) = (
        listing.catalog.clone(),
        listing.schema.clone(),
        listing.name.clone(),
    );
    Ok(match listing.what {
        Listed::Catalogs => CommandGetCatalogs {}.as_any(),
        Listed::Schemas => CommandGetDbSchemas {
            catalog,
            db_schema_filter_pattern: schema,
        }
        .as_any(),
        Listed::TableTypes => CommandGetTableTypes {}.as_any(),
        Listed::Types => CommandGetXdbcTypeInfo { data_type: None }.as_any(),
        Listed::Info => CommandGetSqlInfo { info: Vec::new() }.as_any(),
        Listed::Tables => CommandGetTables {
            catalog,
            db_schema_filter_pattern: schema,
            table_name_filter_pattern: name,
            table_types: Vec::new(),
            include_schema: false,
        }
        .as_any(),
        other => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("Flight SQL has no list of {other}"),
            ));
        }
    })
}
