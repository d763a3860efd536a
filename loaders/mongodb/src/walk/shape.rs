//! Which Arrow type a path gets, from the types that were seen there: one that holds every value, or an error that names them.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Fields, Schema, TimeUnit};
use arrowload_core::{Error, ErrorKind, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use super::element::Kind;
use super::observe::{Observed, Seen};

/// The key of a field's metadata with the name of its extension type.
pub(crate) const EXTENSION: &str = "ARROW:extension:name";
/// The key with the extension type's own facts.
pub(crate) const EXTENSION_FACTS: &str = "ARROW:extension:metadata";

/// What becomes of a path whose types no Arrow type holds without loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mixed {
    /// An error, which names the path, the types, how often each occurs and an `_id`.
    #[default]
    Error,
    /// Canonical extended JSON, which keeps every type.
    Json,
    /// Text as it stands, and everything else as relaxed extended JSON.
    String,
}

/// Text of which kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Text {
    String,
    Code,
    Symbol,
    /// Decimals in the digits that the server has for them.
    Decimal,
    /// Numbers, decimals among them that fit no Arrow decimal.
    Json,
    Plain,
}

/// How a path's values are held.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shape {
    /// Nothing but nulls.
    Null,
    Bool,
    Int32,
    Int64,
    Double,
    Decimal {
        precision: u8,
        scale: i8,
    },
    Text(Text),
    Binary(u8),
    Uuid,
    ObjectId,
    Date,
    Timestamp,
    Regex,
    DbPointer,
    Struct(Vec<(String, Shape)>),
    List(Box<Shape>),
    Map(Box<Shape>),
}

/// A widening, for the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Widened {
    pub(crate) path: String,
    pub(crate) sentence: String,
}

/// Decides shapes, and notes what was widened.
#[derive(Debug, Default)]
pub(crate) struct Shaper {
    pub(crate) mixed: Mixed,
    /// `json` or `string` for single paths.
    pub(crate) whole: HashMap<String, Mixed>,
    pub(crate) widened: Vec<Widened>,
}

fn counted(seen: &[&Seen]) -> String {
    let parts: Vec<String> = seen
        .iter()
        .map(|seen| {
            let values = if seen.count == 1 { "value" } else { "values" };
            format!(
                "{} ({} {values}, first _id {})",
                seen.kind, seen.count, seen.first
            )
        })
        .collect();
    parts.join(", ")
}

impl Shaper {
    /// The shapes of the columns: `_id` first, the others in the order in which they were seen.
    pub(crate) fn columns(&mut self, root: &Observed) -> Result<Vec<(String, Shape)>> {
        let mut columns = self.fields(root, "")?;
        if let Some(place) = columns.iter().position(|(name, _)| name == "_id") {
            columns[..=place].rotate_right(1);
        }
        Ok(columns)
    }

    fn fields(&mut self, observed: &Observed, path: &str) -> Result<Vec<(String, Shape)>> {
        let shaped = observed.fields.iter().map(|(name, field)| {
            let path = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            Ok((name.clone(), self.shape(field, &path)?))
        });
        shaped.collect()
    }

    fn shape(&mut self, observed: &Observed, path: &str) -> Result<Shape> {
        let mixed = match self.whole.get(path) {
            Some(Mixed::Json) => return Ok(Shape::Text(Text::Json)),
            Some(Mixed::String) => return Ok(Shape::Text(Text::Plain)),
            _ => self.mixed,
        };
        let seen: Vec<&Seen> = observed
            .seen
            .iter()
            .filter(|seen| seen.kind != Kind::Null)
            .collect();
        let kinds: Vec<Kind> = seen.iter().map(|seen| seen.kind).collect();
        let shape = match kinds.as_slice() {
            [] => Shape::Null,
            [kind] => match self.single(*kind, observed, path)? {
                Some(shape) => shape,
                None => return self.refused(mixed, &seen, path, "no Arrow type stands for it"),
            },
            many => match several(many, observed) {
                Some(shape) => {
                    let sentence = format!(
                        "`{path}` holds {}; it is read as {}",
                        counted(&seen),
                        field(path, &shape).data_type()
                    );
                    self.widened.push(Widened {
                        path: path.to_owned(),
                        sentence,
                    });
                    shape
                }
                None => {
                    return self.refused(
                        mixed,
                        &seen,
                        path,
                        "no Arrow type holds all of them without loss",
                    );
                }
            },
        };
        Ok(shape)
    }

