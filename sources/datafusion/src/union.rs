//! Several files as one table: columns go by their names, and each has a type that holds the values of all files.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrowload_core::{Error, ErrorKind, Result};

use crate::file::DataFile;
use crate::how::FileOptions;
use crate::kind::Kind;
use crate::known::Learnt;
use crate::look::{Certainty, Looked};
use crate::{hive, lattice};

/// For each column of a table, which column of a file it is.
pub(crate) type Places = Vec<Option<usize>>;

/// Files as one table.
#[derive(Debug)]
pub(crate) struct Union {
    pub(crate) kind: Kind,
    pub(crate) files: Vec<Looked>,
    /// The columns that are in files, then those of their folders and names.
    pub(crate) schema: SchemaRef,
    /// How many columns are in files.
    pub(crate) own: usize,
    /// For each file, which of its columns is which of the table's.
    pub(crate) places: Vec<Places>,
    /// The columns of folders and names: a row for each file.
    pub(crate) constants: RecordBatch,
    /// Whether its type was inferred from a sample, so that a later value may not fit.
    pub(crate) sampled: bool,
}

impl Union {
    /// # Errors
    /// When the files have different formats, or types of a column that nothing holds together.
    pub(crate) fn new(
        mut files: Vec<Looked>,
        options: &FileOptions,
        learnt: &Learnt,
    ) -> Result<Self> {
        let kind = one_kind(&files)?;
        one_form(&files)?;
        let all: Vec<&DataFile> = files.iter().map(|looked| &looked.file).collect();
        let constants = constants(&all, options)?;
        let taken = constants.schema();
        let (names, places) = by_name(&files, &taken, options)?;
        let mut fields = Vec::with_capacity(names.len());
        let mut wider: Vec<Vec<(usize, DataType)>> = vec![Vec::new(); files.len()];
        for (number, name) in names.iter().enumerate() {
            let data_type = match learnt.text.contains(name) {
                true => DataType::Utf8,
                false => joined(&files, &places, number, name)?,
            };
            for (file, places) in places.iter().enumerate() {
                let Some(place) = places[number] else {
                    continue;
                };
                if *files[file].columns[place].data_type() != data_type {
                    wider[file].push((place, data_type.clone()));
                }
            }
            fields.push(field(&files, &places, number, name, data_type));
        }
        let mut sampled = false;
        for (looked, wider) in files.iter_mut().zip(&wider) {
            if let Some(layout) = &looked.layout
                && let Some(layout) = layout.with_types(wider)?
            {
                looked.layout = Some(layout);
                sampled |= kind == Kind::Csv;
            }
            sampled |= looked
                .columns
                .iter()
                .any(|column| column.certainty == Certainty::Sampled);
        }
        let own = fields.len();
        let all = fields.into_iter().chain(taken.fields().iter().cloned());
        Ok(Self {
            kind,
            files,
            schema: Arc::new(Schema::new(all.collect::<Vec<_>>())),
            own,
            places,
            constants,
            sampled,
        })
    }
}

fn one_kind(files: &[Looked]) -> Result<Kind> {
    let first = files.first().ok_or_else(|| {
        let message = "a table without files: a defect of the engine";
        Error::new(ErrorKind::Unexpected, message)
    })?;
    let other = files.iter().find(|other| other.kind != first.kind);
    let Some(other) = other else {
        return Ok(first.kind);
    };
    let message = format!(
        "`{}` is {}, and `{}` is {}; the files of one table have one format: name them by a pattern",
        first.file.shown(),
        first.kind,
        other.file.shown(),
        other.kind
    );
    Err(Error::new(ErrorKind::InvalidData, message))
}

/// Refuses files if some seem to have a header and others do not: their columns could not be matched by name.
fn one_form(files: &[Looked]) -> Result<()> {
    let first = |wanted| files.iter().find(|looked| looked.header == Some(wanted));
    let (Some(with), Some(without)) = (first(true), first(false)) else {
        return Ok(());
    };
    let message = format!(
        "`{}` seems to have a header, and `{}` none; say which it is: header => true, or header => false",
        with.file.shown(),
        without.file.shown()
    );
    Err(Error::new(ErrorKind::SchemaMismatch, message).with("key", "header"))
}

/// The columns of folders and names.
fn constants(files: &[&DataFile], options: &FileOptions) -> Result<RecordBatch> {
    let folders = hive::columns(files, options)?;
    let Some(name) = options.filename() else {
        return Ok(folders);
    };
    let schema = folders.schema();
    if schema.field_with_name(name).is_ok() {
        return Err(twice(name, "of the folders"));
    }
    let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(name, DataType::Utf8, false)));
    let names = files.iter().map(|file| file.shown());
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(names));
    let mut columns = folders.columns().to_vec();
    columns.push(names);
    Ok(RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns,
    )?)
}

fn twice(name: &str, whose: &str) -> Error {
    let message =
        format!("`filename` is a column {whose} already; give it another name: filename => '…'");
    let message = message.replacen("`filename`", &format!("`{name}`"), 1);
    Error::new(ErrorKind::InvalidOption, message).with("key", "filename")
}

