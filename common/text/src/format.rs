//! How values that have several forms are written: one profile for each format that is made from text.

use std::collections::HashSet;

use arrow_schema::{DataType, FieldRef};

use crate::is_text;

/// Binary as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binary {
    /// Hexadecimal digits.
    Hex,
    /// `\x` and hexadecimal digits, as PostgreSQL writes a `bytea`.
    Bytea,
    /// The bytes as they are; within JSON, which has to be text, base64.
    Raw,
}

/// Floats that are not numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NonFinite {
    /// NaN.
    pub nan: &'static str,
    /// Infinity; the negative one has a minus before it.
    pub infinity: &'static str,
    /// Whether JSON, which has no such numbers, holds them as strings. Otherwise they are refused there.
    pub in_json: bool,
}

/// Dates, times of day and timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// ISO 8601; with a zone, in UTC and with a `Z`.
    Iso8601,
    /// Whole numbers in the unit of the column.
    Epoch,
}

/// Durations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durations {
    /// ISO 8601, in seconds: `PT-1.500S`.
    Iso8601,
    /// Whole numbers in the unit of the column.
    Count,
}

/// Maps as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapKeys {
    /// An object; keys that are not text are refused, by [`Format::check`].
    Strings,
    /// An object; keys that are not text are written as text.
    AsText,
    /// An object if the keys are text, else an array of entries.
    OrEntries,
}

/// NUL bytes in the strings of JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nul<'a> {
    /// `\u0000`.
    Escape,
    /// Not written.
    Refuse,
    /// Something else is written in their place.
    Replace(&'a str),
}

/// How values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format<'a> {
    /// Binary.
    pub binary: Binary,
    /// NaN and infinity.
    pub non_finite: NonFinite,
    /// False and true as text. JSON has its own.
    pub booleans: [&'static str; 2],
    /// Dates, times of day and timestamps.
    pub times: Times,
    /// Durations.
    pub durations: Durations,
    /// Whether zeros are written that say nothing: the `.0` of a whole float, by which readers that guess know it for a float, the
    /// fraction of a whole second, an interval's parts that are none.
    pub zeros: bool,
    /// Whether years before 0 and after 9999 are written, with a sign. Otherwise they are refused.
    pub far_years: bool,
    /// Maps as JSON.
    pub map_keys: MapKeys,
    /// Whether a union is a JSON object with the name of its member. Otherwise it is refused, by [`Format::check`].
    pub unions: bool,
    /// NUL bytes in the strings of JSON.
    pub nul: Nul<'a>,
}

impl Format<'static> {
    /// CSV, and what is printed for people.
    pub const CSV: Self = Self {
        binary: Binary::Hex,
        non_finite: NonFinite {
            nan: "NaN",
            infinity: "inf",
            in_json: true,
        },
        booleans: ["false", "true"],
        times: Times::Iso8601,
        durations: Durations::Iso8601,
        zeros: true,
        far_years: false,
        map_keys: MapKeys::Strings,
        unions: false,
        nul: Nul::Escape,
    };

    /// NDJSON, and JSON for any reader. A float that is not a number is a string, which a reader that is told the column's type
    /// takes for that float again.
    pub const NDJSON: Self = Self {
        non_finite: NonFinite {
            infinity: "Infinity",
            ..Self::CSV.non_finite
        },
        ..Self::CSV
    };

    /// The documents of PostgreSQL's `json` and `jsonb`. Their numbers are decimals, which have no NaN.
    pub const POSTGRES_JSON: Self = Self {
        binary: Binary::Bytea,
        non_finite: NonFinite {
            nan: "NaN",
            infinity: "Infinity",
            in_json: false,
        },
        zeros: false,
        far_years: true,
        map_keys: MapKeys::OrEntries,
        unions: true,
        nul: Nul::Refuse,
        ..Self::CSV
    };

    /// Redis's strings, and JSON in them.
    pub const REDIS: Self = Self {
        binary: Binary::Raw,
        non_finite: NonFinite {
            nan: "nan",
            infinity: "inf",
            in_json: false,
        },
        durations: Durations::Count,
        zeros: false,
        far_years: true,
        map_keys: MapKeys::AsText,
        unions: true,
        ..Self::CSV
    };
}

impl Format<'_> {
    /// Refuses types whose values JSON could not hold, or would hold in part: objects keep one member of a name.
    ///
    /// # Errors
    /// Why, as a sentence without its subject's name.
    pub fn check(&self, data_type: &DataType) -> Result<(), String> {
        use DataType as T;
        match data_type {
            T::Struct(fields) => {
                if let Some(twin) = twin(fields.iter()) {
                    return Err(format!(
                        "a struct has two fields `{twin}`, and a JSON object would keep one"
                    ));
                }
                fields
                    .iter()
                    .try_for_each(|field| self.check(field.data_type()))
            }
            T::Union(..) if !self.unions => Err("JSON has no unions".into()),
            T::Union(members, _) => {
                if let Some(twin) = twin(members.iter().map(|(_, member)| member)) {
                    return Err(format!(
                        "a union has two members `{twin}`, which nothing would tell apart"
                    ));
                }
                members
                    .iter()
                    .try_for_each(|(_, member)| self.check(member.data_type()))
            }
            T::Map(entries, _) => {
                let strings = match entries.data_type() {
                    T::Struct(fields) => fields.first().is_some_and(|key| is_text(key.data_type())),
                    _ => false,
                };
                if self.map_keys == MapKeys::Strings && !strings {
                    return Err("the keys of a JSON object are strings".into());
                }
                self.check(entries.data_type())
            }
            T::List(item)
            | T::LargeList(item)
            | T::ListView(item)
            | T::LargeListView(item)
            | T::FixedSizeList(item, _)
            | T::RunEndEncoded(_, item) => self.check(item.data_type()),
            T::Dictionary(_, values) => self.check(values),
            _ => Ok(()),
        }
    }
}

/// A name that two fields have.
fn twin<'a>(fields: impl Iterator<Item = &'a FieldRef>) -> Option<&'a str> {
    let mut names = HashSet::new();
    fields
        .map(|field| field.name().as_str())
        .find(|name| !names.insert(*name))
}
