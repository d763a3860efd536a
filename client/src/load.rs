//! A load: its connection, mode and options, then its plan, or awaiting it to run.

use std::fmt;
use std::future::IntoFuture;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use arrow_schema::SchemaRef;
use arrowload_core::{
    BatchStream, Error, ErrorKind, LoadReport, LoadSpec, LoadState, Loader, LoaderDescriptor, Mode,
    OnError, OnProgress, Plan, Progress, Query, Result, Settings, Verify, read_dead_letters,
    url_scheme,
};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;

use crate::{Client, Table};

/// The rows of a load.
pub(crate) enum Rows {
    Query(Query),
    Stream(BatchStream),
    Table(Table),
    DeadLetters(PathBuf),
}

/// A load that is being set up. Awaiting it runs it; dropping the future before its end publishes nothing.
///
/// Options stand over the connection's load defaults, and those over what suits the loader.
#[must_use = "a load does nothing until it is awaited"]
pub struct LoadBuilder {
    client: Client,
    rows: Rows,
    loader: String,
    target: String,
    connection: Option<String>,
    config: Option<Value>,
    config_settings: Settings,
    options: Settings,
    /// The load is a replay of one whose connection is not kept.
    needs_connection: bool,
    on_progress: Option<OnProgress>,
}

impl LoadBuilder {
    pub(crate) fn new(client: Client, rows: Rows, loader: String, target: String) -> Self {
        let (connection, config, config_settings, options, needs_connection, on_progress) =
            Default::default();
        Self {
            client,
            rows,
            loader,
            target,
            connection,
            config,
            config_settings,
            options,
            needs_connection,
            on_progress,
        }
    }

    pub(crate) fn needing_a_connection(mut self) -> Self {
        self.needs_connection = true;
        self
    }

    /// Loads through a named connection. Without one, that of the loader's own name, or the environment, serves.
    pub fn connection(mut self, name: impl Into<String>) -> Self {
        self.connection = Some(name.into());
        self
    }

    /// Connection keys given here and now; they stand over those of a named connection.
    pub fn config(mut self, config: impl Into<Value>) -> Self {
        self.config = Some(config.into());
        self
    }

    /// Sets an option, of all loaders or of this one.
    pub fn option(self, key: &str, value: impl Into<Value>) -> Self {
        self.set(key, value, &format!(".option(\"{key}\", ..)"))
    }

    /// What happens to rows that are in the target.
    pub fn mode(self, mode: Mode) -> Self {
        self.set("mode", mode.name(), ".mode(..)")
    }

    /// The columns that identify a row.
    pub fn keys<K: Into<String>>(self, keys: impl IntoIterator<Item = K>) -> Self {
        let keys: Vec<Value> = keys
            .into_iter()
            .map(|key| Value::String(key.into()))
            .collect();
        self.set("keys", keys, ".keys(..)")
    }

    /// Identifies the load: repeating it with the same id writes nothing again.
    pub fn load_id(self, load_id: impl Into<String>) -> Self {
        self.set("load_id", load_id.into(), ".load_id(..)")
    }

    /// What is proved before the load is published.
    pub fn verify(self, verify: Verify) -> Self {
        let name = match verify {
            Verify::Counts => "counts",
            Verify::Checksum => "checksum",
        };
        self.set("verify", name, ".verify(..)")
    }

    /// What to do with a row that the store refuses.
    pub fn on_error(self, on_error: OnError) -> Self {
        let name = match on_error {
            OnError::Fail => "fail",
            OnError::Skip => "skip",
        };
        self.set("on_error", name, ".on_error(..)")
    }

    /// Is called at most ten times a second while rows are written, and once at the end.
    pub fn on_progress(mut self, callback: impl Fn(&Progress) + Send + Sync + 'static) -> Self {
        self.on_progress = Some(Arc::new(callback));
        self
    }

    /// As [`config`](Self::config), for programs that know where each key comes from, such as a flag: errors say so.
    pub fn with_config(mut self, config: Settings) -> Self {
        self.config_settings.overlay(config);
        self
    }

    /// As [`option`](Self::option), for programs that know where each key comes from.
    pub fn with_options(mut self, options: Settings) -> Self {
        self.options.overlay(options);
        self
    }

    fn set(mut self, key: &str, value: impl Into<Value>, origin: &str) -> Self {
        let mut setting = Settings::new();
        setting.set(key, value, origin);
        self.options.overlay(setting);
        self
    }

    /// Says what the load would do, column by column, and changes nothing.
    ///
    /// # Errors
    /// Whatever would stop the load before its first row; a column that cannot be held is said in the plan instead.
    pub async fn plan(self) -> Result<Plan> {
        let (client, rows, prepared) = self.prepare()?;
        let loader = prepared.connect(&client).await?;
        let schema = schema(&client, &rows).await?;
        arrowload_core::plan_load(&loader, &prepared.spec, schema).await
    }

