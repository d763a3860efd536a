//! Finds the tables of a source that match the patterns, and their definitions.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use arrow_cast::cast;
use arrow_schema::DataType;
use arrowload::{Client, ConnectionKey, Error, ErrorKind, Listed, Listing};
use futures::TryStreamExt;

use crate::exit::Failure;
use crate::input::Question;
use crate::show::note;
use crate::sync_carry::Carried;

/// The tables of one source, by the names of their loads.
pub(crate) struct Tables {
    pub(crate) client: Client,
    /// The source's name.
    pub(crate) source: &'static str,
    /// The tables go to a store of the same kind.
    pub(crate) is_own_kind: bool,
    /// How it is reached.
    pub(crate) connection: Vec<ConnectionKey>,
    pub(crate) all: BTreeMap<String, Arc<Table>>,
    pub(crate) schema_only: bool,
    /// No table is begun after one has failed.
    pub(crate) fail_fast: bool,
}

/// A table as its source lists it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Table {
    pub(crate) catalog: String,
    /// Empty where the source has no schemas.
    pub(crate) schema: String,
    pub(crate) name: String,
    /// `TABLE`, `VIEW` and so on, in the source's words.
    kind: String,
    in_default_schema: Option<bool>,
    /// Whether the source said what its columns are.
    pub(crate) is_described: bool,
    pub(crate) columns: Vec<Column>,
    pub(crate) comment: Option<String>,
    /// What a load of its rows leaves behind.
    pub(crate) not_in_rows: Option<String>,
    /// The user sees some of its rows only.
    pub(crate) hides_rows: bool,
    /// Why it cannot be read as it is listed.
    note: Option<String>,
}

/// A column as its source defines it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// In the source's own words.
    pub(crate) type_name: String,
    pub(crate) is_nullable: bool,
    pub(crate) key_position: Option<i64>,
    pub(crate) comment: Option<String>,
}

impl Table {
    /// Its name for people: names that hold a dot or a quote are in quotes, so that no two tables have one label.
    pub(crate) fn label(&self) -> String {
        let part = |name: &str| match name.contains(['.', '"']) {
            true => quoted(name),
            false => name.to_owned(),
        };
        match self.schema.as_str() {
            "" => part(&self.name),
            schema => format!("{}.{}", part(schema), part(&self.name)),
        }
    }

    /// Its primary key, in the order of the key.
    pub(crate) fn primary_key(&self) -> Vec<&str> {
        let keyed = self.columns.iter();
        let mut keyed: Vec<_> = keyed
            .filter_map(|column| Some((column.key_position?, column.name.as_str())))
            .collect();
        keyed.sort_unstable();
        keyed.into_iter().map(|(_, name)| name).collect()
    }

    /// A view, or a table whose rows are elsewhere.
    fn is_view(&self) -> bool {
        let kind = self.kind.to_uppercase();
        kind.contains("VIEW") || kind.contains("FOREIGN")
    }

    /// Whether the table is loaded only if its full name is given: a partition of another table, or the table of
    /// recorded loads.
    fn is_part(&self) -> bool {
        ["PARTITION", "LEDGER"].contains(&self.kind.to_uppercase().as_str())
    }

