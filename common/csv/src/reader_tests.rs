//! Whole files, in chunks so small that rows and quotes go over their ends.

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use proptest::prelude::*;

use super::*;
use crate::options::Options;
use crate::syntax::Fault;

fn input(bytes: &[u8], options: &Options) -> Input {
    Input::read("test.csv", std::io::Cursor::new(bytes.to_vec()), options).expect("opens")
}

fn reader(bytes: &[u8], options: &Options, chunk: usize, threads: usize) -> Reader {
    let input = input(bytes, options);
    let layout = crate::sniff::sniff(&input, options).expect("a table");
    let read = ReadOptions {
        threads: Some(threads),
        ..ReadOptions::default()
    };
    Reader::with_feed(input, &layout, &read, |input, syntax| {
        Feed::new(input, &layout, syntax).with_chunk(chunk)
    })
    .expect("begins")
}

fn text() -> Options {
    Options {
        types: crate::Types::All("text".into()),
        delim: Some(",".into()),
        quote: Some("\"".into()),
        header: Some(true),
        skip: Some(0),
        skip_footer: Some(0),
        comment: Some(String::new()),
        escape: Some("\"".into()),
        trim: Some(false),
        new_line: Some(crate::dialect::LineEnd::Lf),
        ..Options::default()
    }
}

fn rows(batches: &[RecordBatch]) -> Vec<Vec<Option<String>>> {
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let cell = |column: &arrow_array::ArrayRef| {
                let text = column.as_string::<i32>();
                arrow_array::Array::is_valid(text, row).then(|| text.value(row).to_owned())
            };
            rows.push(batch.columns().iter().map(cell).collect());
        }
    }
    rows
}

#[test]
fn small_chunks_are_read_as_one() {
    let mut bytes = b"id,body\n".to_vec();
    for row in 0..200 {
        bytes.extend(format!("{row},\"Dear \"\"{row}\"\",\nline, two\n\n\"\n").into_bytes());
    }
    for (chunk, threads) in [(1, 1), (7, 3), (64, 2), (1 << 20, 1)] {
        let options = Options::default();
        let mut reader = reader(&bytes, &options, chunk, threads);
        let batches: Vec<_> = reader.by_ref().collect::<Result<_>>().expect("reads");
        let sum: i64 = batches
            .iter()
            .flat_map(|batch| {
                batch
                    .column(0)
                    .as_primitive::<Int64Type>()
                    .values()
                    .to_vec()
            })
            .sum();
        assert_eq!(sum, 199 * 100);
        let lines = reader.lines();
        assert_eq!((lines.rows, lines.row_lines, lines.header), (200, 800, 1));
        assert_eq!(lines.total(), 801);
    }
}

#[test]
fn rows_that_do_not_fit_are_errors_or_set_aside() {
    let bytes = b"id,name\n1,Ann\n2\n3,\"Bob\n4,Cid,x\n5,Dan\n6,\xFF\n";
    let options = Options {
        encoding: Some("utf-8".into()),
        ..Options::default()
    };
    let error = reader(bytes, &options, 1 << 20, 1)
        .collect::<Result<Vec<_>>>()
        .expect_err("refused");
    assert_eq!(
        (error.get("line"), error.get("file")),
        (Some("3"), Some("test.csv"))
    );
    let aside = Arc::new(std::sync::Mutex::new(Vec::new()));
    let put = Arc::clone(&aside);
    let mut reader = reader(bytes, &options, 4, 2).set_aside(move |row| {
        put.lock().expect("one thread").push(row);
        Ok(())
    });
    let batches: Vec<_> = reader.by_ref().collect::<Result<_>>().expect("reads");
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 2);
    let aside = aside.lock().expect("one thread");
    let found: Vec<_> = aside
        .iter()
        .map(|row| (row.line, row.lines, row.fault, row.raw.as_slice()))
        .collect();
    assert_eq!(
        found,
        [
            (3, 1, Fault::Short(1), b"2\n".as_slice()),
            (4, 1, Fault::Unclosed, b"3,\"Bob\n"),
            (5, 1, Fault::Long(3), b"4,Cid,x\n"),
            (7, 1, Fault::NotText, b"6,\xFF\n"),
        ]
    );
    assert_eq!(reader.lines().total(), 7);
}

