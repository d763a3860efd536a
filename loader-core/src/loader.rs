//! The traits of a loader, which its author implements. The methods are in the order in which they are called.

use std::future::Future;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, SchemaRef};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{
    Capabilities, ColumnChecksum, Definition, Error, ErrorKind, LoadOptions, LoadState, LoadStatus,
    Mark, Mode, Plan, Prepared, Receipt, Rejects, Result, TargetColumns, TypeSupport,
    url_to_config,
};

/// A store that Arrow batches can be loaded into.
///
/// Implement it with plain `async fn`s, and register it with [`register_loader!`](crate::register_loader).
///
/// For each load the pipeline calls, in this order: [`connect`](Self::connect) (once for many loads),
/// [`find_load`](Self::find_load) where a `load_id` was given, [`resolve`](Self::resolve), [`plan`](Self::plan),
/// [`begin`](Self::begin), and then the methods of the session. Before any of them it has refused modes and options that
/// [`CAPABILITIES`](Self::CAPABILITIES) does not name. For a plan alone it stops before `begin`: the target is looked at once, and
/// plan and load are made from the same request and the same look.
///
/// # Errors
/// Every method maps its native errors to an [`ErrorKind`], and marks those worth repeating as [transient](Error::transient):
/// `connect`, `find_load`, and `resolve` with `begin` are then repeated with backoff, and a whole load is run again under its
/// `load_id`. No control flow reads the text of a message: programs decide by the kind, the [row](Error::at_row) and the
/// [code](Error::with_code).
pub trait DataLoader: Sized + Send + Sync + 'static {
    /// The name in `.load("name", …)`: `snake_case`, checked at compile time.
    const NAME: &'static str;
    /// URL schemes that mean this loader, without `://`.
    const URL_SCHEMES: &'static [&'static str] = &[];
    /// Environment variables that the store's own tools read, each with the connection key it sets. The key `url`
    /// stands for a whole URL, taken only if its scheme is one of [`URL_SCHEMES`](Self::URL_SCHEMES).
    const ENVIRONMENT: &'static [(&'static str, &'static str)] = &[];
    /// The most that it can guarantee for any target. A plan may narrow it.
    const CAPABILITIES: Capabilities;

    /// How to connect. Denies unknown fields; its doc comments are the reference documentation.
    type Config: DeserializeOwned + JsonSchema + Send + 'static;
    /// How to load, beside the keys that all loaders share. Denies unknown fields, and shares no key with `Config`. A field that
    /// only tunes how a load runs, and not what arrives, says so: `#[schemars(extend("x-tuning" = true))]`.
    type Options: DeserializeOwned + JsonSchema + Default + Send + 'static;
    /// What was found at the target, and what the load will do there.
    type Resolved: Send + 'static;
    /// One load in progress.
    type Session: LoadSession;

    /// Connects. The loader is kept, and serves many loads, several at once. Dropping it closes its connections.
    fn connect(config: Self::Config) -> impl Future<Output = Result<Self>> + Send;

    /// How a column of this type arrives in a target that this loader creates with default options.
    fn supports_type(data_type: &DataType) -> TypeSupport;

    /// Looks at the target, decides everything that can be decided before the first row, and changes nothing. Whatever the load
    /// would refuse before its first row is refused here, privileges included. A column whose type cannot be held is not an error
    /// here: [`plan`](Self::plan) says so, and the pipeline refuses it.
    fn resolve(
        &self,
        request: &LoadRequest<Self::Options>,
    ) -> impl Future<Output = Result<Self::Resolved>> + Send;

    /// Says what [`begin`](Self::begin) would do with the resolved target. No I/O. Start from [`Plan::of`], and narrow its
    /// [guarantees](crate::Guarantees) to what is true of this target, mode and options.
    fn plan(request: &LoadRequest<Self::Options>, resolved: &Self::Resolved) -> Plan;

    /// Starts the load that was planned. Nothing that a reader can see may change before [`LoadSession::commit`], unless the
    /// plan's [`after_failure`](crate::Guarantees::after_failure) says so.
    ///
    /// A store that can lock looks again under its lock. If what decides has changed since `resolve` (identity, columns,
    /// constraints, indexes, privileges; never counts or statistics, which change all the time on a busy table), it answers a
    /// transient [`ErrorKind::Conflict`], and the pipeline begins again with `resolve`. A load whose id is recorded already is
    /// answered with [`Begun::AlreadyLoaded`].
    ///
    /// Rows that the store refuses go into `rejects`, if `on_error = skip`.
    fn begin(
        &self,
        request: LoadRequest<Self::Options>,
        resolved: Self::Resolved,
        rejects: Rejects,
    ) -> impl Future<Output = Result<Begun<Self::Session>>> + Send;

    /// Checks that the store answers, and that the credentials are valid.
    fn ping(&self) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }

    /// The columns of a target, before the schema of any input is known; `None` if it is not there, or has no columns of its own.
    /// Changes nothing.
    fn describe(&self, target: &str) -> impl Future<Output = Result<Option<TargetColumns>>> + Send {
        let _ = target;
        async { Ok(None) }
    }

    /// Did the load with this id commit to this target? This is only a query: it changes nothing, and completes nothing. The
    /// answer must be correct if [`load_ids`](Capabilities::load_ids) is declared: it decides whether rows are written again. The
    /// receipt holds the definition and the mark that were recorded.
    fn find_load(
        &self,
        target: &str,
        load_id: &str,
    ) -> impl Future<Output = Result<LoadState>> + Send {
        let _ = (target, load_id);
        async { Ok(LoadState::Unknown) }
    }

    /// Completes a load that [`find_load`](Self::find_load) has found committed and not complete. Called by loads only, never by
    /// plans.
    fn recover(&self, target: &str, load_id: &str) -> impl Future<Output = Result<()>> + Send {
        let _ = (target, load_id);
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

/// What [`DataLoader::begin`] answers.
#[derive(Debug)]
pub enum Begun<S> {
    /// The load is in progress.
    Session(S),
    /// A load with this id has committed already, with this receipt; the definition in it is compared with the request's. It is
    /// complete.
    AlreadyLoaded(Receipt),
}

/// One load in progress: [`write`](Self::write) any number of times, [`prepare`](Self::prepare), [`checksums`](Self::checksums) if
/// asked for, then [`commit`](Self::commit). After any error, [`abort`](Self::abort).
///
/// Dropping a session at any point publishes nothing and leaves the loader usable.
pub trait LoadSession: Sized + Send + 'static {
    /// Takes one batch, whose schema is that of the request. An error ends the load.
    ///
    /// Name the row with [`Error::at_row`] where it is known.
    fn write(&mut self, batch: &RecordBatch) -> impl Future<Output = Result<()>> + Send;

    /// Brings everything that was written into the store, not yet visible, and returns how many rows the store acknowledged. If
    /// this is not the number of rows that was sent, the load ends here.
    fn prepare(&mut self) -> impl Future<Output = Result<Prepared>> + Send;

    /// Recomputes each column's checksum from what the store holds, after [`prepare`](Self::prepare), in the order of
    /// the request's schema, without the columns that the plan lists as [unproved](crate::ColumnPlan::unproved). Called only if
    /// the plan's guarantees have [`checksum`](crate::Guarantees::checksum).
    fn checksums(&mut self) -> impl Future<Output = Result<Vec<ColumnChecksum>>> + Send {
        async {
            Err(Error::new(
                ErrorKind::Unsupported,
                "this loader cannot recompute checksums",
            ))
        }
    }

    /// Publishes the load, and records its `load_id`, definition and mark, in one step where the store can.
    ///
    /// # Errors
    /// [`ErrorKind::CommitUnknown`] if the answer was lost; any other kind means that the load is not committed.
    fn commit(self) -> impl Future<Output = Result<Receipt>> + Send;

    /// Gives up, and removes what was staged.
    fn abort(self) -> impl Future<Output = Result<()>> + Send;
}

