//! Parses the text of a query: a `find` or `aggregate` as JSON, with MongoDB's own names, and options for inferring types.

use std::collections::HashMap;
use std::time::Duration;

use arrowload_core::{Error, ErrorKind, Result, nearest};
use bson::{Bson, Document, doc};
use mongodb::options::{
    AggregateOptions, Collation, FindOptions, Hint, ReadConcern, ReadPreference, SelectionCriteria,
};

use crate::walk::shape::{Mixed, Shape, Text};

/// The keys of a query.
const KEYS: [&str; 25] = [
    "collection",
    "database",
    "filter",
    "pipeline",
    "projection",
    "sort",
    "skip",
    "limit",
    "sample",
    "hint",
    "collation",
    "maxTimeMS",
    "allowDiskUse",
    "batchSize",
    "comment",
    "let",
    "readPreference",
    "readConcern",
    "mixed",
    "maps",
    "json",
    "text",
    "types",
    "infer",
    "sampleSize",
];

/// Where types come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Infer {
    /// The first documents; a later type opens the query again.
    Sample(usize),
    /// All of them, which are read twice.
    All,
}

/// A query.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) collection: String,
    pub(crate) database: Option<String>,
    filter: Document,
    pipeline: Option<Vec<Document>>,
    projection: Option<Document>,
    sort: Option<Document>,
    skip: Option<u64>,
    limit: Option<i64>,
    sample: Option<i64>,
    hint: Option<Hint>,
    collation: Option<Collation>,
    max_time: Option<Duration>,
    allow_disk_use: Option<bool>,
    batch_size: Option<u32>,
    comment: Option<Bson>,
    variables: Option<Document>,
    read: Option<ReadPreference>,
    concern: Option<ReadConcern>,
    pub(crate) mixed: Mixed,
    pub(crate) maps: Vec<String>,
    pub(crate) whole: HashMap<String, Mixed>,
    pub(crate) columns: Option<Vec<(String, Shape)>>,
    pub(crate) infer: Infer,
}

fn bad(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Query, message)
}

fn wrong(key: &str, needs: &str) -> Error {
    bad(format!("`{key}` of a MongoDB query needs {needs}")).with("key", key)
}

/// A whole number of any width.
fn whole(key: &str, value: &Bson) -> Result<i64> {
    match value {
        Bson::Int32(value) => Ok(i64::from(*value)),
        Bson::Int64(value) => Ok(*value),
        Bson::Double(value) if value.fract() == 0.0 => Ok(*value as i64),
        _ => Err(wrong(key, "a whole number")),
    }
}

fn natural<T: TryFrom<i64>>(key: &str, value: &Bson) -> Result<T> {
    let number = whole(key, value)?;
    let fits = T::try_from(number).ok().filter(|_| number >= 0);
    fits.ok_or_else(|| wrong(key, "a whole number from 0"))
}

fn document(key: &str, value: &Bson) -> Result<Document> {
    let found = value.as_document().cloned();
    found.ok_or_else(|| wrong(key, "a document"))
}

fn text(key: &str, value: &Bson) -> Result<String> {
    let found = value.as_str().map(str::to_owned);
    found.ok_or_else(|| wrong(key, "text"))
}

fn flag(key: &str, value: &Bson) -> Result<bool> {
    value.as_bool().ok_or_else(|| wrong(key, "true or false"))
}

fn texts(key: &str, value: &Bson) -> Result<Vec<String>> {
    let items = value
        .as_array()
        .ok_or_else(|| wrong(key, "a list of paths"))?;
    items.iter().map(|item| text(key, item)).collect()
}

fn stages(key: &str, value: &Bson) -> Result<Vec<Document>> {
    let items = value
        .as_array()
        .ok_or_else(|| wrong(key, "a list of stages"))?;
    items.iter().map(|item| document(key, item)).collect()
}

/// `SELECT * FROM name`, all of it: the SQL that needs no engine.
fn plain_select(sql: &str) -> Option<String> {
    let mut words = sql.trim().trim_end_matches(';').split_whitespace();
    let is = |word: Option<&str>, wanted: &str| {
        word.is_some_and(|word| word.eq_ignore_ascii_case(wanted))
    };
    let head = is(words.next(), "select") && is(words.next(), "*") && is(words.next(), "from");
    let name = words.next().filter(|_| head)?;
    if words.next().is_some() {
        return None;
    }
    let bare = name
        .strip_prefix('"')
        .and_then(|name| name.strip_suffix('"'));
    let name = bare.unwrap_or(name);
    let plain = |letter: char| letter.is_alphanumeric() || "_.-".contains(letter);
    name.chars().all(plain).then(|| name.to_owned())
}

