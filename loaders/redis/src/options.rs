//! How rows are loaded: the loader's own options.

use std::collections::BTreeMap;

use arrowload_core::{Error, ErrorKind, LoadRequest, Mode, OnError, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::own::PREFIX;
use crate::structures::{IfNotExists, invalid};

/// What a row becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DataStructure {
    /// A hash with a field for each column.
    #[default]
    Hash,
    /// A string that holds the row: see `encoding`.
    String,
    /// A document of RedisJSON.
    Json,
    /// An entry of a stream, or a whole batch as one.
    Stream,
    /// A sample of a RedisTimeSeries.
    Timeseries,
    /// A member of a sorted set.
    SortedSet,
    /// An item at the end of a list.
    List,
    /// A member of a set.
    Set,
    /// A member of a geospatial index.
    Geo,
    /// A hash whose lists of floats are binary, as vector search wants them.
    Vector,
}

/// What a row is as one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// A JSON object.
    #[default]
    Json,
    /// A MessagePack map.
    Msgpack,
    /// An Arrow IPC stream of one row.
    ArrowIpc,
    /// The value of the one column `value_column` as it is.
    Raw,
}

/// How dates and times are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Times {
    /// `2024-02-29T12:34:56.789Z`
    #[default]
    Iso8601,
    /// Whole numbers since 1970 in the column's own unit.
    Epoch,
}

/// How booleans are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Booleans {
    /// `true` and `false`.
    #[default]
    Words,
    /// `1` and `0`.
    Digits,
}

/// What a null in a hash is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Nulls {
    /// No field; one that was there is removed.
    #[default]
    Omit,
    /// A field with an empty string.
    Empty,
}

/// What happens to a row whose key has a null part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NullKey {
    /// The load ends, naming the row.
    #[default]
    Error,
    /// The row is set aside; needs `on_error = skip`, so that it does not vanish.
    Skip,
}

/// How `overwrite` replaces what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overwrite {
    /// The target's keys are removed first, then the new ones written.
    #[default]
    Delete,
    /// The new keys are written beside the old under a generation of their own, and one key is switched to it.
    Generation,
}

/// What is one entry of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StreamEntry {
    /// One row, a field for each column.
    #[default]
    Row,
    /// A whole batch, in the field `arrow`, as an Arrow IPC stream.
    Batch,
}

/// What a sample does that meets one of the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DuplicatePolicy {
    /// It replaces it.
    #[default]
    Last,
    /// It is dropped.
    First,
    /// The smaller stays.
    Min,
    /// The larger stays.
    Max,
}

impl DuplicatePolicy {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Last => "LAST",
            Self::First => "FIRST",
            Self::Min => "MIN",
            Self::Max => "MAX",
        }
    }
}