#[test]
fn a_misfit_says_where_and_what_would_fit() {
    let mut bytes = b"id,amount\n".to_vec();
    for row in 0..1_500 {
        bytes.extend(format!("{row},{row}\n").into_bytes());
    }
    bytes.extend(b"1500,2.5\nx,7\n");
    let options = Options {
        infer_rows: crate::InferRows::Rows(100),
        ..Options::default()
    };
    let opened = input(&bytes, &options);
    let mut layout = crate::sniff::sniff(&opened, &options).expect("a table");
    assert_eq!(layout.columns[1].mark, Mark::Sampled);
    let read = |layout: &Layout| {
        Reader::new(input(&bytes, &options), layout, &ReadOptions::default())
            .and_then(|reader| reader.collect::<Result<Vec<_>>>())
    };
    let error = read(&layout).expect_err("a misfit");
    assert_eq!(error.get("line"), Some("1502"));
    assert_eq!(error.get("column"), Some("amount"));
    assert_eq!(error.get("value"), Some("2.5"));
    let found = crate::fault::misfits(&error).expect("typed");
    assert_eq!(found.len(), 2);
    layout.widen(found);
    let batches = read(&layout).expect("wide enough");
    let schema = batches[0].schema();
    assert_eq!(*schema.field(0).data_type(), arrow_schema::DataType::Utf8);
    assert_eq!(
        *schema.field(1).data_type(),
        arrow_schema::DataType::Decimal128(38, 1)
    );
    let proved = prove(input(&bytes, &options), &layout, None, None).expect("proves");
    assert_eq!(proved.columns[1].mark, Mark::Proved);
    assert_eq!(
        proved.columns[1].kind.data_type,
        arrow_schema::DataType::Decimal128(38, 1)
    );
    assert!(
        proved.columns[1].reason.contains("`2.5` in line 1502"),
        "{}",
        proved.columns[1].reason
    );
}

#[test]
fn a_reader_that_is_dropped_early_ends() {
    let bytes = b"a,b\n".repeat(100_000);
    let mut reader = reader(&bytes, &text(), 100, 4);
    assert!(reader.next().is_some());
    drop(reader);
}

#[test]
fn a_row_that_is_too_long_is_refused_by_name() {
    let options = Options {
        max_row_bytes: Some(1_000),
        ..text()
    };
    let bytes = [b"a,b\n".as_slice(), &b"x".repeat(5_000), b",y\n"].concat();
    let error = reader(&bytes, &options, 100, 1)
        .collect::<Result<Vec<_>>>()
        .expect_err("too long");
    assert!(error.message().contains("max_row_bytes"), "{error}");
    let open = [b"a,b\n1,\"".as_slice(), &b"x,y\n".repeat(5_000)].concat();
    let mut reader = reader(&open, &options, 100, 1).set_aside(|_| Ok(()));
    let rows: usize = reader
        .by_ref()
        .map(|batch| batch.expect("reads").num_rows())
        .sum();
    assert_eq!((rows, reader.lines().skipped), (4_999, 1));
}

proptest! {
    #[test]
    fn chunks_and_threads_change_nothing(
        bytes in prop::collection::vec(prop_oneof![4 => Just(b'a'), 3 => Just(b','), 3 => Just(b'"'), 2 => Just(b'\n'), 1 => Just(b'\r'), 1 => Just(0xC3), 1 => Just(0xA9)], 0..200),
        chunk in 1..40_usize, threads in 1..4_usize, footer in 0..3_u64,
    ) {
        let bytes = [b"x,y\n".as_slice(), &bytes].concat();
        let options = Options { skip_footer: Some(footer), encoding: Some("utf-8".into()), ..text() };
        let read = |chunk, threads| {
            let mut reader = reader(&bytes, &options, chunk, threads).set_aside(|_| Ok(()));
            let batches: Vec<_> = reader.by_ref().collect::<Result<_>>().expect("reads");
            (rows(&batches), reader.lines())
        };
        let (whole, parts) = (read(1 << 20, 1), read(chunk, threads));
        let syntax = Syntax::new(&crate::dialect::Dialect::default());
        prop_assert_eq!(whole.1.total(), syntax.lines(&bytes));
        prop_assert_eq!(whole, parts);
    }
}

