//! Writes rows to data files, partitioned like the table.

use std::collections::HashSet;

use arrow_array::RecordBatch;
use arrowload_common_parquet::{
    Compression, FileInfo, FileNaming, ParquetOptions, ParquetWriter, Staged,
};
use arrowload_core::{Error, ErrorKind, LoadRequest, Result};
use iceberg::spec::DataFile;

use crate::metrics::{Metrics, note_nan};
use crate::options::IcebergOptions;
use crate::partitions::Partitioner;
use crate::target::Target;

/// A data file's size where neither load nor table says one.
const MAX_FILE_BYTES: u64 = 512 << 20;

/// Data files in progress.
pub(crate) struct Writer {
    files: ParquetWriter,
    pub(crate) noted: Noted,
}

/// What is known of the rows of data files beside their footers.
pub(crate) struct Noted {
    partitioner: Option<Partitioner>,
    /// Columns that hold a NaN.
    with_nan: HashSet<i32>,
}

impl Writer {
    /// `attempt` tells the files of one attempt from others.
    pub(crate) fn new(
        target: &Target,
        request: &LoadRequest<IcebergOptions>,
        attempt: &str,
    ) -> Result<Self> {
        let options = &request.options;
        let partitioner = Partitioner::new(&target.spec, &target.schema, &target.columns)?;
        let mut settings = ParquetOptions {
            write_threads: request.load.parallelism,
            compression: compression(target, options)?,
            max_file_bytes: Some(max_file_bytes(target, options)?),
            ..ParquetOptions::default()
        };
        settings.row_group_rows = options.row_group_rows.unwrap_or(settings.row_group_rows);
        settings.max_open_files = options.max_open_files.unwrap_or(settings.max_open_files);
        settings.sync = options.sync.unwrap_or(settings.sync);
        let schema = match &partitioner {
            Some(partitioner) => {
                settings.partition_by = partitioner.names().to_vec();
                partitioner.schema().clone()
            }
            None => target.columns.clone(),
        };
        let destination = target.stores.destination(&target.data_location()?)?;
        let naming = FileNaming::prefix(attempt);
        Ok(Self {
            files: ParquetWriter::new(destination, schema, settings, naming)?,
            noted: Noted {
                partitioner,
                with_nan: HashSet::new(),
            },
        })
    }

    /// Takes rows with the columns of the table.
    pub(crate) async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        note_nan(batch, &mut self.noted.with_nan);
        match &mut self.noted.partitioner {
            Some(partitioner) => self.files.write(&partitioner.add(batch)?).await,
            None => self.files.write(batch).await,
        }
    }

    pub(crate) async fn finish(self) -> Result<(Staged, Noted)> {
        Ok((self.files.finish().await?, self.noted))
    }

    pub(crate) async fn abort(self) -> Result<()> {
        self.files.abort().await
    }
}

impl Noted {
    /// The entries of written files, as a manifest has them.
    pub(crate) fn data_files(&self, target: &Target, files: &[FileInfo]) -> Result<Vec<DataFile>> {
        let (folder, metadata) = (target.data_location()?, target.metadata()?);
        let metrics = Metrics {
            schema: &target.schema,
            properties: metadata.properties(),
            with_nan: &self.with_nan,
        };
        let entry = |file: &FileInfo| {
            let partition = match &self.partitioner {
                Some(partitioner) => partitioner.partition(&file.partition)?,
                // Void fields have a place and no value.
                None => target.spec.fields().iter().map(|_| None).collect(),
            };
            let location = format!("{folder}/{}", file.path.as_ref());
            metrics.data_file(file, location, partition, target.spec.spec_id())
        };
        files.iter().map(entry).collect()
    }
}

/// How data files are compressed: as the load says, or the table, or as Iceberg's own writers do.
fn compression(target: &Target, options: &IcebergOptions) -> Result<Compression> {
    if let Some(compression) = options.compression {
        return Ok(compression);
    }
    let properties = target.metadata()?.properties();
    let codec = properties.get("write.parquet.compression-codec");
    let codec = codec.map_or("zstd".to_owned(), |codec| codec.to_ascii_lowercase());
    let codec = match codec.as_str() {
        "uncompressed" => "none",
        other => other,
    };
    let text = match properties.get("write.parquet.compression-level") {
        Some(level) if ["zstd", "gzip", "brotli"].contains(&codec) => format!("{codec}({level})"),
        _ => codec.to_owned(),
    };
    text.parse().map_err(|reason| {
        let message = format!("the table's write.parquet.compression-codec is `{text}`: {reason}");
        Error::new(ErrorKind::Unsupported, message)
    })
}

fn max_file_bytes(target: &Target, options: &IcebergOptions) -> Result<u64> {
    if let Some(bytes) = options.max_file_bytes {
        return Ok(bytes);
    }
    let said = target
        .metadata()?
        .properties()
        .get("write.target-file-size-bytes");
    let said = said.and_then(|bytes| bytes.parse().ok());
    Ok(said.filter(|bytes| *bytes > 0).unwrap_or(MAX_FILE_BYTES))
}
