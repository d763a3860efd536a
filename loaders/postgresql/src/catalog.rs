//! What the server's catalog says of a target: where it is, its columns and their types, its keys, what refers to it.

use arrowload_core::{Error, ErrorKind, Result};
use tokio_postgres::{Client, Row};

use crate::error::from_pg;
use crate::ident::{TableName, quote};
use crate::types::{Kind, PgType, built_in};

/// A table's place, whether or not it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) schema: String,
    pub(crate) table: String,
}

impl Place {
    /// As SQL.
    pub(crate) fn sql(&self) -> String {
        format!("{}.{}", quote(&self.schema), quote(&self.table))
    }
}

/// A table that is there.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) partitioned: bool,
    pub(crate) columns: Vec<Column>,
    /// Columns that count towards the server's limit: dropped ones do.
    pub(crate) attributes: usize,
}

/// A column that is there.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) not_null: bool,
    /// It is part of the primary key, or an identity: it can never hold a null.
    pub(crate) always_not_null: bool,
    /// A row without it gets a value all the same.
    pub(crate) filled: bool,
    /// Why a load cannot give it a value.
    pub(crate) unwritable: Option<&'static str>,
    pub(crate) pg: PgType,
}

/// A unique index that an upsert can go by.
#[derive(Debug, Clone)]
pub(crate) struct UniqueIndex {
    /// Sorted.
    pub(crate) columns: Vec<String>,
    pub(crate) nulls_are_equal: bool,
}

/// A foreign key of another table to this one.
#[derive(Debug, Clone)]
pub(crate) struct Reference {
    pub(crate) constraint: String,
    pub(crate) from: String,
    /// `NO ACTION`: what refers to a row may stay if the row is there again when the statement ends.
    pub(crate) checks_at_end: bool,
}

pub(crate) fn get<'a, T: tokio_postgres::types::FromSql<'a>>(
    row: &'a Row,
    index: usize,
) -> Result<T> {
    row.try_get(index).map_err(from_pg)
}

/// Where a target is: in the schema it names, else that of the connection, else where the search path finds the table,
/// else the first schema of the search path.
pub(crate) async fn place(
    client: &Client,
    name: &TableName,
    default: Option<&str>,
) -> Result<Place> {
    const VISIBLE: &str = "SELECT n.nspname::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
        WHERE c.relname = $1 AND pg_catalog.pg_table_is_visible(c.oid) AND n.nspname <> 'pg_catalog' AND c.relpersistence <> 't' LIMIT 1";
    let table = name.table.clone();
    if let Some(schema) = name.schema.as_deref().or(default) {
        return Ok(Place {
            schema: schema.to_owned(),
            table,
        });
    }
    if let Some(row) = client
        .query_opt(VISIBLE, &[&table])
        .await
        .map_err(from_pg)?
    {
        return Ok(Place {
            schema: get(&row, 0)?,
            table,
        });
    }
    let row = client
        .query_one("SELECT pg_catalog.current_schema()::text", &[])
        .await
        .map_err(from_pg)?;
    let schema: Option<String> = get(&row, 0)?;
    let missing = || {
        let message = "the server's search_path names no schema that is there; name one: schema.table, or the connection key `schema`";
        Error::new(ErrorKind::NotFound, message)
    };
    Ok(Place {
        schema: schema.ok_or_else(missing)?,
        table,
    })
}

/// Refuses a schema that is not there.
pub(crate) async fn check_schema(client: &Client, schema: &str) -> Result<()> {
    let found = client
        .query_opt(
            "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1",
            &[&schema],
        )
        .await
        .map_err(from_pg)?;
    found.map(drop).ok_or_else(|| {
        let message = format!("there is no schema `{schema}`; create it, or write a table's name that holds a dot in double quotes");
        Error::new(ErrorKind::NotFound, message)
    })
}

/// The server's version, as in 150004.
pub(crate) async fn version(client: &Client) -> Result<u32> {
    let row = client
        .query_one(
            "SELECT pg_catalog.current_setting('server_version_num')",
            &[],
        )
        .await
        .map_err(from_pg)?;
    let text: String = get(&row, 0)?;
    Ok(text.parse().unwrap_or(0))
}

/// Whether a table is there, and refuses what has its name and is none.
pub(crate) async fn find(client: &Client, place: &Place) -> Result<Option<(u32, bool)>> {
    const FIND: &str = "SELECT c.oid, c.relkind::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
        WHERE n.nspname = $1 AND c.relname = $2";
    let Some(row) = client
        .query_opt(FIND, &[&place.schema, &place.table])
        .await
        .map_err(from_pg)?
    else {
        return Ok(None);
    };
    let (oid, kind): (u32, String) = (get(&row, 0)?, get(&row, 1)?);
    let what = match kind.as_str() {
        "r" => return Ok(Some((oid, false))),
        "p" => return Ok(Some((oid, true))),
        "v" => "a view",
        "m" => "a materialized view",
        "f" => "a foreign table, which cannot be loaded all or nothing",
        "S" => "a sequence",
        "i" | "I" => "an index",
        _ => "no table",
    };
    Err(Error::new(
        ErrorKind::Unsupported,
        format!("{} is {what}; loads go into tables", place.sql()),
    ))
}

/// A table that was found.
pub(crate) async fn table(client: &Client, oid: u32, partitioned: bool) -> Result<Table> {
    const COUNT: &str = "SELECT relnatts::int FROM pg_catalog.pg_class WHERE oid = $1";
    let row = client.query_one(COUNT, &[&oid]).await.map_err(from_pg)?;
    let attributes = usize::try_from(get::<i32>(&row, 0)?).unwrap_or(0);
    Ok(Table {
        partitioned,
        columns: columns(client, oid).await?,
        attributes,
    })
}

