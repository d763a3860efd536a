//! A store for tests without atomicity: readers see rows as they are written, and a failed load
//! leaves them behind.

use arrow_array::RecordBatch;
use arrow_schema::DataType;
use arrowload::core::memory::{
    MemoryConfig, MemoryLoader, MemoryOptions, MemorySession, MemoryTarget,
};
use arrowload::core::{
    Begun, DataLoader, LoadRequest, LoadSession, LoaderDescriptor, Prepared, Receipt, Rejects,
};
use arrowload::{
    Atomicity, Capabilities, Client, Connections, Error, ErrorKind, LoadBuilder, Mode, Plan,
    Progress, Registry, Result, TypeSupport,
};
use tokio::sync::Notify;

/// Says that a load that `waits` is writing.
pub(crate) static WRITES: Notify = Notify::const_new();

struct Leaky(MemoryLoader);

struct LeakySession {
    inner: MemorySession,
    target: String,
}

impl DataLoader for Leaky {
    const NAME: &'static str = "leaky";
    const CAPABILITIES: Capabilities =
        Capabilities::new(&Mode::ALL, Atomicity::Row).create_target();
    type Config = MemoryConfig;
    type Options = MemoryOptions;
    type Resolved = MemoryTarget;
    type Session = LeakySession;

    async fn connect(config: MemoryConfig) -> Result<Self> {
        MemoryLoader::connect(config).await.map(Self)
    }

    fn supports_type(data_type: &DataType) -> TypeSupport {
        MemoryLoader::supports_type(data_type)
    }

    async fn resolve(&self, request: &LoadRequest<MemoryOptions>) -> Result<MemoryTarget> {
        let kind = match request.target.as_str() {
            "is forbidden" => ErrorKind::PermissionDenied,
            "is unsupported" => ErrorKind::Unsupported,
            _ => return self.0.resolve(request).await,
        };
        Err(Error::new(kind, "not here"))
    }

    fn plan(request: &LoadRequest<MemoryOptions>, _: &MemoryTarget) -> Plan {
        Plan::of::<Self>(request)
    }

    async fn begin(
        &self,
        request: LoadRequest<MemoryOptions>,
        found: MemoryTarget,
        rejects: Rejects,
    ) -> Result<Begun<LeakySession>> {
        let target = request.target.clone();
        Ok(match self.0.begin(request, found, rejects).await? {
            Begun::Session(inner) => Begun::Session(LeakySession { inner, target }),
            Begun::AlreadyLoaded(receipt) => Begun::AlreadyLoaded(receipt),
        })
    }
}

impl LoadSession for LeakySession {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match self.target.as_str() {
            "fails" => return Err(Error::new(ErrorKind::InvalidData, "no such row here")),
            "waits" => {
                WRITES.notify_one();
                std::future::pending::<()>().await;
            }
            _ => {}
        }
        self.inner.write(batch).await
    }

    async fn prepare(&mut self) -> Result<Prepared> {
        self.inner.prepare().await
    }

    async fn commit(self) -> Result<Receipt> {
        match self.target.as_str() {
            "loses the answer" => Err(Error::new(ErrorKind::CommitUnknown, "it broke off")),
            _ => self.inner.commit().await,
        }
    }

    async fn abort(self) -> Result<()> {
        self.inner.abort().await
    }
}

/// What a load says of itself.
pub(crate) async fn progress() -> Progress {
    let told = std::sync::Arc::new(std::sync::Mutex::new(None));
    let kept = std::sync::Arc::clone(&told);
    let load = load("well").on_progress(move |progress| {
        *kept.lock().expect("no panic") = Some(progress.clone());
    });
    load.await.expect("loaded");
    let told = told.lock().expect("no panic").clone();
    told.expect("a load tells at its end")
}

/// A load of two rows into this target.
pub(crate) fn load(target: &str) -> LoadBuilder {
    let rows = arrow_array::Int64Array::from(vec![1, 2]);
    let batch = RecordBatch::try_from_iter([("id", std::sync::Arc::new(rows) as _)]);
    let batch = batch.expect("a batch");
    let connections = Connections::builder().no_config_file().environment([]);
    let registry = Registry::empty().with_loader(LoaderDescriptor::of::<Leaky>("test", "0"));
    let client = Client::builder()
        .connections(connections.build().expect("no layers"))
        .registry(registry.expect("one loader"))
        .build()
        .expect("a client");
    client
        .load_table(vec![batch], "leaky", target)
        .expect("a schema")
}