fn in_folder_and_file(name: &str, file: &DataFile) -> Error {
    let message = format!(
        "`{name}` is a column of `{}` and a key of its folders, and their values may differ; take the folder's by \
         hive_partitioning => true, or the file's by hive_partitioning => false",
        file.shown()
    );
    Error::new(ErrorKind::SchemaMismatch, message)
        .with("key", "hive_partitioning")
        .with("column", name)
}

/// The names of all columns, in the order in which they first occur, and where each file has them. A column of a folder replaces
/// one of its files if an option asks for it.
fn by_name(
    files: &[Looked],
    taken: &SchemaRef,
    options: &FileOptions,
) -> Result<(Vec<String>, Vec<Places>)> {
    let mut names: Vec<String> = Vec::new();
    let mut numbers: HashMap<&str, usize> = HashMap::new();
    for looked in files {
        for column in &looked.columns {
            if options.filename() == Some(column.name()) {
                return Err(twice(
                    column.name(),
                    &format!("of `{}`", looked.file.shown()),
                ));
            }
            let is_taken = taken.field_with_name(column.name()).is_ok();
            if is_taken && options.hive_partitioning.is_none() {
                return Err(in_folder_and_file(column.name(), &looked.file));
            }
            if !is_taken && !numbers.contains_key(column.name()) {
                numbers.insert(column.name(), names.len());
                names.push(column.name().to_owned());
            }
        }
    }
    let places = files.iter().map(|looked| {
        let mut places = vec![None; names.len()];
        for (index, column) in looked.columns.iter().enumerate() {
            if let Some(number) = numbers.get(column.name()) {
                places[*number] = Some(index);
            }
        }
        places
    });
    let places = places.collect();
    Ok((names, places))
}

/// A column of the table: as its files have it, where all have it alike.
fn field(
    files: &[Looked],
    places: &[Places],
    number: usize,
    name: &str,
    data_type: DataType,
) -> FieldRef {
    let own = files.iter().zip(places);
    let own: Option<Vec<&FieldRef>> = own
        .map(|(looked, places)| Some(&looked.columns[places[number]?].field))
        .collect();
    let Some([first, others @ ..]) = own.as_deref() else {
        return Arc::new(Field::new(name, data_type, true));
    };
    let alike = *first.data_type() == data_type
        && others.iter().all(|other| {
            other.metadata() == first.metadata() && other.data_type() == first.data_type()
        });
    if !alike {
        return Arc::new(Field::new(name, data_type, true));
    }
    let nullable = first.is_nullable() || others.iter().any(|other| other.is_nullable());
    Arc::new(first.as_ref().clone().with_nullable(nullable))
}

/// The error of a column whose values are JSON text in one file, where strings have quotes, and plain text in another.
fn two_texts(name: &str, one: &Looked, other: &Looked) -> Error {
    let message = format!(
        "the values of `{name}` are JSON text in one of `{}` and `{}`, and plain text in the other; declare it in `types`: json or text",
        one.file.shown(),
        other.file.shown()
    );
    Error::new(ErrorKind::SchemaMismatch, message).with("column", name)
}

/// The type that a column has in all files together.
fn joined(files: &[Looked], places: &[Places], number: usize, name: &str) -> Result<DataType> {
    let mut joined: Option<(DataType, &Looked)> = None;
    let mut texts: BTreeMap<&str, (bool, &Looked)> = BTreeMap::new();
    let columns = files.iter().zip(places).filter_map(|(looked, places)| {
        let column = &looked.columns[places[number]?];
        (!column.is_empty).then_some((looked, column))
    });
    for (looked, column) in columns {
        for (place, is_json) in &column.texts {
            let (other, first) = *texts.entry(place).or_insert((*is_json, looked));
            if other != *is_json {
                return Err(two_texts(&format!("{name}{place}"), first, looked));
            }
        }
        let Some((known, first)) = &joined else {
            joined = Some((column.data_type().clone(), looked));
            continue;
        };
        let data_type = match column.certainty {
            // Members of nested values are not brought together here, but are as they are or not.
            Certainty::Typed if known.is_nested() || column.data_type().is_nested() => {
                (known == column.data_type()).then(|| known.clone())
            }
            Certainty::Typed => lattice::of_values(known, column.data_type()),
            _ if looked.kind == Kind::Json => lattice::of_values(known, column.data_type()),
            _ => Some(lattice::of_text(known, column.data_type())),
        };
        // Members are brought together by their types, which do not say that they are JSON text.
        let hides = known.is_nested()
            && known != column.data_type()
            && texts.values().any(|(is_json, _)| *is_json);
        if hides {
            return Err(two_texts(name, first, looked));
        }
        let Some(data_type) = data_type else {
            let message = format!(
                "column `{name}` is {known} in `{}` and {} in `{}`, and no type holds both unchanged; {}",
                first.file.shown(),
                column.data_type(),
                looked.file.shown(),
                match looked.kind {
                    Kind::Json => "declare it in `types`",
                    _ => "read the files apart, and CAST",
                }
            );
            return Err(Error::new(ErrorKind::SchemaMismatch, message).with("column", name));
        };
        joined = Some((data_type, first));
    }
    Ok(joined.map_or(DataType::Utf8, |(data_type, _)| data_type))
}
