//! A complete loader: each load becomes one Arrow IPC stream in a folder, and a target is such a folder.
//!
//! It shows what every loader decides: how to connect, what it can do, where rows wait until the commit, and how a load
//! that is repeated is recognised. Replace the files with your store.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, SchemaRef};
use arrowload_core::{
    Atomicity, Capabilities, ColumnMapping, DataLoader, Error, LoadRequest, LoadSession, LoadState,
    Mode, Plan, Prepared, Receipt, Result, TypeSupport,
};
use schemars::JsonSchema;
use serde::Deserialize;
use tempfile::NamedTempFile;

/// How to connect. The doc comment of a field is its documentation everywhere.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PluginTemplateConfig {
    /// The folder below which targets are.
    pub root: PathBuf,
}

/// How to load, beside the options that all loaders share. This one needs nothing more.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PluginTemplateOptions {}

/// The loader: what lives as long as the connection.
#[derive(Debug)]
pub struct PluginTemplateLoader {
    root: PathBuf,
}

impl DataLoader for PluginTemplateLoader {
    const NAME: &'static str = "plugin_template";
    // A load is one file that appears by a rename, so readers see all of it or nothing, and its name says which load it is.
    // Declare only what holds: the pipeline refuses the rest, and the conformance suite tries what is declared.
    const CAPABILITIES: Capabilities =
        Capabilities::new(&[Mode::Create, Mode::Append], Atomicity::Load)
            .create_target()
            .schema_evolution()
            .load_ids();

    type Config = PluginTemplateConfig;
    type Options = PluginTemplateOptions;
    type Session = PluginTemplateSession;

    async fn connect(config: PluginTemplateConfig) -> Result<Self> {
        fs::create_dir_all(&config.root)?;
        Ok(Self { root: config.root })
    }

    async fn begin(
        &self,
        request: LoadRequest<PluginTemplateOptions>,
    ) -> Result<PluginTemplateSession> {
        let folder = self.folder(&request.target);
        let mapping = resolve(&folder, &request)?;
        // The temporary file is removed when the session is dropped, so a load that does not commit leaves nothing.
        let temporary = tempfile::Builder::new()
            .prefix(".")
            .suffix(".tmp")
            .tempfile_in(&self.root)?;
        let writer = StreamWriter::try_new(BufWriter::new(temporary), &mapping.schema)?;
        Ok(PluginTemplateSession {
            file: folder.join(file_name(&request.load_id)),
            folder,
            mapping,
            writer,
            request,
            rows: 0,
        })
    }

    /// Arrow IPC holds every Arrow type. Most stores hold fewer: say what each becomes, or why it is refused.
    fn supports_type(_: &DataType) -> TypeSupport {
        TypeSupport::Exact
    }

    async fn plan(&self, request: &LoadRequest<PluginTemplateOptions>) -> Result<Plan> {
        let folder = self.folder(&request.target);
        resolve(&folder, request)?;
        let mut plan = Plan::from_types(&request.schema, Self::supports_type);
        plan.target_exists = folder.is_dir();
        plan.resources = vec![folder.display().to_string()];
        Ok(plan)
    }

    async fn find_load(&self, target: &str, load_id: &str) -> Result<LoadState> {
        let file = self.folder(target).join(file_name(load_id));
        if !file.exists() {
            return Ok(LoadState::NotCommitted);
        }
        let rows: u64 = StreamReader::try_new(File::open(file)?, None)?
            .map(|batch| Ok(batch?.num_rows() as u64))
            .sum::<Result<_>>()?;
        Ok(LoadState::Committed(Receipt::rows(rows)))
    }
}

impl PluginTemplateLoader {
    /// Any text is a target: what a file name cannot hold is escaped.
    fn folder(&self, target: &str) -> PathBuf {
        self.root.join(escape(target))
    }
}

/// Letters, digits, `-` and `_` as they are, other bytes as `%XX`: no name leaves the root, and no two share a file.
fn escape(name: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    name.bytes()
        .map(|byte| {
            if plain(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

fn file_name(load_id: &str) -> String {
    format!("{}.arrows", escape(load_id))
}

/// How the load's columns fill those of the files that are there. It refuses what the mode or the columns do not allow.
fn resolve(folder: &Path, request: &LoadRequest<PluginTemplateOptions>) -> Result<ColumnMapping> {
    request.must_create(folder.is_dir())?;
    let there = columns(folder)?.unwrap_or_else(|| request.schema.clone());
    ColumnMapping::by_name(
        &request.schema,
        &there,
        request.schema_evolution,
        |load, target| load == target,
    )
}

/// The columns of the files that are there: of the widest, as each evolution adds to those before it.
fn columns(folder: &Path) -> Result<Option<SchemaRef>> {
    let mut widest: Option<SchemaRef> = None;
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let schema = StreamReader::try_new(File::open(entry?.path())?, None)?.schema();
        if widest
            .as_ref()
            .is_none_or(|known| known.fields().len() < schema.fields().len())
        {
            widest = Some(schema);
        }
    }
    Ok(widest)
}

/// One load under way.
pub struct PluginTemplateSession {
    folder: PathBuf,
    file: PathBuf,
    mapping: ColumnMapping,
    writer: StreamWriter<BufWriter<NamedTempFile>>,
    request: LoadRequest<PluginTemplateOptions>,
    rows: u64,
}

impl LoadSession for PluginTemplateSession {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let arranged = self.mapping.apply(batch, self.rows)?;
        self.writer.write(&arranged)?;
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    /// Everything is on the disk after this, and nothing is visible.
    async fn prepare(&mut self) -> Result<Prepared> {
        self.writer.finish()?;
        self.writer.get_ref().get_ref().as_file().sync_all()?;
        Ok(Prepared::rows(self.rows))
    }

    /// One rename publishes the rows, under the name that records the `load_id`.
    async fn commit(self) -> Result<Receipt> {
        // What another load has done meanwhile counts.
        resolve(&self.folder, &self.request)?;
        fs::create_dir_all(&self.folder)?;
        let file = self
            .writer
            .into_inner()?
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)?;
        match file.persist_noclobber(&self.file) {
            Ok(_) => Ok(Receipt::rows(self.rows).with("file", self.file.display())),
            // Another run of the same load was faster: its rows are these rows.
            Err(taken) if taken.error.kind() == std::io::ErrorKind::AlreadyExists => {
                let mut receipt = Receipt::rows(self.rows);
                receipt.already_loaded = true;
                Ok(receipt)
            }
            Err(other) => Err(Error::from(other.error).with("file", self.file.display())),
        }
    }

    async fn abort(self) -> Result<()> {
        Ok(())
    }
}

arrowload_core::register_loader!(PluginTemplateLoader);
