//! The destination of a load: its connection, mode and options, and how they are resolved before the load runs.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use arrowload_core::{
    ConnectionKey, Error, ErrorKind, LoadSpec, LoadState, LoadStatus, Loader, LoaderDescriptor,
    Mark, Mode, OnError, OnProgress, Progress, Result, Settings, Verify, url_scheme,
};
use serde_json::Value;
use tracing::Instrument;

use crate::connected::ConnectionKeys;
use crate::{Client, LoadBuilder};

/// A place that rows are loaded into, and how: one of several of [`QueryBuilder::load_all`](crate::QueryBuilder::load_all).
///
/// Options stand over the connection's load defaults, and those over what suits the loader.
#[must_use = "a destination does nothing until rows are loaded into it"]
pub struct Destination {
    loader: String,
    target: String,
    connection: Option<String>,
    config: Option<Value>,
    config_settings: Settings,
    options: Settings,
    /// The load is a replay of one whose connection is not kept.
    needs_connection: bool,
    on_progress: Option<OnProgress>,
    status: LoadStatus,
    mark: Option<Mark>,
    new_load_id: Option<String>,
}

impl Destination {
    /// A target of a loader, over the loader's default connection and with default options.
    pub fn new(loader: impl Into<String>, target: impl Into<String>) -> Self {
        let (connection, config, config_settings, options) = Default::default();
        let (needs_connection, on_progress, status) = Default::default();
        Self {
            loader: loader.into(),
            target: target.into(),
            connection,
            config,
            config_settings,
            options,
            needs_connection,
            on_progress,
            status,
            mark: None,
            new_load_id: None,
        }
    }

    /// Records the high-water mark of an incremental load with its `load_id`, in the same commit as its rows.
    pub fn mark(self, mark: Mark) -> Self {
        self.edit(|to| to.mark = Some(mark))
    }

    /// Identifies the load by an id that was made up for it: no load has it yet, and the target is not asked for one. A `load_id` is
    /// stronger.
    pub fn new_load_id(self, load_id: impl Into<String>) -> Self {
        self.edit(|to| to.new_load_id = Some(load_id.into()))
    }

