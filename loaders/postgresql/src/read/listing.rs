//! What the server lists of itself: questions to its catalogs, with the columns that Flight SQL has for the same.

use arrowload_core::{Error, ErrorKind, Listed, Listing, Param, Params, Query, Result};

/// The question for a listing.
pub(super) fn query(listing: &Listing) -> Result<Query> {
    let any = |pattern: &Option<String>| Param::from(pattern.clone().unwrap_or_else(|| "%".into()));
    let catalog = listing
        .catalog
        .clone()
        .map_or_else(Param::null, Param::from);
    let schema = any(&listing.schema);
    // PostgreSQL's own schemas are listed to those who name them.
    let own = Param::from(listing.schema.is_some());
    let (sql, params) = match listing.what {
        Listed::Catalogs => {
            ("SELECT datname::text AS catalog_name FROM pg_catalog.pg_database WHERE NOT datistemplate ORDER BY 1", Vec::new())
        }
        Listed::Schemas => (
            "SELECT current_database()::text AS catalog_name, nspname::text AS db_schema_name FROM pg_catalog.pg_namespace
             WHERE current_database() = coalesce($1::text, current_database()) AND nspname LIKE $2::text
               AND ($3::boolean OR nspname !~ '^(pg_|information_schema$)') ORDER BY 2",
            vec![catalog, schema, own],
        ),
        Listed::Tables => (
            "SELECT current_database()::text AS catalog_name, nspname::text AS db_schema_name, relname::text AS table_name,
                    CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'f' THEN 'FOREIGN TABLE'
                                 WHEN 'p' THEN 'PARTITIONED TABLE' ELSE 'TABLE' END AS table_type
             FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace ON pg_namespace.oid = relnamespace
             WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND current_database() = coalesce($1::text, current_database()) AND nspname LIKE $2::text
               AND ($3::boolean OR nspname !~ '^(pg_|information_schema$)') AND relname LIKE $4::text ORDER BY 2, 3",
            vec![catalog, schema, own, any(&listing.name)],
        ),
        Listed::TableTypes => (
            "SELECT * FROM (VALUES ('TABLE'), ('VIEW'), ('MATERIALIZED VIEW'), ('FOREIGN TABLE'), ('PARTITIONED TABLE')) AS kinds (table_type)",
            Vec::new(),
        ),
        Listed::Types => (
            "SELECT nspname::text AS db_schema_name, format_type(pg_type.oid, NULL) AS type_name
             FROM pg_catalog.pg_type JOIN pg_catalog.pg_namespace ON pg_namespace.oid = typnamespace
             WHERE typtype IN ('b', 'd', 'e', 'r', 'm') AND typcategory <> 'A' AND nspname <> 'pg_toast' ORDER BY 1, 2",
            Vec::new(),
        ),
        Listed::Info => ("SELECT name AS info_name, setting AS value FROM pg_catalog.pg_settings ORDER BY 1", Vec::new()),
        other => return Err(Error::new(ErrorKind::Unsupported, format!("PostgreSQL has no list of {other}"))),
    };
    let query = Query::new(sql);
    Ok(if params.is_empty() {
        query
    } else {
        query.with_params(Params::Positional(params))
    })
}
