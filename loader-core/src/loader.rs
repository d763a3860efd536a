//! The contract of a loader: what an author implements, in the order in which it is called.

use std::future::Future;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, SchemaRef};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{
    Capabilities, ChangeLimits, ColumnChecksum, Error, ErrorKind, LoadState, Mode, NullKeys, Plan,
    Prepared, Receipt, Rejects, Result, TypeSupport, Verify, url_to_config,
};

/// A store that Arrow batches can be loaded into.
///
/// Implement it with plain `async fn`s, and register it with [`register_loader!`](crate::register_loader).
///
/// For each load the pipeline calls, in this order: [`connect`](Self::connect) (once for many loads),
/// [`find_load`](Self::find_load) where a `load_id` was given, [`plan`](Self::plan), [`begin`](Self::begin), and then
/// the methods of the session. Before any of them it has refused modes and options that
/// [`CAPABILITIES`](Self::CAPABILITIES) does not name.
///
/// # Errors
/// Every method maps its native errors to an [`ErrorKind`], and marks those worth repeating as
/// [transient](Error::transient): `connect`, `find_load`, `plan` and `begin` are then repeated with backoff, and a whole
/// load is run again under its `load_id`.
pub trait DataLoader: Sized + Send + Sync + 'static {
    /// The name in `.load("name", …)`: `snake_case`, checked at compile time.
    const NAME: &'static str;
    /// URL schemes that mean this loader, without `://`.
    const URL_SCHEMES: &'static [&'static str] = &[];
    /// Environment variables that the store's own tools read, each with the connection key it sets. The key `url`
    /// stands for a whole URL, taken only if its scheme is one of [`URL_SCHEMES`](Self::URL_SCHEMES).
    const ENVIRONMENT: &'static [(&'static str, &'static str)] = &[];
    /// What it can do.
    const CAPABILITIES: Capabilities;

    /// How to connect. Denies unknown fields; its doc comments are the reference documentation.
    type Config: DeserializeOwned + JsonSchema + Send + 'static;
    /// How to load, beside the keys that all loaders share. Denies unknown fields, and shares no key with `Config`.
    type Options: DeserializeOwned + JsonSchema + Default + Send + 'static;
    /// One load under way.
    type Session: LoadSession;

    /// Connects. The loader is kept, and serves many loads, several at once.
    fn connect(config: Self::Config) -> impl Future<Output = Result<Self>> + Send;

    /// Starts a load. Nothing that a reader can see may change before [`LoadSession::commit`].
    fn begin(
        &self,
        request: LoadRequest<Self::Options>,
    ) -> impl Future<Output = Result<Self::Session>> + Send;

    /// How a column of this type arrives in a target that this loader creates with default options.
    fn supports_type(data_type: &DataType) -> TypeSupport;

    /// Says what a load would do, and changes nothing. The load itself runs the same check first.
    ///
    /// Override it where a target can exist with types of its own: those decide. The pipeline fills in `loader`,
    /// `target`, `mode`, `atomicity` and `exactly_once`; the last may be set to `false` here, for a target that cannot
    /// keep what [`load_ids`](Capabilities::load_ids) declares.
    fn plan(
        &self,
        request: &LoadRequest<Self::Options>,
    ) -> impl Future<Output = Result<Plan>> + Send {
        let plan = Plan::from_types(&request.schema, Self::supports_type);
        async { Ok(plan) }
    }

    /// Did the load with this id commit to this target? Must be answered truly if
    /// [`load_ids`](Capabilities::load_ids) is declared: it decides whether rows are written again.
    fn find_load(
        &self,
        target: &str,
        load_id: &str,
    ) -> impl Future<Output = Result<LoadState>> + Send {
        let _ = (target, load_id);
        async { Ok(LoadState::Unknown) }
    }

    /// Proves that the store answers, and that the credentials hold.
    fn ping(&self) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }

    /// Closes connections. Called once, when nothing uses the loader any more.
    fn close(&self) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }

    /// Turns a URL of one of its schemes into connection keys.
    ///
    /// # Errors
    /// If the URL is malformed. The message must not show the password.
    fn config_from_url(url: &str) -> Result<Map<String, Value>> {
        url_to_config(url)
    }
}

