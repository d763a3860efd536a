//! Parquet files, and the same with another footer.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Type as PhysicalType};
use parquet::data_type::{Int96, Int96Type};
use parquet::file::metadata::{
    FileMetaData, KeyValue, ParquetMetaData, ParquetMetaDataReader, ParquetMetaDataWriter,
    RowGroupMetaData,
};
use parquet::file::properties::WriterProperties;
use parquet::file::statistics::Statistics;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

/// A file of these columns, with row groups of so many rows, without the hint of Arrow.
pub(crate) fn parquet(columns: &[(&str, ArrayRef)], group: usize) -> Vec<u8> {
    let columns = columns
        .iter()
        .map(|(name, values)| (*name, Arc::clone(values)));
    let batch = RecordBatch::try_from_iter(columns).expect("a batch");
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(group))
        .set_compression(Compression::UNCOMPRESSED)
        .set_dictionary_enabled(false)
        .build();
    let options = parquet::arrow::arrow_writer::ArrowWriterOptions::new()
        .with_properties(properties)
        .with_skip_arrow_metadata(true);
    let mut bytes = Vec::new();
    let mut writer =
        ArrowWriter::try_new_with_options(&mut bytes, batch.schema(), options).expect("a writer");
    writer.write(&batch).expect("written");
    writer.close().expect("closed");
    bytes
}

fn metadata(bytes: &[u8]) -> ParquetMetaData {
    let bytes = bytes::Bytes::copy_from_slice(bytes);
    ParquetMetaDataReader::new()
        .parse_and_finish(&bytes)
        .expect("a footer")
}

/// The same pages with another footer.
pub(crate) fn forge(
    bytes: &[u8],
    change: impl FnOnce(&ParquetMetaData) -> ParquetMetaData,
) -> Vec<u8> {
    let changed = change(&metadata(bytes));
    let length = bytes.len();
    let footer: [u8; 4] = bytes[length - 8..length - 4].try_into().expect("a length");
    let mut forged = bytes[..length - 8 - u32::from_le_bytes(footer) as usize].to_vec();
    ParquetMetaDataWriter::new(&mut forged, &changed)
        .finish()
        .expect("written");
    forged
}

fn rebuilt(
    of: &ParquetMetaData,
    groups: Vec<RowGroupMetaData>,
    total: i64,
    pairs: Option<Vec<KeyValue>>,
) -> ParquetMetaData {
    let file = of.file_metadata();
    let file = FileMetaData::new(
        file.version(),
        total,
        file.created_by().map(str::to_owned),
        pairs,
        file.schema_descr_ptr(),
        file.column_orders().cloned(),
    );
    // Without indexes of pages, which lie at other places.
    let groups = groups.into_iter().map(|group| {
        let chunks = group.columns().iter().map(|chunk| {
            let chunk = chunk.clone().into_builder();
            let chunk = chunk
                .set_offset_index_offset(None)
                .set_offset_index_length(None);
            let chunk = chunk
                .set_column_index_offset(None)
                .set_column_index_length(None);
            chunk.build().expect("a chunk")
        });
        let chunks = chunks.collect();
        let group = group.into_builder().set_column_metadata(chunks);
        group.build().expect("a row group")
    });
    ParquetMetaData::new(file, groups.collect())
}

pub(crate) fn with_total(
    of: &ParquetMetaData,
    groups: Vec<RowGroupMetaData>,
    total: i64,
) -> ParquetMetaData {
    rebuilt(of, groups, total, None)
}

pub(crate) fn with_pairs(of: &ParquetMetaData, pairs: Vec<KeyValue>) -> ParquetMetaData {
    let total = of.file_metadata().num_rows();
    rebuilt(of, of.row_groups().to_vec(), total, Some(pairs))
}

/// The file whose footer states another sum of rows than its row groups have; what writes footers adds them up itself.
pub(crate) fn with_stated_total(bytes: &[u8], rows: u8, stated: u8) -> Vec<u8> {
    // The third field of the footer: a number of 64 bits, zigzag, before the list of row groups.
    let field = |rows: u8| [0x16, rows * 2, 0x19];
    let found: Vec<usize> = bytes
        .windows(3)
        .enumerate()
        .filter(|(_, window)| *window == field(rows))
        .map(|(at, _)| at)
        .collect();
    assert_eq!(found.len(), 1, "the field is found once");
    let mut forged = bytes.to_vec();
    forged[found[0] + 1] = stated * 2;
    forged
}

/// The file with these statistics in each row group.
pub(crate) fn with_statistics(
    bytes: &[u8],
    min: Option<i64>,
    max: Option<i64>,
    nulls: Option<u64>,
) -> Vec<u8> {
    forge(bytes, |metadata| {
        let groups = metadata.row_groups().iter().map(|group| {
            let chunks = group.columns().iter().map(|chunk| {
                let statistics = Statistics::int64(min, max, None, nulls, false);
                let chunk = chunk.clone().into_builder().set_statistics(statistics);
                chunk.build().expect("a chunk")
            });
            let chunks = chunks.collect();
            let group = group.clone().into_builder().set_column_metadata(chunks);
            group.build().expect("a row group")
        });
        let groups = groups.collect();
        with_total(metadata, groups, metadata.file_metadata().num_rows())
    })
}

/// A byte within the first page of the first column of a type, in a row group.
pub(crate) fn first_page_of(bytes: &[u8], group: usize, of: PhysicalType) -> usize {
    let metadata = metadata(bytes);
    let mut chunks = metadata.row_group(group).columns().iter();
    let chunk = chunks
        .find(|chunk| chunk.column_type() == of)
        .expect("a column");
    usize::try_from(chunk.byte_range().0).expect("an offset")
}

/// A file of timestamps of 96 bits, each a Julian day and nanoseconds: alone, in a list of the old form, and in a struct.
pub(crate) fn int96_file(values: &[(u32, u64)]) -> Vec<u8> {
    let schema = "message m {
        optional int96 at;
        optional group l (LIST) { repeated group bag { optional int96 array_element; } }
        required group s { required int96 x; }
    }";
    let schema = Arc::new(parse_message_type(schema).expect("a schema"));
    let values: Vec<Int96> = values
        .iter()
        .map(|(day, nanoseconds)| {
            Int96::from(vec![*nanoseconds as u32, (*nanoseconds >> 32) as u32, *day])
        })
        .collect();
    let mut bytes = Vec::new();
    let mut writer =
        SerializedFileWriter::new(&mut bytes, schema, Arc::default()).expect("a writer");
    let mut group = writer.next_row_group().expect("a row group");
    let levels = [(1, None), (3, Some(0)), (0, None)];
    for (definition, repetition) in levels {
        let mut column = group.next_column().expect("a column").expect("one more");
        let definitions = vec![definition; values.len()];
        let repetitions = repetition.map(|level| vec![level; values.len()]);
        column
            .typed::<Int96Type>()
            .write_batch(&values, Some(&definitions), repetitions.as_deref())
            .expect("written");
        column.close().expect("closed");
    }
    group.close().expect("closed");
    writer.close().expect("closed");
    bytes
}
