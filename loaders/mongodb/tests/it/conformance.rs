//! The conformance suite over the emulator, row by row and in transactions; documents are read back by the `bson` crate.

use std::path::Path;

use arrow_array::RecordBatch;
use arrow_schema::DataType;
use arrowload_core::{
    Atomicity, Begun, Capabilities, DataLoader, LoadRequest, LoadState, LoaderDescriptor, Mode,
    Plan, Rejects, Result as LoadResult, Settings, TargetColumns, TypeSupport,
};
use arrowload_mongodb::{MongoConfig, MongoLoader, MongoOptions, MongoSession, Resolved};
use arrowload_testkit::mongo::MongoEmulator;
use arrowload_testkit::{Subject, check_support_table, conformance};
use futures::FutureExt;
use futures::future::BoxFuture;
use mongodb::Database;

use crate::reader;
use crate::support::emulator;

struct Collections {
    /// The server, where it was started here.
    _emulator: Option<MongoEmulator>,
    url: String,
    database: Database,
    descriptor: LoaderDescriptor,
    never: &'static [&'static str],
}

impl Collections {
    /// On the emulator.
    async fn of<L: DataLoader>(never: &'static [&'static str]) -> Self {
        let emulator = emulator();
        let url = emulator.url("test");
        Self::at::<L>(url, Some(emulator), "test", never).await
    }

    async fn at<L: DataLoader>(
        url: String,
        emulator: Option<MongoEmulator>,
        database: &str,
        never: &'static [&'static str],
    ) -> Self {
        let (package, version) = (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
        let client = mongodb::Client::with_uri_str(&url).await.expect("a client");
        Self {
            _emulator: emulator,
            url,
            database: client.database(database),
            descriptor: LoaderDescriptor::of::<L>(package, version),
            never,
        }
    }
}

impl Subject for Collections {
    fn descriptor(&self) -> LoaderDescriptor {
        self.descriptor
    }

    fn connection(&self) -> Settings {
        let mut settings = Settings::new();
        settings.set("uri", self.url.clone(), "the test");
        settings.set("database", self.database.name(), "the test");
        settings
    }

    fn never_kept(&self) -> &[&'static str] {
        self.never
    }

    fn read<'a>(&'a self, target: &'a str) -> BoxFuture<'a, Result<Option<RecordBatch>, String>> {
        reader::read(&self.database, target).boxed()
    }
}

/// The loader with `transaction = true` for every load.
#[derive(Debug)]
struct InTransactions(MongoLoader);

type Request = LoadRequest<MongoOptions>;

fn in_transaction(request: &Request) -> Request {
    let mut options = request.options.clone();
    options.transaction = true;
    request.clone().with_options(options)
}

impl DataLoader for InTransactions {
    const NAME: &'static str = MongoLoader::NAME;
    const CAPABILITIES: Capabilities = Capabilities::new(&Mode::ALL, Atomicity::Load)
        .create_target()
        .schema_evolution()
        .load_ids()
        .batch(MongoLoader::CAPABILITIES.batch);

    type Config = MongoConfig;
    type Options = MongoOptions;
    type Resolved = Resolved;
    type Session = MongoSession;

    async fn connect(config: MongoConfig) -> LoadResult<Self> {
        MongoLoader::connect(config).await.map(Self)
    }

    fn supports_type(data_type: &DataType) -> TypeSupport {
        MongoLoader::supports_type(data_type)
    }

    async fn resolve(&self, request: &Request) -> LoadResult<Resolved> {
        self.0.resolve(&in_transaction(request)).await
    }

    fn plan(request: &Request, resolved: &Resolved) -> Plan {
        MongoLoader::plan(&in_transaction(request), resolved)
    }

    async fn begin(
        &self,
        request: Request,
        resolved: Resolved,
        rejects: Rejects,
    ) -> LoadResult<Begun<MongoSession>> {
        self.0
            .begin(in_transaction(&request), resolved, rejects)
            .await
    }

    async fn ping(&self) -> LoadResult<()> {
        self.0.ping().await
    }

    async fn describe(&self, target: &str) -> LoadResult<Option<TargetColumns>> {
        self.0.describe(target).await
    }

    async fn find_load(&self, target: &str, load_id: &str) -> LoadResult<LoadState> {
        self.0.find_load(target, load_id).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn collections_keep_their_promises() {
    let subject = Collections::of::<MongoLoader>(&[]).await;
    let report = conformance(&subject).await;
    let failures = report.failures();
    assert!(failures.is_empty(), "{failures:#?}");
    check_support_table(
        &report,
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/types/mongodb.md"),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_keep_their_promises() {
    let subject = Collections::of::<InTransactions>(&[]).await;
    // Types arrive by the same encoder, and many rows by the same commands.
    let wanted = |name: &str| !name.starts_with("type ") && !name.starts_with("a million");
    let report = arrowload_testkit::conformance_of(&subject, wanted).await;
    let failures = report.failures();
    assert!(failures.is_empty(), "{failures:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_deployment_keeps_the_promises() {
    let Ok(url) = std::env::var(arrowload_testkit::mongo::URL) else {
        let why = "MONGODB_TEST_URI names no deployment of MongoDB";
        arrowload_testkit::skip("mongodb", why);
        return;
    };
    let name = format!("arrowload_{}", std::process::id());
    let subject = Collections::at::<MongoLoader>(url, None, &name, &[]).await;
    let report = conformance(&subject).await;
    subject.database.drop().await.expect("dropped");
    let failures = report.failures();
    assert!(failures.is_empty(), "{failures:#?}");
}