/// The columns of a table, in its order.
pub(crate) async fn columns(client: &Client, oid: u32) -> Result<Vec<Column>> {
    const COLUMNS: &str = "SELECT attname::text, attnotnull, atthasdef, attidentity::text, attgenerated::text, atttypid, atttypmod, \
        pg_catalog.format_type(atttypid, atttypmod), attidentity <> '' OR EXISTS (SELECT 1 FROM pg_catalog.pg_index i \
            WHERE i.indrelid = attrelid AND i.indisprimary AND attnum = ANY (i.indkey)) FROM pg_catalog.pg_attribute \
        WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped ORDER BY attnum";
    let mut columns = Vec::new();
    for row in client.query(COLUMNS, &[&oid]).await.map_err(from_pg)? {
        let (identity, generated): (String, String) = (get(&row, 3)?, get(&row, 4)?);
        let unwritable = match (identity.as_str(), generated.as_str()) {
            ("a", _) => Some("is GENERATED ALWAYS AS IDENTITY, and takes no values"),
            (_, "") => None,
            _ => Some("is generated from other columns, and takes no values"),
        };
        let kind = kind(client, get(&row, 5)?, get(&row, 6)?).await?;
        columns.push(Column {
            name: get(&row, 0)?,
            not_null: get(&row, 1)?,
            always_not_null: get(&row, 8)?,
            filled: get::<bool>(&row, 2)? || !identity.is_empty(),
            unwritable,
            pg: PgType {
                oid: get(&row, 5)?,
                name: get(&row, 7)?,
                kind,
            },
        });
    }
    Ok(columns)
}

/// The kind of a type, through domains and arrays of them.
pub(crate) async fn kind(client: &Client, mut oid: u32, mut modifier: i32) -> Result<Kind> {
    const TYPE: &str = "SELECT t.typtype::text, t.typbasetype, t.typtypmod, t.typelem, t.typcategory::text, \
        pg_catalog.format_type(t.typelem, $2), t.typname = 'vector' AND EXISTS (SELECT 1 FROM pg_catalog.pg_depend d \
            JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid WHERE d.objid = t.oid AND d.deptype = 'e' AND e.extname = 'vector') \
        FROM pg_catalog.pg_type t WHERE t.oid = $1";
    let mut around = None;
    loop {
        let (found, inner) = match built_in(oid, modifier) {
            Some(kind) => (kind, None),
            None => {
                let row = client
                    .query_one(TYPE, &[&oid, &modifier])
                    .await
                    .map_err(from_pg)?;
                let (kind, category): (String, String) = (get(&row, 0)?, get(&row, 4)?);
                match (kind.as_str(), category.as_str()) {
                    ("e", _) => (Kind::Enum, None),
                    ("d", _) => {
                        let declared: i32 = get(&row, 2)?;
                        (oid, modifier) = (
                            get(&row, 1)?,
                            if declared == -1 { modifier } else { declared },
                        );
                        continue;
                    }
                    _ if get(&row, 6)? => (
                        Kind::Vector(usize::try_from(modifier).ok().filter(|length| *length > 0)),
                        None,
                    ),
                    ("b", "A") if around.is_none() => (
                        Kind::Other,
                        Some((get::<u32>(&row, 3)?, get::<String>(&row, 5)?)),
                    ),
                    _ => (Kind::Other, None),
                }
            }
        };
        match inner {
            Some((item, name)) => {
                around = Some((item, name));
                oid = item;
            }
            None => {
                return Ok(match around {
                    Some((oid, name)) if found != Kind::Other => Kind::Array(Box::new(PgType {
                        oid,
                        name,
                        kind: found,
                    })),
                    Some(_) => Kind::Other,
                    None => found,
                });
            }
        }
    }
}

/// The unique indexes that can decide a conflict: of plain columns, over all rows, checked at once.
pub(crate) async fn unique_indexes(client: &Client, oid: u32) -> Result<Vec<UniqueIndex>> {
    // `indnullsnotdistinct` is there since version 15 only.
    const INDEXES: &str = "SELECT ARRAY(SELECT a.attname::text FROM unnest(i.indkey) WITH ORDINALITY AS k(attnum, place) \
            JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum WHERE k.place <= i.indnkeyatts ORDER BY 1), \
            COALESCE((to_jsonb(i)->>'indnullsnotdistinct')::boolean, false) FROM pg_catalog.pg_index i \
        WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL";
    let rows = client.query(INDEXES, &[&oid]).await.map_err(from_pg)?;
    rows.iter()
        .map(|row| {
            let mut columns: Vec<String> = get(row, 0)?;
            columns.sort();
            Ok(UniqueIndex {
                columns,
                nulls_are_equal: get(row, 1)?,
            })
        })
        .collect()
}

/// The foreign keys of other tables that refer to this one.
pub(crate) async fn references(client: &Client, oid: u32) -> Result<Vec<Reference>> {
    const REFERENCES: &str = "SELECT conname::text, conrelid::regclass::text, confdeltype::text FROM pg_catalog.pg_constraint \
        WHERE contype = 'f' AND confrelid = $1 AND conrelid <> $1 ORDER BY 1";
    let rows = client.query(REFERENCES, &[&oid]).await.map_err(from_pg)?;
    let reference = |row: &Row| {
        Ok(Reference {
            constraint: get(row, 0)?,
            from: get(row, 1)?,
            checks_at_end: get::<String>(row, 2)? == "a",
        })
    };
    rows.iter().map(reference).collect()
}
