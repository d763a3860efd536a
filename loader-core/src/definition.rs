//! A digest of what a load does, which is stored with its `load_id`, so that the same id is refused for a different load.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use crate::{Error, ErrorKind, Input, KeySchema, LoadOptions, Result, Settings};

/// The version of the format; definitions of different versions are not compared.
const VERSION: &str = "1";

/// The part for [`Input::part_of`]: what the rows are a part of.
const ORIGIN: &str = "origin";

/// A digest of each part of a load's definition: its rows (the query and its parameters), mode, keys, rule for null keys, schema
/// evolution, and the loader's options that change what arrives. How it runs (batch sizes, parallelism, retries, timeout) is not
/// part of it.
///
/// As text it is a line of `part=digest` words of ASCII, without values that could be secret; a loader stores that text with the
/// `load_id`, and gives it back in [`Receipt::definition`](crate::Receipt::definition).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Definition(String);

impl Definition {
    /// What a loader has stored.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// What a loader stores.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The definition of a load of these rows. If the input has a definition, it is included.
    pub(crate) fn of(
        input: &Input,
        load: &LoadOptions,
        options: &Settings,
        known: &KeySchema,
    ) -> Self {
        let mut parts = vec![
            ("mode".to_owned(), load.mode.name().to_owned()),
            ("keys".to_owned(), digest(&load.keys.join("\u{0}"))),
            ("null_keys".to_owned(), load.null_keys.name().to_owned()),
            (
                "schema_evolution".to_owned(),
                load.schema_evolution.to_string(),
            ),
        ];
        let query = input.definition().map(|rows| ("query", rows));
        let origin = input.origin().map(|origin| (ORIGIN, origin));
        parts.extend(
            query
                .into_iter()
                .chain(origin)
                .map(|(part, text)| (part.to_owned(), digest(text))),
        );
        for (key, setting) in options.iter() {
            if known.is_tuning(key) || known.holds_secrets(key) {
                continue;
            }
            let text = match known.fit(key, &setting.value) {
                Value::String(text) => text,
                other => other.to_string(),
            };
            parts.push((key.to_owned(), digest(&text)));
        }
        let words: Vec<String> = parts
            .into_iter()
            .map(|(part, digest)| format!("{part}={digest}"))
            .collect();
        Self(format!("{VERSION} {}", words.join(" ")))
    }

    /// The parts that differ, sorted; none, if one is of another version.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let (Some(ours), Some(theirs)) = (self.parts(), other.parts()) else {
            return Vec::new();
        };
        let differs = |part: &&&str| ours.get(**part) != theirs.get(**part);
        let mut parts: Vec<&&str> = ours.keys().chain(theirs.keys()).filter(differs).collect();
        parts.sort_unstable();
        parts.dedup();
        parts.into_iter().map(|part| (*part).to_owned()).collect()
    }

    /// Whether the load's rows were a part of this: what [`Input::part_of`] said of them. `None` where that is not recorded.
    pub fn is_part_of(&self, origin: &str) -> Option<bool> {
        let parts = self.parts()?;
        parts.get(ORIGIN).map(|known| *known == digest(origin))
    }

    fn parts(&self) -> Option<BTreeMap<&str, &str>> {
        let words = self.0.strip_prefix(VERSION)?.strip_prefix(' ')?;
        Some(
            words
                .split(' ')
                .filter_map(|word| word.split_once('='))
                .collect(),
        )
    }

    /// Refuses a load whose id is that of a load of another definition. A record without one matches anything.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`], naming the parts that differ.
    pub(crate) fn check_recorded(&self, recorded: Option<&Self>, load_id: &str) -> Result<()> {
        let differing = recorded.map_or_else(Vec::new, |recorded| self.differences(recorded));
        if differing.is_empty() {
            return Ok(());
        }
        let message = format!(
            "this load_id was another load: `{load_id}` has committed, and differs from this one in {}; give a new load_id to load these \
             rows too",
            differing.join(", ")
        );
        Err(Error::new(ErrorKind::InvalidOption, message).with("key", "load_id"))
    }
}

impl fmt::Display for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn digest(text: &str) -> String {
    format!("{:016x}", xxh3_64(text.as_bytes()))
}

/// The high-water mark of an incremental load: recorded with its `load_id`, in the same commit as its rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Mark {
    /// The mark that the load began at, exclusive; `None` for the first one.
    pub read: Option<String>,
    /// The mark that it leaves.
    pub new: String,
}

impl Mark {
    /// From what was read to what the load leaves.
    pub fn new(read: Option<String>, new: impl Into<String>) -> Self {
        Self {
            read,
            new: new.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_schema::Schema;
    use schemars::JsonSchema;

    use super::*;
    use crate::{Mode, Secret};

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is used")]
    struct Options {
        folder: String,
        #[schemars(extend("x-tuning" = true))]
        block: Option<usize>,
        pin: Option<Secret>,
    }

    fn rows() -> Input {
        Input::table(Arc::new(Schema::empty()), Vec::new())
    }

    fn of(input: &str, change: impl FnOnce(&mut LoadOptions, &mut Settings)) -> Definition {
        let (mut load, mut options) = (LoadOptions::default(), Settings::new());
        options.set("folder", "a", "test");
        change(&mut load, &mut options);
        let input = rows().defined_as(input);
        Definition::of(&input, &load, &options, &KeySchema::of::<Options>())
    }

    #[test]
    fn what_changes_the_meaning_differs_and_what_tunes_it_does_not() {
        let one = of("select 1", |_, _| {});
        let tuned = of("select 1", |load, options| {
            load.batch_size = Some(7);
            load.parallelism = Some(3);
            load.max_retries = 0;
            options.set("block", 9, "test");
            options.set("pin", "1234", "test");
        });
        assert_eq!(one, tuned);
        let other = of("select 2", |load, options| {
            load.mode = Mode::Overwrite;
            options.set("folder", "b", "test");
        });
        assert_eq!(one.differences(&other), ["folder", "mode", "query"]);
        let error = one
            .check_recorded(Some(&other), "x")
            .expect_err("another load");
        assert!(error.message().contains("folder, mode, query"), "{error}");
        assert!(one.check_recorded(None, "x").is_ok());
        let future = Definition::from_text("2 something else");
        assert!(one.check_recorded(Some(&future), "x").is_ok());
        assert!(one.as_str().is_ascii());
        let (load, options, known) = (
            LoadOptions::default(),
            Settings::new(),
            KeySchema::of::<Options>(),
        );
        let part = rows().defined_as("window 1").part_of("select 1");
        let part = Definition::of(&part, &load, &options, &known);
        assert_eq!(
            [
                part.is_part_of("select 1"),
                part.is_part_of("select 2"),
                one.is_part_of("select 1")
            ],
            [Some(true), Some(false), None]
        );
    }
}