    fn refused(&mut self, mixed: Mixed, seen: &[&Seen], path: &str, why: &str) -> Result<Shape> {
        let text = match mixed {
            Mixed::Error => {
                let message = format!(
                    "`{path}` holds {}: {why}; set mixed = \"json\" or \"string\" to read it as text, or leave it out by a projection",
                    counted(seen)
                );
                return Err(Error::new(ErrorKind::SchemaMismatch, message).with("path", path));
            }
            Mixed::Json => Text::Json,
            Mixed::String => Text::Plain,
        };
        self.widened.push(Widened {
            path: path.to_owned(),
            sentence: format!("`{path}` holds {}; it is read as text", counted(seen)),
        });
        Ok(Shape::Text(text))
    }

    /// The shape of a single type; `None` if Arrow has none.
    fn single(&mut self, kind: Kind, observed: &Observed, path: &str) -> Result<Option<Shape>> {
        Ok(Some(match kind {
            Kind::Double => Shape::Double,
            Kind::String => Shape::Text(Text::String),
            Kind::Document if observed.map => Shape::Map(Box::new(self.items(observed, path)?)),
            Kind::Document => Shape::Struct(self.fields(observed, path)?),
            Kind::Array => Shape::List(Box::new(self.items(observed, path)?)),
            Kind::Binary(subtype) => Shape::Binary(subtype),
            Kind::Uuid => Shape::Uuid,
            Kind::ObjectId => Shape::ObjectId,
            Kind::Bool => Shape::Bool,
            Kind::Date => Shape::Date,
            Kind::Regex => Shape::Regex,
            Kind::DbPointer => Shape::DbPointer,
            Kind::Code => Shape::Text(Text::Code),
            Kind::Symbol => Shape::Text(Text::Symbol),
            Kind::Int32 => Shape::Int32,
            Kind::Timestamp => Shape::Timestamp,
            Kind::Int64 => Shape::Int64,
            Kind::Decimal128 => decimal(observed),
            Kind::Null => Shape::Null,
            Kind::Undefined | Kind::CodeWithScope | Kind::MinKey | Kind::MaxKey => return Ok(None),
        }))
    }

    fn items(&mut self, observed: &Observed, path: &str) -> Result<Shape> {
        match &observed.items {
            Some(items) => self.shape(items, path),
            None => Ok(Shape::Null),
        }
    }
}

fn decimal(observed: &Observed) -> Shape {
    match observed.room.precision() {
        Some((precision, scale)) => Shape::Decimal { precision, scale },
        None => Shape::Text(Text::Decimal),
    }
}

/// The shape that holds several types without loss.
fn several(kinds: &[Kind], observed: &Observed) -> Option<Shape> {
    let only = |allowed: &[Kind]| kinds.iter().all(|kind| allowed.contains(kind));
    if only(&[Kind::Int32, Kind::Int64]) {
        return Some(Shape::Int64);
    }
    if only(&[Kind::Int32, Kind::Int64, Kind::Double]) && !observed.wide {
        return Some(Shape::Double);
    }
    if only(&[Kind::Int32, Kind::Int64, Kind::Decimal128]) {
        return Some(decimal(observed));
    }
    if only(&[Kind::Uuid, Kind::Binary(4)]) {
        return Some(Shape::Binary(4));
    }
    None
}

fn named(field: Field, name: &str) -> Field {
    with_extension(field, name, None)
}

fn with_extension(field: Field, name: &str, facts: Option<String>) -> Field {
    let mut metadata = field.metadata().clone();
    metadata.insert(EXTENSION.into(), name.into());
    if let Some(facts) = facts {
        metadata.insert(EXTENSION_FACTS.into(), facts);
    }
    field.with_metadata(metadata)
}