    fn is_system(&self) -> bool {
        let schema = self.schema.to_lowercase();
        schema == "information_schema"
            || schema.starts_with("pg_")
            || self.kind.to_uppercase().contains("SYSTEM")
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Tables {
    /// What a load of one table reads.
    pub(crate) fn question(&self, name: &str) -> Result<Question, Failure> {
        let table = self.all.get(name).ok_or_else(|| {
            Failure::failed(format!(
                "internal error: there is no table for the load {name}"
            ))
        })?;
        // The current catalog's tables need no catalog, and not every engine takes one.
        let several = self
            .all
            .values()
            .any(|other| other.catalog != table.catalog);
        let parts = [
            table.catalog.as_str(),
            table.schema.as_str(),
            table.name.as_str(),
        ];
        let parts = parts.iter().skip(usize::from(!several));
        let place: Vec<String> = parts
            .filter(|part| !part.is_empty())
            .map(|part| quoted(part))
            .collect();
        let mut sql = format!("SELECT * FROM {}", place.join("."));
        if self.schema_only {
            sql += " LIMIT 0";
        }
        let carried = table.is_described.then(|| Carried {
            own_kind: self.is_own_kind.then_some(self.source),
            table: Arc::clone(table),
        });
        Ok(Question::of_client(
            &self.client,
            sql,
            &self.connection,
            carried,
        ))
    }
}

/// A pattern of tables, as `schema.table` or `table`.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    text: String,
    schema: Option<String>,
    name: String,
}

fn is_wild(text: &str) -> bool {
    text.contains(['*', '?'])
}

/// `*` stands for any characters, `?` for one.
fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut place, mut star) = (0, 0, None);
    while place < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, place));
                at += 1;
            }
            Some(letter) if *letter == '?' || *letter == text[place] => {
                (at, place) = (at + 1, place + 1)
            }
            // The last star takes one character more.
            _ => match star {
                Some((before, taken)) => {
                    star = Some((before, taken + 1));
                    (at, place) = (before + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|letter| *letter == '*')
}

/// The pattern for SQL's LIKE, or a wider one, because engines escape differently.
fn like(pattern: &str) -> String {
    let letter = |letter: char| match letter {
        '*' => '%',
        '?' | '\\' => '_',
        other => other,
    };
    pattern.chars().map(letter).collect()
}

impl Pattern {
    pub(crate) fn read(flag: &str, text: &str) -> Result<Self, Failure> {
        let (schema, name) = match text.split_once('.') {
            Some((schema, name)) => (Some(schema), name),
            None => (None, text),
        };
        if schema == Some("") || name.is_empty() {
            return Err(Failure::usage(format!(
                "{flag} {text}: write schema.table or table, each with * and ? for any characters"
            )));
        }
        Ok(Self {
            text: text.to_owned(),
            schema: schema.map(str::to_owned),
            name: name.to_owned(),
        })
    }

    /// The schema, if it is named and not only fits.
    fn exact_schema(&self) -> Option<&String> {
        self.schema.as_ref().filter(|schema| !is_wild(schema))
    }

    fn is_exact(&self) -> bool {
        self.exact_schema().is_some() && !is_wild(&self.name)
    }

    /// What has to be listed to find what fits.
    fn listing(&self, what: Listed) -> Listing {
        let mut listing = Listing::new(what);
        listing.schema = self.exact_schema().map(|schema| like(schema));
        listing.name = Some(like(&self.name));
        listing
    }

    fn fits(&self, table: &Table) -> bool {
        let schema = match &self.schema {
            Some(schema) => fits(schema, &table.schema),
            None => table.in_default_schema.unwrap_or(table.schema.is_empty()),
        };
        schema && fits(&self.name, &table.name)
    }
}

/// The tables that some pattern means, and none excludes.
pub(crate) async fn find(
    client: &Client,
    source: &str,
    patterns: &[Pattern],
    excluded: &[Pattern],
    views: bool,
) -> Result<BTreeMap<String, Arc<Table>>, Failure> {
    let mut found = BTreeMap::new();
    for pattern in patterns {
        let listed = list(client, source, pattern).await?;
        let fitting: Vec<Table> = listed
            .into_iter()
            .filter(|table| pattern.fits(table))
            .collect();
        let (mut left_out, mut is_any) = (Vec::new(), false);
        for table in fitting {
            let why = match &table {
                table if table.is_view() && !views => {
                    Some("is no table: --views takes views, and tables whose rows are elsewhere")
                }
                table if table.is_part() && !pattern.is_exact() => {
                    Some("is loaded by its whole name only, schema.table")
                }
                table if table.is_system() && pattern.exact_schema().is_none() => {
                    Some("is the system's: name its schema")
                }
                _ => None,
            };
            match why {
                Some(why) => left_out.push(format!("{} {why}", table.label())),
                None => {
                    is_any = true;
                    found.insert(table.label(), Arc::new(table));
                }
            }
        }
        if !is_any {
            return Err(nothing_fits(pattern, &left_out));
        }
    }
    for pattern in excluded {
        let before = found.len();
        found.retain(|_, table| !pattern.fits(table));
        if found.len() == before {
            note(&format!(
                "--exclude {}: it fits none of the tables",
                pattern.text
            ));
        }
    }
    if found.is_empty() {
        return Err(Failure::usage("--exclude leaves no table to load"));
    }
    for (label, table) in &found {
        if let Some(note) = &table.note {
            return Err(Failure::usage(format!(
                "{label} cannot be read from here: {note}; leave it out with --exclude"
            )));
        }
    }
    Ok(found)
}

fn nothing_fits(pattern: &Pattern, left_out: &[String]) -> Failure {
    let hint = match (left_out, &pattern.schema) {
        ([first, ..], _) => format!("; {first}"),
        ([], None) => "; a pattern without a dot is about the source's default schema: write schema.table for others".to_owned(),
        ([], Some(_)) => "; `arrowload list` says what there is".to_owned(),
    };
    Failure::usage(format!("--tables {}: no table fits{hint}", pattern.text))
}

/// Tables that may fit, with their columns where the source lists them.
async fn list(client: &Client, source: &str, pattern: &Pattern) -> Result<Vec<Table>, Failure> {
    let unlisted = |error: Error| match error.kind() {
        ErrorKind::Unsupported => Failure::usage(format!(
            "--from {source}: {}; load its tables one by one, or with a job",
            error.message()
        )),
        _ => error.into(),
    };
    let listed = match client.list(pattern.listing(Listed::Columns)).await {
        Err(error) if error.kind() == ErrorKind::Unsupported => client
            .list(pattern.listing(Listed::Tables))
            .await
            .map_err(unlisted)?,
        listed => listed?,
    };
    let batches: Vec<RecordBatch> = listed.try_collect().await?;
    let mut tables = Vec::new();
    for batch in &batches {
        let complete = batch.column_by_name("complete");
        if complete.is_some_and(|all| all.as_boolean().false_count() > 0) {
            return Err(Failure::failed(format!(
                "{source} has more than its list takes, so that tables would be left out; load them one by one, or with a job"
            )));
        }
        take(batch, &mut tables)?;
    }
    Ok(tables)
}

/// Takes the rows of a listing, in which a table has a row for each of its columns.
fn take(batch: &RecordBatch, tables: &mut Vec<Table>) -> Result<(), Failure> {
    let column = |name: &str, kind: &DataType| {
        let found = batch.column_by_name(name);
        found
            .map(|values| cast(values, kind))
            .transpose()
            .map_err(|error| {
                Failure::failed(format!(
                    "the source's list of tables has an odd {name}: {error}"
                ))
            })
    };
    let text = |name: &str| column(name, &DataType::Utf8);
    let (catalogs, schemas, names) = (
        text("catalog_name")?,
        text("db_schema_name")?,
        text("table_name")?,
    );
    let (kinds, comments, behind) = (
        text("table_type")?,
        text("table_comment")?,
        text("not_in_rows")?,
    );
    let (columns, types, column_comments) =
        (text("column_name")?, text("type_name")?, text("comment")?);
    let notes = text("note")?;
    let in_default = column("in_default_schema", &DataType::Boolean)?;
    let hidden = column("hides_rows", &DataType::Boolean)?;
    let nullable = column("is_nullable", &DataType::Boolean)?;
    let positions = column("key_position", &DataType::Int64)?;
    let value = |values: &Option<arrow_array::ArrayRef>, row: usize| {
        let values = values.as_ref().filter(|values| values.is_valid(row))?;
        Some(values.as_string::<i32>().value(row).to_owned())
    };
    let flag = |values: &Option<arrow_array::ArrayRef>, row: usize| {
        let values = values.as_ref().filter(|values| values.is_valid(row))?;
        Some(values.as_boolean().value(row))
    };
    for row in 0..batch.num_rows() {
        let Some(name) = value(&names, row) else {
            return Err(Failure::failed(
                "the source's list of tables has no table_name",
            ));
        };
        let (catalog, schema) = (value(&catalogs, row), value(&schemas, row));
        let table = Table {
            catalog: catalog.unwrap_or_default(),
            schema: schema.unwrap_or_default(),
            name,
            kind: value(&kinds, row).unwrap_or_default(),
            in_default_schema: flag(&in_default, row),
            is_described: columns.is_some(),
            columns: Vec::new(),
            comment: value(&comments, row),
            not_in_rows: value(&behind, row),
            hides_rows: flag(&hidden, row).unwrap_or_default(),
            note: value(&notes, row),
        };
        let is_same = |last: &Table| {
            (&last.catalog, &last.schema, &last.name)
                == (&table.catalog, &table.schema, &table.name)
        };
        if !tables.last().is_some_and(is_same) {
            tables.push(table);
        }
        let position = positions.as_ref().filter(|values| values.is_valid(row));
        let own = value(&columns, row).zip(tables.last_mut());
        if let Some((name, table)) = own {
            table.columns.push(Column {
                name,
                type_name: value(&types, row).unwrap_or_default(),
                is_nullable: flag(&nullable, row).unwrap_or(true),
                key_position: position.map(|values| {
                    values
                        .as_primitive::<arrow_array::types::Int64Type>()
                        .value(row)
                }),
                comment: value(&column_comments, row),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_whole_names() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*", "anything", true),
            ("a*", "abc", true),
            ("a*c", "abcbc", true),
            ("a*c", "abcb", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("?", "é", true),
            ("A", "a", false),
            ("a%", "ab", false),
            ("*a*b*", "xaxbx", true),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn labels_tell_tables_apart() {
        let table = |schema: &str, name: &str| Table {
            schema: schema.into(),
            name: name.into(),
            ..Table::default()
        };
        assert_eq!(table("public", "My Table").label(), "public.My Table");
        assert_eq!(table("", "t").label(), "t");
        assert_ne!(table("a.b", "c").label(), table("a", "b.c").label());
    }
}
