//! The types of values, as a tree: what profiles and declarations make of a file.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Fields};
use arrowload_common_text_files::{ColumnType, Numbers, invalid, is_supported, parse_type};
use arrowload_core::{Error, ErrorKind, Result};

use crate::options::{Mixed, Options};
use crate::profile::{ARRAY, BOOLEAN, DEEP, NUMBER, OBJECT, Profile, STRING};

/// The type of the values at one place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    /// There was no value: text, in which nothing but null fits.
    Unknown,
    /// JSON text: each value as it is written.
    Json,
    /// Strings.
    Text,
    /// A boolean, number, time or text, found or declared.
    Scalar(ColumnType),
    /// Objects.
    Struct(Vec<Member>),
    /// Arrays; the field is that of their values.
    List(FieldRef, Box<Node>),
}

/// A member of objects.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) node: Node,
    /// Whether its type was declared.
    pub(crate) declared: bool,
}

/// The key of a field's metadata that names its extension type.
const EXTENSION: &str = "ARROW:extension:name";

impl Node {
    pub(crate) fn data_type(&self) -> DataType {
        match self {
            Self::Unknown | Self::Json | Self::Text => DataType::Utf8,
            Self::Scalar(kind) => kind.data_type.clone(),
            Self::Struct(members) => DataType::Struct(fields(members)),
            Self::List(field, _) => DataType::List(Arc::clone(field)),
        }
    }

    /// A field within another.
    pub(crate) fn field(&self, name: &str) -> Field {
        Field::new(name, self.data_type(), true)
    }

    /// A column of this type; JSON text has Arrow's extension type for it.
    pub(crate) fn column(&self, name: &str) -> Field {
        let field = self.field(name);
        match self {
            Self::Json => field.with_metadata(HashMap::from([(
                EXTENSION.to_owned(),
                "arrow.json".to_owned(),
            )])),
            _ => field,
        }
    }

    /// The node of a type that was declared.
    pub(crate) fn declared(path: &str, data_type: &DataType) -> Result<Self> {
        Ok(match data_type {
            DataType::Struct(fields) if !fields.is_empty() => {
                let member = |field: &FieldRef| {
                    let path = format!("{path}.{}", field.name());
                    Ok(Member {
                        name: field.name().clone(),
                        node: Self::declared_field(&path, field)?,
                        declared: true,
                    })
                };
                Self::Struct(fields.iter().map(member).collect::<Result<_>>()?)
            }
            DataType::List(field) => {
                let node = Self::declared_field(&format!("{path}[]"), field)?;
                Self::list(field.name(), node)
            }
            other if is_supported(other) => Self::Scalar(ColumnType::declared(other.clone())),
            other => {
                let message = format!("`{path}` cannot be read from JSON as {other}");
                return Err(Error::new(ErrorKind::UnsupportedType, message).with("column", path));
            }
        })
    }

    fn declared_field(path: &str, field: &Field) -> Result<Self> {
        match field.extension_type_name() {
            Some("arrow.json") => Ok(Self::Json),
            _ => Self::declared(path, field.data_type()),
        }
    }

    /// Where it holds text below a place, and whether that is JSON text.
    pub(crate) fn texts(&self, place: &str, texts: &mut Vec<(String, bool)>) {
        match self {
            Self::Json => texts.push((place.to_owned(), true)),
            Self::Text => texts.push((place.to_owned(), false)),
            Self::Struct(members) => {
                for member in members {
                    member
                        .node
                        .texts(&format!("{place}.{}", member.name), texts);
                }
            }
            Self::List(_, item) => item.texts(&format!("{place}[]"), texts),
            Self::Unknown | Self::Scalar(_) => {}
        }
    }

    /// The node of a type that a program offers, and nobody declared: floats are not rounded.
    fn offered(self) -> Self {
        match self {
            Self::Scalar(kind) => Self::Scalar(ColumnType::offered(kind.data_type)),
            Self::List(field, item) => Self::List(field, Box::new(item.offered())),
            Self::Struct(mut members) => {
                for member in &mut members {
                    let node = std::mem::replace(&mut member.node, Self::Unknown);
                    member.node = node.offered();
                }
                Self::Struct(members)
            }
            other => other,
        }
    }

    /// The node of a declared type whose values must be written as those of a type that is found.
    fn strict(self) -> Self {
        match self {
            Self::Scalar(kind) if kind.data_type == DataType::Utf8 => Self::Text,
            Self::Scalar(kind) => Self::Scalar(ColumnType::found(kind.data_type)),
            other => other,
        }
    }

    fn list(name: &str, node: Self) -> Self {
        Self::List(Arc::new(node.field(name)), Box::new(node))
    }
}