    /// Connects, and proves that the store answers.
    ///
    /// # Errors
    /// Whatever keeps the load from its store: an unknown name or key, a refused connection.
    pub async fn ping(self) -> Result<()> {
        let (client, _, prepared) = self.prepare()?;
        prepared.connect(&client).await?.ping().await
    }

    /// Whether a load with this [`load_id`](Self::load_id) has committed.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] without a `load_id`, and whatever keeps the question from the store.
    pub async fn find(self) -> Result<LoadState> {
        let (client, _, prepared) = self.prepare()?;
        let missing = || {
            Error::new(
                ErrorKind::InvalidOption,
                "a load is found by its load_id; set it",
            )
        };
        let load_id = prepared.spec.load.load_id.clone().ok_or_else(missing)?;
        prepared
            .connect(&client)
            .await?
            .find_load(&prepared.spec.target, &load_id)
            .await
    }

    async fn run(self) -> Result<LoadReport> {
        let started = Instant::now();
        let (client, rows, mut prepared) = self.prepare()?;
        prepared.spec.started = Some(started);
        let loader = prepared.connect(&client).await?;
        client.run(&loader, &prepared.spec, rows).await
    }

    /// Resolves names and keys, and refuses what the loader cannot do: no I/O yet, but files that hold secrets.
    fn prepare(self) -> Result<(Client, Rows, Prepared)> {
        let descriptor = *self.client.registry().loader(&self.loader)?;
        let mut inline = match self.config {
            Some(Value::Object(config)) => Settings::from_map(config, ".config(..)"),
            Some(_) => {
                return Err(Error::new(
                    ErrorKind::InvalidOption,
                    ".config(..): the config must be an object of keys and values",
                ));
            }
            None => Settings::new(),
        };
        inline.overlay(self.config_settings);
        let by_url = self
            .connection
            .as_deref()
            .is_some_and(|name| url_scheme(name).is_some());
        let connection_is_inline = by_url || !inline.is_empty();
        if self.needs_connection && self.connection.is_none() && !connection_is_inline {
            let message = "the load that set these rows aside had its connection by a URL or with the load, and dead letters do not \
                           keep those: name the connection again (.connection(..), --connection)";
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        let mut settings = self.client.connections().for_loader_with(
            &descriptor,
            self.connection.as_deref(),
            inline,
        )?;
        let keys_are_defaults = !["keys", "upsert_key"]
            .iter()
            .any(|key| self.options.get(key).is_some());
        settings.overlay(self.options);
        let (split, load) = descriptor
            .split(settings)
            .map_err(|error| error.with("loader", descriptor.name()))?;
        let mut spec = LoadSpec::new(self.target);
        spec.load = load;
        spec.load.keys_are_defaults = keys_are_defaults;
        spec.connection_is_inline = connection_is_inline;
        spec.options = split.options;
        // A URL may hold a password, and dead-letter files keep the name of their connection.
        spec.connection = self.connection.filter(|name| url_scheme(name).is_none());
        spec.on_progress = self.on_progress;
        spec.check(&descriptor)?;
        Ok((
            self.client,
            self.rows,
            Prepared {
                descriptor,
                config: split.config,
                spec,
            },
        ))
    }
}

/// A load whose names and keys are resolved.
struct Prepared {
    descriptor: LoaderDescriptor,
    config: Settings,
    spec: LoadSpec,
}

impl Prepared {
    async fn connect(&self, client: &Client) -> Result<Loader> {
        let connecting = client.loader(&self.descriptor, &self.config, self.spec.load.max_retries);
        let Some(timeout) = self.spec.load.timeout else {
            return connecting.await;
        };
        let late = |_| {
            Error::new(
                ErrorKind::Timeout,
                format!("connecting took longer than the load's timeout of {timeout:?}"),
            )
        };
        tokio::time::timeout(timeout, connecting)
            .await
            .map_err(late)?
    }
}

async fn schema(client: &Client, rows: &Rows) -> Result<SchemaRef> {
    match rows {
        Rows::Query(query) => client.source().await?.schema(query).await,
        Rows::Stream(stream) => Ok(stream.schema().clone()),
        Rows::Table(table) => Ok(table.schema().clone()),
        Rows::DeadLetters(path) => Ok(read_dead_letters(path)?.0.schema().clone()),
    }
}

impl IntoFuture for LoadBuilder {
    type Output = Result<LoadReport>;
    type IntoFuture = BoxFuture<'static, Result<LoadReport>>;

    fn into_future(self) -> Self::IntoFuture {
        self.run().boxed()
    }
}

impl fmt::Debug for LoadBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadBuilder")
            .field("loader", &self.loader)
            .field("target", &self.target)
            .field(
                "connection",
                &self
                    .connection
                    .as_ref()
                    .filter(|name| url_scheme(name).is_none()),
            )
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
