//! Chunks of every size give the same rows.

use std::io::Cursor;

use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;
use arrowload_common_text_files::InferRows;
use proptest::prelude::*;

use super::*;
use crate::options::Options;
use crate::sniff::sniff;

type Seen = (Vec<RecordBatch>, Vec<(u64, u64)>, Lines);

fn read(text: &str, options: &Options, chunk: Option<usize>) -> Result<Seen> {
    let open = || Input::read("test", Cursor::new(text.as_bytes().to_vec()), options);
    let layout = sniff(&open()?, options)?;
    let threads = ReadOptions {
        threads: Some(3),
        ..ReadOptions::default()
    };
    let feed = |input, layout: &Layout| match chunk {
        None => feed(input, layout),
        Some(bytes) => feed(input, layout).with_chunk(bytes),
    };
    let aside = Arc::new(std::sync::Mutex::new(Vec::new()));
    let put = Arc::clone(&aside);
    let reader = Reader::with_feed(open()?, &layout, &threads, feed)?;
    let mut reader = reader.set_aside(move |row| {
        put.lock()
            .expect("not poisoned")
            .push((row.line, row.column));
        Ok(())
    });
    let batches = reader.by_ref().collect::<Result<Vec<_>>>()?;
    let (schema, lines) = (reader.schema(), reader.lines());
    drop(reader);
    let batch = concat_batches(&schema, &batches).expect("of one schema");
    let aside = std::mem::take(&mut *aside.lock().expect("not poisoned"));
    Ok((vec![batch], aside, lines))
}

fn rows() -> impl Strategy<Value = Vec<String>> {
    let string =
        "[a-c,\\[\\]{}é]{0,5}(\\\\\"|\\\\\\\\|\\\\u00e9)?".prop_map(|text| format!("\"{text}\""));
    let value = prop_oneof![
        "(0|-?[1-9][0-9]{0,3})(\\.[0-9]{1,2})?",
        string,
        Just("null".to_owned()),
        Just("[1, [2,\"]\"]]".to_owned()),
        Just("{ \"k\" :\"}\" }".to_owned()),
    ];
    let row = prop::collection::vec(("[a-c]", value), 0..4).prop_map(|members| {
        let mut seen = std::collections::BTreeMap::new();
        seen.extend(members);
        let members: Vec<String> = seen
            .iter()
            .map(|(key, value)| format!("\"{key}\": {value}"))
            .collect();
        format!("{{{}}}", members.join(", "))
    });
    prop::collection::vec(row, 1..9)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn chunks_of_every_size_give_the_same_rows(
        rows in rows(),
        form in 0_usize..5,
        broken in prop::option::of(any::<prop::sample::Index>()),
        chunk in 1_usize..80,
    ) {
        let mut lines = rows.clone();
        if let (Some(index), 0) = (broken, form) {
            let at = index.index(lines.len());
            lines[at] = "{\"a\": ]".to_owned();
        }
        let (text, records) = match form {
            0 => (lines.join("\n"), None),
            1 => (rows.join(" "), None),
            2 => (format!("[{}]", rows.join(" ,\n")), None),
            3 => (format!("{{\"x\": [1, \"]\"], \"d\": [{}], \"e\": {{}}}} {{\"d\": []}}", rows.join(",")), Some("$.d")),
            _ => (format!("[{}] {}", rows.join(","), rows.join("\n")), None),
        };
        let options = Options { records: records.map(str::to_owned), ..Options::default() };
        let whole = read(&text, &options, None);
        let parts = read(&text, &options, Some(chunk));
        match (whole, parts) {
            (Ok(whole), Ok(parts)) => prop_assert_eq!(whole, parts),
            (Err(whole), Err(parts)) => prop_assert_eq!(whole.to_string(), parts.to_string()),
            (whole, parts) => prop_assert!(false, "{:?} {:?}", whole, parts),
        }
    }
}

