//! What a load will do to its target: which column goes where and how, and by which statements. It is made from the request
//! and the catalog, in the same way for a plan and for the load itself.

use std::collections::HashSet;

use arrow_schema::{Field, Schema};
use arrowload_core::{
    Error, ErrorKind, LoadRequest, Mode, NullKeys, OnError, Result, TypeSupport, Verify,
};

use crate::PostgresqlOptions;
use crate::catalog::{self, Look, Place, Reference, Table, UniqueIndex};
use crate::decode::ReadType;
use crate::encode::Conversion;
use crate::ident::{check, literal, quote, quote_all};
use crate::matrix::{for_existing_column, for_new_column};
use crate::types::PgType;
use crate::verify::read_back;

/// One column of the load.
#[derive(Debug, Clone)]
pub(crate) struct LoadColumn {
    /// Its name in the table.
    pub(crate) name: String,
    pub(crate) not_null: bool,
    pub(crate) comment: Option<String>,
    /// Its type in the table.
    pub(crate) pg: PgType,
    pub(crate) support: TypeSupport,
    /// `None` if it is refused, as `support` says.
    pub(crate) conversion: Option<Conversion>,
    /// The type that it is read back as for the checksum; `None` if the table stores it in another form.
    pub(crate) read_back: Option<ReadType>,
}

/// How the rows get into the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Copied into the table.
    Direct,
    /// Copied into a temporary table, and from there.
    Staged,
}

/// How an upsert finds the rows that it replaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Keys {
    /// The names of the key columns in the table.
    pub(crate) columns: Vec<String>,
    /// The index is to be created first.
    pub(crate) create_index: bool,
    /// Its index must treat nulls as equal.
    nulls_are_equal: bool,
}

/// What a load is to do.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) place: Place,
    pub(crate) table: Option<Table>,
    pub(crate) columns: Vec<LoadColumn>,
    pub(crate) way: Way,
    /// The constraint of a table that is to be created, without its columns.
    key_constraint: Option<&'static str>,
    /// The key is created after the rows are in the table, which is faster; the rows had this key at their source.
    late_key: bool,
    /// The names of the key columns in the table.
    key_columns: Vec<String>,
    /// Statements after rows were staged, and before they are moved.
    pub(crate) after: Vec<String>,
    /// How many columns those statements add.
    added: usize,
    pub(crate) keys: Option<Keys>,
    /// Whether old rows are deleted and new ones inserted in one statement, because foreign keys refer to them.
    pub(crate) referred: bool,
}

/// The most columns of a table (`MaxHeapAttributeNumber`).
const MOST_COLUMNS: usize = 1_600;

type Request = LoadRequest<PostgresqlOptions>;

fn mismatch(column: &str, message: String) -> Error {
    Error::new(ErrorKind::SchemaMismatch, message).with("column", column)
}

/// The names of the load's columns in the table.
fn names(schema: &Schema, options: &PostgresqlOptions) -> Result<Vec<String>> {
    const SYSTEM: [&str; 6] = ["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"];
    if let Some(unknown) = options
        .column_map
        .keys()
        .find(|name| schema.column_with_name(name).is_none())
    {
        let message = format!("column_map names `{unknown}`, which is no column of the query");
        return Err(Error::new(ErrorKind::InvalidOption, message).with("key", "column_map"));
    }
    let mut seen = HashSet::new();
    let mut names = Vec::new();
    for field in schema.fields() {
        let name = options.column_name(field.name());
        check("a column", &name).map_err(|error| error.with("column", field.name()))?;
        if SYSTEM.contains(&name.as_str()) {
            let message = format!(
                "`{name}` is the name of a system column of every table; map it to another with column_map"
            );
            return Err(Error::new(ErrorKind::InvalidOption, message).with("column", field.name()));
        }
        if !seen.insert(name.clone()) {
            let message = format!(
                "two columns would be named `{name}` in the table; see the options `case` and `column_map`"
            );
            return Err(Error::new(ErrorKind::InvalidOption, message).with("column", field.name()));
        }
        names.push(name);
    }
    Ok(names)
}

fn new_column(field: &Field, name: String, options: &PostgresqlOptions) -> LoadColumn {
    let (pg, fitted) = match for_new_column(field, options) {
        Ok(new) => (new.pg, Ok((new.conversion, new.support))),
        Err(why) => {
            let unknown = PgType {
                oid: 0,
                name: "?".into(),
                kind: crate::types::Kind::Other,
            };
            (unknown, Err(why))
        }
    };
    LoadColumn {
        not_null: !field.is_nullable(),
        comment: field.metadata().get("comment").cloned(),
        ..load_column(field, name, pg, fitted)
    }
}

