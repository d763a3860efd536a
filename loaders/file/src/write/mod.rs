//! Writes batches to files of formats other than Parquet, and begins a new file when one has
//! reached its size.

mod csv;
mod file;
mod ipc;
mod ndjson;
mod output;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use arrowload_common_object_store::from_io;
use arrowload_common_parquet::Compression;
use arrowload_core::{Error, ErrorKind, Result};
use object_store::ObjectStore;
use object_store::path::Path as StorePath;

use self::file::PlainFile;
use self::output::{Compressor, Output};
use crate::options::{FileOptions, Format};
use crate::stage::Stage;

/// Turns batches into bytes. Blocks.
trait Encoder: Send {
    /// Takes a batch; `first_row` is the number of its first row in the load.
    fn write(&mut self, batch: &RecordBatch, first_row: u64) -> Result<()>;

    /// Writes what comes last, and brings it onto the disk.
    fn finish(&mut self) -> Result<()>;
}

/// What is written, and how.
#[derive(Clone)]
pub(crate) struct Layout {
    pub(crate) format: Format,
    pub(crate) codec: Compression,
    pub(crate) schema: SchemaRef,
    pub(crate) options: FileOptions,
}

/// Refuses options that contradict each other, before anything is written.
pub(crate) fn check_layout(format: Format, options: &FileOptions) -> Result<()> {
    if format == Format::Csv {
        csv::style(options).map(drop)
    } else {
        Ok(())
    }
}

fn encoder(output: Output, path: &Path, layout: &Layout) -> Result<Box<dyn Encoder>> {
    let Layout {
        format,
        codec,
        schema,
        options,
    } = layout;
    let shown = path.to_owned();
    let compressor = |output| Compressor::new(output, *codec).map_err(|error| from_io(path, error));
    Ok(match format {
        Format::Csv => Box::new(csv::CsvEncoder::new(
            compressor(output)?,
            shown,
            schema,
            options,
        )?),
        Format::Ndjson => Box::new(ndjson::NdjsonEncoder::new(
            compressor(output)?,
            shown,
            schema,
        )),
        Format::Arrow => Box::new(ipc::FileEncoder::new(output, shown, schema, *codec)?),
        Format::ArrowStream => Box::new(ipc::StreamEncoder::new(output, shown, schema, *codec)?),
        Format::Parquet => {
            return Err(Error::new(
                ErrorKind::Unexpected,
                "Parquet has a writer of its own",
            ));
        }
    })
}

/// Where files are staged.
pub(crate) enum Site {
    /// Which is kept as long as files may be made in it.
    Local(Arc<Stage>),
    Store(Arc<dyn ObjectStore>, StorePath),
}

/// What files are called.
pub(crate) enum Naming {
    Single(String),
    /// `{prefix}-00000.{ending}`, counted up.
    Numbered(String, String),
}

/// Writes files one after the other. Dropping it publishes nothing.
pub(crate) struct PlainWriter {
    site: Site,
    naming: Naming,
    layout: Layout,
    current: Option<PlainFile>,
    done: Vec<PlainFile>,
    rows: u64,
}

impl PlainWriter {
    pub(crate) fn new(site: Site, naming: Naming, layout: Layout) -> Self {
        Self {
            site,
            naming,
            layout,
            current: None,
            done: Vec::new(),
            rows: 0,
        }
    }

    pub(crate) async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut file = match self.current.take() {
            Some(file) => file,
            None => self.open().await?,
        };
        let written = file.write(batch, self.rows).await;
        let is_full = self.layout.options.max_file_bytes;
        let is_full = is_full.is_some_and(|limit| file.bytes() >= limit);
        // Also after an error: what was begun is given up by `abort`, which is waited for.
        self.current = Some(file);
        written?;
        self.rows += batch.num_rows() as u64;
        if is_full { self.close().await } else { Ok(()) }
    }

    async fn open(&mut self) -> Result<PlainFile> {
        let name = match &self.naming {
            Naming::Single(name) => name.clone(),
            Naming::Numbered(prefix, ending) => format!("{prefix}-{:05}.{ending}", self.done.len()),
        };
        match &self.site {
            Site::Local(stage) => PlainFile::local(&stage.data().join(name), &self.layout),
            Site::Store(store, prefix) => {
                let path: StorePath = prefix.parts().chain([name.as_str().into()]).collect();
                PlainFile::upload(store, &path, &self.layout).await
            }
        }
    }

    /// Ends the file that is written.
    async fn close(&mut self) -> Result<()> {
        if let Some(file) = &mut self.current {
            file.finish().await?;
        }
        self.done.extend(self.current.take());
        Ok(())
    }

    /// Ends the last file; without rows there is one that has the columns only.
    pub(crate) async fn finish(&mut self) -> Result<()> {
        if self.current.is_none() && self.done.is_empty() {
            self.current = Some(self.open().await?);
        }
        self.close().await
    }

    /// Makes uploaded objects visible, one after the other.
    pub(crate) async fn publish(self) -> Result<()> {
        for file in self.done {
            file.publish().await?;
        }
        Ok(())
    }

    /// Gives up uploads. The first failure is told after all was tried.
    pub(crate) async fn abort(self) -> Result<()> {
        let mut first = Ok(());
        for file in self.current.into_iter().chain(self.done) {
            first = first.and(file.abort().await);
        }
        first
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes of the files that are complete.
    pub(crate) fn bytes(&self) -> u64 {
        self.done.iter().map(PlainFile::bytes).sum()
    }

    /// The files that are complete.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.done
            .iter()
            .map(|file| file.path().to_owned())
            .collect()
    }
}