#[test]
fn columns_are_read_in_the_order_in_which_they_are_wanted() {
    let text = "{\"a\":1,\"b\":{\"c\":2,\"d\":\"x\"},\"e\":[1]}\n";
    let read = |options: Options, projection: Vec<usize>| {
        let open = || Input::read("test", Cursor::new(text.as_bytes().to_vec()), &options);
        let layout = sniff(&open().expect("opens"), &options).expect("rows");
        let wanted = ReadOptions {
            projection: Some(projection),
            ..ReadOptions::default()
        };
        let mut reader = Reader::new(open().expect("opens"), &layout, &wanted)?;
        let schema = reader.schema();
        let batch = reader.next().expect("a batch")?;
        assert_eq!(batch.schema(), schema);
        let names = schema.fields().iter().map(|field| field.name().clone());
        Ok::<_, Error>((names.collect::<Vec<_>>(), batch.num_rows()))
    };
    let flat = Options {
        flatten: true,
        ..Options::default()
    };
    let all = Options::default();
    assert_eq!(
        read(all.clone(), vec![2, 0]).expect("there"),
        (vec!["e".into(), "a".into()], 1)
    );
    assert_eq!(read(all.clone(), vec![]).expect("there"), (vec![], 1));
    assert_eq!(
        read(flat, vec![2, 1]).expect("there"),
        (vec!["b.d".into(), "b.c".into()], 1)
    );
    assert!(read(all, vec![3]).is_err());
}

#[test]
fn proving_stops_after_so_many_rows() {
    let text = "{\"a\":1}\n".repeat(300_000) + "{\"a\":\"x\"}\n";
    let options = Options {
        infer_rows: InferRows::Rows(200_000),
        ..Options::default()
    };
    let open = || Input::read("test", Cursor::new(text.as_bytes().to_vec()), &options);
    let layout = crate::sniff::layout(open, &options).expect("rows");
    assert_eq!(layout.columns[0].data_type, arrow_schema::DataType::Int64);
    assert_eq!(layout.columns[0].mark, Mark::Sampled);
}

/// Each is a line of its own, and its neighbours are rows.
#[test]
fn lines_with_values_of_another_type_are_set_aside() {
    let text = "{\"id\":1,\"n\":{\"x\":1}}\n{\"id\":\"abc\",\"n\":{\"x\":2}}\n\n{\"id\":3,\"n\":{\"x\":3}}\n{\"id\":4.5}\n";
    let options = Options {
        types: arrowload_common_text_files::Types::Columns(
            [("id".to_owned(), "int64".to_owned())].into(),
        ),
        ..Options::default()
    };
    let open = || Input::read("test", Cursor::new(text.as_bytes().to_vec()), &options);
    let layout = sniff(&open().expect("opens"), &options).expect("a table");
    for chunk in [8, 1 << 20] {
        let read = ReadOptions {
            misfits_aside: true,
            ..ReadOptions::default()
        };
        let aside = Arc::new(std::sync::Mutex::new(Vec::new()));
        let put = Arc::clone(&aside);
        let feed = |input, layout: &Layout| feed(input, layout).with_chunk(chunk);
        let reader = Reader::with_feed(open().expect("opens"), &layout, &read, feed);
        let mut reader = reader.expect("begins").set_aside(move |row| {
            let error = row.error();
            let text = error.message().to_owned();
            put.lock().expect("not poisoned").push((row.line, text));
            Ok(())
        });
        let batches = reader.by_ref().collect::<Result<Vec<_>>>().expect("reads");
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        assert_eq!((rows, reader.lines().skipped), (2, 2));
        let aside = aside.lock().expect("not poisoned");
        assert_eq!((aside[0].0, aside[1].0), (2, 5));
        assert!(
            aside[0]
                .1
                .contains("does not fit column `id`, whose type Int64 was declared"),
            "{aside:?}"
        );
    }
    // Else it is an error.
    let error = Reader::new(open().expect("opens"), &layout, &ReadOptions::default())
        .expect("begins")
        .collect::<Result<Vec<_>>>()
        .expect_err("refused");
    assert!(error.message().contains("`on_error`"), "{error}");
}