fn existing_column(
    field: &Field,
    column: &catalog::Column,
    options: &PostgresqlOptions,
) -> LoadColumn {
    let fitted = match column.unwritable {
        Some(why) => Err(format!("the column {why}; leave it out of the query")),
        None => for_existing_column(field, &column.pg, options),
    };
    LoadColumn {
        not_null: column.not_null,
        ..load_column(field, column.name.clone(), column.pg.clone(), fitted)
    }
}

fn load_column(
    field: &Field,
    name: String,
    pg: PgType,
    fitted: Result<(Conversion, TypeSupport), String>,
) -> LoadColumn {
    let (conversion, support) = match fitted {
        Ok((conversion, support)) => (Some(conversion), support),
        Err(why) => (None, TypeSupport::Unsupported(why.into())),
    };
    LoadColumn {
        name,
        not_null: false,
        comment: None,
        pg,
        support,
        read_back: conversion
            .as_ref()
            .and_then(|conversion| read_back(field.data_type(), conversion)),
        conversion,
    }
}

impl Layout {
    /// Decides everything that can be decided before rows come.
    pub(crate) fn resolve(request: &Request, look: &Look) -> Result<Self> {
        request.options.check(request.load.mode)?;
        let names = names(&request.schema, &request.options)?;
        let create = request.must_create(look.table.is_some())?;
        let mut layout = Self {
            place: look.place.clone(),
            table: look.table.clone(),
            columns: Vec::new(),
            way: Way::Direct,
            key_constraint: None,
            late_key: false,
            key_columns: Vec::new(),
            after: Vec::new(),
            added: 0,
            keys: None,
            referred: false,
        };
        layout.key_columns = request
            .key_indices()?
            .into_iter()
            .map(|index| names[index].clone())
            .collect();
        match &look.table {
            Some(table) if !create => layout.meet(request, names, table)?,
            _ => layout.create(request, names, look.version)?,
        }
        if request.load.mode == Mode::Upsert {
            layout.way = Way::Staged;
            layout.keys = Some(layout.find_keys(request, look.version)?);
            layout.check_update_columns(request)?;
        }
        if let Some(table) = look.table.as_ref().filter(|_| !create) {
            if request.load.mode != Mode::Upsert {
                layout.check_keys(request, table)?;
            }
            if request.load.mode == Mode::Overwrite {
                layout.check_deletable(table)?;
                layout.refer(&table.references)?;
            }
        }
        layout.check_width()?;
        Ok(layout)
    }

    /// No table has more columns than the server allows: not the target, and not the one that rows are staged in.
    fn check_width(&self) -> Result<()> {
        let staged = self.columns.len() + usize::from(self.keys.is_some());
        let target = self
            .table
            .as_ref()
            .map_or(self.columns.len(), |table| table.attributes + self.added);
        let (what, count) = match self.way {
            Way::Staged if staged > MOST_COLUMNS => {
                ("the table in which its rows are staged", staged)
            }
            _ => ("the table", target),
        };
        if count <= MOST_COLUMNS {
            return Ok(());
        }
        let dropped = if self.table.is_some() {
            " (those that were dropped count)"
        } else {
            ""
        };
        let message = format!(
            "{what} would have {count} columns{dropped}, and PostgreSQL's have {MOST_COLUMNS} at most; load fewer, or gather some in an array"
        );
        Err(Error::new(ErrorKind::Unsupported, message))
    }

    fn create(&mut self, request: &Request, names: Vec<String>, version: u32) -> Result<()> {
        let fields = request.schema.fields().iter().zip(names);
        self.columns = fields
            .map(|(field, name)| new_column(field, name, &request.options))
            .collect();
        if !self.key_columns.is_empty() {
            self.key_constraint = Some(key_constraint(request, version)?);
        } else if let Some(keys) = declared_key(&request.schema, &self.columns, &request.options) {
            (self.key_columns, self.key_constraint) = (keys, Some("PRIMARY KEY"));
            // Rows can be set aside only if each is checked against the key.
            self.late_key = request.load.on_error == OnError::Fail;
        }
        Ok(())
    }

    /// The constraint that makes the keys of a new table unique.
    pub(crate) fn key_definition(&self) -> Option<String> {
        let constraint = self.key_constraint?;
        Some(format!("{constraint} ({})", self.key_list()))
    }

