//! A complete loader: each load becomes one Arrow IPC stream in a folder, and a target is such a folder.
//!
//! It shows what every loader decides: how to connect, what it can do, where rows wait until the commit, and how a load
//! that is repeated is recognised. Replace the files with your store.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, Schema, SchemaRef};
use arrowload_core::{
    Atomicity, Begun, Capabilities, ColumnMapping, DataLoader, Definition, Error, ErrorKind,
    LoadRequest, LoadSession, LoadState, Mark, Mode, Plan, Prepared, Receipt, Rejects, Result,
    TargetColumns, TypeSupport,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
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
    type Resolved = PluginTemplateTarget;
    type Session = PluginTemplateSession;

    async fn connect(config: PluginTemplateConfig) -> Result<Self> {
        fs::create_dir_all(&config.root)?;
        Ok(Self { root: config.root })
    }

    /// Arrow IPC holds every Arrow type. Most stores hold fewer: say what each becomes, or why it is refused.
    fn supports_type(_: &DataType) -> TypeSupport {
        TypeSupport::Exact
    }

    /// Looks at the target once. Whatever the load would refuse is refused here, and nothing is changed.
    async fn resolve(
        &self,
        request: &LoadRequest<PluginTemplateOptions>,
    ) -> Result<PluginTemplateTarget> {
        PluginTemplateTarget::find(self.folder(&request.target), request)
    }

    /// Says what `begin` would do with what was found.
    fn plan(request: &LoadRequest<PluginTemplateOptions>, target: &PluginTemplateTarget) -> Plan {
        let mut plan = Plan::of::<Self>(request);
        plan.target_exists = target.exists;
        plan.resources = vec![target.folder.display().to_string()];
        plan
    }

    async fn begin(
        &self,
        request: LoadRequest<PluginTemplateOptions>,
        target: PluginTemplateTarget,
        _: Rejects,
    ) -> Result<Begun<PluginTemplateSession>> {
        // The temporary file is removed when the session is dropped, so a load that does not commit leaves nothing.
        let temporary = tempfile::Builder::new()
            .prefix(".")
            .suffix(".tmp")
            .tempfile_in(&self.root)?;
        // What identifies the load is in the file that publishes it: one rename makes both visible.
        let record = Record::of(&request);
        let schema = record.added_to(&target.mapping.schema)?;
        Ok(Begun::Session(PluginTemplateSession {
            file: target.folder.join(file_name(&request.load_id)),
            writer: StreamWriter::try_new(BufWriter::new(temporary), &schema)?,
            target,
            request,
            rows: 0,
        }))
    }

    async fn describe(&self, target: &str) -> Result<Option<TargetColumns>> {
        let columns = columns(&self.folder(target))?;
        Ok(columns.map(|schema| TargetColumns::of_schema(&schema)))
    }

    async fn find_load(&self, target: &str, load_id: &str) -> Result<LoadState> {
        let file = self.folder(target).join(file_name(load_id));
        if !file.exists() {
            return Ok(LoadState::NotCommitted);
        }
        receipt(&file).map(LoadState::committed)
    }
}

/// The receipt of a load that has committed, from its file.
fn receipt(file: &Path) -> Result<Receipt> {
    let mut reader = StreamReader::try_new(File::open(file)?, None)?;
    let record = Record::read_from(&reader.schema())?;
    let rows = reader.try_fold(0, |rows, batch| {
        Ok::<_, Error>(rows + batch?.num_rows() as u64)
    })?;
    let mut receipt = Receipt::rows(rows);
    receipt.definition = record.definition;
    receipt.mark = record.mark;
    Ok(receipt)
}

/// What is recorded with the `load_id`, in the metadata of the file.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Record {
    definition: Option<Definition>,
    mark: Option<Mark>,
}

impl Record {
    const KEY: &'static str = "plugin_template.load";

    fn of<O>(request: &LoadRequest<O>) -> Self {
        Self {
            definition: request.definition.clone(),
            mark: request.mark.clone(),
        }
    }

    fn added_to(&self, schema: &Schema) -> Result<Schema> {
        let mut metadata = schema.metadata().clone();
        metadata.insert(
            Self::KEY.into(),
            serde_json::to_string(self).map_err(malformed)?,
        );
        Ok(schema.clone().with_metadata(metadata))
    }

    fn read_from(schema: &Schema) -> Result<Self> {
        let text = schema.metadata().get(Self::KEY);
        text.map_or_else(
            || Ok(Self::default()),
            |text| serde_json::from_str(text).map_err(malformed),
        )
    }
}

fn malformed(error: serde_json::Error) -> Error {
    let message = "the record of a load is malformed";
    Error::new(ErrorKind::Unexpected, message).with_source(error)
}

/// A folder as it was found, and how the load's columns fill those of its files.
#[derive(Debug)]
pub struct PluginTemplateTarget {
    folder: PathBuf,
    exists: bool,
    mapping: ColumnMapping,
}

impl PluginTemplateTarget {
    /// Refuses what the mode or the columns do not allow.
    fn find(folder: PathBuf, request: &LoadRequest<PluginTemplateOptions>) -> Result<Self> {
        let exists = folder.is_dir();
        request.must_create(exists)?;
        let there = columns(&folder)?.unwrap_or_else(|| request.schema.clone());
        let mapping = ColumnMapping::by_name(
            &request.schema,
            &there,
            request.load.schema_evolution,
            |load, target| load == target,
        )?;
        Ok(Self {
            folder,
            exists,
            mapping,
        })
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

/// The columns of the files that are there: of the widest, as each evolution adds to those before it.
fn columns(folder: &Path) -> Result<Option<SchemaRef>> {
    let mut widest: Option<SchemaRef> = None;
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let schema = StreamReader::try_new(File::open(entry?.path())?, None)?.schema();
        let mut metadata = schema.metadata().clone();
        metadata.remove(Record::KEY);
        let schema = Arc::new(schema.as_ref().clone().with_metadata(metadata));
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
    target: PluginTemplateTarget,
    file: PathBuf,
    writer: StreamWriter<BufWriter<NamedTempFile>>,
    request: LoadRequest<PluginTemplateOptions>,
    rows: u64,
}

impl LoadSession for PluginTemplateSession {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let arranged = self.target.mapping.apply(batch, self.rows)?;
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
        let folder = self.target.folder;
        PluginTemplateTarget::find(folder.clone(), &self.request)?;
        fs::create_dir_all(&folder)?;
        let file = self
            .writer
            .into_inner()?
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)?;
        match file.persist_noclobber(&self.file) {
            Ok(_) => Ok(Receipt::rows(self.rows).with("file", self.file.display())),
            // Another run of the same load was faster: its rows are these rows.
            Err(taken) if taken.error.kind() == std::io::ErrorKind::AlreadyExists => {
                receipt(&self.file).map(Receipt::repeated)
            }
            Err(other) => Err(Error::from(other.error).with("file", self.file.display())),
        }
    }

    async fn abort(self) -> Result<()> {
        Ok(())
    }
}

arrowload_core::register_loader!(PluginTemplateLoader);