/// Whether values of JSON can be read as this type, if it is declared.
pub fn is_readable(data_type: &DataType) -> bool {
    Node::declared("", data_type).is_ok()
}

fn fields(members: &[Member]) -> Fields {
    members
        .iter()
        .map(|member| member.node.field(&member.name))
        .collect()
}

/// What becomes of profiles.
#[derive(Debug, Clone, Default)]
pub(crate) struct Typing {
    /// What the user declared: such places are there, also if no row has them.
    own: BTreeMap<String, Node>,
    /// What a program offers for places that are there.
    offered: BTreeMap<String, Node>,
    numbers: Numbers,
    mixed: Mixed,
}

impl Typing {
    pub(crate) fn new(options: &Options) -> Result<Self> {
        let mut typing = Self {
            numbers: options.numbers,
            mixed: options.mixed,
            ..Self::default()
        };
        for (path, data_type) in &options.declared {
            typing
                .offered
                .insert(path.clone(), Node::declared(path, data_type)?.offered());
        }
        for (path, name) in &options.strict_types {
            typing.own.insert(path.clone(), named(path, name)?.strict());
        }
        if let arrowload_common_text_files::Types::Columns(types) = &options.types {
            for (path, name) in types {
                typing.own.insert(path.clone(), named(path, name)?);
            }
        }
        Ok(typing)
    }

    /// The type of all columns, if one is declared for all.
    pub(crate) fn all(options: &Options) -> Result<Option<Node>> {
        match &options.types {
            arrowload_common_text_files::Types::All(name) => named("", name).map(Some),
            arrowload_common_text_files::Types::Columns(_) => Ok(None),
        }
    }

    pub(crate) fn own(&self) -> impl Iterator<Item = &str> {
        self.own.keys().map(String::as_str)
    }

    /// The declared type of a place.
    pub(crate) fn of(&self, path: &str) -> Option<&Node> {
        self.own.get(path).or_else(|| self.offered.get(path))
    }

    /// The type of the values at a place that was not declared.
    pub(crate) fn found(&self, profile: &Profile, path: &str) -> Result<Node> {
        let kind = |data_type| Node::Scalar(ColumnType::found(data_type));
        Ok(match profile.seen {
            0 => Node::Unknown,
            BOOLEAN => kind(DataType::Boolean),
            NUMBER => self.numbers_of(profile).map_or(Node::Json, kind),
            STRING => Node::Text,
            OBJECT => match &profile.members {
                Some(members) if !members.wide && members.names.len() > 0 => {
                    let mut list = Vec::with_capacity(members.names.len());
                    for (name, profile) in members.names.iter().zip(&members.profiles) {
                        let name = String::from_utf8_lossy(name).into_owned();
                        let path = format!("{path}.{name}");
                        list.push(self.member(profile, name, &path)?);
                    }
                    Node::Struct(list)
                }
                _ => Node::Json,
            },
            ARRAY => {
                let path = format!("{path}[]");
                match &profile.items {
                    Some(items) => {
                        Node::list("item", self.member(items, String::new(), &path)?.node)
                    }
                    None => Node::list("item", Node::Unknown),
                }
            }
            seen if seen & DEEP != 0 => Node::Json,
            _ if self.mixed == Mixed::Error => {
                let message = format!(
                    "the values of `{path}` are of different kinds: {}",
                    kinds(profile.seen)
                );
                return Err(Error::new(ErrorKind::InvalidData, message).with("column", path));
            }
            _ => Node::Json,
        })
    }

    /// The type of a member, declared or found.
    pub(crate) fn member(&self, profile: &Profile, name: String, path: &str) -> Result<Member> {
        Ok(match self.of(path) {
            Some(node) => Member {
                name,
                node: node.clone(),
                declared: true,
            },
            None => Member {
                name,
                node: self.found(profile, path)?,
                declared: false,
            },
        })
    }

    fn numbers_of(&self, profile: &Profile) -> Option<DataType> {
        profile.numbers.data_type(self.numbers)
    }
}

/// The type of a name, which may be `json`.
fn named(path: &str, name: &str) -> Result<Node> {
    if name.trim().eq_ignore_ascii_case("json") {
        return Ok(Node::Json);
    }
    let data_type = parse_type(name).map_err(|error| match path {
        "" => error,
        path => error.with("column", path),
    })?;
    Node::declared(path, &data_type)
        .map_err(|_| invalid("types", format!("`{name}` is no type of JSON")))
}

/// The names of kinds of values.
pub(crate) fn kinds(seen: u8) -> String {
    let names = [
        (BOOLEAN, "booleans"),
        (NUMBER, "numbers"),
        (STRING, "strings"),
        (OBJECT, "objects"),
        (ARRAY, "arrays"),
    ];
    let found = names.iter().filter(|(kind, _)| seen & kind != 0);
    found.map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
}
