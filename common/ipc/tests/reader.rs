//! Whole files and streams: each way in which they were written, each way in which they end.
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on says so and ends"
)]

use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::StringDictionaryBuilder;
use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_cast::pretty::pretty_format_batches;
use arrow_ipc::writer::{DictionaryHandling, FileWriter, IpcWriteOptions, StreamWriter};
use arrowload_common_ipc::{End, IpcOptions, IpcReader, Kind, end_of_stream, looks_like};
use arrowload_core::{Error, ErrorKind, Result};

fn batch(first: i64) -> RecordBatch {
    let numbers = Arc::new(Int64Array::from_iter_values(first..first + 3)) as ArrayRef;
    let doubled = Arc::new(Int64Array::from_iter_values(
        (first..first + 3).map(|n| 2 * n),
    ));
    RecordBatch::try_from_iter([("a", numbers), ("b", doubled as ArrayRef)]).expect("a batch")
}

fn words(words: &[&str]) -> RecordBatch {
    let mut builder = StringDictionaryBuilder::<Int32Type>::new();
    builder.extend(words.iter().map(Some));
    RecordBatch::try_from_iter([("w", Arc::new(builder.finish()) as ArrayRef)]).expect("a batch")
}

fn stream(batches: &[RecordBatch], options: IpcWriteOptions) -> Vec<u8> {
    let schema = batches[0].schema();
    let mut writer =
        StreamWriter::try_new_with_options(Vec::new(), &schema, options).expect("a writer");
    for batch in batches {
        writer.write(batch).expect("written");
    }
    writer.into_inner().expect("a stream")
}

fn file(batches: &[RecordBatch]) -> Vec<u8> {
    let mut writer = FileWriter::try_new(Vec::new(), &batches[0].schema()).expect("a writer");
    for batch in batches {
        writer.write(batch).expect("written");
    }
    writer.into_inner().expect("a file")
}

fn open(bytes: &[u8], options: &IpcOptions) -> Result<Vec<RecordBatch>> {
    IpcReader::open("it", Cursor::new(bytes.to_vec()), options)?.collect()
}

fn forward(bytes: &[u8], options: &IpcOptions) -> Result<Vec<RecordBatch>> {
    IpcReader::forward("it", Cursor::new(bytes.to_vec()), options)?.collect()
}

fn refused(outcome: Result<Vec<RecordBatch>>) -> Error {
    let error = outcome.expect_err("it is refused");
    assert_eq!(
        (error.kind(), error.get("file")),
        (ErrorKind::InvalidData, Some("it")),
        "{error}"
    );
    error
}

fn text(batches: &[RecordBatch]) -> String {
    format!("{}\n", pretty_format_batches(batches).expect("text"))
}

#[test]
fn golden_files_are_read_as_ever() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let entries = std::fs::read_dir(&folder).expect("a folder");
    let mut count = 0;
    for entry in entries {
        let path = entry.expect("an entry").path();
        let is_golden = path
            .extension()
            .is_some_and(|ending| ending == "stream" || ending == "arrow_file");
        if !is_golden {
            continue;
        }
        let bytes = std::fs::read(&path).expect("bytes");
        let read = text(&open(&bytes, &IpcOptions::default()).expect("it is read"));
        assert_eq!(
            text(&forward(&bytes, &IpcOptions::default()).expect("it is read")),
            read
        );
        let expected = folder.join(format!(
            "{}.txt",
            path.file_name().expect("a name").display()
        ));
        if std::env::var_os("ARROWLOAD_BLESS").is_some() {
            std::fs::write(&expected, &read).expect("written");
        }
        let expected = std::fs::read_to_string(&expected).expect("what was read before");
        assert_eq!(read, expected, "{}", path.display());
        count += 1;
    }
    assert_eq!(count, 10);
}