/// In every stripe and chunk, whatever is around the row.
#[test]
fn rows_with_values_of_another_type_are_set_aside() {
    let mut bytes = b"id,amount,note\n".to_vec();
    let (mut expected, mut good, mut line) = (Vec::new(), 0, 1);
    for row in 0..5_000_u64 {
        line += 1;
        let text = match row {
            _ if row % 97 == 0 => format!("{row},abc,\"two\nlines\"\n"),
            _ if row % 101 == 0 => format!("\"{row}\",\"1\n2\",\"x\"\n"),
            _ if row % 103 == 0 => format!("x,{row},late\n"),
            _ if row % 107 == 0 => format!("{row}\n"),
            _ if row % 89 == 0 => format!("\n{row},{row}.5,\n"),
            _ => format!("{row},{row}.25,fine\n"),
        };
        let raw = text.trim_start_matches('\n');
        let begin = line + (text.len() - raw.len()) as u64;
        if [97, 101, 103, 107].iter().any(|number| row % number == 0) {
            expected.push((begin, raw.to_owned()));
        } else {
            good += 1;
        }
        line += text.matches('\n').count() as u64 - 1;
        bytes.extend(text.into_bytes());
    }
    let options = Options {
        types: crate::Types::Columns(
            [("id", "int64"), ("amount", "decimal(10,2)")]
                .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
                .into(),
        ),
        header: Some(true),
        ..text()
    };
    for (chunk, threads, bad_byte) in [
        (1 << 20, 1, false),
        (1_000, 2, false),
        (7, 1, false),
        (1 << 20, 1, true),
    ] {
        let mut bytes = bytes.clone();
        let mut expected = expected.clone();
        if bad_byte {
            bytes.extend(b"1,1,\xFF\n2,y,z");
            expected.push((line + 1, "1,1,\u{fffd}\n".into()));
            expected.push((line + 2, "2,y,z".into()));
        }
        let utf8 = Options {
            encoding: Some("utf-8".into()),
            ..options.clone()
        };
        let input = input(&bytes, &utf8);
        let layout = crate::sniff::sniff(&input, &utf8).expect("a table");
        let read = ReadOptions {
            threads: Some(threads),
            misfits_aside: true,
            ..ReadOptions::default()
        };
        let reader = Reader::with_feed(input, &layout, &read, |input, syntax| {
            Feed::new(input, &layout, syntax).with_chunk(chunk)
        });
        let aside = Arc::new(std::sync::Mutex::new(Vec::new()));
        let put = Arc::clone(&aside);
        let mut reader = reader.expect("begins").set_aside(move |row| {
            put.lock().expect("one thread").push(row);
            Ok(())
        });
        let batches: Vec<_> = reader.by_ref().collect::<Result<_>>().expect("reads");
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let aside = aside.lock().expect("one thread");
        let found: Vec<(u64, String)> = aside
            .iter()
            .map(|row| (row.line, String::from_utf8_lossy(&row.raw).into_owned()))
            .collect();
        assert_eq!(found, expected, "{chunk}");
        let lines = reader.lines();
        assert_eq!((rows, lines.rows), (good, good as u64), "{chunk}");
        assert_eq!(lines.skipped, expected.len() as u64);
        let first = aside[0].error();
        assert!(
            first
                .message()
                .contains("`abc` does not fit column `amount`"),
            "{first}"
        );
        let second = aside.iter().find(|row| row.raw.starts_with(b"\"101"));
        let second = second.and_then(|row| row.misfit.as_ref()).expect("a value");
        assert_eq!(
            (second.value.as_str(), second.column.as_str()),
            ("1\n2", "amount")
        );
    }
}
