//! The conformance suite over each format, as folders, which can be added to, and as single files, which cannot. Parquet and
//! Arrow are read back by pyarrow; CSV by DuckDB and NDJSON by arrow-json, as text that is then told its type.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

use arrow_array::RecordBatch;
use arrow_schema::{DataType, FieldRef};
use arrowload_core::{
    Begun, Capabilities, DataLoader, LoadRequest, LoadState, LoaderDescriptor, Plan, Rejects,
    Result, Settings, TargetColumns, TypeSupport,
};
use arrowload_file::{FileConfig, FileLoader, FileOptions, FileSession, FileTarget, Format};
use arrowload_testkit::{ConformanceReport, Subject, check_support_table, conformance, python};
use futures::FutureExt;
use futures::future::BoxFuture;
use tempfile::TempDir;

use crate::text;

/// The columns that were sent to each target: text does not tell its types.
static SENT: LazyLock<Mutex<HashMap<PathBuf, Vec<FieldRef>>>> = LazyLock::new(Mutex::default);

/// The loader with another default format, and what it says of that format's types.
struct By<const FORMAT: usize> {
    loader: FileLoader,
    root: PathBuf,
}

const FORMATS: [Format; 5] = [
    Format::Parquet,
    Format::Arrow,
    Format::ArrowStream,
    Format::Csv,
    Format::Ndjson,
];

fn in_format(format: Format, request: &LoadRequest<FileOptions>) -> LoadRequest<FileOptions> {
    let mut request = request.clone();
    request.options.format.get_or_insert(format);
    request
}

impl<const FORMAT: usize> DataLoader for By<FORMAT> {
    const NAME: &'static str = FileLoader::NAME;
    const CAPABILITIES: Capabilities = FileLoader::CAPABILITIES;

    type Config = FileConfig;
    type Options = FileOptions;
    type Resolved = FileTarget;
    type Session = FileSession;

    async fn connect(config: FileConfig) -> Result<Self> {
        let root = config.root.clone().unwrap_or_default().into();
        Ok(Self {
            loader: FileLoader::connect(config).await?,
            root,
        })
    }

    async fn resolve(&self, request: &LoadRequest<FileOptions>) -> Result<FileTarget> {
        let request = in_format(FORMATS[FORMAT], request);
        self.loader.resolve(&request).await
    }

    async fn begin(
        &self,
        request: LoadRequest<FileOptions>,
        resolved: FileTarget,
        rejects: Rejects,
    ) -> Result<Begun<FileSession>> {
        let (path, schema) = (self.root.join(&request.target), request.schema.clone());
        let request = in_format(FORMATS[FORMAT], &request);
        let session = self.loader.begin(request, resolved, rejects).await?;
        let mut sent = SENT.lock().unwrap_or_else(PoisonError::into_inner);
        let known = sent.entry(path).or_default();
        known.retain(|field| schema.column_with_name(field.name()).is_none());
        known.extend(schema.fields().iter().cloned());
        Ok(session)
    }

    fn supports_type(data_type: &DataType) -> TypeSupport {
        FORMATS[FORMAT].supports_type(data_type)
    }

    fn plan(request: &LoadRequest<FileOptions>, resolved: &FileTarget) -> Plan {
        FileLoader::plan(&in_format(FORMATS[FORMAT], request), resolved)
    }

    async fn describe(&self, target: &str) -> Result<Option<TargetColumns>> {
        self.loader.describe(target).await
    }

    async fn find_load(&self, target: &str, load_id: &str) -> Result<LoadState> {
        self.loader.find_load(target, load_id).await
    }
}

/// Targets of one format in a folder.
struct Targets {
    root: TempDir,
    format: Format,
    single: bool,
}

impl Targets {
    fn text(&self) -> bool {
        matches!(self.format, Format::Csv | Format::Ndjson)
    }
}

