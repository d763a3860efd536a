//! Any bytes, under any options: rows that account for all lines, or an error.

#![no_main]

use std::io::Cursor;

use arrowload_common_json::{
    DuplicateKeys, Format, Input, Mixed, Numbers, Options, ReadOptions, Reader, Types, misfits,
    prove, sniff,
};
use libfuzzer_sys::fuzz_target;

/// The first bytes say which options there are.
fn options(choice: &[u8; 2]) -> Options {
    let format = [
        Format::Auto,
        Format::Ndjson,
        Format::Array,
        Format::Document,
    ];
    let records = choice[0] & 4 != 0 && choice[0] & 3 != 1 && choice[0] & 3 != 2;
    Options {
        format: format[usize::from(choice[0] & 3)],
        records: records
            .then(|| ["$", "$.a", "$.a[*].b", "$[1]"][usize::from(choice[0] >> 3 & 3)].into()),
        flatten: choice[0] & 32 != 0,
        mixed: if choice[0] & 64 == 0 {
            Mixed::Json
        } else {
            Mixed::Error
        },
        duplicate_keys: if choice[0] & 128 == 0 {
            DuplicateKeys::Error
        } else {
            DuplicateKeys::Last
        },
        numbers: [
            Numbers::Auto,
            Numbers::Decimal,
            Numbers::Float,
            Numbers::Auto,
        ][usize::from(choice[1] & 3)],
        types: match choice[1] >> 2 & 3 {
            0 => Types::All("text".into()),
            1 => {
                Types::Columns([("a".into(), "int64".into()), ("b.c".into(), "date".into())].into())
            }
            _ => Types::default(),
        },
        encoding: (choice[1] & 16 == 0).then(|| "utf-8".into()),
        max_depth: (choice[1] & 32 != 0).then_some(3),
        max_row_bytes: (choice[1] & 64 != 0).then_some(64),
        ..Options::default()
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, bytes)) = bytes.split_first_chunk::<2>() else {
        return;
    };
    let options = options(choice);
    let open = || Input::read("fuzz", Cursor::new(bytes.to_vec()), &options);
    let Ok(input) = open() else { return };
    let (whole, text) = (input.is_whole(), input.head().to_vec());
    let Ok(mut layout) = sniff(&input, &options) else {
        return;
    };
    let threads = ReadOptions::default();
    let mut input = input;
    let lines = loop {
        let Ok(reader) = Reader::new(input, &layout, &threads) else {
            return;
        };
        let mut reader = reader.set_aside(|_| Ok(()));
        let mut rows = 0;
        let mut error = None;
        for batch in reader.by_ref() {
            match batch {
                Ok(batch) => rows += batch.num_rows() as u64,
                Err(found) => error = Some(found),
            }
        }
        let Some(error) = error else {
            assert_eq!(rows, reader.lines().rows);
            break reader.lines();
        };
        match misfits(&error) {
            Some(found) if !matches!(options.types, Types::Columns(ref types) if !types.is_empty()) => {
                if layout.widen(found).is_err() {
                    return;
                }
            }
            _ => return,
        }
        let Ok(again) = open() else { return };
        input = again;
    };
    if whole {
        let count = text.iter().filter(|byte| **byte == b'\n').count() as u64;
        let ended = text.last().is_none_or(|last| *last == b'\n');
        assert_eq!(lines.total(), count + u64::from(!ended));
    }
    // What is proved can be read.
    let Ok(again) = open() else { return };
    let Ok(proved) = prove(again, &layout, None, None) else {
        return;
    };
    let Ok(again) = open() else { return };
    let reader = Reader::new(again, &proved, &threads).expect("proved types can be read");
    for batch in reader.set_aside(|_| Ok(())) {
        match batch {
            Ok(_) => {}
            Err(error) => assert!(
                misfits(&error)
                    .is_none_or(|found| found[0].mark == arrowload_common_json::Mark::Declared)
            ),
        }
    }
});