impl Spec {
    fn of(collection: String) -> Self {
        Self {
            collection,
            database: None,
            filter: Document::new(),
            pipeline: None,
            projection: None,
            sort: None,
            skip: None,
            limit: None,
            sample: None,
            hint: None,
            collation: None,
            max_time: None,
            allow_disk_use: None,
            batch_size: None,
            comment: None,
            variables: None,
            read: None,
            concern: None,
            mixed: Mixed::Error,
            maps: Vec::new(),
            whole: HashMap::new(),
            columns: None,
            infer: Infer::Sample(10_000),
        }
    }

    /// Reads a query's text. JSON is read in its order, as the order of a sort or of stages means something.
    ///
    /// # Errors
    /// [`ErrorKind::Query`] for what is malformed, [`ErrorKind::Unsupported`] for SQL that is more than `SELECT * FROM name`.
    pub(crate) fn parse(sql: &str) -> Result<Self> {
        if !sql.trim_start().starts_with('{') {
            return plain_select(sql).map(Self::of).ok_or_else(|| {
                let message = "MongoDB is queried in JSON: {\"collection\": \"events\", \"filter\": {…}, \"projection\": {…}, \"sort\": {…}, \"limit\": 10} or {\"collection\": \"events\", \"pipeline\": […]}; of SQL it takes SELECT * FROM collection";
                Error::new(ErrorKind::Unsupported, message)
            });
        }
        let query: Document = serde_json::from_str(sql)
            .map_err(|error| bad(format!("the query is no valid extended JSON: {error}")))?;
        let collection = query
            .get("collection")
            .ok_or_else(|| wrong("collection", "the name of a collection"))?;
        let mut spec = Self::of(text("collection", collection)?);
        for (key, value) in &query {
            spec.set(key, value)?;
        }
        if spec.pipeline.is_none() && spec.sample.is_none() && spec.limit == Some(0) {
            return Err(wrong("limit", "a whole number from 1"));
        }
        Ok(spec)
    }

    fn set(&mut self, key: &str, value: &Bson) -> Result<()> {
        match key {
            "collection" => {}
            "database" => self.database = Some(text(key, value)?),
            "filter" => self.filter = document(key, value)?,
            "pipeline" => self.pipeline = Some(stages(key, value)?),
            "projection" => self.projection = Some(document(key, value)?),
            "sort" => self.sort = Some(document(key, value)?),
            "skip" => self.skip = Some(natural(key, value)?),
            "limit" => self.limit = Some(natural(key, value)?),
            "sample" => self.sample = Some(natural(key, value)?),
            "hint" => {
                self.hint = Some(match value {
                    Bson::String(name) => Hint::Name(name.clone()),
                    keys => Hint::Keys(document(key, keys)?),
                });
            }
            "collation" => {
                let collation = bson::deserialize_from_document(document(key, value)?);
                self.collation =
                    Some(collation.map_err(|error| bad(format!("`collation`: {error}")))?);
            }
            "maxTimeMS" => self.max_time = Some(Duration::from_millis(natural(key, value)?)),
            "allowDiskUse" => self.allow_disk_use = Some(flag(key, value)?),
            "batchSize" => self.batch_size = Some(natural(key, value)?),
            "comment" => self.comment = Some(value.clone()),
            "let" => self.variables = Some(document(key, value)?),
            "readPreference" => self.read = Some(preference(&text(key, value)?)?),
            "readConcern" => self.concern = Some(ReadConcern::custom(text(key, value)?)),
            "mixed" => self.mixed = mixed(&text(key, value)?)?,
            "maps" => self.maps = texts(key, value)?,
            "json" => {
                let paths = texts(key, value)?.into_iter();
                self.whole.extend(paths.map(|path| (path, Mixed::Json)));
            }
            "text" => {
                let paths = texts(key, value)?.into_iter();
                self.whole.extend(paths.map(|path| (path, Mixed::String)));
            }
            "types" => self.columns = Some(types(&document(key, value)?)?),
            "infer" => match text(key, value)?.as_str() {
                "all" => self.infer = Infer::All,
                "sample" => {}
                _ => return Err(wrong(key, "\"sample\" or \"all\"")),
            },
            "sampleSize" => {
                let size: usize = natural(key, value)?;
                if self.infer != Infer::All {
                    self.infer = Infer::Sample(size.max(1));
                }
            }
            other => {
                let hint = nearest(other, KEYS)
                    .map_or(String::new(), |known| format!("; did you mean `{known}`?"));
                let message = format!(
                    "a MongoDB query has no key `{other}`{hint} Known keys: {}",
                    KEYS.join(", ")
                );
                return Err(bad(message).with("key", other));
            }
        }
        Ok(())
    }

