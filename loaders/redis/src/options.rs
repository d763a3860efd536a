//! How rows are loaded: the loader's own options.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

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

impl DataStructure {
    /// The name in options.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Hash => "hash",
            Self::String => "string",
            Self::Json => "json",
            Self::Stream => "stream",
            Self::Timeseries => "timeseries",
            Self::SortedSet => "sorted_set",
            Self::List => "list",
            Self::Set => "set",
            Self::Geo => "geo",
            Self::Vector => "vector",
        }
    }

    /// Whether one key holds many rows.
    pub(crate) fn gathers(self) -> bool {
        matches!(
            self,
            Self::Stream | Self::Timeseries | Self::SortedSet | Self::List | Self::Set | Self::Geo
        )
    }

    /// Whether a repeated command would add a second item, so that the load is built aside and moved once.
    pub(crate) fn repeats(self) -> bool {
        matches!(self, Self::Stream | Self::List)
    }
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
    pub pipeline_bytes: usize,
    /// Replicas that must have the load before it counts as committed.
    pub wait_replicas: u32,
    /// Seconds for which a `load_id` is remembered; 30 days by default, 0 for ever.
    pub ledger_ttl: u64,
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
        }
    }
}