/// How to load into Redis.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct RedisOptions {
    /// What a row becomes: `hash` (default), `string`, `json`, `stream`, `timeseries`, `sorted_set`, `list`, `set`, `geo` or
    /// `vector`.
    pub data_structure: DataStructure,
    /// The key of a row: text with columns in braces, and `{table}` (the target), `{uuid}` and `{row}` (of the load's id and
    /// the row's number), `{generation}`; `{{` and `}}` are braces. By default `{table}:` and the columns of `keys`; without
    /// them `{table}:{uuid}`, or `{table}` where one key holds many rows.
    pub key_pattern: Option<String>,
    /// A key with a null part: `error` (default) or `skip`.
    pub null_key: NullKey,
    /// Seconds after which keys expire, from when they are written.
    pub ttl: Option<u64>,
    /// The column with the seconds after which a row's key expires; a null means never.
    pub ttl_column: Option<String>,
    /// When keys expire: seconds since 1970, or the name of a column of timestamps or such seconds.
    pub expire_at: Option<ExpireAt>,
    /// Write only what is not there yet; rows whose key (or member) is there are counted in the report's details.
    pub if_not_exists: bool,
    /// How `overwrite` replaces what is there: `delete` (default) or `generation`.
    pub overwrite: Overwrite,
    /// Dates and times: `iso8601` (default) or `epoch`.
    pub times: Times,
    /// Booleans: `words` (default) or `digits`.
    pub booleans: Booleans,
    /// Nulls in hashes: `omit` (default) or `empty`.
    pub nulls: Nulls,
    /// The columns that are written; by default all. Others serve keys, scores and the like.
    pub value_columns: Option<Vec<String>>,
    /// What a row is as the value of a string, list item or member: `json` (default), `msgpack`, `arrow_ipc`, or `raw` with one
    /// of `value_columns`.
    pub encoding: Encoding,
    /// For `stream`: an entry is a `row` (default) or a `batch`.
    pub stream_entry: StreamEntry,
    /// For `stream`: entries that the stream keeps at most, about.
    pub maxlen: Option<u64>,
    /// For `stream`: the lowest id that the stream keeps, about.
    pub minid: Option<String>,
    /// For `sorted_set`: the column of scores.
    pub score_column: Option<String>,
    /// For `sorted_set`, `set` and `geo`: the column of members; by default the row by `encoding`.
    pub member_column: Option<String>,
    /// For `geo`: the column of longitudes.
    pub longitude_column: Option<String>,
    /// For `geo`: the column of latitudes.
    pub latitude_column: Option<String>,
    /// For `timeseries`: the column of times: timestamps, or milliseconds since 1970.
    pub time_column: Option<String>,
    /// For `timeseries`: the column of values.
    pub value_column: Option<String>,
    /// For `timeseries`: labels and the columns they come from.
    pub labels: BTreeMap<String, String>,
    /// For `timeseries`: milliseconds that samples are kept.
    pub retention: Option<u64>,
    /// For `timeseries`: a sample at a time that is there: `last` (default), `first`, `min` or `max`.
    pub duplicate_policy: DuplicatePolicy,
    /// For `vector`: the name of the search index to create over the target's keys, if it is not there.
    pub index: Option<String>,
    /// For `vector`: the measure of the index: `COSINE` (default), `L2` or `IP`.
    pub distance_metric: DistanceMetric,
    /// Bytes of commands that are sent together; 262,144 by default. Eight such pipelines are on their way at most.
    #[schemars(extend("x-tuning" = true))]
    pub pipeline_bytes: usize,
    /// Replicas that must have the load before it counts as committed.
    #[schemars(extend("x-tuning" = true))]
    pub wait_replicas: u32,
    /// Seconds after its commit for which a `load_id` is remembered, so that repeating the load writes nothing; 30 days by
    /// default, 0 for ever.
    #[schemars(extend("x-tuning" = true))]
    pub ledger_ttl: u64,
    /// Seconds after which a load that has fallen silent, as when its process was killed, counts as dead, so that others may
    /// remove what it has staged; 120 by default. A load that runs renews it.
    #[schemars(extend("x-tuning" = true))]
    pub lease: u64,
}

/// When keys expire.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ExpireAt {
    /// At this second since 1970.
    Second(i64),
    /// At the time in this column.
    Column(String),
}

/// How far vectors are apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum DistanceMetric {
    /// One minus the cosine of the angle.
    #[default]
    Cosine,
    /// Euclid's.
    L2,
    /// One minus the inner product.
    Ip,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            data_structure: DataStructure::Hash,
            key_pattern: None,
            null_key: NullKey::Error,
            ttl: None,
            ttl_column: None,
            expire_at: None,
            if_not_exists: false,
            overwrite: Overwrite::Delete,
            times: Times::Iso8601,
            booleans: Booleans::Words,
            nulls: Nulls::Omit,
            value_columns: None,
            encoding: Encoding::Json,
            stream_entry: StreamEntry::Row,
            maxlen: None,
            minid: None,
            score_column: None,
            member_column: None,
            longitude_column: None,
            latitude_column: None,
            time_column: None,
            value_column: None,
            labels: BTreeMap::new(),
            retention: None,
            duplicate_policy: DuplicatePolicy::Last,
            index: None,
            distance_metric: DistanceMetric::Cosine,
            pipeline_bytes: 256 << 10,
            wait_replicas: 0,
            ledger_ttl: 30 * 86_400,
            lease: 120,
        }
    }
}

