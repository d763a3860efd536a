//! The client: a source to query, connections to load into, and what is linked in.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::RecordBatch;
use arrowload_connections::Connections;
use arrowload_core::{
    BatchStream, Error, ErrorKind, Input, Listing, LoadOptions, LoadReport, LoadSpec, Loader,
    LoaderDescriptor, Mode, Query, Registry, Result, Settings, Source, SourceDescriptor,
    read_dead_letters, url_scheme,
};
use serde_json::Value;

use crate::load::{LoadBuilder, Rows};
use crate::{QueryBuilder, Table};

/// The source that a client without a URL queries, if it is linked in.
const DEFAULT_SOURCE: &str = "datafusion";

/// Queries one source, and loads into any number of stores. Clones share connections.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    registry: Registry,
    connections: Connections,
    source: Option<(SourceDescriptor, Settings)>,
    connected_source: tokio::sync::OnceCell<Source>,
    /// Connected loaders by name and connection keys, so that loads share pools.
    loaders: Mutex<HashMap<String, Vec<(Settings, Loader)>>>,
}

impl Client {
    /// Connects to a source: a URL (`grpc://localhost:8080`, `datafusion://./data`, `postgresql://…`), the name of a
    /// connection, or the name of a source.
    ///
    /// # Errors
    /// [`ErrorKind::SourceNotFound`] or [`ErrorKind::ConnectionNotFound`] if nothing is called so,
    /// [`ErrorKind::InvalidOption`] for malformed keys, and whatever the source says of the attempt.
    pub async fn connect(url_or_name: impl AsRef<str>) -> Result<Self> {
        Self::builder().source(url_or_name.as_ref()).connect().await
    }

    /// Sets up a client step by step.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// Names a connection, over what files and environment say of it: connection keys and load defaults side by side.
    ///
    /// # Errors
    /// [`ErrorKind::LoaderNotFound`] if no loader or source has this name, [`ErrorKind::InvalidOption`] if `config` is no
    /// object.
    pub fn configure_connection(
        &self,
        name: &str,
        loader_or_source: &str,
        config: impl Into<Value>,
    ) -> Result<()> {
        let registry = &self.inner.registry;
        if registry.source(loader_or_source).is_err() {
            registry.loader(loader_or_source)?;
        }
        self.inner
            .connections
            .configure(name, loader_or_source, config.into())
    }

