//! What differs is found, and nothing else: over all types, in any order, from any batches, with little memory.

mod tables;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::*;
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use arrow_select::take::take_record_batch;
use arrowload_core::{BatchStream, Error, ErrorKind, Result};
use proptest::prelude::*;

use self::tables::{COLUMNS, table};
use crate::{Block, Change, Comparison, Counts, Limits, SchemaDiff, Selection, Side};

fn in_batches(whole: &RecordBatch, rows: usize) -> BatchStream {
    let starts = (0..whole.num_rows()).step_by(rows);
    let batches = starts.map(|start| whole.slice(start, rows.min(whole.num_rows() - start)));
    BatchStream::from_batches(whole.schema(), batches.collect())
}

fn by(keys: &[&str]) -> Selection {
    Selection {
        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        ..Selection::default()
    }
}

async fn all(
    a: BatchStream,
    b: BatchStream,
    keys: &[&str],
    memory: usize,
) -> Result<(Counts, Vec<Block>)> {
    let comparison = Comparison::new(a.schema(), b.schema(), &by(keys))?;
    let limits = Limits {
        memory,
        ..Limits::default()
    };
    let mut differences = comparison.differences(a, b, &limits).await?;
    let mut blocks = Vec::new();
    while let Some(block) = differences.next().await? {
        assert_eq!(block.batch.schema(), *differences.schema());
        blocks.push(block);
    }
    Ok((differences.counts().clone(), blocks))
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    static RUNTIME: std::sync::OnceLock<tokio::runtime::Runtime> = std::sync::OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime")
    });
    runtime.block_on(work)
}