/// A limit of seconds or entries that is larger than anybody needs.
const FAR: u64 = 1 << 50;

/// Refuses options that do not go together.
pub(crate) fn check(request: &LoadRequest<RedisOptions>) -> Result<()> {
    let (options, load) = (&request.options, &request.load);
    let facts = options.data_structure.facts();
    let name = facts.name;
    let skips = load.on_error == OnError::Skip;
    if request.target == "arrowload" || request.target.starts_with(PREFIX) {
        let message =
            "keys that begin with `arrowload:` are the loader's own; choose another target";
        return Err(invalid("target", message));
    }
    if options.null_key == NullKey::Skip && !skips {
        let message = "null_key = skip needs on_error = skip, so that the rows are set aside and do not vanish";
        return Err(invalid("null_key", message));
    }
    if load.mode == Mode::Upsert && facts.repeats {
        let message =
            format!("a {name} has no keys that rows could be replaced by; use append or overwrite");
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    options.check_if_not_exists()?;
    options.check_stream(skips)?;
    if options.index.is_some() && options.data_structure != DataStructure::Vector {
        return Err(invalid("index", "index needs data_structure = vector"));
    }
    if options.encoding != Encoding::Json && !facts.encodes {
        let message = format!("encoding does not serve data_structure = {name}");
        return Err(invalid("encoding", message));
    }
    if !(1_024..=64 << 20).contains(&options.pipeline_bytes) {
        let message = "pipeline_bytes is between 1,024 and 67,108,864";
        return Err(invalid("pipeline_bytes", message));
    }
    if !(1..=86_400).contains(&options.lease) {
        return Err(invalid("lease", "lease is between 1 and 86,400 seconds"));
    }
    if options.ledger_ttl > FAR {
        let message = "ledger_ttl is longer than Redis can count; 0 is for ever";
        return Err(invalid("ledger_ttl", message));
    }
    Ok(())
}

impl RedisOptions {
    /// Whether keys expire.
    pub(crate) fn expires(&self) -> bool {
        self.ttl.is_some() || self.ttl_column.is_some() || self.expire_at.is_some()
    }

    fn check_if_not_exists(&self) -> Result<()> {
        let refused = |why: &str| Err(invalid("if_not_exists", why));
        match self.data_structure.facts().if_not_exists {
            IfNotExists::Refused(why) if self.if_not_exists => refused(why),
            IfNotExists::WithoutExpiry if self.if_not_exists && self.expires() => {
                refused("with a time of expiry, if_not_exists serves hash, vector and string only")
            }
            _ => Ok(()),
        }
    }

    fn check_stream(&self, skips: bool) -> Result<()> {
        let batches = self.stream_entry == StreamEntry::Batch;
        let is_set = batches || self.maxlen.is_some() || self.minid.is_some();
        if self.data_structure != DataStructure::Stream && is_set {
            let message = "stream_entry, maxlen and minid need data_structure = stream";
            return Err(invalid("stream_entry", message));
        }
        if self.maxlen.is_some() && self.minid.is_some() {
            return Err(invalid("maxlen", "maxlen and minid exclude one another"));
        }
        if self.maxlen.is_some_and(|maxlen| maxlen > FAR) {
            return Err(invalid("maxlen", "maxlen is larger than Redis can count"));
        }
        // They are used once the load is recorded, when it is too late to refuse them.
        let is_id = |id: &String| {
            let (first, second) = id.split_once('-').unwrap_or((id, "0"));
            first.parse::<u64>().is_ok() && second.parse::<u64>().is_ok()
        };
        if self.minid.as_ref().is_some_and(|minid| !is_id(minid)) {
            let message = "minid is an id of a stream, such as 1700000000000-0";
            return Err(invalid("minid", message));
        }
        if batches && skips {
            let message =
                "stream_entry = batch has no single rows that on_error = skip could set aside";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        Ok(())
    }
}