    /// The loaders that are linked in, sorted by name.
    pub fn available_loaders(&self) -> Vec<&'static str> {
        self.inner
            .registry
            .loaders()
            .map(LoaderDescriptor::name)
            .collect()
    }

    /// The sources that are linked in, sorted by name.
    pub fn available_sources(&self) -> Vec<&'static str> {
        self.inner
            .registry
            .sources()
            .map(SourceDescriptor::name)
            .collect()
    }

    /// Everything that is linked in.
    pub fn registry(&self) -> &Registry {
        &self.inner.registry
    }

    /// The named connections.
    pub fn connections(&self) -> &Connections {
        &self.inner.connections
    }

    /// A query. Nothing runs before it is loaded, streamed or collected.
    pub fn sql(&self, sql: impl Into<String>) -> QueryBuilder {
        QueryBuilder::new(self.clone(), Query::new(sql))
    }

    /// Runs a query and loads its answer: what `.sql(..).load(..)` comes to.
    pub fn query_and_load(
        &self,
        query: Query,
        loader: impl Into<String>,
        target: impl Into<String>,
    ) -> LoadBuilder {
        LoadBuilder::new(
            self.clone(),
            Rows::Query(query),
            loader.into(),
            target.into(),
        )
    }

    /// Loads batches that come from elsewhere. The stream is read once, so a load that fails midway is not run again.
    pub fn load_stream(
        &self,
        stream: BatchStream,
        loader: impl Into<String>,
        target: impl Into<String>,
    ) -> LoadBuilder {
        LoadBuilder::new(
            self.clone(),
            Rows::Stream(stream),
            loader.into(),
            target.into(),
        )
    }

    /// Loads batches that are in memory. All have one schema, which an empty list does not tell.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if there are no batches: use [`Client::load_stream`] to load no rows of a schema.
    pub fn load_table(
        &self,
        batches: Vec<RecordBatch>,
        loader: impl Into<String>,
        target: impl Into<String>,
    ) -> Result<LoadBuilder> {
        let message =
            "there are no batches, so there is no schema; use load_stream to load no rows";
        let schema = batches
            .first()
            .ok_or_else(|| Error::new(ErrorKind::InvalidOption, message))?
            .schema();
        Ok(LoadBuilder::new(
            self.clone(),
            Rows::Table(Table::new(schema, batches)),
            loader.into(),
            target.into(),
        ))
    }

    /// Loads the rows of a dead-letter file again, where they were to go: under the named connection they had, with the loader's
    /// options and, for `upsert`, the keys. Rows of a load in another mode are appended, as `create` and `overwrite` are over. A
    /// replay that committed is not repeated: its `load_id` is the first load's with `.replay` at the end.
    ///
    /// A connection that was a URL, or given with the load, is not kept: name it again, or the load is refused.
    ///
    /// # Errors
    /// If the file is missing or no dead-letter file.
    pub fn replay(&self, path: impl Into<PathBuf>) -> Result<LoadBuilder> {
        let path = path.into();
        let (_, origin) = read_dead_letters(&path)?;
        let replay_id = origin.replay_id();
        let mut builder = LoadBuilder::new(
            self.clone(),
            Rows::DeadLetters(path),
            origin.loader,
            origin.target,
        )
        .load_id(replay_id);
        let mut options = Settings::from_map(origin.options, "the load that set the rows aside");
        if origin.mode == Mode::Upsert {
            options.set(
                "mode",
                origin.mode.name(),
                "the load that set the rows aside",
            );
            options.set("keys", origin.keys, "the load that set the rows aside");
            options.set(
                "null_keys",
                origin.null_keys.name(),
                "the load that set the rows aside",
            );
        }
        builder = builder.with_options(options);
        Ok(match (origin.connection, origin.connection_is_kept) {
            (_, false) => builder.needing_a_connection(),
            (Some(connection), true) => builder.connection(connection),
            (None, true) => builder,
        })
    }

    /// Lists what the source has: catalogs, schemas, tables. The columns are the source's own.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the source cannot; whatever it says.
    pub async fn list(&self, listing: impl Into<Listing>) -> Result<BatchStream> {
        self.source().await?.list(&listing.into()).await
    }

    /// Connects to the source, and proves that it answers.
    ///
    /// # Errors
    /// Whatever the source says of the attempt.
    pub async fn ping(&self) -> Result<()> {
        self.source().await?.ping().await
    }

    /// The source, connected at the first query.
    pub(crate) async fn source(&self) -> Result<&Source> {
        let missing = || {
            let message = "this client has no source to query; name one in Client::connect, or switch on the feature `source-datafusion`";
            Error::new(ErrorKind::SourceNotFound, message)
        };
        let (descriptor, config) = self.inner.source.as_ref().ok_or_else(missing)?;
        let connect = || Source::connect(descriptor, config, LoadOptions::default().max_retries);
        self.inner.connected_source.get_or_try_init(connect).await
    }

    /// A loader connected with these keys: the one that is there, or a new one.
    pub(crate) async fn loader(
        &self,
        descriptor: &LoaderDescriptor,
        config: &Settings,
        max_retries: u32,
    ) -> Result<Loader> {
        if let Some(loader) = self.connected_loader(descriptor.name(), config) {
            return Ok(loader);
        }
        let loader = Loader::connect(descriptor, config, max_retries).await?;
        let mut loaders = self
            .inner
            .loaders
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        loaders
            .entry(descriptor.name().to_owned())
            .or_default()
            .push((config.clone(), loader.clone()));
        Ok(loader)
    }

    fn connected_loader(&self, name: &str, config: &Settings) -> Option<Loader> {
        let loaders = self
            .inner
            .loaders
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let same = loaders
            .get(name)?
            .iter()
            .find(|(known, _)| known == config)?;
        Some(same.1.clone())
    }

    /// Closes all connections. A client that is dropped closes them too, without waiting.
    ///
    /// # Errors
    /// The first that a loader gives; the others are closed all the same.
    pub async fn close(&self) -> Result<()> {
        let loaders = std::mem::take(
            &mut *self
                .inner
                .loaders
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        let mut outcome = Ok(());
        for (_, loader) in loaders.into_values().flatten() {
            outcome = outcome.and(loader.close().await);
        }
        outcome
    }

    /// Runs a load whose connection and options are resolved.
    pub(crate) async fn run(
        &self,
        loader: &Loader,
        spec: &LoadSpec,
        rows: Rows,
    ) -> Result<LoadReport> {
        let input = match rows {
            Rows::Stream(stream) => Input::stream(stream),
            Rows::Table(table) => Input::query(move || {
                let stream = table.clone().into_stream();
                Box::pin(async move { Ok(stream) })
            }),
            Rows::DeadLetters(path) => Input::query(move || {
                let opened = read_dead_letters(&path).map(|(stream, _)| stream);
                Box::pin(async move { opened })
            }),
            Rows::Query(query) => {
                let client = self.clone();
                let query = Arc::new(query);
                Input::query(move || {
                    let (client, query) = (client.clone(), Arc::clone(&query));
                    Box::pin(async move { client.source().await?.query(&query).await })
                })
            }
        };
        arrowload_core::load(loader, spec, &input).await
    }
}

