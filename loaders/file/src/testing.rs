//! Loads without the pipeline, for unit tests.

use arrow_array::RecordBatch;
use arrowload_core::{Begun, DataLoader, LoadRequest, LoadSession, Mode, Receipt, Rejects, Result};

use crate::{FileConfig, FileLoader, FileOptions, FileSession};

pub(crate) async fn loader() -> FileLoader {
    let connected = FileLoader::connect(FileConfig::default()).await;
    connected.expect("there is nothing to connect to")
}

pub(crate) fn request(
    load_id: &str,
    target: &str,
    mode: Mode,
    batch: &RecordBatch,
    options: FileOptions,
) -> LoadRequest<FileOptions> {
    let mut request = LoadRequest::new(load_id, target, batch.schema(), options);
    request.load.mode = mode;
    request
}

/// Begins a load that has not committed yet.
pub(crate) async fn begin(request: LoadRequest<FileOptions>) -> Result<FileSession> {
    let loader = loader().await;
    let resolved = loader.resolve(&request).await?;
    match loader.begin(request, resolved, Rejects::none()).await? {
        Begun::Session(session) => Ok(session),
        Begun::AlreadyLoaded(_) => panic!("the load has committed already"),
    }
}

/// Loads one batch.
pub(crate) async fn load(
    request: LoadRequest<FileOptions>,
    batch: &RecordBatch,
) -> Result<Receipt> {
    let loader = loader().await;
    let resolved = loader.resolve(&request).await?;
    let mut session = match loader.begin(request, resolved, Rejects::none()).await? {
        Begun::Session(session) => session,
        Begun::AlreadyLoaded(receipt) => return Ok(receipt.repeated()),
    };
    session.write(batch).await?;
    assert_eq!(session.prepare().await?.rows, batch.num_rows() as u64);
    session.commit().await
}
