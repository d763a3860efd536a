//! Shapes of batches: none, empty, single rows, slices, large ones; rolling; statistics.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use arrow_select::concat::concat_batches;
use arrowload_common_parquet::{Compression, Encodings, ParquetOptions, Statistics};
use arrowload_core::ErrorKind;

use crate::{bytes, load, memory, read, refusal, writer};

/// `rows` rows from `start`: a key, a category with nulls, and a text that hardly repeats.
pub(crate) fn rows(start: i64, rows: i64) -> RecordBatch {
    let keys = start..start + rows;
    let category = keys
        .clone()
        .map(|key| (key % 7 != 0).then(|| ["red", "green", "blue"][key as usize % 3]));
    let text = keys.clone().map(|key| {
        format!(
            "{:x} comment",
            key.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as i64)
        )
    });
    RecordBatch::try_from_iter_with_nullable([
        (
            "key",
            Arc::new(Int64Array::from_iter_values(keys.clone())) as ArrayRef,
            false,
        ),
        (
            "category",
            Arc::new(category.collect::<StringArray>()),
            true,
        ),
        ("text", Arc::new(StringArray::from_iter_values(text)), false),
    ])
    .unwrap()
}

#[tokio::test]
async fn no_batch_and_empty_batches_give_one_valid_file() {
    let empty = rows(0, 0);
    for batches in [vec![], vec![empty.clone(), empty.clone()]] {
        let (store, files) = load(empty.schema(), &batches, ParquetOptions::default()).await;
        assert_eq!((files.len(), files[0].rows), (1, 0));
        assert_eq!(read(&store, &files[0]).await, empty);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_keep_their_order_over_row_groups_and_batch_sizes() {
    let whole = rows(0, 10_000);
    for (batch, group) in [
        (1, 700),
        (700, 333),
        (333, 700),
        (10_000, 1_024),
        (3_000, 100_000),
    ] {
        let parts: Vec<_> = (0..10_000)
            .step_by(batch)
            .map(|at| whole.slice(at, batch.min(10_000 - at)))
            .collect();
        let options = ParquetOptions {
            row_group_rows: group,
            ..ParquetOptions::default()
        };
        let (store, files) = load(whole.schema(), &parts, options).await;
        assert_eq!(files.len(), 1);
        assert_eq!(
            files[0].metadata.num_row_groups(),
            10_000_usize.div_ceil(group),
            "{batch} {group}"
        );
        assert_eq!(read(&store, &files[0]).await, whole, "{batch} {group}");
    }
}

#[tokio::test]
async fn every_codec_and_encoding_reads_back() {
    let whole = rows(5, 3_000);
    for codec in [
        "none",
        "snappy",
        "lz4",
        "zstd",
        "zstd(9)",
        "gzip",
        "brotli(4)",
    ] {
        for encodings in [Encodings::V1, Encodings::V2] {
            let compression: Compression = codec.parse().unwrap();
            let options = ParquetOptions {
                compression,
                encodings,
                statistics: Statistics::Page,
                ..ParquetOptions::default()
            };
            let (store, files) = load(whole.schema(), std::slice::from_ref(&whole), options).await;
            assert_eq!(
                read(&store, &files[0]).await,
                whole,
                "{codec} {encodings:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_roll_near_their_size() {
    let batches: Vec<_> = (0..60).map(|n| rows(n * 5_000, 5_000)).collect();
    let limit = 1 << 20;
    let options = ParquetOptions {
        max_file_bytes: Some(limit),
        row_group_rows: 20_000,
        compression: Compression::None,
        ..ParquetOptions::default()
    };
    let (store, files) = load(batches[0].schema(), &batches, options).await;
    assert!(files.len() > 1, "{files:?}");
    let mut parts = Vec::new();
    for (at, file) in files.iter().enumerate() {
        assert_eq!(file.path.as_ref(), format!("part-{at:05}.parquet"));
        // What was being encoded when the limit was reached still goes into the file.
        assert!(file.bytes < limit + (48 << 20), "{file:?}");
        assert!(at + 1 == files.len() || file.bytes > limit / 2, "{file:?}");
        parts.push(read(&store, file).await);
    }
    let all = concat_batches(&batches[0].schema(), &batches).unwrap();
    assert_eq!(concat_batches(&batches[0].schema(), &parts).unwrap(), all);
}

#[tokio::test]
async fn statistics_span_row_groups() {
    let options = ParquetOptions {
        row_group_rows: 1_000,
        ..ParquetOptions::default()
    };
    let (_, files) = load(rows(0, 1).schema(), &[rows(-500, 2_500)], options).await;
    let stats = files[0].column_stats().unwrap();
    let (key, category) = (&stats[0], &stats[1]);
    assert_eq!(
        (key.column.as_str(), key.null_count, category.null_count),
        ("key", Some(0), Some(357))
    );
    let one =
        |array: &Option<ArrayRef>| array.as_ref().unwrap().as_primitive::<Int64Type>().value(0);
    assert_eq!(
        (one(&key.min), one(&key.max), key.min_exact, key.max_exact),
        (-500, 1_999, true, true)
    );
    assert_eq!(
        category.max.as_ref().unwrap().as_string::<i32>().value(0),
        "red"
    );
    assert!(key.compressed_bytes > 0);
}

#[tokio::test]
async fn long_texts_are_bounded_and_say_so() {
    let long = "z".repeat(500);
    let batch = RecordBatch::try_from_iter([(
        "a",
        Arc::new(StringArray::from(vec![long.as_str(); 2])) as ArrayRef,
    )])
    .unwrap();
    let (_, files) = load(
        batch.schema(),
        std::slice::from_ref(&batch),
        ParquetOptions::default(),
    )
    .await;
    let stats = &files[0].column_stats().unwrap()[0];
    assert!(!stats.min_exact && !stats.max_exact);
    let (min, max) = (stats.min.as_ref().unwrap(), stats.max.as_ref().unwrap());
    assert!(
        min.as_string::<i32>().value(0) <= long.as_str()
            && max.as_string::<i32>().value(0) >= long.as_str()
    );
}

#[tokio::test]
async fn no_statistics_means_unknown() {
    let options = ParquetOptions {
        statistics: Statistics::None,
        ..ParquetOptions::default()
    };
    let (_, files) = load(rows(0, 1).schema(), &[rows(0, 100)], options).await;
    let stats = files[0].column_stats().unwrap();
    assert!(
        stats
            .iter()
            .all(|column| column.min.is_none() && column.null_count.is_none()),
        "{stats:?}"
    );
}

#[tokio::test]
async fn a_batch_of_another_schema_is_refused_and_the_load_goes_on() {
    let (_, destination) = memory();
    let mut writer = writer(destination, rows(0, 1).schema(), ParquetOptions::default()).unwrap();
    writer.write(&rows(0, 10)).await.unwrap();
    let other =
        RecordBatch::try_from_iter([("key", Arc::new(Int32Array::from(vec![1])) as ArrayRef)])
            .unwrap();
    assert_eq!(
        refusal(writer.write(&other).await).0,
        ErrorKind::SchemaMismatch
    );
    let nullable = Schema::new(vec![
        Field::new("key", DataType::Int64, true),
        Field::new("category", DataType::Utf8, true),
        Field::new("text", DataType::Utf8, true),
    ]);
    let nulls: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![None])),
        Arc::new(StringArray::from(vec![Some("x")])),
        Arc::new(StringArray::from(vec![Some("x")])),
    ];
    let null_key = RecordBatch::try_new(Arc::new(nullable), nulls).unwrap();
    assert_eq!(
        refusal(writer.write(&null_key).await).0,
        ErrorKind::SchemaMismatch,
        "a null in a column without nulls"
    );
    writer.write(&rows(10, 10)).await.unwrap();
    let staged = writer.finish().await.unwrap();
    assert_eq!(staged.files()[0].rows, 20);
}

#[tokio::test]
async fn options_are_checked_before_anything_is_made() {
    let schema = rows(0, 1).schema();
    let partition = |names: &[&str]| ParquetOptions {
        partition_by: names.iter().map(|name| (*name).to_owned()).collect(),
        ..ParquetOptions::default()
    };
    let bad = [
        ParquetOptions {
            row_group_rows: 0,
            ..ParquetOptions::default()
        },
        ParquetOptions {
            max_file_bytes: Some(0),
            ..ParquetOptions::default()
        },
        ParquetOptions {
            write_threads: Some(0),
            ..ParquetOptions::default()
        },
        ParquetOptions {
            compression: Compression::Zstd(99),
            ..ParquetOptions::default()
        },
        partition(&["nope"]),
        partition(&["key", "key"]),
        partition(&["key", "category", "text"]),
    ];
    for options in bad {
        let (_, destination) = memory();
        let refused = writer(destination, schema.clone(), options.clone());
        assert_eq!(refusal(refused).0, ErrorKind::InvalidOption, "{options:?}");
    }
    let twice = Arc::new(Schema::new(vec![
        Field::new("a", DataType::Int8, true),
        Field::new("a", DataType::Int8, true),
    ]));
    assert!(writer(memory().1, twice, ParquetOptions::default()).is_err());
}

#[tokio::test]
async fn the_footer_says_who_wrote_it_and_keeps_the_arrow_schema() {
    let (store, files) = load(
        rows(0, 1).schema(),
        &[rows(0, 10)],
        ParquetOptions::default(),
    )
    .await;
    assert!(
        files[0]
            .metadata
            .file_metadata()
            .created_by()
            .unwrap()
            .starts_with("arrowload")
    );
    let text = bytes(&store, &files[0]).await;
    assert!(text.windows(12).any(|window| window == b"ARROW:schema"));
}

#[tokio::test]
async fn view_offsets_far_into_large_buffers_are_read_where_they_point() {
    // A slice at the end of a long column: offsets far from zero, as those of a concatenated batch are.
    let batch = rows(0, 200_000).slice(199_000, 1_000);
    let (store, files) = load(
        batch.schema(),
        std::slice::from_ref(&batch),
        ParquetOptions::default(),
    )
    .await;
    assert_eq!(read(&store, &files[0]).await, batch);
}
