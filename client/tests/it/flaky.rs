//! A store in memory with troubles, which a target's name asks for.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use arrow_array::RecordBatch;
use arrow_schema::DataType;
use arrowload::core::memory::{
    MemoryConfig, MemoryLoader, MemoryOptions, MemorySession, MemoryTarget,
};
use arrowload::core::{
    Begun, DataLoader, LoadRequest, LoadSession, LoaderDescriptor, Prepared, Receipt, Rejects,
};
use arrowload::{
    AfterFailure, Atomicity, Capabilities, Client, Connections, Error, ErrorKind, LoadState, Mode,
    Plan, Registry, Result, TypeSupport,
};
use tokio::sync::Notify;

/// Says that a load into a target `… waits` is writing.
pub(crate) static WRITES: Notify = Notify::const_new();

static BEGUN: LazyLock<Mutex<HashMap<String, u32>>> = LazyLock::new(Mutex::default);

/// How many loads into this target were begun.
pub(crate) fn begun(target: &str) -> u32 {
    let begun = BEGUN.lock().unwrap_or_else(PoisonError::into_inner);
    begun.get(target).copied().unwrap_or(0)
}

/// A client over tables in memory, with this store linked in; deaf to the machine's own configuration.
pub(crate) fn client() -> Client {
    let connections = Connections::builder()
        .no_config_file()
        .environment([])
        .build()
        .expect("no layers");
    let flaky = LoaderDescriptor::of::<Flaky>("test", "0");
    let registry = Registry::linked().and_then(|linked| linked.with_loader(flaky));
    Client::builder()
        .registry(registry.expect("a new name"))
        .connections(connections)
        .source("memory://")
        .build()
        .expect("a client")
}

/// Memory that refuses, stumbles or waits.
struct Flaky(MemoryLoader);

struct FlakySession {
    inner: MemorySession,
    target: String,
    attempt: u32,
}

impl DataLoader for Flaky {
    const NAME: &'static str = "flaky";
    const CAPABILITIES: Capabilities = Capabilities::new(&Mode::ALL, Atomicity::Load)
        .create_target()
        .load_ids();
    type Config = MemoryConfig;
    type Options = MemoryOptions;
    type Resolved = MemoryTarget;
    type Session = FlakySession;

    async fn connect(config: MemoryConfig) -> Result<Self> {
        if config.database == "unreachable" {
            return Err(Error::new(ErrorKind::Connection, "nobody is there"));
        }
        MemoryLoader::connect(config).await.map(Self)
    }

    fn supports_type(data_type: &DataType) -> TypeSupport {
        MemoryLoader::supports_type(data_type)
    }

    async fn resolve(&self, request: &LoadRequest<MemoryOptions>) -> Result<MemoryTarget> {
        if request.target.ends_with(" is forbidden") {
            let message = "this target is forbidden";
            return Err(Error::new(ErrorKind::PermissionDenied, message));
        }
        self.0.resolve(request).await
    }

    fn plan(request: &LoadRequest<MemoryOptions>, found: &MemoryTarget) -> Plan {
        let mut plan = Plan::of::<Self>(request);
        plan.target_exists = MemoryLoader::plan(request, found).target_exists;
        if request.target.contains(" row by row") {
            plan.guarantees.atomicity = Atomicity::Row;
            plan.guarantees.after_failure = AfterFailure::UNCHANGED.with_new_rows();
        }
        plan
    }

    async fn begin(
        &self,
        request: LoadRequest<MemoryOptions>,
        found: MemoryTarget,
        rejects: Rejects,
    ) -> Result<Begun<FlakySession>> {
        let target = request.target.clone();
        let attempt = {
            let mut begun = BEGUN.lock().unwrap_or_else(PoisonError::into_inner);
            let count = begun.entry(target.clone()).or_default();
            *count += 1;
            *count
        };
        Ok(match self.0.begin(request, found, rejects).await? {
            Begun::Session(inner) => Begun::Session(FlakySession {
                inner,
                target,
                attempt,
            }),
            Begun::AlreadyLoaded(receipt) => Begun::AlreadyLoaded(receipt),
        })
    }

    async fn find_load(&self, target: &str, load_id: &str) -> Result<LoadState> {
        self.0.find_load(target, load_id).await
    }
}

impl LoadSession for FlakySession {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let is_first = self.attempt == 1;
        if self.target.ends_with(" refuses") || (is_first && self.target.ends_with(" refuses once"))
        {
            return Err(Error::new(ErrorKind::InvalidData, "no such row here").at_row(0));
        }
        if is_first && self.target.ends_with(" stumbles") {
            return Err(Error::new(ErrorKind::ResourceExhausted, "too busy").transient());
        }
        if self.target.ends_with(" waits") {
            WRITES.notify_one();
            std::future::pending::<()>().await;
        }
        self.inner.write(batch).await
    }

    async fn prepare(&mut self) -> Result<Prepared> {
        self.inner.prepare().await
    }

    async fn commit(self) -> Result<Receipt> {
        self.inner.commit().await
    }

    async fn abort(self) -> Result<()> {
        self.inner.abort().await
    }
}
