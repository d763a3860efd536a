//! Listings of the server: queries over its catalogs, with the same columns as in Flight SQL.

use arrowload_core::{Error, ErrorKind, Listed, Listing, Param, Params, Query, Result};

/// Columns, with what a load of a table's rows carries over, and what it leaves behind. The table in which loads are recorded, and
/// those of loads that are under way or were cut off, are not data.
const COLUMNS: &str = "WITH tables AS MATERIALIZED (
    SELECT c.oid, nspname, relname, relkind, relispartition, relname = 'arrowload_loads' OR (relkind = 'r' AND relname ~ '^arrowload_part_[0-9a-f]{16}$') AS is_ledger,
      nspname = pg_catalog.current_schema() AS in_default, pg_catalog.obj_description(c.oid, 'pg_class') AS comment,
      pg_catalog.concat_ws(', ',
        (SELECT count(*) || CASE count(*) WHEN 1 THEN ' index' ELSE ' indexes' END FROM pg_catalog.pg_index WHERE indrelid = c.oid AND NOT indisprimary HAVING count(*) > 0),
        (SELECT count(*) || CASE count(*) WHEN 1 THEN ' foreign key' ELSE ' foreign keys' END FROM pg_catalog.pg_constraint WHERE conrelid = c.oid AND contype = 'f' HAVING count(*) > 0),
        (SELECT count(*) || CASE count(*) WHEN 1 THEN ' check' ELSE ' checks' END FROM pg_catalog.pg_constraint WHERE conrelid = c.oid AND contype IN ('c', 'x') HAVING count(*) > 0),
        (SELECT count(*) || CASE count(*) WHEN 1 THEN ' default' ELSE ' defaults' END FROM pg_catalog.pg_attribute a WHERE attrelid = c.oid AND atthasdef AND attgenerated = '' AND NOT attisdropped HAVING count(*) > 0),
        (SELECT count(*) || CASE count(*) WHEN 1 THEN ' identity' ELSE ' identities' END FROM pg_catalog.pg_attribute a WHERE attrelid = c.oid AND attidentity <> '' AND NOT attisdropped HAVING count(*) > 0),
        (SELECT count(*) || CASE count(*) WHEN 1 THEN ' generation of a column' ELSE ' generations of columns' END FROM pg_catalog.pg_attribute a WHERE attrelid = c.oid AND attgenerated <> '' AND NOT attisdropped HAVING count(*) > 0),
        (SELECT count(*) || CASE count(*) WHEN 1 THEN ' trigger' ELSE ' triggers' END FROM pg_catalog.pg_trigger WHERE tgrelid = c.oid AND NOT tgisinternal HAVING count(*) > 0),
        (SELECT count(*) || CASE count(*) WHEN 1 THEN ' rule' ELSE ' rules' END FROM pg_catalog.pg_rewrite WHERE ev_class = c.oid AND rulename <> '_RETURN' HAVING count(*) > 0),
        (SELECT count(*) || CASE count(*) WHEN 1 THEN ' policy' ELSE ' policies' END FROM pg_catalog.pg_policy WHERE polrelid = c.oid HAVING count(*) > 0),
        CASE WHEN relkind = 'p' THEN 'its partitions' END,
        (SELECT 'that rows of ' || count(*) || ' inheriting tables are not its own' FROM pg_catalog.pg_inherits
            WHERE inhparent = c.oid AND relkind <> 'p' HAVING count(*) > 0)) AS not_in_rows,
      pg_catalog.row_security_active(c.oid) AS hides_rows
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = relnamespace
    WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND current_database() = coalesce($1::text, current_database()) AND nspname LIKE $2::text
      AND ($3::boolean OR nspname !~ '^(pg_|information_schema$)') AND relname LIKE $4::text)
SELECT current_database()::text AS catalog_name, nspname::text AS db_schema_name, relname::text AS table_name,
    CASE WHEN is_ledger THEN 'LEDGER' WHEN relispartition THEN 'PARTITION' WHEN relkind = 'v' THEN 'VIEW'
         WHEN relkind = 'm' THEN 'MATERIALIZED VIEW' WHEN relkind = 'f' THEN 'FOREIGN TABLE' WHEN relkind = 'p' THEN 'PARTITIONED TABLE'
         ELSE 'TABLE' END AS table_type,
    in_default AS in_default_schema, a.attname::text AS column_name, pg_catalog.format_type(a.atttypid, a.atttypmod) AS type_name,
    NOT a.attnotnull AS is_nullable,
    (SELECT k.place::int FROM pg_catalog.pg_index i, pg_catalog.unnest(i.indkey) WITH ORDINALITY AS k(attnum, place)
        WHERE i.indrelid = a.attrelid AND i.indisprimary AND k.attnum = a.attnum AND k.place <= i.indnkeyatts) AS key_position,
    pg_catalog.col_description(a.attrelid, a.attnum) AS comment, tables.comment AS table_comment,
    nullif(not_in_rows, '') AS not_in_rows, hides_rows
FROM tables LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = tables.oid AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY 2, 3, a.attnum";

/// The question for a listing.
pub(super) fn query(listing: &Listing) -> Result<Query> {
    let any = |pattern: &Option<String>| Param::from(pattern.clone().unwrap_or_else(|| "%".into()));
    let catalog = listing
        .catalog
        .clone()
        .map_or_else(Param::null, Param::from);
    let schema = any(&listing.schema);
    // PostgreSQL's own schemas are listed only if they are named.
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
                    CASE WHEN relispartition THEN 'PARTITION' WHEN relkind = 'v' THEN 'VIEW' WHEN relkind = 'm' THEN 'MATERIALIZED VIEW'
                         WHEN relkind = 'f' THEN 'FOREIGN TABLE' WHEN relkind = 'p' THEN 'PARTITIONED TABLE' ELSE 'TABLE' END AS table_type
             FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace ON pg_namespace.oid = relnamespace
             WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND current_database() = coalesce($1::text, current_database()) AND nspname LIKE $2::text
               AND ($3::boolean OR nspname !~ '^(pg_|information_schema$)') AND relname LIKE $4::text ORDER BY 2, 3",
            vec![catalog, schema, own, any(&listing.name)],
        ),
        Listed::Columns => (COLUMNS, vec![catalog, schema, own, any(&listing.name)]),
        Listed::TableTypes => (
            "SELECT * FROM (VALUES ('TABLE'), ('VIEW'), ('MATERIALIZED VIEW'), ('FOREIGN TABLE'), ('PARTITIONED TABLE'), ('PARTITION')) \
             AS kinds (table_type)",
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