    fn find_options(&self) -> FindOptions {
        let mut options = FindOptions::default();
        options.projection.clone_from(&self.projection);
        options.sort.clone_from(&self.sort);
        options.skip = self.skip;
        options.limit = self.limit;
        options.hint.clone_from(&self.hint);
        options.collation.clone_from(&self.collation);
        options.max_time = self.max_time;
        options.allow_disk_use = self.allow_disk_use;
        options.batch_size = self.batch_size;
        options.comment.clone_from(&self.comment);
        options.let_vars.clone_from(&self.variables);
        options.read_concern.clone_from(&self.concern);
        options.selection_criteria = self.read.clone().map(SelectionCriteria::ReadPreference);
        options
    }

    fn aggregate_options(&self) -> AggregateOptions {
        let mut options = AggregateOptions::default();
        options.hint.clone_from(&self.hint);
        options.collation.clone_from(&self.collation);
        options.max_time = self.max_time;
        options.allow_disk_use = self.allow_disk_use;
        options.batch_size = self.batch_size;
        options.comment.clone_from(&self.comment);
        options.let_vars.clone_from(&self.variables);
        options.read_concern.clone_from(&self.concern);
        options.selection_criteria = self.read.clone().map(SelectionCriteria::ReadPreference);
        options
    }

    /// The stages, if it is an aggregation: filter, sample, sort and the others are appended in this order.
    fn stages(&self) -> Option<Vec<Document>> {
        if self.pipeline.is_none() && self.sample.is_none() {
            return None;
        }
        let mut stages = self.pipeline.clone().unwrap_or_default();
        if !self.filter.is_empty() {
            stages.push(doc! { "$match": self.filter.clone() });
        }
        if let Some(size) = self.sample {
            stages.push(doc! { "$sample": { "size": size } });
        }
        if let Some(sort) = &self.sort {
            stages.push(doc! { "$sort": sort.clone() });
        }
        if let Some(skip) = self.skip {
            stages.push(doc! { "$skip": skip as i64 });
        }
        if let Some(limit) = self.limit {
            stages.push(doc! { "$limit": limit });
        }
        if let Some(projection) = &self.projection {
            stages.push(doc! { "$project": projection.clone() });
        }
        Some(stages)
    }

    /// Opens a cursor.
    pub(crate) async fn open(
        &self,
        database: &mongodb::Database,
    ) -> mongodb::error::Result<mongodb::raw_batch_cursor::RawBatchCursor> {
        let collection = database.collection::<Document>(&self.collection);
        match self.stages() {
            Some(stages) => {
                let aggregate = collection.aggregate(stages);
                aggregate
                    .with_options(self.aggregate_options())
                    .batch()
                    .await
            }
            None => {
                let find = collection.find(self.filter.clone());
                find.with_options(self.find_options()).batch().await
            }
        }
    }
}

fn preference(text: &str) -> Result<ReadPreference> {
    Ok(match text {
        "primary" => ReadPreference::Primary,
        "primaryPreferred" => ReadPreference::PrimaryPreferred { options: None },
        "secondary" => ReadPreference::Secondary { options: None },
        "secondaryPreferred" => ReadPreference::SecondaryPreferred { options: None },
        "nearest" => ReadPreference::Nearest { options: None },
        _ => {
            let known = "primary, primaryPreferred, secondary, secondaryPreferred or nearest";
            return Err(wrong("readPreference", known));
        }
    })
}

