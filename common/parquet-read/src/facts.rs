//! Loads the footer of a file, checks it, and corrects known faults of writers.

use std::sync::Arc;

use arrow_schema::SchemaRef;
use arrowload_core::Result;
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use datafusion::error::DataFusionError;
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use object_store::{ObjectMeta, ObjectStore};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::basic::ColumnOrder;
use parquet::file::metadata::{
    ColumnChunkMetaData, FileMetaData, ParquetMetaData, RowGroupMetaData,
};
use parquet::schema::types::{ColumnDescPtr, SchemaDescPtr, SchemaDescriptor};

use crate::columns::{columns, with_text};
use crate::error::{malformed, through};
use crate::options::ParquetOptions;
use crate::repair::repaired;
use crate::statistics::trusted;

/// How footers are loaded.
#[derive(Debug, Clone, Default)]
pub(crate) struct Loading {
    pub(crate) cache: Option<Arc<dyn FileMetadataCache>>,
    /// Bytes of the end of a file that are asked for first.
    pub(crate) size_hint: Option<usize>,
}

/// What is known of a file.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) metadata: Arc<ParquetMetaData>,
    pub(crate) schema: SchemaRef,
}

impl Facts {
    pub(crate) async fn load(
        store: &Arc<dyn ObjectStore>,
        object: &ObjectMeta,
        loading: &Loading,
        options: &ParquetOptions,
    ) -> Result<Self, DataFusionError> {
        let file = object.location.as_ref();
        let stated = DFParquetMetadata::new(store.as_ref(), object)
            .with_metadata_size_hint(loading.size_hint)
            .with_file_metadata_cache(loading.cache.clone())
            .fetch_metadata()
            .await;
        let stated = match stated {
            Ok(stated) => stated,
            Err(error) => match repaired(store, object).await {
                Some(repaired) => repaired,
                None => return Err(error.context(format!("`{file}`"))),
            },
        };
        Self::check(&stated, options).map_err(|error| through(error.with("file", file)))
    }

    fn check(stated: &ParquetMetaData, options: &ParquetOptions) -> Result<Self> {
        let file = stated.file_metadata();
        let root = with_text(&file.schema_descr().root_schema_ptr(), options)?;
        let descr: SchemaDescPtr = Arc::new(SchemaDescriptor::new(root));
        let mut total = 0_i64;
        let groups = stated
            .row_groups()
            .iter()
            .enumerate()
            .map(|(index, group)| {
                let group = check_group(group, file, &descr)
                    .map_err(|error| error.with("row group", index))?;
                total = total.saturating_add(group.num_rows());
                Ok(group)
            });
        let groups = groups.collect::<Result<Vec<_>>>()?;
        // Some writers leave the sum of the rows at zero.
        if file.num_rows() != total && file.num_rows() != 0 {
            return Err(malformed(format!(
                "its footer states {} rows, and its row groups {total}",
                file.num_rows()
            )));
        }
        let (wanted, pairs) = columns(&descr, file.key_value_metadata(), options)?;
        let file = FileMetaData::new(
            file.version(),
            total,
            file.created_by().map(str::to_owned),
            Some(pairs),
            descr,
            file.column_orders().cloned(),
        );
        let metadata = Arc::new(ParquetMetaData::new(file, groups));
        let read = ArrowReaderMetadata::try_new(Arc::clone(&metadata), ArrowReaderOptions::new())
            .map_err(malformed)?;
        for (read, wanted) in read.schema().fields().iter().zip(wanted.fields()) {
            if read.data_type() != wanted.data_type() {
                let (read, wanted) = (read.data_type(), wanted);
                return Err(malformed(format!(
                    "the column `{}` is {}, and would be read as {read}",
                    wanted.name(),
                    wanted.data_type()
                )));
            }
        }
        Ok(Self {
            metadata,
            schema: Arc::new(wanted),
        })
    }
}

/// Checks the metadata of a row group, and removes statistics that are not trusted.
fn check_group(
    group: &RowGroupMetaData,
    file: &FileMetaData,
    descr: &SchemaDescPtr,
) -> Result<RowGroupMetaData> {
    let rows = group.num_rows();
    if rows < 0 {
        return Err(malformed(format!("{rows} rows")));
    }
    if group.num_columns() != descr.num_columns() {
        let (found, needed) = (group.num_columns(), descr.num_columns());
        return Err(malformed(format!(
            "{found} column chunks for {needed} columns"
        )));
    }
    let chunks = group.columns().iter().zip(descr.columns()).enumerate();
    let chunks = chunks.map(|(index, (chunk, descr))| {
        let order = file
            .column_orders()
            .map_or(ColumnOrder::UNDEFINED, |orders| {
                orders.get(index).copied().unwrap_or(ColumnOrder::UNDEFINED)
            });
        check_chunk(chunk, rows, order, descr)
            .map_err(|error| error.with("column", descr.path().string()))
    });
    let chunks = chunks.collect::<Result<Vec<_>>>()?;
    let mut built = RowGroupMetaData::builder(Arc::clone(descr))
        .set_num_rows(rows)
        .set_total_byte_size(group.total_byte_size())
        .set_column_metadata(chunks);
    if let Some(offset) = group.file_offset() {
        built = built.set_file_offset(offset);
    }
    if let Some(ordinal) = group.ordinal() {
        built = built.set_ordinal(ordinal);
    }
    built.build().map_err(malformed)
}

fn check_chunk(
    chunk: &ColumnChunkMetaData,
    rows: i64,
    order: ColumnOrder,
    descr: &ColumnDescPtr,
) -> Result<ColumnChunkMetaData> {
    let values = chunk.num_values();
    let is_flat = descr.max_rep_level() == 0;
    if (is_flat && values != rows) || values < rows {
        return Err(malformed(format!("{values} values for {rows} rows")));
    }
    // No page is at the magic: some writers put a zero for what they do not know, and the dictionary before the first page of values.
    let dictionary = chunk.dictionary_page_offset().filter(|offset| *offset != 0);
    let offsets = [Some(chunk.data_page_offset()), dictionary];
    let is_negative = offsets.into_iter().flatten().any(|offset| offset < 0);
    if is_negative || chunk.compressed_size() < 0 {
        return Err(malformed("a column chunk at a negative offset"));
    }
    if chunk.column_descr().physical_type() != descr.physical_type() {
        return Err(malformed("a column chunk of another type than its column"));
    }
    let statistics = trusted(chunk, order);
    let mut built = ColumnChunkMetaData::builder(Arc::clone(descr))
        .set_encodings_mask(*chunk.encodings_mask())
        .set_num_values(values)
        .set_compression(chunk.compression())
        .set_total_compressed_size(chunk.compressed_size())
        .set_total_uncompressed_size(chunk.uncompressed_size())
        .set_data_page_offset(chunk.data_page_offset())
        .set_dictionary_page_offset(dictionary)
        .set_index_page_offset(chunk.index_page_offset())
        .set_unencoded_byte_array_data_bytes(chunk.unencoded_byte_array_data_bytes());
    if let Some(path) = chunk.file_path() {
        return Err(malformed(format!(
            "a column chunk in another file, `{path}`, which is not read"
        )));
    }
    if let Some(statistics) = statistics {
        built = built.set_statistics(statistics);
    }
    built.build().map_err(malformed)
}
