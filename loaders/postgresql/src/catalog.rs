//! Reads a target from the server's catalog: where it is, its columns and their types, its keys, the foreign keys to it, and
//! the user's privileges. It is a single query, so that it needs one round trip and sees one snapshot.

use std::sync::LazyLock;

use arrowload_core::{Error, ErrorKind, Result};
use serde::Deserialize;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use crate::error::from_pg;
use crate::ident::{TableName, quote};
use crate::ledger;
use crate::types::{Kind, PgType, built_in};

/// A table's place, whether or not it exists.
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

/// The answer of the catalog at one moment. It does not depend on the rows of a table.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    /// The server's version, as in 150004.
    pub(crate) version: u32,
    /// When the server started, to the microsecond: the same under each of its names and addresses.
    pub(crate) started: String,
    pub(crate) user: String,
    pub(crate) database: String,
    /// The user may create temporary tables.
    pub(crate) may_stage: bool,
    pub(crate) place: Place,
    /// The user may create tables in the schema; `None` if there is no such schema.
    pub(crate) may_create: Option<bool>,
    pub(crate) table: Option<Table>,
    /// Whether the schema has tables that loads have made for themselves, and that this user may drop.
    pub(crate) has_parts: bool,
    pub(crate) ledger: LedgerLook,
}

/// An existing table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Table {
    pub(crate) oid: u32,
    pub(crate) partitioned: bool,
    pub(crate) columns: Vec<Column>,
    /// Columns that count towards the server's limit: dropped ones do.
    pub(crate) attributes: usize,
    /// The unique indexes that can decide a conflict: of plain columns, over all rows, checked at once.
    pub(crate) indexes: Vec<UniqueIndex>,
    /// The foreign keys of other tables that refer to this one.
    pub(crate) references: Vec<Reference>,
    /// A rule or trigger may keep rows that are deleted.
    pub(crate) keeps_rows: bool,
    /// The rule that does something else instead of any deletion.
    pub(crate) undeletable: Option<String>,
    /// Row-level security applies to the user.
    pub(crate) row_security: bool,
    pub(crate) privileges: Privileges,
}

/// What the user may do with a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) struct Privileges {
    pub(crate) insert: bool,
    pub(crate) select: bool,
    pub(crate) update: bool,
    pub(crate) delete: bool,
    /// It is the user's own, to alter and index.
    pub(crate) owner: bool,
}

/// An existing column.
#[derive(Debug, Clone, PartialEq)]
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
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct UniqueIndex {
    /// Sorted.
    pub(crate) columns: Vec<String>,
    pub(crate) nulls_are_equal: bool,
}

/// A foreign key of another table to this one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Reference {
    pub(crate) name: String,
    pub(crate) from: String,
    /// `NO ACTION`: rows that refer to a row may stay if that row exists again at the end of the statement.
    pub(crate) checks_at_end: bool,
}

/// The state of the table in which the loads of the target are recorded.
#[derive(Debug, Clone)]
pub(crate) struct LedgerLook {
    /// The user may create tables in its schema; `None` if there is no such schema.
    pub(crate) may_create: Option<bool>,
    pub(crate) table: Option<LedgerTable>,
}

/// A table that has the name of the ledger.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct LedgerTable {
    pub(crate) columns: Vec<String>,
    pub(crate) privileges: Privileges,
}

/// The chains of types of what `$seed` selects, as rows of an id, a depth, and a type with its modifier: a domain is followed
/// by its base type, an array by the type of its elements.
const CHAIN: &str = "chain AS ($seed UNION ALL SELECT chain.id, chain.depth + 1, \
        CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.typelem END, \
        CASE WHEN t.typtype = 'd' AND t.typtypmod <> -1 THEN t.typtypmod ELSE chain.modifier END \
    FROM chain JOIN pg_catalog.pg_type t ON t.oid = chain.oid \
    WHERE t.typtype = 'd' OR (t.typtype = 'b' AND t.typcategory = 'A')), \
  kinds AS (SELECT chain.id, pg_catalog.json_agg(pg_catalog.json_build_object('oid', t.oid::bigint, 'modifier', chain.modifier, \
        'name', pg_catalog.format_type(t.oid, chain.modifier), 'is', t.typtype::text, 'category', t.typcategory::text, \
        'vector', t.typname = 'vector' AND EXISTS (SELECT 1 FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e \
            ON e.oid = d.refobjid WHERE d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.objid = t.oid \
            AND d.deptype = 'e' AND e.extname = 'vector')) ORDER BY chain.depth) AS types \
    FROM chain JOIN pg_catalog.pg_type t ON t.oid = chain.oid GROUP BY chain.id)";

