//! The loader: what files can do, and what a load would do to them.

use arrow_schema::DataType;
use arrowload_core::{
    Atomicity, BatchSize, Capabilities, DataLoader, LoadRequest, LoadState, Mode, Plan, Result,
    TypeSupport,
};

use crate::config::FileConfig;
use crate::existing;
use crate::options::{FileOptions, Format};
use crate::place::Place;
use crate::session::FileSession;
use crate::target::Target;
use crate::types::{stored, support};

/// Loads into files. See the crate's page.
#[derive(Debug)]
pub struct FileLoader {
    config: FileConfig,
}

impl DataLoader for FileLoader {
    const NAME: &'static str = "file";
    const URL_SCHEMES: &'static [&'static str] = &["file"];
    const CAPABILITIES: Capabilities = Capabilities::new(
        &[Mode::Create, Mode::Append, Mode::Overwrite],
        Atomicity::Part,
    )
    .create_target()
    .schema_evolution()
    .load_ids()
    .checksum()
    .parallel()
    .batch(BatchSize {
        min_rows: 1024,
        max_rows: 1 << 17,
        max_bytes: 16 << 20,
    });

    type Config = FileConfig;
    type Options = FileOptions;
    type Session = FileSession;

    async fn connect(config: FileConfig) -> Result<Self> {
        Ok(Self { config })
    }

    async fn begin(&self, request: LoadRequest<FileOptions>) -> Result<FileSession> {
        FileSession::begin(Target::of(&self.config, &request).await?, request).await
    }

    /// For Parquet, the default format; a plan says it for the format of its load.
    fn supports_type(data_type: &DataType) -> TypeSupport {
        support(Format::Parquet, data_type)
    }

    async fn plan(&self, request: &LoadRequest<FileOptions>) -> Result<Plan> {
        let target = Target::of(&self.config, request).await?;
        let mut plan = Plan::from_types(&request.schema, |data_type| {
            support(target.format, data_type)
        });
        for (column, field) in plan.columns.iter_mut().zip(request.schema.fields()) {
            column.target_type = match target.format {
                Format::Csv | Format::Ndjson => "text".into(),
                format => stored(format, field.data_type()).to_string(),
            };
        }
        plan.target_exists = target.exists;
        plan.resources = vec![format!(
            "{} ({}, {})",
            request.target,
            target.format.name(),
            target.codec
        )];
        let adds_files = target.is_folder && target.exists && request.mode == Mode::Append;
        let in_store = target.local().is_none() && target.is_folder;
        plan.atomicity = Some(if adds_files || in_store {
            Atomicity::Part
        } else {
            Atomicity::Load
        });
        plan.exactly_once = Some(target.remembers());
        Ok(plan)
    }

    async fn find_load(&self, target: &str, load_id: &str) -> Result<LoadState> {
        existing::find_load(&Place::find(&self.config, target)?, load_id).await
    }

    fn config_from_url(url: &str) -> Result<serde_json::Map<String, serde_json::Value>> {
        Ok([("root".to_owned(), url.into())].into_iter().collect())
    }
}
