//! What a load and a source tell each other: wider types after a sample, types of the target, rows that cannot be parsed.

use std::sync::{Arc, Mutex};

use arrow_array::{Array, ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray};
use arrow_ipc::reader::StreamReader;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use arrowload_core::memory::{MemoryLoader, put_table, read_table};
use arrowload_core::{
    Atomicity, BatchStream, Capabilities, Destination, Error, ErrorKind, Input, LoadOptions,
    LoadSpec, Mode, OnError, REASON, Reading, Result, Retry, UNPARSED_BYTES, UNPARSED_LINE,
    UnparsedRow, load, load_all, plan_load,
};
use futures::{FutureExt, stream};

use crate::promises::{Loose, connect};

fn numbers() -> RecordBatch {
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    RecordBatch::try_from_iter([("a", numbers)]).expect("a batch")
}

fn texts() -> RecordBatch {
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["1", "2", "x"]));
    RecordBatch::try_from_iter([("a", texts)]).expect("a batch")
}

/// What each reading was asked for.
type Asked = Arc<Mutex<Vec<Reading>>>;

/// Rows that look like numbers at first. Asked to prove its types, or opened again, the source knows that they are texts.
fn guessing() -> (Input, Asked) {
    let asked = Asked::default();
    let seen = Arc::clone(&asked);
    let input = Input::repeatable(move |reading: Reading| {
        let mut seen = seen.lock().expect("no panic");
        let knows = reading.prove || !seen.is_empty();
        if !reading.prove {
            reading.found.say_sampled();
        }
        reading.found.remark("a.csv: CSV");
        seen.push(reading);
        let answer = if knows {
            BatchStream::from_batches(texts().schema(), vec![texts()])
        } else {
            let misfit = Error::new(ErrorKind::InvalidData, "`x` is no int64");
            let batches = [Ok(numbers()), Err(misfit.with_retry(Retry::Reopen))];
            BatchStream::new(numbers().schema(), stream::iter(batches))
        };
        async move { Ok(answer) }.boxed()
    });
    (input, asked)
}

/// Rows whose types are those of a sample until they are to be proved.
fn sampled() -> (Input, Asked) {
    let asked = Asked::default();
    let seen = Arc::clone(&asked);
    let input = Input::repeatable(move |reading: Reading| {
        if !reading.prove {
            reading.found.say_sampled();
        }
        seen.lock().expect("no panic").push(reading);
        async move { Ok(BatchStream::from_batches(texts().schema(), vec![texts()])) }.boxed()
    });
    (input, asked)
}

fn proofs(asked: &Asked) -> Vec<bool> {
    let asked = asked.lock().expect("no panic");
    asked.iter().map(|reading| reading.prove).collect()
}

#[tokio::test]
async fn a_value_that_does_not_fit_a_sampled_type_begins_the_load_again_with_the_wider_one() {
    let (input, asked) = guessing();
    let mut spec = LoadSpec::new("t");
    spec.load.max_retries = 0;
    spec.load.mode = Mode::Create;
    let loader = connect::<MemoryLoader>("reopened").await;
    let report = load(&loader, &spec, &input).await.expect("loaded");
    assert_eq!((report.rows, report.retries), (3, 0));
    assert_eq!(report.reopened, ["`x` is no int64"]);
    assert_eq!(proofs(&asked), [false, false]);
    assert_eq!(read_table("reopened", "t"), Some(texts()));
}

#[tokio::test]
async fn wider_types_are_no_failure_that_stops_other_destinations() {
    let (input, asked) = guessing();
    let loader = connect::<MemoryLoader>("reopened_for_two").await;
    let specs = ["t", "u"].map(|target| {
        let mut spec = LoadSpec::new(target);
        spec.load.max_retries = 0;
        spec
    });
    let destinations = specs.each_ref().map(|spec| Destination {
        loader: &loader,
        spec,
    });
    let outcomes = load_all(&destinations, &input, true).await.expect("a run");
    for outcome in outcomes {
        assert_eq!(outcome.expect("loaded").rows, 3);
    }
    assert_eq!(proofs(&asked), [false, false]);
}

#[tokio::test]
async fn a_target_that_cannot_take_rows_back_gets_types_that_are_proved() {
    let (input, asked) = sampled();
    table("proved", "t", &[("a", DataType::Utf8)]);
    let loader = connect::<Loose>("proved").await;
    let mut spec = LoadSpec::new("t");
    spec.load.mode = Mode::Append;
    let report = load(&loader, &spec, &input).await.expect("loaded");
    assert_eq!((report.rows, proofs(&asked)), (3, vec![false, true]));
    assert!(report.reopened.is_empty());
    let stored = read_table("proved", "t").expect("a table");
    assert_eq!(stored.columns(), texts().columns());
}

#[tokio::test]
async fn plans_say_what_was_found() {
    let (input, _) = guessing();
    let loader = connect::<MemoryLoader>("remarks").await;
    let plan = plan_load(&loader, &LoadSpec::new("t"), &input).await;
    let plan = plan.expect("a plan");
    assert_eq!(plan.input, ["a.csv: CSV"]);
    assert!(plan.to_string().contains("reads: a.csv: CSV"), "{plan}");
}

fn table(database: &str, name: &str, types: &[(&str, DataType)]) {
    let fields = types
        .iter()
        .map(|(name, data_type)| Field::new(*name, data_type.clone(), true));
    let schema: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    put_table(database, name, &schema, vec![]);
}