/// The schema (`$1`, if it is given) and name of the target, and the schema (`$3`) and name of the ledger, if it is not the
/// target's. A target without a schema is where the search path finds it, or else in the path's first schema.
const LOOK: &str = "WITH RECURSIVE \
  place AS (SELECT COALESCE($1, (SELECT n.nspname::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n \
        ON n.oid = c.relnamespace WHERE c.relname = $2 AND pg_catalog.pg_table_is_visible(c.oid) AND n.nspname <> 'pg_catalog' \
        AND c.relpersistence <> 't' LIMIT 1), pg_catalog.current_schema()::text) AS schema), \
  home AS (SELECT n.oid FROM pg_catalog.pg_namespace n JOIN place ON n.nspname = place.schema), \
  target AS (SELECT c.oid, c.relowner, c.relkind, c.relnatts FROM pg_catalog.pg_class c JOIN home ON home.oid = c.relnamespace \
        WHERE c.relname = $2), \
  ledger_home AS (SELECT n.oid FROM pg_catalog.pg_namespace n JOIN place ON n.nspname = COALESCE($3, place.schema)), \
  ledger AS (SELECT c.oid, c.relowner FROM pg_catalog.pg_class c JOIN ledger_home ON ledger_home.oid = c.relnamespace WHERE c.relname = $4), \
  family AS (SELECT oid FROM target UNION \
        SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN family ON i.inhparent = family.oid), \
  $chain \
SELECT pg_catalog.json_build_object( \
  'version', pg_catalog.current_setting('server_version_num')::int, \
  'started', pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time())::text, \
  'user', current_user, 'database', pg_catalog.current_database(), \
  'may_stage', pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMPORARY'), \
  'schema', (SELECT schema FROM place), \
  'has_parts', EXISTS (SELECT 1 FROM pg_catalog.pg_class c JOIN home ON home.oid = c.relnamespace WHERE c.relkind = 'r' \
        AND c.relname ~ '^arrowload_part_[0-9a-f]{16}$' AND pg_catalog.pg_has_role(c.relowner, 'USAGE')), \
  'may_create', (SELECT pg_catalog.has_schema_privilege(oid, 'CREATE') FROM home), \
  'ledger_may_create', (SELECT pg_catalog.has_schema_privilege(oid, 'CREATE') FROM ledger_home), \
  'ledger', (SELECT pg_catalog.json_build_object('privileges', $privileges, \
        'columns', (SELECT pg_catalog.json_agg(attname ORDER BY attnum) FROM pg_catalog.pg_attribute \
            WHERE attrelid = r.oid AND attnum > 0 AND NOT attisdropped)) FROM ledger r), \
  'table', (SELECT pg_catalog.json_build_object('oid', r.oid::bigint, 'kind', r.relkind::text, 'attributes', r.relnatts, \
    'privileges', $privileges, 'row_security', pg_catalog.row_security_active(r.oid), \
    'keeps_rows', EXISTS (SELECT 1 FROM family WHERE EXISTS (SELECT 1 FROM pg_catalog.pg_trigger t \
            WHERE t.tgrelid = family.oid AND NOT t.tgisinternal AND t.tgtype::int & 11 = 11) \
        OR EXISTS (SELECT 1 FROM pg_catalog.pg_rewrite w WHERE w.ev_class = family.oid AND w.ev_type = '4' AND w.is_instead)), \
    'undeletable', (SELECT w.rulename FROM pg_catalog.pg_rewrite w WHERE w.ev_class = r.oid AND w.ev_type = '4' AND w.is_instead \
        AND w.ev_qual = '<>' AND w.ev_enabled IN ('O', 'A') ORDER BY 1 LIMIT 1), \
    'columns', (SELECT pg_catalog.json_agg(pg_catalog.json_build_object('name', a.attname, 'not_null', a.attnotnull, \
            'has_default', a.atthasdef, 'identity', a.attidentity::text, 'generated', a.attgenerated::text, \
            'key', EXISTS (SELECT 1 FROM pg_catalog.pg_index i WHERE i.indrelid = a.attrelid AND i.indisprimary \
                AND a.attnum = ANY (i.indkey)), 'types', kinds.types) ORDER BY a.attnum) \
        FROM pg_catalog.pg_attribute a JOIN kinds ON kinds.id = a.attnum \
        WHERE a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped), \
    'indexes', (SELECT pg_catalog.json_agg(pg_catalog.json_build_object( \
            'columns', ARRAY(SELECT a.attname::text FROM pg_catalog.unnest(i.indkey) WITH ORDINALITY AS k(attnum, place) \
                JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum WHERE k.place <= i.indnkeyatts), \
            'nulls_are_equal', COALESCE((pg_catalog.to_jsonb(i)->>'indnullsnotdistinct')::boolean, false)) ORDER BY i.indexrelid) \
        FROM pg_catalog.pg_index i WHERE i.indrelid = r.oid AND i.indisunique AND i.indisvalid AND i.indimmediate \
        AND i.indpred IS NULL AND i.indexprs IS NULL), \
    'references', (SELECT pg_catalog.json_agg(pg_catalog.json_build_object('name', f.conname, \
            'from', f.conrelid::pg_catalog.regclass::text, 'checks_at_end', f.confdeltype = 'a') ORDER BY f.conname, f.oid) \
        FROM pg_catalog.pg_constraint f WHERE f.contype = 'f' AND f.confrelid = r.oid AND f.conrelid <> r.oid)) \
    FROM target r))::text";