const MEMORY: usize = 64 << 20;

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_value_of_a_table_of_all_types_is_found_and_no_other(
        seeds in prop::collection::vec(prop::collection::vec(prop::option::weighted(0.85, -99_i64..99), 12), COLUMNS.len()),
        row in 0..12_usize,
        to_null in any::<bool>(),
        order in Just((0..12_u32).collect::<Vec<_>>()).prop_shuffle(),
        size in 1..13_usize,
    ) {
        let a = table(&seeds, Side::A);
        let shuffled = UInt32Array::from(order);
        for changed in std::iter::once(None).chain((0..COLUMNS.len()).map(Some)) {
            let mut seeds = seeds.clone();
            if let Some(column) = changed {
                let seed = &mut seeds[column][row];
                *seed = match *seed {
                    Some(_) if to_null => None,
                    Some(seed) => Some(seed + 1),
                    None => Some(5),
                };
            }
            let b = take_record_batch(&table(&seeds, Side::B), &shuffled).expect("rows");
            let (counts, blocks) = wait(all(in_batches(&a, 5), in_batches(&b, size), &["id"], MEMORY)).expect("compared");
            let name = changed.map(|column| COLUMNS[column].0);
            let differing = counts.columns.iter().filter(|(_, rows)| *rows > 0).map(|(name, rows)| (name.as_str(), *rows));
            prop_assert_eq!(differing.collect::<Vec<_>>(), name.map(|name| (name, 1)).into_iter().collect::<Vec<_>>());
            let found = u64::from(changed.is_some());
            prop_assert_eq!((counts.rows, counts.equal, counts.changed), ([12, 12], 12 - found, found));
            if let Some(block) = blocks.first() {
                prop_assert_eq!(&block.changes, &[Change::Changed]);
                prop_assert_eq!(&block.columns, &[vec![changed.unwrap_or_default()]]);
            }
            let sums = |stream: BatchStream, side| {
                let comparison = Comparison::new(&a.schema(), &b.schema(), &Selection::default()).expect("it can be");
                wait(async move { comparison.sums(side, stream).await }).expect("summed")
            };
            let (sums_a, sums_b) = (sums(in_batches(&a, 5), Side::A), sums(in_batches(&b, size), Side::B));
            prop_assert_eq!(sums_a.whole == sums_b.whole, changed.is_none());
            prop_assert_eq!(sums_a.differing(&sums_b).collect::<Vec<_>>(), name.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn rows_meet_as_in_a_map(
        a in prop::collection::btree_map((0..40_i64, 0..3_i64), 0..3_i64, 0..60),
        b in prop::collection::btree_map((0..40_i64, 0..3_i64), 0..3_i64, 0..60),
        sizes in (1..20_usize, 1..20_usize),
    ) {
        let rows = |rows: &BTreeMap<(i64, i64), i64>| {
            let column = |value: fn((&(i64, i64), &i64)) -> i64| -> ArrayRef {
                Arc::new(Int64Array::from_iter_values(rows.iter().rev().map(value)))
            };
            RecordBatch::try_from_iter([
                ("value", column(|row| *row.1)),
                ("k", column(|row| row.0.0)),
                ("l", column(|row| row.0.1)),
            ]).expect("rows")
        };
        let (rows_a, rows_b) = (rows(&a), rows(&b));
        let (counts, blocks) = wait(all(in_batches(&rows_a, sizes.0), in_batches(&rows_b, sizes.1), &["k", "l"], MEMORY)).expect("compared");
        let mut expected = BTreeMap::new();
        for key in a.keys().chain(b.keys()) {
            match (a.get(key), b.get(key)) {
                (a, b) if a == b => {}
                (None, _) => { expected.insert(*key, Change::Added); }
                (_, None) => { expected.insert(*key, Change::Removed); }
                _ => { expected.insert(*key, Change::Changed); }
            }
        }
        let mut found = Vec::new();
        for block in &blocks {
            let ints = |name: &str| block.batch.column_by_name(name).expect("a column").as_primitive::<Int64Type>().clone();
            let (k, l, from, to) = (ints("k"), ints("l"), ints("value_a"), ints("value_b"));
            for row in 0..block.batch.num_rows() {
                let key = (k.value(row), l.value(row));
                found.push((key, block.changes[row]));
                let of = |array: &Int64Array| array.is_valid(row).then(|| array.value(row));
                prop_assert_eq!((of(&from), of(&to)), (a.get(&key).copied(), b.get(&key).copied()));
            }
        }
        prop_assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
        prop_assert_eq!(counts.rows, [a.len() as u64, b.len() as u64]);
        prop_assert_eq!(counts.equal + counts.changed + counts.removed, counts.rows[0]);
        prop_assert_eq!(counts.equal + counts.changed + counts.added, counts.rows[1]);
    }
}

fn one(name: &str, array: impl Array + 'static) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([(name, Arc::new(array) as ArrayRef, true)])
        .expect("a batch")
}

#[test]
fn types_without_a_form_in_common_are_refused_by_name() {
    let zoned = DataType::Timestamp(TimeUnit::Second, Some("UTC".into()));
    let fields = |names: &[&str]| {
        let fields = names
            .iter()
            .map(|name| Field::new(*name, DataType::Int8, true));
        DataType::Struct(fields.collect())
    };
    for (a, b, said) in [
        (DataType::Int64, DataType::Float64, "holds every value"),
        (
            DataType::Decimal128(5, 2),
            DataType::Float32,
            "holds every value",
        ),
        (DataType::Utf8, DataType::Int8, "one kind"),
        (DataType::Utf8, DataType::Binary, "one kind"),
        (
            DataType::Date32,
            DataType::Timestamp(TimeUnit::Second, None),
            "one kind",
        ),
        (
            zoned,
            DataType::Timestamp(TimeUnit::Second, None),
            "reading of a clock",
        ),
        (
            DataType::Decimal256(76, 0),
            DataType::Decimal128(38, 38),
            "76",
        ),
        (fields(&["a", "b"]), fields(&["a", "c"]), "b, c on one side"),
        (fields(&["a", "a"]), fields(&["a"]), "more than once"),
        (DataType::Boolean, DataType::Int8, "one kind"),
    ] {
        let schema = |data_type| Schema::new(vec![Field::new("odd", data_type, true)]);
        let error =
            Comparison::new(&schema(a), &schema(b), &Selection::default()).expect_err("refused");
        assert!(
            error.kind() == ErrorKind::Unsupported
                && error.message().contains("`odd`")
                && error.message().contains(said),
            "{error}"
        );
    }
}

#[test]
fn zeros_have_signs_and_a_null_is_no_value() {
    let counts = |a: RecordBatch, b: RecordBatch| {
        let with_id = |batch: RecordBatch| {
            let ids: ArrayRef = Arc::new(Int8Array::from_iter_values(0..batch.num_rows() as i8));
            RecordBatch::try_from_iter_with_nullable([
                ("id", ids, false),
                ("x", batch.column(0).clone(), true),
            ])
            .expect("rows")
        };
        let (a, b) = (with_id(a), with_id(b));
        wait(all(in_batches(&a, 9), in_batches(&b, 9), &["id"], MEMORY))
            .expect("compared")
            .0
    };
    let zeros = counts(
        one("x", Float64Array::from(vec![0.0, -0.0])),
        one("x", Float32Array::from(vec![-0.0, -0.0])),
    );
    assert_eq!((zeros.equal, zeros.changed), (1, 1));
    let texts = |values: Vec<Option<&str>>| one("x", StringArray::from(values));
    let empty = counts(
        texts(vec![Some(""), None, Some("a ")]),
        texts(vec![None, None, Some("a")]),
    );
    assert_eq!((empty.equal, empty.changed), (1, 2));
    // A column that has no type yet has only nulls.
    let untyped = counts(one("x", NullArray::new(2)), texts(vec![None, Some("b")]));
    assert_eq!((untyped.equal, untyped.changed), (1, 1));
    // The largest and the smallest that are still different.
    let close = counts(
        one("x", UInt64Array::from(vec![u64::MAX, u64::MAX - 1, 1])),
        one("x", Int64Array::from(vec![-1, -2, 1])),
    );
    assert_eq!((close.equal, close.changed), (1, 2));
    let exact = counts(
        one("x", TimestampSecondArray::from(vec![253_402_300_799, 0])),
        one(
            "x",
            TimestampNanosecondArray::from(vec![
                253_402_300_799_i64.wrapping_mul(1_000_000_000),
                1,
            ]),
        ),
    );
    assert_eq!((exact.equal, exact.changed), (0, 2));
}

#[test]
fn rows_without_a_key_of_their_own_are_never_paired() {
    let ids = |ids: Vec<Option<i64>>| one("id", Int64Array::from(ids));
    let error = |a: Vec<Option<i64>>, b: Vec<Option<i64>>| {
        let (a, b) = (ids(a), ids(b));
        wait(all(in_batches(&a, 2), in_batches(&b, 2), &["id"], MEMORY)).expect_err("refused")
    };
    let null = error(vec![Some(1), Some(2), None], vec![Some(1)]);
    assert_eq!((null.kind(), null.row()), (ErrorKind::NullKey, Some(2)));
    assert!(null.message().contains("`id` is null in A"), "{null}");
    let twice = error(vec![Some(1)], vec![Some(3), Some(1), Some(2), Some(3)]);
    assert!(
        twice
            .message()
            .contains("B has more than one row with the key id = 3"),
        "{twice}"
    );
    // Also where the two rows are the last of one sorted batch and the first of the next.
    let many = (0..5_000).chain([1_023]).map(Some).collect::<Vec<_>>();
    let twice = error(many.clone(), many);
    assert!(twice.message().contains("key id = 1023"), "{twice}");
    let unsorted: ArrayRef = Arc::new(Int64Array::from_iter_values(
        (0..3_000).map(|row| if row == 1_024 { 1_023 } else { row }),
    ));
    let batch = RecordBatch::try_from_iter([("id", unsorted)]).expect("ids");
    let (a, b) = (
        in_batches(&batch, 100),
        in_batches(&batch.slice(0, 10), 100),
    );
    let twice = wait(all(a, b, &["id"], MEMORY)).expect_err("refused");
    assert!(
        twice
            .message()
            .contains("A has more than one row with the key id = 1023"),
        "{twice}"
    );
}

#[test]
fn what_does_not_fit_into_memory_goes_to_the_disk() {
    let rows = 60_000_i64;
    let text = |id: i64| format!("{id:0>100}");
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(
        (0..rows).map(|id| (id * 7919) % rows),
    ));
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values(
        (0..rows).map(|id| text((id * 7919) % rows)),
    ));
    let a = RecordBatch::try_from_iter([("id", ids), ("text", texts)]).expect("rows");
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(1..=rows));
    let texts: ArrayRef = Arc::new(StringViewArray::from_iter_values(
        (1..=rows).map(|id| text(id - i64::from(id == 30_000))),
    ));
    let b = RecordBatch::try_from_iter([("id", ids), ("text", texts)]).expect("rows");
    let (counts, blocks) = wait(all(
        in_batches(&a, 1_000),
        in_batches(&b, 60_000),
        &["id"],
        // Two sorts share it, and each needs some of it to merge what is on the disk.
        8 << 20,
    ))
    .expect("compared");
    assert_eq!(
        (counts.equal, counts.removed, counts.added, counts.changed),
        (rows as u64 - 2, 1, 1, 1)
    );
    let changes: Vec<Change> = blocks
        .iter()
        .flat_map(|block| block.changes.clone())
        .collect();
    assert_eq!(changes, [Change::Removed, Change::Changed, Change::Added]);
    // Without room on the disk it says so, and does not answer.
    let limits = Limits {
        memory: 4 << 20,
        spill_folder: Some(std::env::current_exe().expect("this program")),
    };
    let ended = wait(async {
        let comparison = Comparison::new(&a.schema(), &b.schema(), &by(&["id"]))?;
        let mut differences = comparison
            .differences(in_batches(&a, 1_000), in_batches(&b, 1_000), &limits)
            .await?;
        while differences.next().await?.is_some() {}
        Ok::<_, Error>(())
    });
    assert!(ended.is_err());
}