/// What a load is to do. `O` is the loader's own [`Options`](DataLoader::Options).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LoadRequest<O> {
    /// A permanent id, recorded with the data, so that repeating the load is harmless.
    pub load_id: String,
    /// The definition of the load, recorded with the `load_id`: the same id with another definition is refused.
    pub definition: Option<Definition>,
    /// The high-water mark of an incremental load, recorded with the `load_id` in the same commit.
    pub mark: Option<Mark>,
    /// Where to: a table, path, key pattern, in the loader's own terms.
    pub target: String,
    /// The schema of every batch. At least one column; names are unique.
    pub schema: SchemaRef,
    /// The options that all loaders share. `keys` are columns of `schema`, and never empty for `upsert`; rows
    /// with a null in a key arrive under `null_keys = match` only.
    pub load: LoadOptions,
    /// The loader's own options.
    pub options: O,
    /// How many destinations of the same run use this connection at the same time, including this one: they share what the
    /// connection can do at once.
    pub destinations: usize,
    /// Follows the load.
    pub status: LoadStatus,
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
            definition: None,
            mark: None,
            target: target.into(),
            schema,
            load: LoadOptions::default(),
            options,
            destinations: 1,
            status: LoadStatus::default(),
        }
    }

    /// The same request with other options.
    pub fn with_options<P>(self, options: P) -> LoadRequest<P> {
        LoadRequest {
            load_id: self.load_id,
            definition: self.definition,
            mark: self.mark,
            target: self.target,
            schema: self.schema,
            load: self.load,
            options,
            destinations: self.destinations,
            status: self.status,
        }
    }

    /// Adds what is recorded with the `load_id` to a receipt.
    pub fn recorded_in(&self, mut receipt: Receipt) -> Receipt {
        receipt.definition.clone_from(&self.definition);
        receipt.mark.clone_from(&self.mark);
        receipt
    }

    /// Decides by the mode what to do with a target that exists or does not: `true` means create it.
    ///
    /// # Errors
    /// [`ErrorKind::TargetExists`] for `create`; [`ErrorKind::TargetNotFound`] if it may not be created.
    pub fn must_create(&self, exists: bool) -> Result<bool> {
        match (self.load.mode, exists) {
            (Mode::Create, true) => {
                let message = format!(
                    "`{}` exists already; use mode append, overwrite or upsert, or another target",
                    self.target
                );
                Err(Error::new(ErrorKind::TargetExists, message).with("target", &self.target))
            }
            (Mode::Create, false) => Ok(true),
            (_, true) => Ok(false),
            (_, false) if self.load.create_table => Ok(true),
            (_, false) => {
                let message = format!("`{}` does not exist and create_table is false", self.target);
                Err(Error::new(ErrorKind::TargetNotFound, message).with("target", &self.target))
            }
        }
    }

    /// The position of each key in the schema.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if a key is not a column.
    pub fn key_indices(&self) -> Result<Vec<usize>> {
        crate::keys::key_indices(&self.schema, &self.load.keys)
    }
}