#[test]
fn the_end_of_a_stream_is_its_marker() {
    let (two, cut_options) = ([batch(0), batch(3)], {
        let mut options = IpcOptions::default();
        options.no_end_marker = true;
        options
    });
    let whole = stream(&two, IpcWriteOptions::default());
    let usual = IpcOptions::default();
    let end = |bytes: &[u8]| end_of_stream(Cursor::new(bytes)).expect("it is looked at");
    assert_eq!(text(&open(&whole, &usual).expect("whole")), text(&two));
    assert_eq!(end(&whole), End::Marked);
    let cut = &whole[..whole.len() - 8];
    assert_eq!(end(cut), End::Unmarked);
    for read in [open, forward] {
        let error = refused(read(cut, &usual));
        assert!(
            error.message().contains("without its end marker"),
            "{error}"
        );
        assert_eq!(
            text(&read(cut, &cut_options).expect("taken as it is")),
            text(&two)
        );
        let twice = [whole.as_slice(), &whole].concat();
        assert_eq!(end(&twice), End::Followed(whole.len() as u64));
        let error = refused(read(&twice, &usual));
        assert!(
            error.message().contains("two streams are not one"),
            "{error}"
        );
        // Wherever else it is cut, no option helps.
        for length in 0..cut.len() {
            if read(&cut[..length], &cut_options).is_ok() {
                assert_eq!(end(&cut[..length]), End::Unmarked, "at {length}");
            } else {
                let found = end(&cut[..length]);
                assert!(found == End::Broken || length == 0, "{found:?} at {length}");
            }
        }
    }
}

#[test]
fn a_file_that_was_cut_off_is_refused_at_every_length() {
    let whole = file(&[batch(0), batch(3)]);
    let usual = IpcOptions::default();
    assert_eq!(
        text(&forward(&whole, &usual).expect("whole")),
        text(&[batch(0), batch(3)])
    );
    for length in 0..whole.len() {
        refused(open(&whole[..length], &usual));
        refused(forward(&whole[..length], &usual));
    }
}

#[test]
fn columns_and_batches_are_chosen() {
    let bytes = file(&[batch(0), batch(3), batch(6)]);
    let mut options = IpcOptions::default();
    options.projection = Some(vec![1]);
    options.batches = Some(1..2);
    let chosen = open(&bytes, &options).expect("chosen");
    assert_eq!(
        text(&chosen),
        text(&[batch(3).project(&[1]).expect("a column")])
    );
    let count = IpcReader::open("it", Cursor::new(bytes.clone()), &IpcOptions::default());
    assert_eq!(count.expect("opened").batches(), Some(3));
    for (projection, batches) in [(Some(vec![2]), None), (None, Some(2..4))] {
        options.projection = projection;
        options.batches = batches;
        let error = open(&bytes, &options).expect_err("there is none");
        assert_eq!(error.kind(), ErrorKind::InvalidOption);
    }
}

#[test]
fn dictionaries_are_extended_and_replaced_in_streams() {
    let batches = [words(&["a", "b"]), words(&["a", "b", "c"]), words(&["x"])];
    let usual = IpcOptions::default();
    for handling in [DictionaryHandling::Resend, DictionaryHandling::Delta] {
        let options = IpcWriteOptions::default().with_dictionary_handling(handling);
        let bytes = stream(&batches, options);
        assert_eq!(text(&open(&bytes, &usual).expect("read")), text(&batches));
    }
    // The same messages as a file: whoever reads its batches by the footer would read the first by the last dictionary.
    let bytes = stream(&batches, IpcWriteOptions::default());
    let as_file = [b"ARROW1\0\0", bytes.as_slice()].concat();
    let error = refused(forward(&as_file, &usual));
    assert!(
        error.message().contains("dictionary 0 is replaced"),
        "{error}"
    );
}

#[test]
fn a_compressed_batch_has_a_limit() {
    let numbers = Arc::new(Int64Array::from(vec![7; 100_000])) as ArrayRef;
    let batch = RecordBatch::try_from_iter([("a", numbers)]).expect("a batch");
    let codec = Some(arrow_ipc::CompressionType::ZSTD);
    let options = IpcWriteOptions::default()
        .try_with_compression(codec)
        .expect("a codec");
    let bytes = stream(&[batch], options);
    let mut options = IpcOptions::default();
    assert!(open(&bytes, &options).is_ok());
    options.max_batch_bytes = 100_000;
    let error = refused(open(&bytes, &options));
    assert!(error.message().contains("max_batch_bytes"), "{error}");
}

#[test]
fn bytes_tell_what_they_are() {
    let batches = [batch(0)];
    assert_eq!(looks_like(&file(&batches)), Some(Kind::File));
    let bytes = stream(&batches, IpcWriteOptions::default());
    assert_eq!(looks_like(&bytes[..64]), Some(Kind::Stream));
    // Before version 0.15 nothing but the first message tells.
    let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/0.14.1-dictionary.stream");
    let old = std::fs::read(old).expect("bytes");
    assert_eq!(looks_like(&old), Some(Kind::Stream));
    for other in ["", "a,b\n1,2\n", "PAR1", "{\"a\":1}", "<!DOCTYPE html>"] {
        if let Some(kind) = looks_like(other.as_bytes()) {
            panic!("{other} is taken for a {kind:?}");
        }
    }
}