#[test]
fn what_a_source_says_is_said() {
    let batch = one("id", Int64Array::from(vec![1, 2]));
    let schema = batch.schema();
    let failing = futures::stream::iter([
        Ok(batch.clone()),
        Err(Error::new(ErrorKind::Connection, "the line is dead").with_code("08006")),
    ]);
    let error = wait(async {
        let stream = BatchStream::new(schema, failing);
        all(in_batches(&batch, 1), stream, &["id"], MEMORY).await
    })
    .expect_err("it broke");
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Connection, Some("08006"))
    );
    let other = one("id", Int32Array::from(vec![3]));
    let drifting = futures::stream::iter([Ok(batch.clone()), Ok(other)]);
    let error = wait(async {
        let stream = BatchStream::new(batch.schema(), drifting);
        all(in_batches(&batch, 1), stream, &["id"], MEMORY).await
    })
    .expect_err("another schema");
    assert_eq!(error.kind(), ErrorKind::SchemaMismatch, "{error}");
    let panicking = futures::stream::poll_fn(|_| panic!("a defect"));
    let error = wait(async {
        let stream = BatchStream::new(batch.schema(), panicking);
        all(stream, in_batches(&batch, 1), &["id"], MEMORY).await
    })
    .expect_err("it broke");
    assert_eq!(error.kind(), ErrorKind::Unexpected, "{error}");
}