    /// The statement that gives a table that was created its key, once its rows are there.
    pub(crate) fn late_key_sql(&self) -> Option<String> {
        let keys = self.key_definition().filter(|_| self.late_key)?;
        Some(format!("ALTER TABLE {} ADD {keys}", self.place.sql()))
    }

    /// The statements that create the table, or the same without its keys under another name; `None` if it exists.
    pub(crate) fn creation(&self, request: &Request, place: &Place) -> Vec<String> {
        if self.table.is_some() {
            return Vec::new();
        }
        let mut parts: Vec<String> = self.columns.iter().map(definition).collect();
        let is_now = *place == self.place && !self.late_key;
        parts.extend(self.key_definition().filter(|_| is_now));
        let (unlogged, table) = (
            if request.options.unlogged {
                "UNLOGGED "
            } else {
                ""
            },
            place.sql(),
        );
        let mut all = vec![format!(
            "CREATE {unlogged}TABLE {table} ({})",
            parts.join(", ")
        )];
        if let Some(comment) = request.schema.metadata().get("comment") {
            all.push(format!("COMMENT ON TABLE {table} IS {}", literal(comment)));
        }
        let comments = self.columns.iter().filter_map(|column| {
            let (name, text) = (quote(&column.name), literal(column.comment.as_ref()?));
            Some(format!("COMMENT ON COLUMN {table}.{name} IS {text}"))
        });
        all.extend(comments);
        all
    }

    /// Fits the load onto an existing table.
    fn meet(&mut self, request: &Request, names: Vec<String>, table: &Table) -> Result<()> {
        let replace = request.load.mode == Mode::Overwrite && request.load.schema_evolution;
        for (field, name) in request.schema.fields().iter().zip(names) {
            let there = table.columns.iter().find(|column| column.name == name);
            let fresh = new_column(field, name.clone(), &request.options);
            match there {
                Some(column) if !replace || column.pg.kind == fresh.pg.kind => {
                    self.columns
                        .push(existing_column(field, column, &request.options));
                    if replace && column.not_null == field.is_nullable() && !column.always_not_null
                    {
                        let verb = if column.not_null { "DROP" } else { "SET" };
                        self.alter(format!("ALTER COLUMN {} {verb} NOT NULL", quote(&name)));
                    }
                }
                Some(_) => {
                    self.alter(format!("DROP COLUMN {}", quote(&name)));
                    self.add_column(&fresh);
                    self.columns.push(fresh);
                }
                None if request.load.schema_evolution => {
                    // Existing rows have no value for it.
                    let fresh = LoadColumn {
                        not_null: fresh.not_null && replace,
                        ..fresh
                    };
                    self.add_column(&fresh);
                    self.columns.push(fresh);
                }
                None => {
                    let message = format!(
                        "the table has no column `{name}`; set schema_evolution = true to add it, or leave it out of the query"
                    );
                    return Err(mismatch(field.name(), message));
                }
            }
        }
        self.meet_missing(table, replace)
    }

    /// Columns of the table that the load does not have.
    fn meet_missing(&mut self, table: &Table, replace: bool) -> Result<()> {
        let given: HashSet<String> = self
            .columns
            .iter()
            .map(|column| column.name.clone())
            .collect();
        for column in table
            .columns
            .iter()
            .filter(|column| !given.contains(&column.name))
        {
            if replace && column.unwritable.is_none() {
                self.alter(format!("DROP COLUMN {}", quote(&column.name)));
            } else if column.not_null && !column.filled && column.unwritable.is_none() {
                let message = format!(
                    "the load has no column `{}`, and the table's may not be null and has no default",
                    column.name
                );
                return Err(mismatch(&column.name, message));
            }
        }
        Ok(())
    }

    /// Rows are staged first, so that the table is locked against readers for a moment only.
    fn alter(&mut self, action: String) {
        self.way = Way::Staged;
        self.after
            .push(format!("ALTER TABLE {} {action}", self.place.sql()));
    }

    fn add_column(&mut self, column: &LoadColumn) {
        self.added += 1;
        self.alter(format!("ADD COLUMN {}", definition(column)));
    }