    pub(crate) fn edit(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn set(&mut self, key: &str, value: impl Into<Value>, origin: &str) {
        let mut setting = Settings::new();
        setting.set(key, value, origin);
        self.options.overlay(setting);
    }

    /// The name of its loader.
    pub fn loader(&self) -> &str {
        &self.loader
    }

    /// Its target, in the loader's own terms.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The id to use if none is set.
    pub(crate) fn with_default_load_id(self, load_id: String) -> Self {
        match self.options.get("load_id") {
            Some(_) => self,
            None => self.load_id(load_id),
        }
    }

    pub(crate) fn require_connection(&mut self) {
        self.needs_connection = true;
    }

    /// Follows the load into this destination from outside. Take it before the load is awaited: it says how far the load is, and
    /// after an interruption (the future was dropped) what happened to the target.
    pub fn status(&self) -> LoadStatus {
        self.status.clone()
    }

    /// Resolves names and keys, and refuses what the loader cannot do: no I/O yet, but files that hold secrets.
    pub(crate) fn prepare(self, client: &Client, started: Instant) -> Result<Prepared> {
        let descriptor = *client.registry().loader(&self.loader)?;
        let mut inline = match self.config {
            Some(Value::Object(config)) => Settings::from_map(config, ".config(..)"),
            Some(_) => {
                return Err(Error::new(
                    ErrorKind::InvalidOption,
                    ".config(..) takes an object of keys and values; a URL goes into .connection(url), and a single key into \
                     .config_key(key, value)",
                ));
            }
            None => Settings::new(),
        };
        inline.overlay(self.config_settings);
        let by_url = self.connection.as_deref().is_some_and(is_url);
        let connection_is_inline = by_url || !inline.is_empty();
        if self.needs_connection && self.connection.is_none() && !connection_is_inline {
            let message = "the load that set these rows aside had its connection by a URL or with the load, and dead letters do not \
                           keep those: name the connection again";
            return Err(Error::new(ErrorKind::InvalidOption, message).with("key", "connection"));
        }
        let mut settings = client.connections().for_loader_with(
            &descriptor,
            self.connection.as_deref(),
            inline,
        )?;
        let names_keys = ["keys", "upsert_key"]
            .iter()
            .any(|key| self.options.get(key).is_some());
        settings.overlay(self.options);
        let (split, mut load) = descriptor
            .split(settings)
            .map_err(|error| error.with("loader", descriptor.name()))?;
        if !names_keys && load.mode != Mode::Upsert {
            // Keys among a connection's defaults are there for its upserts, and bind no other load.
            load.keys.clear();
        }
        let mut spec = LoadSpec::new(self.target);
        spec.load = load;
        spec.connection_is_inline = connection_is_inline;
        spec.options = split.options;
        // A URL may hold a password, and dead-letter files keep the name of their connection.
        spec.connection = self.connection.filter(|name| !is_url(name));
        spec.started = Some(started);
        spec.on_progress = self.on_progress;
        spec.status = self.status;
        spec.mark = self.mark;
        spec.new_load_id = self.new_load_id;
        spec.check(&descriptor)?;
        let connection = client
            .connections()
            .effective(&descriptor.config_schema(), &split.config);
        Ok(Prepared {
            keys: ConnectionKeys::of(&descriptor, &split.config),
            connection,
            descriptor,
            config: split.config,
            spec,
        })
    }
}

fn is_url(name: &str) -> bool {
    url_scheme(name).is_some()
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connection = self.connection.as_ref().filter(|name| !is_url(name));
        f.debug_struct("Destination")
            .field("loader", &self.loader)
            .field("target", &self.target)
            .field("connection", &connection)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// Says where a connection leads, and which layers say so.
pub(crate) fn log_connecting(to: &str, connection: &[ConnectionKey]) {
    let keys: Vec<String> = connection.iter().map(ToString::to_string).collect();
    tracing::info!("connecting to {to}: {}", keys.join(", "));
}

/// A destination whose names and keys are resolved.
pub(crate) struct Prepared {
    pub(crate) descriptor: LoaderDescriptor,
    pub(crate) keys: ConnectionKeys,
    /// The same for people to read.
    pub(crate) connection: Vec<ConnectionKey>,
    pub(crate) spec: LoadSpec,
    config: Settings,
}

impl Prepared {
    pub(crate) async fn connect(&self, client: &Client) -> Result<Loader> {
        let place = client.loaders().place(&self.keys);
        let max_retries = self.spec.load.max_retries;
        let connect = || {
            log_connecting(self.descriptor.name(), &self.connection);
            Loader::connect(&self.descriptor, &self.config, max_retries)
        };
        let span = tracing::info_span!("connecting", loader = self.descriptor.name());
        let connecting = async { place.get_or_try_init(connect).await.cloned() }.instrument(span);
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

    /// Whether a load with its `load_id` has committed.
    pub(crate) async fn find(&self, client: &Client) -> Result<LoadState> {
        let loader = self.connect(client).await?;
        loader.find_load(&self.spec.target, self.load_id()?).await
    }

    /// The id that a load is found by.
    pub(crate) fn load_id(&self) -> Result<&str> {
        let missing = || {
            Error::new(
                ErrorKind::InvalidOption,
                "a load is found by its load_id; set it",
            )
        };
        self.spec.load.load_id.as_deref().ok_or_else(missing)
    }
}

/// Writes the methods that set up a destination, once for all builders that have an `edit`.
macro_rules! setters {
    ($builder:ty) => {
        impl $builder {
            /// Loads through a named connection, or a URL. Without one, that of the loader's own name, or the environment, serves.
            pub fn connection(self, name: impl Into<String>) -> Self {
                self.edit(|to| to.connection = Some(name.into()))
            }

            /// Connection keys given here and now; they stand over those of a named connection.
            pub fn config(self, config: impl Into<Value>) -> Self {
                self.edit(|to| to.config = Some(config.into()))
            }

            /// A single connection key, over those of [`config`](Self::config) and of a named connection.
            pub fn config_key(self, key: &str, value: impl Into<Value>) -> Self {
                self.edit(|to| {
                    let mut setting = Settings::new();
                    setting.set(key, value, &format!(".config_key(\"{key}\", ..)"));
                    to.config_settings.overlay(setting);
                })
            }

            /// Sets an option, of all loaders or of this one.
            pub fn option(self, key: &str, value: impl Into<Value>) -> Self {
                self.edit(|to| to.set(key, value, &format!(".option(\"{key}\", ..)")))
            }

            /// What happens to rows that are in the target.
            pub fn mode(self, mode: Mode) -> Self {
                self.edit(|to| to.set("mode", mode.name(), ".mode(..)"))
            }

            /// The columns that identify a row.
            pub fn keys<K: Into<String>>(self, keys: impl IntoIterator<Item = K>) -> Self {
                let keys: Vec<Value> = keys
                    .into_iter()
                    .map(|key| Value::String(key.into()))
                    .collect();
                self.edit(|to| to.set("keys", keys, ".keys(..)"))
            }

            /// Identifies the load: repeating it with the same id writes nothing again.
            pub fn load_id(self, load_id: impl Into<String>) -> Self {
                self.edit(|to| to.set("load_id", load_id.into(), ".load_id(..)"))
            }

            /// What is proved before the load is published.
            pub fn verify(self, verify: Verify) -> Self {
                let name = match verify {
                    Verify::Counts => "counts",
                    Verify::Checksum => "checksum",
                };
                self.edit(|to| to.set("verify", name, ".verify(..)"))
            }

            /// Refuses a load without a row before its commit: the target stays as it was.
            pub fn refuse_empty(self) -> Self {
                self.edit(|to| to.set("refuse_empty", true, ".refuse_empty()"))
            }

            /// What to do with a row that the store refuses.
            pub fn on_error(self, on_error: OnError) -> Self {
                let name = match on_error {
                    OnError::Fail => "fail",
                    OnError::Skip => "skip",
                    OnError::SkipUnparsed => "skip_unparsed",
                };
                self.edit(|to| to.set("on_error", name, ".on_error(..)"))
            }

            /// Is called at most ten times a second while rows are written, and once at the end.
            pub fn on_progress(self, callback: impl Fn(&Progress) + Send + Sync + 'static) -> Self {
                self.edit(|to| to.on_progress = Some(Arc::new(callback)))
            }

            /// As [`config`](Self::config), for programs that know where each key comes from, such as a flag: errors say so.
            pub fn with_config(self, config: Settings) -> Self {
                self.edit(|to| to.config_settings.overlay(config))
            }

            /// As [`option`](Self::option), for programs that know where each key comes from.
            pub fn with_options(self, options: Settings) -> Self {
                self.edit(|to| to.options.overlay(options))
            }
        }
    };
}

setters!(Destination);
setters!(LoadBuilder);
