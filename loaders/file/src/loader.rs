//! The loader: what files can do, and what a load would do to them.

use arrow_schema::DataType;
use arrowload_common_object_store::blocking;
use arrowload_common_parquet::partition_support;
use arrowload_core::{
    Atomicity, BatchSize, Begun, Capabilities, DataLoader, Error, ErrorKind, LoadRequest,
    LoadState, Mode, Plan, Rejects, Result, TargetColumns, TargetNames, TypeSupport,
};

use crate::config::FileConfig;
use crate::existing;
use crate::options::{FileOptions, Format};
use crate::place::{Place, Places};
use crate::session::FileSession;
use crate::stage::{home, sweep};
use crate::store_commit;
use crate::target::FileTarget;
use crate::types::{field_support, stored, support};

/// Loads into files. See the crate's page.
#[derive(Debug)]
pub struct FileLoader {
    places: Places,
}

impl DataLoader for FileLoader {
    const NAME: &'static str = "file";
    const URL_SCHEMES: &'static [&'static str] = &["file"];
    const CAPABILITIES: Capabilities = Capabilities::new(
        &[Mode::Create, Mode::Append, Mode::Overwrite],
        Atomicity::Load,
    )
    .create_target()
    .schema_evolution()
    .load_ids()
    .target_names(TargetNames::Path)
    .checksum()
    .parallel()
    .batch(BatchSize {
        min_rows: 1024,
        max_rows: 1 << 17,
        max_bytes: 16 << 20,
    });

    type Config = FileConfig;
    type Options = FileOptions;
    type Resolved = FileTarget;
    type Session = FileSession;

    async fn connect(config: FileConfig) -> Result<Self> {
        Ok(Self {
            places: Places::new(config),
        })
    }

    /// For Parquet, the default format; a plan says it for the format of its load.
    fn supports_type(data_type: &DataType) -> TypeSupport {
        support(Format::Parquet, data_type)
    }

    async fn resolve(&self, request: &LoadRequest<FileOptions>) -> Result<FileTarget> {
        FileTarget::of(self.places.find(&request.target)?, request).await
    }

    fn plan(request: &LoadRequest<FileOptions>, target: &FileTarget) -> Plan {
        let mut plan = Plan::of::<Self>(request);
        for (column, field) in plan.columns.iter_mut().zip(request.schema.fields()) {
            column.support = match target.partition_by.contains(field.name()) {
                true => partition_support(field.data_type()),
                false => field_support(target.format, field),
            };
            column.target_type = match target.format {
                Format::Csv | Format::Ndjson => "text".into(),
                format => stored(format, field.data_type()).to_string(),
            };
        }
        plan.target_exists = target.exists || target.found.resumes;
        plan.identity = target.identity();
        let added = target.mapping.added.iter();
        plan.schema_changes = added
            .map(|field| format!("add column {} {}", field.name(), field.data_type()))
            .collect();
        plan.resources = target.resources(request);
        plan.guarantees = target.guarantees(&Self::CAPABILITIES, request);
        plan
    }

    async fn begin(
        &self,
        request: LoadRequest<FileOptions>,
        target: FileTarget,
        _: Rejects,
    ) -> Result<Begun<FileSession>> {
        let target = look_again(target, &request).await?;
        match target.find_load(&request.load_id).await? {
            LoadState::Committed { receipt, .. } => Ok(Begun::AlreadyLoaded(receipt)),
            _ => FileSession::begin(target, request)
                .await
                .map(Begun::Session),
        }
    }

    async fn describe(&self, target: &str) -> Result<Option<TargetColumns>> {
        let found = existing::inspect(&self.places.find(target)?, None).await?;
        Ok(found.schema.as_deref().map(TargetColumns::of_schema))
    }

    async fn find_load(&self, target: &str, load_id: &str) -> Result<LoadState> {
        existing::find_load(&self.places.find(target)?, load_id).await
    }

    async fn recover(&self, target: &str, load_id: &str) -> Result<()> {
        clear_left(&self.places.find(target)?, load_id).await
    }

    fn config_from_url(url: &str) -> Result<serde_json::Map<String, serde_json::Value>> {
        Ok([("root".to_owned(), url.into())].into_iter().collect())
    }
}

/// Removes what is left of runs of a load that has committed: a run can be killed after its commit, before it has removed what it
/// staged, and in an object store what earlier runs had made visible.
async fn clear_left(place: &Place, load_id: &str) -> Result<()> {
    match place {
        Place::Local(path) => {
            let (path, load_id) = (path.clone(), load_id.to_owned());
            blocking(move || {
                sweep(home(&path)?, &load_id);
                Ok(())
            })
            .await
        }
        Place::Store(store, path) => {
            store_commit::remove_other_runs(store, path, load_id).await?;
            store_commit::sweep(store, path, load_id).await;
            Ok(())
        }
    }
}

/// Checks that a local target has not changed, except its rows and files, and returns its current state. An object store has no
/// locks: there the commit itself finds out.
async fn look_again(target: FileTarget, request: &LoadRequest<FileOptions>) -> Result<FileTarget> {
    let Place::Local(path) = &target.place else {
        return Ok(target);
    };
    let changed = || {
        let message = format!("`{}` changed while the load began", path.display());
        Error::new(ErrorKind::Conflict, message).transient()
    };
    match FileTarget::of(target.place.clone(), request).await {
        Ok(now) if now.decides_as(&target) => Ok(now),
        Ok(_) => Err(changed()),
        Err(error) => Err(changed().with_source(error)),
    }
}