fn mixed(text: &str) -> Result<Mixed> {
    match text {
        "error" => Ok(Mixed::Error),
        "json" => Ok(Mixed::Json),
        "string" => Ok(Mixed::String),
        _ => Err(wrong("mixed", "\"error\", \"json\" or \"string\"")),
    }
}

/// Columns as they are declared: `{"_id": "objectid", "n": "int64", "at": {"x": "double"}, "tags": ["string"]}`.
fn types(columns: &Document) -> Result<Vec<(String, Shape)>> {
    let column = |(name, declared): (&String, &Bson)| Ok((name.clone(), shape(name, declared)?));
    columns.iter().map(column).collect()
}

fn shape(name: &str, declared: &Bson) -> Result<Shape> {
    let unknown = || {
        bad(format!(
            "`types` does not know the type of `{name}`; it has bool, int32, int64, double, decimal(38,2), string, json, text, binary, uuid, objectid, date, timestamp, a document of types, and a list of one"
        ))
        .with("key", "types")
    };
    Ok(match declared {
        Bson::Document(fields) => match fields.iter().next() {
            Some((marker, values)) if marker == "$map" && fields.len() == 1 => {
                Shape::Map(Box::new(shape(name, values)?))
            }
            _ => Shape::Struct(types(fields)?),
        },
        Bson::Array(items) => match items.as_slice() {
            [item] => Shape::List(Box::new(shape(name, item)?)),
            _ => return Err(unknown()),
        },
        Bson::String(word) => match word.as_str() {
            "bool" => Shape::Bool,
            "int32" => Shape::Int32,
            "int64" => Shape::Int64,
            "double" => Shape::Double,
            "string" => Shape::Text(Text::String),
            "json" => Shape::Text(Text::Json),
            "text" => Shape::Text(Text::Plain),
            "binary" => Shape::Binary(0),
            "uuid" => Shape::Uuid,
            "objectid" => Shape::ObjectId,
            "date" => Shape::Date,
            "timestamp" => Shape::Timestamp,
            decimal => {
                let numbers = decimal
                    .strip_prefix("decimal(")
                    .and_then(|rest| rest.strip_suffix(')')?.split_once(','));
                let (precision, scale) = numbers.ok_or_else(unknown)?;
                let precision: u8 = precision.trim().parse().map_err(|_| unknown())?;
                let scale: i8 = scale.trim().parse().map_err(|_| unknown())?;
                if !(1..=76).contains(&precision) || !(0..=precision as i8).contains(&scale) {
                    return Err(unknown());
                }
                Shape::Decimal { precision, scale }
            }
        },
        _ => return Err(unknown()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_json_is_kept() {
        let text = r#"{"collection": "c", "sort": {"b": 1, "a": -1},
            "pipeline": [{"$match": {"z": 1}}, {"$count": "n"}], "filter": {"y": {"$oid": "507f1f77bcf86cd799439011"}}}"#;
        let spec = Spec::parse(text).expect("a query");
        let keys: Vec<&String> = spec.sort.as_ref().expect("a sort").keys().collect();
        assert_eq!(keys, ["b", "a"]);
        let names: Vec<String> = spec
            .stages()
            .expect("stages")
            .iter()
            .filter_map(|stage| stage.keys().next().cloned())
            .collect();
        assert_eq!(names, ["$match", "$count", "$match", "$sort"]);
        assert!(matches!(spec.filter.get("y"), Some(Bson::ObjectId(_))));
    }

    #[test]
    fn what_is_unknown_or_malformed_is_refused() {
        for (text, says) in [
            (
                r#"{"collection": "c", "fliter": {}}"#,
                "did you mean `filter`?",
            ),
            (r#"{"filter": {}}"#, "`collection`"),
            (r#"{"collection": "c", "limit": -1}"#, "whole number"),
            (r#"{"collection": "c", "sort": 1}"#, "a document"),
            (
                r#"{"collection": "c", "types": {"a": "decimal(80,2)"}}"#,
                "decimal(38,2)",
            ),
            ("SELECT a FROM c WHERE b > 1", "JSON"),
            ("{", "extended JSON"),
        ] {
            let error = Spec::parse(text).expect_err(text);
            assert!(error.to_string().contains(says), "{text}: {error}");
        }
        assert_eq!(
            Spec::parse("select * from events").expect("one").collection,
            "events"
        );
    }
}