    /// A load does not change the keys of an existing table: only an upsert may create a unique index.
    fn check_keys(&self, request: &Request, table: &Table) -> Result<()> {
        let wanted = self.sorted_keys();
        if wanted.is_empty() || table.indexes.iter().any(|index| index.columns == wanted) {
            return Ok(());
        }
        let place = self.place.sql();
        let message = format!(
            "`keys` are for mode upsert, and for a table that the load creates; {place} is there, has no unique index over them, and \
             mode {} makes none: leave them out, or CREATE UNIQUE INDEX ON {place} ({})",
            request.load.mode,
            self.key_list()
        );
        Err(Error::new(ErrorKind::InvalidOption, message).with("key", "keys"))
    }

    fn sorted_keys(&self) -> Vec<String> {
        let mut keys = self.key_columns.clone();
        keys.sort();
        keys
    }

    fn key_list(&self) -> String {
        quote_all(self.key_columns.iter().map(String::as_str))
    }

    fn find_keys(&self, request: &Request, version: u32) -> Result<Keys> {
        let keys = |create_index, nulls_are_equal| Keys {
            columns: self.key_columns.clone(),
            create_index,
            nulls_are_equal,
        };
        let Some(table) = &self.table else {
            return Ok(keys(false, false));
        };
        let wanted = self.sorted_keys();
        let nullable = table
            .columns
            .iter()
            .any(|column| wanted.contains(&column.name) && !column.not_null);
        let nulls_matter = nullable && request.load.null_keys == NullKeys::Match;
        let fits = |index: &UniqueIndex| {
            index.columns == wanted && (index.nulls_are_equal || !nulls_matter)
        };
        if table.indexes.iter().any(fits) {
            return Ok(keys(false, nulls_matter));
        }
        if nulls_matter && version < 150_000 {
            return Err(no_equal_nulls());
        }
        Ok(keys(true, nulls_matter))
    }

    /// The refusal of a table that has no index over the keys, and that no load has created.
    pub(crate) fn no_index(&self) -> Error {
        let message = format!(
            "an upsert needs a unique index over its keys, and {} has none; create one: {}",
            self.place.sql(),
            self.index_sql().unwrap_or_default()
        );
        Error::new(ErrorKind::SchemaMismatch, message)
    }

    /// The statement that makes the keys unique, in a table that a load created.
    pub(crate) fn index_sql(&self) -> Option<String> {
        let keys = self.keys.as_ref().filter(|keys| keys.create_index)?;
        let nulls = if keys.nulls_are_equal {
            " NULLS NOT DISTINCT"
        } else {
            ""
        };
        let columns = quote_all(keys.columns.iter().map(String::as_str));
        Some(format!(
            "CREATE UNIQUE INDEX ON {} ({columns}){nulls}",
            self.place.sql()
        ))
    }

    fn check_update_columns(&self, request: &Request) -> Result<()> {
        let keys = self
            .keys
            .as_ref()
            .map(|keys| keys.columns.as_slice())
            .unwrap_or_default();
        for name in request.options.update_columns.iter().flatten() {
            let mapped = request.options.column_name(name);
            let known = self.columns.iter().any(|column| column.name == mapped);
            if !known || keys.contains(&mapped) {
                let message = format!(
                    "update_columns names `{name}`, which is {}",
                    if known {
                        "a key"
                    } else {
                        "no column of the query"
                    }
                );
                return Err(
                    Error::new(ErrorKind::InvalidOption, message).with("key", "update_columns")
                );
            }
        }
        Ok(())
    }

    /// An overwrite deletes the old rows. Triggers, and rules for some rows, are only known by what they do then.
    fn check_deletable(&self, table: &Table) -> Result<()> {
        let Some(rule) = &table.undeletable else {
            return Ok(());
        };
        let message = format!(
            "an overwrite deletes the old rows of {}, and its rule `{rule}` does something else instead; disable or drop the rule, or \
             use another mode",
            self.place.sql()
        );
        Err(Error::new(ErrorKind::Unsupported, message))
    }