/// `indnullsnotdistinct` is there since version 15 only, which is why it is looked for in the row as JSON.
static LOOK_SQL: LazyLock<String> = LazyLock::new(|| {
    const PRIVILEGES: &str = "pg_catalog.json_build_object( \
        'insert', pg_catalog.has_table_privilege(r.oid, 'INSERT'), 'select', pg_catalog.has_table_privilege(r.oid, 'SELECT'), \
        'update', pg_catalog.has_table_privilege(r.oid, 'UPDATE'), 'delete', pg_catalog.has_table_privilege(r.oid, 'DELETE'), \
        'owner', pg_catalog.pg_has_role(r.relowner, 'USAGE'))";
    const SEED: &str = "SELECT a.attnum AS id, 0 AS depth, a.atttypid AS oid, a.atttypmod AS modifier \
        FROM pg_catalog.pg_attribute a JOIN target ON a.attrelid = target.oid WHERE a.attnum > 0 AND NOT a.attisdropped";
    LOOK.replace("$privileges", PRIVILEGES)
        .replace("$chain", &CHAIN.replace("$seed", SEED))
});

static KIND_SQL: LazyLock<String> = LazyLock::new(|| {
    let chain = CHAIN.replace(
        "$seed",
        "SELECT 0 AS id, 0 AS depth, $1::oid AS oid, -1 AS modifier",
    );
    format!("WITH RECURSIVE {chain} SELECT types::text FROM kinds")
});

/// The answer to the look, as the server writes it.
#[derive(Deserialize)]
struct Answer {
    version: u32,
    started: String,
    user: String,
    database: String,
    may_stage: bool,
    schema: Option<String>,
    has_parts: bool,
    may_create: Option<bool>,
    ledger_may_create: Option<bool>,
    ledger: Option<LedgerTable>,
    table: Option<TableAnswer>,
}

#[derive(Deserialize)]
struct TableAnswer {
    oid: u32,
    kind: String,
    attributes: usize,
    privileges: Privileges,
    row_security: bool,
    keeps_rows: bool,
    undeletable: Option<String>,
    columns: Option<Vec<ColumnAnswer>>,
    indexes: Option<Vec<UniqueIndex>>,
    references: Option<Vec<Reference>>,
}

#[derive(Deserialize)]
struct ColumnAnswer {
    name: String,
    not_null: bool,
    has_default: bool,
    identity: String,
    generated: String,
    key: bool,
    types: Vec<Link>,
}

/// A type in the chain of a column's.
#[derive(Deserialize)]
struct Link {
    oid: u32,
    modifier: i32,
    name: String,
    is: String,
    category: String,
    vector: bool,
}

pub(crate) fn get<'a, T: tokio_postgres::types::FromSql<'a>>(
    row: &'a Row,
    index: usize,
) -> Result<T> {
    row.try_get(index).map_err(from_pg)
}

/// Runs a query in one round trip. That needs parameters with known types.
async fn ask(client: &Client, sql: &str, values: &[(&(dyn ToSql + Sync), Type)]) -> Result<String> {
    let row = client.query_typed_one(sql, values).await.map_err(from_pg)?;
    get(&row, 0)
}

fn read<'a, T: Deserialize<'a>>(answer: &'a str) -> Result<T> {
    serde_json::from_str(answer).map_err(|error| {
        Error::new(
            ErrorKind::Unexpected,
            "the server's answer about its catalog cannot be understood",
        )
        .with_source(error)
    })
}

