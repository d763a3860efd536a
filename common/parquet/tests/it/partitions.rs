//! Hive partitions: folders, values that have no faithful form, many partitions.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int8Type, Int64Type};
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray,
    Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrowload_common_parquet::ParquetOptions;
use arrowload_core::ErrorKind;

use crate::{load, memory, read, refusal, visible, writer};

fn by(names: &[&str]) -> ParquetOptions {
    ParquetOptions {
        partition_by: names.iter().map(|name| (*name).to_owned()).collect(),
        ..ParquetOptions::default()
    }
}

/// Four rows, of which the first and third share a partition and the last has none.
async fn folders(column: ArrayRef) -> Vec<String> {
    let values = Arc::new(Int64Array::from(vec![1, 2, 3, 4])) as ArrayRef;
    let batch =
        RecordBatch::try_from_iter_with_nullable([("p", column, true), ("v", values, false)])
            .unwrap();
    let (store, mut files) = load(batch.schema(), &[batch], by(&["p"])).await;
    assert_eq!(files.len(), 3);
    let two_rows_null_last =
        |file: &arrowload_common_parquet::FileInfo| (file.partition[0].1.is_none(), file.rows == 1);
    files.sort_by_key(two_rows_null_last);
    for (file, expected) in files.iter().zip([vec![1, 3], vec![2], vec![4]]) {
        let rows = read(&store, file).await;
        assert_eq!(
            rows.schema().fields().len(),
            1,
            "partition columns are not stored"
        );
        assert_eq!(
            rows.column(0).as_primitive::<Int64Type>().values().to_vec(),
            expected
        );
        assert_eq!(file.partition_values.as_ref().unwrap().num_rows(), 1);
    }
    assert_eq!(files[2].partition, [("p".to_owned(), None)]);
    files
        .iter()
        .map(|file| file.path.parts().next().unwrap().as_ref().to_owned())
        .collect()
}

const NULL: &str = "p=__HIVE_DEFAULT_PARTITION__";

#[tokio::test]
async fn every_type_of_partition_column_has_its_text() {
    let texts = vec![Some("a b/c=d"), Some("é%"), Some("a b/c=d"), None];
    let strings = folders(Arc::new(StringArray::from(texts.clone()))).await;
    assert_eq!(strings, ["p=a%20b%2Fc%3Dd", "p=%C3%A9%25", NULL]);
    let dictionary: DictionaryArray<Int8Type> = texts.into_iter().collect();
    assert_eq!(folders(Arc::new(dictionary)).await, strings);
    let bytes = BinaryArray::from(vec![Some(b"x".as_slice()), Some(b"y"), Some(b"x"), None]);
    assert_eq!(folders(Arc::new(bytes)).await, ["p=x", "p=y", NULL]);
    let dates = Date32Array::from(vec![Some(0), Some(19_723), Some(0), None]);
    assert_eq!(
        folders(Arc::new(dates)).await,
        ["p=1970-01-01", "p=2024-01-01", NULL]
    );
    let decimals = Decimal128Array::from(vec![Some(-150), Some(5), Some(-150), None])
        .with_precision_and_scale(9, 2)
        .unwrap();
    assert_eq!(
        folders(Arc::new(decimals)).await,
        ["p=-1.50", "p=0.05", NULL]
    );
    let flags = BooleanArray::from(vec![Some(true), Some(false), Some(true), None]);
    assert_eq!(folders(Arc::new(flags)).await, ["p=true", "p=false", NULL]);
    let stamps = TimestampMicrosecondArray::from(vec![Some(0), Some(1), Some(0), None])
        .with_timezone("Europe/Berlin");
    assert_eq!(
        folders(Arc::new(stamps)).await,
        [
            "p=1970-01-01%2000%3A00%3A00Z",
            "p=1970-01-01%2000%3A00%3A00.000001Z",
            NULL
        ]
    );
}