/// The fields of the struct that a BSON timestamp becomes.
pub(crate) fn timestamp_fields() -> Fields {
    vec![
        Field::new("time", DataType::UInt32, false),
        Field::new("increment", DataType::UInt32, false),
    ]
    .into()
}

/// The fields of the struct that a regular expression becomes.
pub(crate) fn regex_fields() -> Fields {
    vec![
        Field::new("pattern", DataType::Utf8, false),
        Field::new("options", DataType::Utf8, false),
    ]
    .into()
}

/// The fields of the struct that a DBPointer becomes.
pub(crate) fn pointer_fields() -> Fields {
    let id = Field::new("id", DataType::FixedSizeBinary(12), false);
    vec![
        Field::new("namespace", DataType::Utf8, false),
        named(id, "mongodb.objectid"),
    ]
    .into()
}

/// The Arrow field of a shape.
pub(crate) fn field(name: &str, shape: &Shape) -> Field {
    let plain = |data_type| Field::new(name, data_type, true);
    match shape {
        Shape::Null => plain(DataType::Null),
        Shape::Bool => plain(DataType::Boolean),
        Shape::Int32 => plain(DataType::Int32),
        Shape::Int64 => plain(DataType::Int64),
        Shape::Double => plain(DataType::Float64),
        Shape::Decimal { precision, scale } => plain(if *precision <= 38 {
            DataType::Decimal128(*precision, *scale)
        } else {
            DataType::Decimal256(*precision, *scale)
        }),
        Shape::Text(text) => {
            let field = plain(DataType::Utf8);
            match text {
                Text::String | Text::Plain => field,
                Text::Code => named(field, "mongodb.code"),
                Text::Symbol => named(field, "mongodb.symbol"),
                Text::Decimal => named(field, "mongodb.decimal128"),
                Text::Json => named(field, "mongodb.extended_json"),
            }
        }
        Shape::Binary(0) => plain(DataType::Binary),
        Shape::Binary(subtype) => {
            let facts = format!("{{\"subtype\":{subtype}}}");
            with_extension(plain(DataType::Binary), "mongodb.binary", Some(facts))
        }
        Shape::Uuid => named(plain(DataType::FixedSizeBinary(16)), "arrow.uuid"),
        Shape::ObjectId => named(plain(DataType::FixedSizeBinary(12)), "mongodb.objectid"),
        Shape::Date => plain(DataType::Timestamp(
            TimeUnit::Millisecond,
            Some("UTC".into()),
        )),
        Shape::Timestamp => named(
            plain(DataType::Struct(timestamp_fields())),
            "mongodb.timestamp",
        ),
        Shape::Regex => named(plain(DataType::Struct(regex_fields())), "mongodb.regex"),
        Shape::DbPointer => named(
            plain(DataType::Struct(pointer_fields())),
            "mongodb.dbpointer",
        ),
        Shape::Struct(fields) => plain(DataType::Struct(self::fields(fields))),
        Shape::List(items) => plain(DataType::List(item(items))),
        Shape::Map(items) => plain(DataType::Map(entries(items), false)),
    }
}

/// The field of a list's items.
pub(crate) fn item(shape: &Shape) -> FieldRef {
    Arc::new(field("item", shape))
}

/// The field of a map's entries.
pub(crate) fn entries(shape: &Shape) -> FieldRef {
    let fields = vec![
        Field::new("keys", DataType::Utf8, false),
        field("values", shape),
    ];
    Arc::new(Field::new(
        "entries",
        DataType::Struct(fields.into()),
        false,
    ))
}

/// The fields of a struct.
pub(crate) fn fields(fields: &[(String, Shape)]) -> Fields {
    fields
        .iter()
        .map(|(name, shape)| field(name, shape))
        .collect()
}

/// The schema of the columns.
pub(crate) fn schema(columns: &[(String, Shape)]) -> Schema {
    Schema::new(fields(columns))
}
