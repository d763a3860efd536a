//! Files of position deletes: they mark rows of data files as deleted, and the data files are not rewritten
//! (merge on read).

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{Int64Array, RecordBatch, StringArray};
use arrow_buffer::BooleanBuffer;
use arrow_schema::{DataType, Field, Schema};
use arrowload_core::{Error, ErrorKind, Result};
use iceberg::io::FileIO;
use iceberg::spec::{DataContentType, DataFile, DataFileBuilder, DataFileFormat};
use parquet::arrow::{ArrowWriter, PARQUET_FIELD_ID_META_KEY};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use crate::error::from_iceberg;
use crate::table::TableFile;

/// The ids that the format gives the columns of these files.
const FILE_PATH: i32 = 2_147_483_546;
const POS: i32 = 2_147_483_545;
/// Rows that are encoded at once.
const ROWS: usize = 1 << 16;

/// Rows of a data file that go.
#[derive(Debug, Clone)]
pub(crate) struct Deletes {
    pub(crate) file: TableFile,
    /// One bit for each row of the file.
    pub(crate) rows: BooleanBuffer,
}

impl Deletes {
    /// Writes them to a file. Returns its entry.
    pub(crate) async fn write(&self, file_io: &FileIO, path: String) -> Result<DataFile> {
        let bytes = self.encode().map_err(|error| {
            let message = format!("a file of deletes could not be encoded: {error}");
            Error::new(ErrorKind::Unexpected, message).with_source(error)
        })?;
        let size = bytes.len() as u64;
        let output = file_io.new_output(&path).map_err(from_iceberg)?;
        output.write(bytes.into()).await.map_err(from_iceberg)?;
        let mut builder = DataFileBuilder::default();
        builder
            .content(DataContentType::PositionDeletes)
            .file_path(path)
            .file_format(DataFileFormat::Parquet)
            .partition(self.file.entry.data_file().partition().clone())
            .partition_spec_id(self.file.spec_id)
            .record_count(self.rows.count_set_bits() as u64)
            .file_size_in_bytes(size)
            .referenced_data_file(Some(self.file.path.clone()));
        builder.build().map_err(|error| {
            let message = format!("a file of deletes could not be described: {error}");
            Error::new(ErrorKind::Unexpected, message)
        })
    }

    /// The positions in their order, each with the file that it is of, as the format asks.
    fn encode(&self) -> Result<Vec<u8>, ParquetError> {
        let column = |name: &str, data_type: DataType, id: i32| {
            let id = HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())]);
            Field::new(name, data_type, false).with_metadata(id)
        };
        let schema = Arc::new(Schema::new(vec![
            column("file_path", DataType::Utf8, FILE_PATH),
            column("pos", DataType::Int64, POS),
        ]));
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .build();
        let mut writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), Some(properties))?;
        let positions: Vec<i64> = self.rows.set_indices().map(|row| row as i64).collect();
        for positions in positions.chunks(ROWS) {
            let paths = std::iter::repeat_n(self.file.path.as_str(), positions.len());
            let columns: Vec<arrow_array::ArrayRef> = vec![
                Arc::new(StringArray::from_iter_values(paths)),
                Arc::new(Int64Array::from(positions.to_vec())),
            ];
            writer.write(&RecordBatch::try_new(Arc::clone(&schema), columns)?)?;
        }
        writer.into_inner()
    }
}