#[tokio::test]
async fn values_that_readers_would_take_for_null_are_refused() {
    for value in ["", "__HIVE_DEFAULT_PARTITION__"] {
        let column = Arc::new(StringArray::from(vec!["fine", value])) as ArrayRef;
        let batch = RecordBatch::try_from_iter([("p", column.clone()), ("v", column)]).unwrap();
        let (store, destination) = memory();
        let mut writer = writer(destination, batch.schema(), by(&["p"])).unwrap();
        let refused = writer.write(&batch).await;
        assert_eq!(refusal(refused), (ErrorKind::InvalidData, Some("p".into())));
        // The batch was refused as a whole, and the next one is welcome.
        writer.write(&batch.slice(0, 1)).await.unwrap();
        let files = writer.finish().await.unwrap().publish().await.unwrap();
        assert_eq!(files.iter().map(|file| file.rows).sum::<u64>(), 1);
        assert_eq!(visible(store.as_ref()).await.len(), 1);
    }
}

#[tokio::test]
async fn types_without_a_text_are_refused_at_once() {
    let column = Arc::new(Float64Array::from(vec![1.0])) as ArrayRef;
    let batch = RecordBatch::try_from_iter([("p", column.clone()), ("v", column)]).unwrap();
    let refused = writer(memory().1, batch.schema(), by(&["p"]));
    assert_eq!(
        refusal(refused),
        (ErrorKind::UnsupportedType, Some("p".into()))
    );
}

#[tokio::test]
async fn nested_partitions_follow_the_order_asked_for() {
    let batch = RecordBatch::try_from_iter([
        ("a", Arc::new(Int64Array::from(vec![1, 1, 2])) as ArrayRef),
        ("v", Arc::new(Int64Array::from(vec![7, 8, 9]))),
        ("b", Arc::new(StringArray::from(vec!["x", "y", "x"]))),
    ])
    .unwrap();
    let (_, files) = load(batch.schema(), &[batch], by(&["b", "a"])).await;
    let paths: Vec<_> = files.iter().map(|file| file.path.as_ref()).collect();
    assert_eq!(
        paths,
        [
            "b=x/a=1/part-00000.parquet",
            "b=x/a=2/part-00001.parquet",
            "b=y/a=1/part-00002.parquet"
        ]
    );
}

#[tokio::test]
async fn no_rows_and_partitions_give_no_file() {
    let batch = super::batches::rows(0, 0);
    let (store, files) = load(batch.schema(), &[batch], by(&["category"])).await;
    assert!(files.is_empty() && visible(store.as_ref()).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_partitions_stay_within_files_and_memory() {
    let batches: Vec<_> = (0..8_i64)
        .map(|n| {
            let values = n * 6_000..(n + 1) * 6_000;
            RecordBatch::try_from_iter([
                (
                    "p",
                    Arc::new(Int64Array::from_iter_values(
                        values.clone().map(|v| v % 3_000),
                    )) as ArrayRef,
                ),
                ("v", Arc::new(Int64Array::from_iter_values(values))),
            ])
            .unwrap()
        })
        .collect();
    let options = ParquetOptions {
        max_open_files: 8,
        memory_limit_bytes: 256 << 10,
        ..by(&["p"])
    };
    let (store, files) = load(batches[0].schema(), &batches, options).await;
    let mut sums = BTreeMap::new();
    for file in &files {
        let rows = read(&store, file).await;
        let entry = sums
            .entry(file.partition[0].1.clone().unwrap())
            .or_insert((0, 0));
        entry.0 += rows.num_rows();
        entry.1 += rows
            .column(0)
            .as_primitive::<Int64Type>()
            .values()
            .iter()
            .sum::<i64>();
    }
    assert_eq!(sums.len(), 3_000);
    for (partition, (count, sum)) in sums {
        let p: i64 = partition.parse().unwrap();
        assert_eq!(
            (count, sum),
            (16, (0..16).map(|n| p + n * 3_000).sum()),
            "{p}"
        );
    }
}