    /// Rows of other tables that refer to old rows must find the same keys in the new rows.
    fn refer(&mut self, references: &[Reference]) -> Result<()> {
        if let Some(acts) = references.iter().find(|reference| !reference.checks_at_end) {
            let message = format!(
                "overwriting would change or be refused by the rows of {} that refer to {} by the foreign key `{}`, which does more than \
                 check; use upsert, or make the key ON DELETE NO ACTION",
                acts.from,
                self.place.sql(),
                acts.name
            );
            return Err(Error::new(ErrorKind::Unsupported, message).with("constraint", &acts.name));
        }
        if references.is_empty() {
            return Ok(());
        }
        if !self.after.is_empty() {
            let message = format!(
                "overwriting cannot change the columns of {}, as other tables refer to it",
                self.place.sql()
            );
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        (self.way, self.referred) = (Way::Staged, true);
        Ok(())
    }

    /// Refuses the first column that the table cannot take.
    pub(crate) fn conversions(&self, schema: &Schema) -> Result<Vec<Conversion>> {
        let conversion = |(column, field): (&LoadColumn, &arrow_schema::FieldRef)| {
            column.conversion.clone().ok_or_else(|| {
                let why = column.support.detail().unwrap_or_default();
                let message = format!(
                    "column `{}` ({}): {why}; cast it in the query or leave it out",
                    field.name(),
                    field.data_type()
                );
                Error::new(ErrorKind::UnsupportedType, message).with("column", field.name())
            })
        };
        self.columns
            .iter()
            .zip(schema.fields())
            .map(conversion)
            .collect()
    }

    /// Whether the table's columns or indexes are changed, which is its owner's right.
    pub(crate) fn changes_table(&self) -> bool {
        let indexes = self.keys.as_ref().is_some_and(|keys| keys.create_index);
        !self.after.is_empty() || indexes
    }

    /// Whether the load needs the table without other writers at some time. It locks them out from the start: if two loads
    /// upgraded their locks later, each would wait for the other.
    pub(crate) fn keeps_writers_out(&self, request: &Request) -> bool {
        let partitioned = self.table.as_ref().is_some_and(|table| table.partitioned);
        request.load.mode == Mode::Overwrite
            || self.changes_table()
            || tells_own_rows(request)
            || (partitioned && self.keys.is_some())
    }

    /// The load's columns, as SQL.
    pub(crate) fn column_list(&self) -> String {
        quote_all(self.columns.iter().map(|column| column.name.as_str()))
    }

    /// The COPY into a table that has the load's columns.
    pub(crate) fn copy_sql(&self, table: &str, more: &str) -> String {
        let columns = self.column_list();
        format!("COPY {table} ({columns}) FROM STDIN (FORMAT binary{more})")
    }

    /// What is done with the rows, for a plan.
    pub(crate) fn statements(&self, mode: Mode) -> Vec<String> {
        let (table, columns) = (self.place.sql(), self.column_list());
        let mut all = Vec::new();
        if crate::apply::overwrites(mode, self) {
            all.push(format!("DELETE FROM {table}"));
        }
        all.extend(self.after.iter().cloned());
        all.extend(self.index_sql());
        let verb = if mode == Mode::Upsert {
            "upsert"
        } else {
            "COPY"
        };
        all.push(format!("{verb} INTO {table} ({columns})"));
        all.extend(self.late_key_sql());
        all
    }
}

/// Whether the load's rows are read back, and distinguished from others by the savepoints that they were copied under.
pub(crate) fn tells_own_rows(request: &Request) -> bool {
    request.load.verify == Verify::Checksum && request.load.on_error == OnError::Skip
}

fn definition(column: &LoadColumn) -> String {
    format!(
        "{} {}{}",
        quote(&column.name),
        column.pg.name,
        if column.not_null { " NOT NULL" } else { "" }
    )
}

/// The primary key that the rows had at their source, with the names of its columns in the target: it is a list in the
/// schema's metadata. There is none if one of its columns is not loaded, or is nullable.
fn declared_key(
    schema: &Schema,
    columns: &[LoadColumn],
    options: &PostgresqlOptions,
) -> Option<Vec<String>> {
    let names: Vec<String> = serde_json::from_str(schema.metadata().get("primary_key")?).ok()?;
    let is_key = |name: &String| {
        let column = columns.iter().find(|column| column.name == *name);
        column.is_some_and(|column| column.not_null)
    };
    let names: Vec<String> = names.iter().map(|name| options.column_name(name)).collect();
    (!names.is_empty() && names.iter().all(is_key)).then_some(names)
}

/// A primary key has no nulls.
fn key_constraint(request: &Request, version: u32) -> Result<&'static str> {
    let nullable = request
        .key_indices()?
        .into_iter()
        .any(|index| request.schema.field(index).is_nullable());
    match request.load.null_keys {
        NullKeys::Match if nullable && version < 150_000 => Err(no_equal_nulls()),
        NullKeys::Match if nullable => Ok("UNIQUE NULLS NOT DISTINCT"),
        _ => Ok("PRIMARY KEY"),
    }
}

fn no_equal_nulls() -> Error {
    Error::new(
        ErrorKind::Unsupported,
        "null_keys = match needs PostgreSQL 15 or later, or key columns that may not be null",
    )
}
