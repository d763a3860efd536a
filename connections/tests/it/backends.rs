//! A loader and source whose URLs are taken apart, and a loader that keeps its URL whole.

use std::collections::BTreeMap;

use arrow_schema::DataType;
use arrowload_core::memory::{MemoryOptions, MemorySession};
use arrowload_core::{
    Atomicity, BatchStream, Begun, Capabilities, DataLoader, DataSource, Error, ErrorKind,
    LoadRequest, LoaderDescriptor, Mode, Plan, Query, Registry, Rejects, Result, Secret,
    SourceDescriptor, TypeSupport,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

const ENVIRONMENT: &[(&str, &str)] = &[
    ("DATABASE_URL", "url"),
    ("POSTGRES_URL", "url"),
    ("PGSERVICE", "url=postgresql:///?host=service-"),
    ("PGHOSTADDR", "host"),
    ("PGHOST", "host"),
    ("PGPORT", "port"),
    ("PGUSER", "user"),
    ("PGPASSWORD", "password"),
    ("PGDATABASE", "database"),
    ("LAKE_REGION", "storage_options.aws_region"),
];

/// How to connect.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PgConfig {
    #[schemars(extend("x-place" = 1))]
    pub(crate) host: String,
    #[schemars(extend("x-place" = 2))]
    pub(crate) port: u16,
    #[schemars(extend("x-place" = 3, "x-default" = "=user"))]
    pub(crate) database: Option<String>,
    #[schemars(extend("x-place" = 4, "x-default" = "$USER"))]
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) sslmode: Option<String>,
    pub(crate) storage_options: BTreeMap<String, String>,
}

impl Default for PgConfig {
    fn default() -> Self {
        let (database, user, password, sslmode, storage_options) = Default::default();
        Self {
            host: "localhost".into(),
            port: 5432,
            database,
            user,
            password,
            sslmode,
            storage_options,
        }
    }
}

/// Of its own: one option.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PgOptions {
    pub(crate) staging: Option<String>,
}

pub(crate) struct Pg;

/// The backends of these tests are looked up, and never used.
fn not_here() -> Error {
    Error::new(ErrorKind::Unsupported, "nothing is loaded or queried here")
}

impl DataLoader for Pg {
    const NAME: &'static str = "postgresql";
    const URL_SCHEMES: &'static [&'static str] = &["postgresql", "postgres"];
    const ENVIRONMENT: &'static [(&'static str, &'static str)] = ENVIRONMENT;
    const CAPABILITIES: Capabilities =
        Capabilities::new(&Mode::ALL, Atomicity::Load).create_target();

    type Config = PgConfig;
    type Options = PgOptions;
    type Resolved = ();
    type Session = MemorySession;

    async fn connect(_: PgConfig) -> Result<Self> {
        Ok(Self)
    }

    async fn resolve(&self, _: &LoadRequest<PgOptions>) -> Result<()> {
        Err(not_here())
    }

    fn plan(request: &LoadRequest<PgOptions>, (): &()) -> Plan {
        Plan::of::<Self>(request)
    }

    async fn begin(
        &self,
        _: LoadRequest<PgOptions>,
        (): (),
        _: Rejects,
    ) -> Result<Begun<MemorySession>> {
        Err(not_here())
    }

    fn supports_type(_: &DataType) -> TypeSupport {
        TypeSupport::Exact
    }

    fn config_from_url(url: &str) -> Result<Map<String, Value>> {
        if arrowload_core::url_scheme(url).is_some() {
            return arrowload_core::url_to_config(url);
        }
        let pairs = url.split(' ').filter_map(|pair| pair.split_once('='));
        let key = |key| if key == "dbname" { "database" } else { key };
        Ok(pairs
            .map(|(name, value)| (key(name).to_owned(), value.into()))
            .collect())
    }
}

impl DataSource for Pg {
    const NAME: &'static str = "postgresql";
    const URL_SCHEMES: &'static [&'static str] = &["postgresql", "postgres"];
    const ENVIRONMENT: &'static [(&'static str, &'static str)] = ENVIRONMENT;

    type Config = PgConfig;

    async fn connect(_: PgConfig) -> Result<Self> {
        Ok(Self)
    }

    async fn query(&self, _: &Query) -> Result<BatchStream> {
        Err(not_here())
    }
}

/// A whole URL, or its parts.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RedisConfig {
    pub(crate) url: Option<Secret>,
    pub(crate) host: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) client_name: Option<String>,
}

pub(crate) struct Redis;

impl DataLoader for Redis {
    const NAME: &'static str = "redis";
    const URL_SCHEMES: &'static [&'static str] = &["redis", "rediss"];
    const ENVIRONMENT: &'static [(&'static str, &'static str)] = &[
        ("REDIS_URL", "url"),
        ("REDIS_HOST", "host"),
        ("REDIS_PASSWORD", "password"),
        ("REDIS_CLIENT", "client_name"),
    ];
    const CAPABILITIES: Capabilities = Capabilities::new(&[Mode::Append], Atomicity::Row);

    type Config = RedisConfig;
    type Options = MemoryOptions;
    type Resolved = ();
    type Session = MemorySession;

    async fn connect(_: RedisConfig) -> Result<Self> {
        Ok(Self)
    }

    async fn resolve(&self, _: &LoadRequest<MemoryOptions>) -> Result<()> {
        Err(not_here())
    }

    fn plan(request: &LoadRequest<MemoryOptions>, (): &()) -> Plan {
        Plan::of::<Self>(request)
    }

    async fn begin(
        &self,
        _: LoadRequest<MemoryOptions>,
        (): (),
        _: Rejects,
    ) -> Result<Begun<MemorySession>> {
        Err(not_here())
    }

    fn supports_type(_: &DataType) -> TypeSupport {
        TypeSupport::Exact
    }
}

pub(crate) const PG: LoaderDescriptor = LoaderDescriptor::of::<Pg>("test", "1.0.0");
pub(crate) const PG_SOURCE: SourceDescriptor = SourceDescriptor::of::<Pg>("test", "1.0.0");
pub(crate) const REDIS: LoaderDescriptor = LoaderDescriptor::of::<Redis>("test", "1.0.0");

pub(crate) fn registry() -> Registry {
    let registry = Registry::empty()
        .with_loader(PG)
        .and_then(|registry| registry.with_loader(REDIS));
    registry
        .and_then(|registry| registry.with_source(PG_SOURCE))
        .expect("no twins")
}