/// Sets up a [`Client`].
#[derive(Default)]
pub struct ClientBuilder {
    registry: Option<Registry>,
    connections: Option<Connections>,
    source: Option<String>,
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A URL may hold a password.
        let source = self
            .source
            .as_deref()
            .map(|source| url_scheme(source).unwrap_or_else(|| source.to_owned()));
        f.debug_struct("ClientBuilder")
            .field("source", &source)
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}

impl ClientBuilder {
    /// The source to query: a URL, a connection's name, or a source's name. The default is the embedded engine, over the
    /// working directory.
    #[must_use]
    pub fn source(mut self, url_or_name: impl Into<String>) -> Self {
        self.source = Some(url_or_name.into());
        self
    }

    /// The connections, in place of what the config file and the environment say.
    #[must_use]
    pub fn connections(mut self, connections: Connections) -> Self {
        self.connections = Some(connections);
        self
    }

    /// The loaders and sources, in place of what is linked in.
    #[must_use]
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = Some(registry);
        self
    }

    /// Makes the client. The source is found, but not connected to before its first query.
    ///
    /// # Errors
    /// As for [`Client::connect`], before any I/O but reading the config file.
    pub fn build(self) -> Result<Client> {
        let registry = self.registry.map_or_else(Registry::linked, Ok)?;
        let connections = self.connections.map_or_else(Connections::discover, Ok)?;
        let source = match self.source {
            Some(source) => Some(connections.for_source(&registry, &source)?),
            None if registry.source(DEFAULT_SOURCE).is_ok() => {
                Some(connections.for_source(&registry, DEFAULT_SOURCE)?)
            }
            None => None,
        };
        let source = source.map(|(descriptor, settings)| {
            let config = descriptor.split(settings, registry.loader(descriptor.name()).ok())?;
            Ok::<_, Error>((descriptor, config))
        });
        let (connected_source, loaders) = Default::default();
        Ok(Client {
            inner: Arc::new(Inner {
                registry,
                connections,
                source: source.transpose()?,
                connected_source,
                loaders,
            }),
        })
    }

    /// Makes the client and connects to its source.
    ///
    /// # Errors
    /// As for [`Client::connect`].
    pub async fn connect(self) -> Result<Client> {
        let client = self.build()?;
        client.source().await?.ping().await?;
        Ok(client)
    }
}
