//! Where a load of a job goes: one destination, or a list of them.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::job::JobLoad;
use crate::to::{To, target_of};

/// One destination of a load of a job. What it does not say itself, the load says for all of its destinations.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct JobDestination {
    /// A loader, a connection, or a URL.
    pub(crate) to: String,
    /// The table, file or key pattern.
    pub(crate) target: Option<String>,
    /// The connection, where `to` names a loader.
    pub(crate) connection: Option<String>,
    /// Connection keys.
    #[serde(default)]
    config: BTreeMap<String, Value>,
    /// `create`, `append`, `overwrite` or `upsert`.
    pub(crate) mode: Option<String>,
    /// The columns that identify a row.
    #[serde(default)]
    pub(crate) keys: Vec<String>,
    /// Refuse a load without a row before its commit: the target stays as it was.
    #[serde(default)]
    pub(crate) refuse_empty: bool,
    /// Options of every load, or of the loader.
    #[serde(default)]
    pub(crate) options: BTreeMap<String, Value>,
}

/// A destination, or a list: of what `to` takes alone, and of tables with keys of their own.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub(crate) struct JobDestinations(Vec<JobDestination>);

impl JobLoad {
    /// Each destination with all of its settings.
    pub(crate) fn destinations(&self) -> Vec<JobDestination> {
        let JobDestinations(each) = &self.to;
        let merged = |all: &BTreeMap<String, Value>, own: &BTreeMap<String, Value>| {
            let mut merged = all.clone();
            merged.extend(own.clone());
            merged
        };
        let whole = |own: &JobDestination| {
            // In a list, a URL applies to its own destination, and the settings of the load apply to all.
            let by_url = each.len() > 1 && target_of(&own.to).1.is_some();
            let general = self.target.clone().filter(|_| !by_url);
            JobDestination {
                to: own.to.clone(),
                target: own.target.clone().or(general),
                connection: own.connection.clone().or(self.connection.clone()),
                config: merged(&self.config, &own.config),
                mode: own.mode.clone().or(self.mode.clone()),
                keys: match own.keys.is_empty() {
                    true => self.keys.clone(),
                    false => own.keys.clone(),
                },
                refuse_empty: self.refuse_empty || own.refuse_empty,
                options: merged(&self.options, &own.options),
            }
        };
        each.iter().map(whole).collect()
    }
}

/// The id of a load of a job.
#[derive(Debug, Clone)]
pub(crate) struct LoadId {
    pub(crate) text: String,
    /// No load has had it yet.
    pub(crate) is_new: bool,
}

impl JobDestination {
    /// As the flags of `arrowload load` would say it.
    pub(crate) fn as_flags(&self, load_id: Option<LoadId>) -> To {
        To {
            to: self.to.clone(),
            target: self.target.clone(),
            connection: self.connection.clone(),
            config: texts(&self.config),
            mode: self.mode.clone(),
            keys: self.keys.clone(),
            options: texts(&self.options),
            is_new: load_id.as_ref().is_some_and(|load_id| load_id.is_new),
            load_id: load_id.map(|load_id| load_id.text),
            refuse_empty: self.refuse_empty,
        }
    }
}

/// Keys and values as flags write them.
pub(crate) fn texts(values: &BTreeMap<String, Value>) -> Vec<String> {
    let text = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    values
        .iter()
        .map(|(key, value)| format!("{key}={}", text(value)))
        .collect()
}

// By hand, as serde's untagged enums do not say which key is wrong.
impl<'de> Deserialize<'de> for JobDestinations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;

        impl<'de> Visitor<'de> for OneOrMore {
            type Value = JobDestinations;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a loader, a connection or a URL, or a list of destinations")
            }

            fn visit_str<E: Error>(self, to: &str) -> Result<Self::Value, E> {
                Named
                    .visit_str(to)
                    .map(|Listed(one)| JobDestinations(vec![one]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut each = Vec::new();
                while let Some(Listed(one)) = list.next_element()? {
                    each.push(one);
                }
                if each.is_empty() {
                    return Err(A::Error::custom(
                        "there is no destination; name at least one",
                    ));
                }
                Ok(JobDestinations(each))
            }
        }

        deserializer.deserialize_any(OneOrMore)
    }
}

/// An element of the list.
struct Listed(JobDestination);

struct Named;

impl<'de> Deserialize<'de> for Listed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Named)
    }
}

impl<'de> Visitor<'de> for Named {
    type Value = Listed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a loader, a connection or a URL, or a table with a `to`")
    }

    fn visit_str<E: Error>(self, to: &str) -> Result<Self::Value, E> {
        Ok(Listed(JobDestination {
            to: to.to_owned(),
            ..JobDestination::default()
        }))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        JobDestination::deserialize(MapAccessDeserializer::new(map)).map(Listed)
    }
}

/// The schema of one destination, or of a list.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) enum OneOrMoreSchema {
    One(String),
    Several(Vec<ListedSchema>),
}

/// The schema of an element of the list.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) enum ListedSchema {
    Named(String),
    Whole(JobDestination),
}