impl Subject for Targets {
    fn descriptor(&self) -> LoaderDescriptor {
        let (package, version) = (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
        match self.format {
            Format::Parquet => LoaderDescriptor::of::<FileLoader>(package, version),
            Format::Arrow => LoaderDescriptor::of::<By<1>>(package, version),
            Format::ArrowStream => LoaderDescriptor::of::<By<2>>(package, version),
            Format::Csv => LoaderDescriptor::of::<By<3>>(package, version),
            Format::Ndjson => LoaderDescriptor::of::<By<4>>(package, version),
        }
    }

    fn connection(&self) -> Settings {
        let mut settings = Settings::new();
        settings.set("root", self.root.path().display().to_string(), "the test");
        settings
    }

    fn target(&self, name: &str) -> String {
        let ending = match self.format {
            Format::Parquet => "parquet",
            Format::Arrow => "arrow",
            Format::ArrowStream => "arrows",
            Format::Csv => "csv",
            Format::Ndjson => "ndjson",
        };
        if self.single {
            format!("{name}.{ending}")
        } else {
            format!("{name}/")
        }
    }

    /// A file cannot be added to. Text has no types that a checksum could be of, and a text file no place for a `load_id`.
    fn never_kept(&self) -> &[&'static str] {
        match (self.single, self.text()) {
            (true, true) => &["append", "checksum", "exactly_once"],
            (true, false) => &["append"],
            (false, true) => &["checksum"],
            (false, false) => &[],
        }
    }

    /// DuckDB has no two columns whose names differ in case only.
    fn case_sensitive_columns(&self) -> bool {
        self.format != Format::Csv
    }

    fn read<'a>(&'a self, target: &'a str) -> BoxFuture<'a, Result<Option<RecordBatch>, String>> {
        let path = self.root.path().join(target);
        async move {
            let sent = SENT
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get(&path)
                .cloned()
                .unwrap_or_default();
            match self.format {
                Format::Parquet => python::read("parquet", &path),
                Format::Arrow => python::read("arrow", &path),
                Format::ArrowStream => python::read("arrows", &path),
                Format::Csv => text::read_csv(&path, &sent),
                Format::Ndjson => text::read_ndjson(&path, &sent),
            }
        }
        .boxed()
    }
}

async fn suite(format: Format, single: bool) -> ConformanceReport {
    conformance(&Targets {
        root: tempfile::tempdir().expect("a folder"),
        format,
        single,
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_of_parquet_keep_their_promises() {
    if python::available() {
        let report = suite(Format::Parquet, false).await;
        report.assert();
        check_support_table(
            &report,
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/types/file.md"),
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_of_arrow_files_keep_their_promises() {
    if python::available() {
        suite(Format::Arrow, false).await.assert();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn single_files_of_parquet_keep_their_promises() {
    if python::available() {
        suite(Format::Parquet, true).await.assert();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn single_files_of_arrow_keep_their_promises() {
    if python::available() {
        suite(Format::Arrow, true).await.assert();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn single_arrow_streams_keep_their_promises() {
    if python::available() {
        suite(Format::ArrowStream, true).await.assert();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_of_csv_keep_their_promises() {
    if python::available() {
        suite(Format::Csv, false).await.assert();
    }
}

/// What a text file cannot promise: it does not tell which columns it has, so `overwrite` replaces it with any.
const NO_COLUMNS: [(&str, &str); 3] = [
    ("columns are matched by name", "overwrite, a column missing"),
    (
        "a new column needs schema_evolution",
        "overwrite: it loaded",
    ),
    (
        "a column of another type is refused",
        "overwrite: it loaded",
    ),
];

/// All promises are kept but those that are named, for these reasons.
fn assert_but_for(report: &ConformanceReport, limits: &[(&str, &str)]) {
    let failures = report.failures();
    let known = |(name, why): &(&str, &str)| {
        limits
            .iter()
            .any(|(limit, reason)| name == limit && why.contains(reason))
    };
    assert!(
        failures.len() == limits.len() && failures.iter().all(known),
        "{report}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn single_files_of_csv_keep_their_promises() {
    if python::available() {
        assert_but_for(&suite(Format::Csv, true).await, &NO_COLUMNS);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_of_ndjson_keep_their_promises() {
    assert_but_for(&suite(Format::Ndjson, false).await, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn single_files_of_ndjson_keep_their_promises() {
    assert_but_for(&suite(Format::Ndjson, true).await, &NO_COLUMNS);
}
