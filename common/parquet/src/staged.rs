//! Files that are complete and not yet visible.

use arrow_schema::SchemaRef;
use arrowload_core::{Error, Result};
use futures::future::join_all;

use crate::FileInfo;
use crate::file::StagedFile;
use crate::sink::StagedSink;

/// Files that are published at the same time.
const PUBLISHED_AT_ONCE: usize = 8;

/// The files of a finished writer: every byte is where it will stay, under no name that a reader would see.
///
/// Dropping it publishes nothing and removes the files, as far as that can be done at once.
#[derive(Debug)]
pub struct Staged {
    files: Vec<FileInfo>,
    sinks: Vec<StagedSink>,
}

impl Staged {
    pub(crate) fn new(staged: Vec<StagedFile>, schema: &SchemaRef) -> Self {
        let (mut files, mut sinks) = (Vec::new(), Vec::new());
        for file in staged {
            let partition = file.partition.as_deref();
            files.push(FileInfo {
                path: file.path,
                rows: file.metadata.file_metadata().num_rows() as u64,
                bytes: file.bytes,
                partition: partition
                    .map(|partition| partition.values.clone())
                    .unwrap_or_default(),
                partition_values: partition.map(|partition| partition.row.clone()),
                schema: schema.clone(),
                metadata: file.metadata,
            });
            sinks.push(file.sink);
        }
        Self { files, sinks }
    }

    /// The files, in the order they were begun.
    pub fn files(&self) -> &[FileInfo] {
        &self.files
    }

    /// Gives every file its name: renames local files, completes uploads. A local file of the same name is replaced.
    ///
    /// Each file appears whole or not at all; the files appear one after the other. A caller whose readers must see
    /// all or none needs a commit of its own that names the files, as Delta and Iceberg have.
    ///
    /// # Errors
    /// That of the first file that failed, with how many of several are visible; the others are removed. When the answer
    /// of a store was lost, the file it was about may be visible although it is not counted.
    pub async fn publish(self) -> Result<Vec<FileInfo>> {
        let total = self.sinks.len();
        let (mut published, mut failed) = (0, None);
        let mut sinks = self.sinks.into_iter();
        while failed.is_none() && sinks.len() > 0 {
            let round = sinks.by_ref().take(PUBLISHED_AT_ONCE);
            for result in join_all(round.map(|mut sink| async move { sink.publish().await })).await
            {
                match result {
                    Ok(()) => published += 1,
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
        }
        match failed {
            Some(error) if total == 1 => Err(error),
            Some(error) => Err(some_published(published, total, error)),
            None => Ok(self.files),
        }
    }

    /// Removes the files.
    ///
    /// # Errors
    /// When one could not be removed; what is left is invisible.
    pub async fn abort(self) -> Result<()> {
        let mut first = Ok(());
        for sink in self.sinks {
            first = first.and(sink.abort().await);
        }
        first
    }
}

fn some_published(published: usize, total: usize, error: Error) -> Error {
    let message = format!(
        "only {published} of {total} files were published: {}",
        error.message()
    );
    Error::new(error.kind(), message)
        .with_retry(error.retry())
        .with_source(error)
}
