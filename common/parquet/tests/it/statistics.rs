//! The statistics of strings and bytes are those that the `parquet` crate's own writer finds.

use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, RecordBatch, StringArray};
use arrow_cast::cast;
use arrow_schema::{DataType, Field, Schema};
use arrowload_common_parquet::ParquetOptions;
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::load;

/// Short ones, whose first eight bytes say all or nothing, zeros at the end, and ones too long to be kept whole.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ab\\x00]{0,3}",
        "(COLLECT |DELIVER ){1,2}[a-c\\x00]{0,2}",
        "\\PC{0,12}",
        "[é\u{10FFFF}z]{10,80}",
        "\u{10FFFF}{15,20}",
    ]
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..12),
        vec(prop_oneof![Just(0_u8), Just(255)], 0..70),
        vec(Just(255_u8), 60..70)
    ]
}

/// Columns of all types of strings or bytes, with nulls and without.
fn batch(texts: &[Option<String>], values: &[Option<Vec<u8>>]) -> RecordBatch {
    let rows = texts.len().min(values.len());
    let (texts, values) = (&texts[..rows], &values[..rows]);
    let with = |nulls: bool| -> [ArrayRef; 2] {
        let texts = texts.iter().map(|text| {
            if nulls {
                text.clone()
            } else {
                Some(text.clone().unwrap_or_default())
            }
        });
        let values = values.iter().map(|value| {
            if nulls {
                value.clone()
            } else {
                Some(value.clone().unwrap_or_default())
            }
        });
        [
            Arc::new(StringArray::from_iter(texts)),
            Arc::new(BinaryArray::from_iter(values)),
        ]
    };
    let mut columns = Vec::new();
    for nullable in [true, false] {
        let [texts, values] = with(nullable);
        for (array, types) in [
            (
                texts,
                [DataType::Utf8, DataType::LargeUtf8, DataType::Utf8View],
            ),
            (
                values,
                [
                    DataType::Binary,
                    DataType::LargeBinary,
                    DataType::BinaryView,
                ],
            ),
        ] {
            for data_type in types {
                let field = Field::new(
                    format!("{data_type} {nullable}"),
                    data_type.clone(),
                    nullable,
                );
                columns.push((field, cast(&array, &data_type).unwrap()));
            }
        }
    }
    let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = columns.into_iter().unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

/// What the crate's own writer says of the same rows, in the same row groups.
fn expected(batches: &[RecordBatch], row_group_rows: usize) -> ParquetMetaData {
    let properties = WriterProperties::builder()
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_statistics_truncate_length(Some(64))
        .set_max_row_group_row_count(Some(row_group_rows))
        .build();
    let mut writer =
        ArrowWriter::try_new(Vec::new(), batches[0].schema(), Some(properties)).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.close().unwrap()
}

fn columns(metadata: &ParquetMetaData) -> impl Iterator<Item = &ColumnChunkMetaData> {
    metadata
        .row_groups()
        .iter()
        .flat_map(|group| group.columns())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn strings_and_bytes_have_the_statistics_of_the_crates_own_writer(
        batches in vec((vec(proptest::option::of(text()), 0..20), vec(proptest::option::of(bytes()), 0..20)), 1..4),
        row_group_rows in 1..30_usize,
    ) {
        let batches: Vec<RecordBatch> = batches.iter().map(|(texts, values)| batch(texts, values)).collect();
        let options = ParquetOptions { row_group_rows, ..ParquetOptions::default() };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (_, files) = runtime.block_on(load(batches[0].schema(), &batches, options));
        let (ours, theirs) = (&files[0].metadata, expected(&batches, row_group_rows));
        prop_assert_eq!(ours.num_row_groups(), theirs.num_row_groups());
        for (ours, theirs) in columns(ours).zip(columns(&theirs)) {
            prop_assert_eq!(ours.statistics(), theirs.statistics(), "{}", ours.column_path());
            prop_assert_eq!(ours.unencoded_byte_array_data_bytes(), theirs.unencoded_byte_array_data_bytes());
            prop_assert_eq!(ours.definition_level_histogram(), theirs.definition_level_histogram());
        }
    }
}