#[tokio::test]
async fn the_types_on_which_all_targets_agree_are_offered() {
    table(
        "offered",
        "t",
        &[("a", DataType::Utf8), ("b", DataType::Int64)],
    );
    table(
        "offered",
        "u",
        &[("a", DataType::Utf8), ("b", DataType::Utf8)],
    );
    let loader = connect::<MemoryLoader>("offered").await;
    let specs = ["t", "u", "new"].map(LoadSpec::new);
    let destinations = |specs: &'static [usize]| specs.to_vec();
    for (targets, finds, expected) in [
        (destinations(&[0]), true, Some(vec!["a", "b"])),
        (destinations(&[0, 1]), true, Some(vec!["a"])),
        (destinations(&[2]), true, None),
        (destinations(&[0]), false, None),
    ] {
        let (input, asked) = guessing();
        let input = input.finding_types(finds);
        let destinations: Vec<Destination<'_>> = targets
            .iter()
            .map(|index| Destination {
                loader: &loader,
                spec: &specs[*index],
            })
            .collect();
        let outcomes: Vec<Result<_>> = load_all(&destinations, &input, false).await.expect("run");
        assert!(!outcomes.is_empty());
        let asked = asked.lock().expect("no panic");
        let offered = asked[0].types.as_ref();
        let names = offered.map(|types| {
            let fields = types.fields().iter();
            fields
                .map(|field| field.name().as_str())
                .collect::<Vec<_>>()
        });
        assert_eq!(names, expected, "{targets:?}, finds types: {finds}");
    }
}

/// Two rows, and one that cannot be parsed.
fn ragged() -> Input {
    Input::repeatable(|reading: Reading| {
        let set_aside = reading.unparsed.set_aside(&UnparsedRow {
            file: "a.csv",
            line: 3,
            bytes: b"3,4\n",
            reason: "2 fields where the table has 1 column",
            options: "{}",
        });
        let batches = [set_aside.map(|()| numbers())];
        let answer = BatchStream::new(numbers().schema(), stream::iter(batches));
        async move { Ok(answer) }.boxed()
    })
}

#[tokio::test]
async fn rows_that_cannot_be_parsed_are_set_aside_with_their_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let loader = connect::<MemoryLoader>("unparsed").await;
    let mut spec = LoadSpec::new("t");
    spec.load.dead_letters = folder.path().to_owned();
    let error = load(&loader, &spec, &ragged()).await.expect_err("refused");
    assert_eq!(
        (error.kind(), error.get("line")),
        (ErrorKind::InvalidData, Some("3"))
    );

    spec.load.on_error = OnError::Skip;
    let report = load(&loader, &spec, &ragged()).await.expect("loaded");
    let counts = (
        report.rows,
        report.rows_read,
        report.rows_rejected,
        report.rows_unparsed,
    );
    assert_eq!(counts, (2, 2, 0, 1));
    assert_eq!(report.dead_letters, None);
    let file = std::fs::File::open(report.unparsed.expect("a file")).expect("opened");
    let mut rows = StreamReader::try_new(file, None).expect("an Arrow stream");
    let row = rows.next().expect("a batch").expect("read");
    let column = |name: &str| row.column_by_name(name).expect("a column").clone();
    let bytes = column(UNPARSED_BYTES);
    let bytes = bytes.as_any().downcast_ref::<BinaryArray>().expect("bytes");
    assert_eq!((row.num_rows(), bytes.value(0)), (1, b"3,4\n".as_slice()));
    assert!(column(REASON).null_count() == 0 && column(UNPARSED_LINE).len() == 1);
    assert_eq!(
        std::fs::read_dir(folder.path()).expect("a folder").count(),
        1
    );
}

#[tokio::test]
async fn a_load_that_fails_leaves_no_file_of_unparsed_rows() {
    let folder = tempfile::tempdir().expect("a folder");
    let loader = connect::<Loose>("unparsed").await;
    let mut spec = LoadSpec::new("breaks");
    spec.load.dead_letters = folder.path().to_owned();
    spec.load.on_error = OnError::Skip;
    spec.load.max_retries = 0;
    load(&loader, &spec, &ragged())
        .await
        .expect_err("it breaks");
    assert_eq!(
        std::fs::read_dir(folder.path()).expect("a folder").count(),
        0
    );
}

/// The store takes nothing of it: a loader that cannot skip rows may be given such a load.
#[tokio::test]
async fn rows_that_cannot_be_parsed_are_skipped_for_every_loader() {
    let plain = Capabilities::new(&[Mode::Append], Atomicity::Load);
    let options = |on_error| {
        let mut options = LoadOptions::default();
        options.on_error = on_error;
        options
    };
    let refused = options(OnError::Skip).check("plain", &plain);
    let refused = refused.expect_err("it cannot skip");
    assert!(refused.message().contains("skip_unparsed"), "{refused}");
    options(OnError::SkipUnparsed)
        .check("plain", &plain)
        .expect("nothing is asked of it");
    let folder = tempfile::tempdir().expect("a folder");
    let loader = connect::<MemoryLoader>("skip_unparsed").await;
    let mut spec = LoadSpec::new("t");
    spec.load.dead_letters = folder.path().to_owned();
    spec.load.on_error = OnError::SkipUnparsed;
    let report = load(&loader, &spec, &ragged()).await.expect("loaded");
    assert_eq!((report.rows, report.rows_unparsed), (2, 1));
}