/// Looks at a target: in the schema that it names, else in that of the connection, else along the search path.
pub(crate) async fn look(
    client: &Client,
    name: &TableName,
    schema: Option<&str>,
    ledger_schema: Option<&str>,
) -> Result<Look> {
    let values: [(&(dyn ToSql + Sync), Type); 4] = [
        (&name.schema.as_deref().or(schema), Type::TEXT),
        (&name.table, Type::TEXT),
        (&ledger_schema, Type::TEXT),
        (&ledger::TABLE, Type::TEXT),
    ];
    let text = ask(client, &LOOK_SQL, &values).await?;
    let answer: Answer = read(&text)?;
    let Some(schema) = answer.schema else {
        let message = "the server's search_path names no schema that is there; name one: schema.table, or the connection key `schema`";
        return Err(Error::new(ErrorKind::NotFound, message));
    };
    let place = Place {
        schema,
        table: name.table.clone(),
    };
    let table = answer.table.map(|table| table.read(&place)).transpose()?;
    Ok(Look {
        version: answer.version,
        started: answer.started,
        user: answer.user,
        database: answer.database,
        may_stage: answer.may_stage,
        place,
        may_create: answer.may_create,
        table,
        has_parts: answer.has_parts,
        ledger: LedgerLook {
            may_create: answer.ledger_may_create,
            table: answer.ledger,
        },
    })
}

/// Refuses a schema that is not there.
pub(crate) fn check_schema(schema: &str, may_create: Option<bool>) -> Result<()> {
    may_create.map(drop).ok_or_else(|| {
        let message = format!("there is no schema `{schema}`; create it, or write a table's name that holds a dot in double quotes");
        Error::new(ErrorKind::NotFound, message)
    })
}

impl TableAnswer {
    /// Refuses a relation that has the name but is not a table.
    fn read(self, place: &Place) -> Result<Table> {
        let what = match self.kind.as_str() {
            "r" | "p" => {
                return Ok(Table {
                    oid: self.oid,
                    partitioned: self.kind == "p",
                    columns: self
                        .columns
                        .unwrap_or_default()
                        .into_iter()
                        .map(ColumnAnswer::read)
                        .collect(),
                    attributes: self.attributes,
                    indexes: self.indexes.map(sorted).unwrap_or_default(),
                    references: self.references.unwrap_or_default(),
                    keeps_rows: self.keeps_rows,
                    undeletable: self.undeletable,
                    row_security: self.row_security,
                    privileges: self.privileges,
                });
            }
            "v" => "a view",
            "m" => "a materialized view",
            "f" => "a foreign table, which cannot be loaded all or nothing",
            "S" => "a sequence",
            "i" | "I" => "an index",
            _ => "no table",
        };
        let message = format!("{} is {what}; loads go into tables", place.sql());
        Err(Error::new(ErrorKind::Unsupported, message))
    }
}

fn sorted(mut indexes: Vec<UniqueIndex>) -> Vec<UniqueIndex> {
    indexes.iter_mut().for_each(|index| index.columns.sort());
    indexes
}

impl ColumnAnswer {
    fn read(self) -> Column {
        let unwritable = match (self.identity.as_str(), self.generated.as_str()) {
            ("a", _) => Some("is GENERATED ALWAYS AS IDENTITY, and takes no values"),
            (_, "") => None,
            _ => Some("is generated from other columns, and takes no values"),
        };
        let first = self.types.first();
        Column {
            not_null: self.not_null,
            always_not_null: self.key || !self.identity.is_empty(),
            filled: self.has_default || !self.identity.is_empty(),
            unwritable,
            pg: PgType {
                oid: first.map_or(0, |link| link.oid),
                name: first.map(|link| link.name.clone()).unwrap_or_default(),
                kind: kind_of(&self.types),
            },
            name: self.name,
        }
    }
}

/// The kind of a type, through domains and arrays of them.
fn kind_of(chain: &[Link]) -> Kind {
    let mut around = None;
    for (link, next) in chain
        .iter()
        .zip(chain.iter().skip(1).map(Some).chain([None]))
    {
        let kind = match (built_in(link.oid, link.modifier), next) {
            (Some(kind), _) => kind,
            (None, _) if link.is == "e" => Kind::Enum,
            (None, Some(_)) if link.is == "d" => continue,
            (None, _) if link.vector => Kind::Vector(
                usize::try_from(link.modifier)
                    .ok()
                    .filter(|length| *length > 0),
            ),
            (None, Some(item)) if link.category == "A" && around.is_none() => {
                around = Some(item);
                continue;
            }
            _ => Kind::Other,
        };
        return match around {
            Some(item) if kind != Kind::Other => Kind::Array(Box::new(PgType {
                oid: item.oid,
                name: item.name.clone(),
                kind,
            })),
            _ => kind,
        };
    }
    Kind::Other
}

/// The kind of any type.
pub(crate) async fn kind(client: &Client, oid: u32) -> Result<Kind> {
    if let Some(kind) = built_in(oid, -1) {
        return Ok(kind);
    }
    let text = ask(client, &KIND_SQL, &[(&oid, Type::OID)]).await?;
    let chain: Vec<Link> = read(&text)?;
    Ok(kind_of(&chain))
}