#[test]
fn schemas_are_compared_as_far_as_they_are_selected() {
    let a = Schema::new(vec![
        Field::new("id", DataType::Int32, false),
        Field::new("name", DataType::Utf8, true),
        Field::new("old", DataType::Int8, true),
    ]);
    let b = Schema::new(vec![
        Field::new("name", DataType::Utf8, false),
        Field::new("new", DataType::Int8, true),
        Field::new("id", DataType::Int64, false),
    ]);
    let names = |fields: &[arrow_schema::FieldRef]| {
        fields
            .iter()
            .map(|field| field.name().clone())
            .collect::<Vec<_>>()
    };
    let diff = SchemaDiff::new(&a, &b, &by(&["id"])).expect("compared");
    assert_eq!(
        (names(&diff.only_a), names(&diff.only_b)),
        (vec!["old".to_owned()], vec!["new".to_owned()])
    );
    assert_eq!(
        diff.others
            .iter()
            .map(|other| (other.a.name().as_str(), other.is_another_type()))
            .collect::<Vec<_>>(),
        [("id", true), ("name", false)]
    );
    let narrow = Selection {
        keys: vec!["id".into()],
        columns: Vec::new(),
        exclude: vec!["old".into(), "new".into()],
    };
    assert!(
        !SchemaDiff::new(&a, &b, &narrow)
            .expect("compared")
            .has_other_columns()
    );
    for (selection, said) in [
        (by(&["di"]), "A has no key column `di`"),
        (by(&["old"]), "B has no key column `old`"),
        (by(&["id", "id"]), "named twice"),
        (
            Selection {
                columns: vec!["nam".into()],
                ..by(&["id"])
            },
            "did you mean `name`",
        ),
        (
            Selection {
                exclude: vec!["id".into()],
                ..by(&["id"])
            },
            "cannot be left out",
        ),
    ] {
        let error = SchemaDiff::new(&a, &b, &selection).expect_err("refused");
        assert!(
            error.kind() == ErrorKind::InvalidOption && error.message().contains(said),
            "{error}"
        );
    }
    let twice = Schema::new(vec![
        Field::new("id", DataType::Int8, true),
        Field::new("id", DataType::Int8, true),
    ]);
    assert!(
        SchemaDiff::new(&a, &twice, &Selection::default())
            .expect_err("refused")
            .message()
            .contains("B has two columns `id`")
    );
}