/// One load under way: [`write`](Self::write) any number of times, [`prepare`](Self::prepare),
/// [`checksums`](Self::checksums) if asked for, then [`commit`](Self::commit). After any error, [`abort`](Self::abort).
///
/// Dropping a session at any point publishes nothing and leaves the loader usable.
pub trait LoadSession: Sized + Send + 'static {
    /// Takes one batch, whose schema is that of the request. An error ends the load, unless
    /// [`idempotent_writes`](Capabilities::idempotent_writes) is declared and the error is transient.
    ///
    /// Name the row with [`Error::at_row`] where it is known.
    fn write(&mut self, batch: &RecordBatch) -> impl Future<Output = Result<()>> + Send;

    /// Brings everything that was written into the store, still unseen, and says how many rows the store acknowledged.
    /// If that number is not what was sent, the load ends here.
    fn prepare(&mut self) -> impl Future<Output = Result<Prepared>> + Send;

    /// Recomputes each column's checksum from what the store holds, after [`prepare`](Self::prepare), in the order of
    /// the request's schema. Called only if [`checksum`](Capabilities::checksum) is declared.
    fn checksums(&mut self) -> impl Future<Output = Result<Vec<ColumnChecksum>>> + Send {
        async {
            Err(Error::new(
                ErrorKind::Unsupported,
                "this loader cannot recompute checksums",
            ))
        }
    }

    /// Publishes the load, and records its `load_id`, in one step where the store can.
    ///
    /// # Errors
    /// [`ErrorKind::CommitUnknown`] if the answer was lost; any other kind means that nothing was published.
    fn commit(self) -> impl Future<Output = Result<Receipt>> + Send;

    /// Gives up, and removes what was staged.
    fn abort(self) -> impl Future<Output = Result<()>> + Send;
}

/// What a load is to do. `O` is the loader's own [`Options`](DataLoader::Options).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LoadRequest<O> {
    /// Identifies the load for ever: recorded with the data, so that repeating it is harmless.
    pub load_id: String,
    /// Where to: a table, path, key pattern, in the loader's own terms.
    pub target: String,
    /// The schema of every batch. At least one column; names are unique.
    pub schema: SchemaRef,
    /// What happens to rows that are there.
    pub mode: Mode,
    /// Whether a missing target may be created.
    pub create_table: bool,
    /// Whether new columns may be added to the target.
    pub schema_evolution: bool,
    /// The key columns, each a column of `schema`; never empty for `upsert`.
    pub keys: Vec<String>,
    /// Whether the keys are a default of the connection, and the mode has no need of them: where they do not fit the target,
    /// they are passed over. Such a load may bring rows with null keys.
    pub keys_are_defaults: bool,
    /// Whether a null in a key equals another null. Otherwise rows with null keys do not arrive here.
    pub null_keys: NullKeys,
    /// How many rows of the target the load may change.
    pub limits: ChangeLimits,
    /// How many connections or threads to use at most; `None` leaves it to the loader.
    pub parallelism: Option<usize>,
    /// What is proved before the commit: a loader that recomputes checksums for some targets only refuses the others
    /// in `plan` and `begin`, before any write.
    pub verify: Verify,
    /// Takes the rows that the store refuses, if `on_error = skip`.
    pub rejects: Rejects,
    /// The loader's own options.
    pub options: O,
}

impl<O> LoadRequest<O> {
    /// An append of batches of this schema to this target, with everything else at its default: for calling a loader
    /// without the pipeline, as tests do.
    pub fn new(
        load_id: impl Into<String>,
        target: impl Into<String>,
        schema: SchemaRef,
        options: O,
    ) -> Self {
        Self {
            load_id: load_id.into(),
            target: target.into(),
            schema,
            mode: Mode::Append,
            create_table: true,
            schema_evolution: false,
            keys: Vec::new(),
            keys_are_defaults: false,
            null_keys: NullKeys::Refuse,
            limits: ChangeLimits::default(),
            parallelism: None,
            verify: Verify::Counts,
            rejects: Rejects::none(),
            options,
        }
    }

    /// The same request with other options.
    pub fn with_options<P>(&self, options: P) -> LoadRequest<P> {
        LoadRequest {
            load_id: self.load_id.clone(),
            target: self.target.clone(),
            schema: self.schema.clone(),
            mode: self.mode,
            create_table: self.create_table,
            schema_evolution: self.schema_evolution,
            keys: self.keys.clone(),
            keys_are_defaults: self.keys_are_defaults,
            null_keys: self.null_keys,
            limits: self.limits,
            parallelism: self.parallelism,
            verify: self.verify,
            rejects: self.rejects.clone(),
            options,
        }
    }

    /// Decides by the mode what to do with a target that exists or does not: `true` means create it.
    ///
    /// # Errors
    /// [`ErrorKind::TargetExists`] for `create`; [`ErrorKind::TargetNotFound`] if it may not be created.
    pub fn must_create(&self, exists: bool) -> Result<bool> {
        match (self.mode, exists) {
            (Mode::Create, true) => {
                let message = format!(
                    "`{}` exists already; use mode append, overwrite or upsert, or another target",
                    self.target
                );
                Err(Error::new(ErrorKind::TargetExists, message).with("target", &self.target))
            }
            (Mode::Create, false) => Ok(true),
            (_, true) => Ok(false),
            (_, false) if self.create_table => Ok(true),
            (_, false) => {
                let message = format!("`{}` does not exist and create_table is false", self.target);
                Err(Error::new(ErrorKind::TargetNotFound, message).with("target", &self.target))
            }
        }
    }

    /// The position of each key in the schema.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if a key is no column.
    pub fn key_indices(&self) -> Result<Vec<usize>> {
        crate::keys::key_indices(&self.schema, &self.keys)
    }
}
