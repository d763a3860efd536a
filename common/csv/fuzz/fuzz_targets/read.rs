//! Any bytes, under any options: rows that account for all lines, or an error.

#![no_main]

use std::io::Cursor;

use arrowload_common_csv::{
    Empty, Input, LineEnd, Options, Ragged, ReadOptions, Reader, Types, prove, sniff,
};
use libfuzzer_sys::fuzz_target;

/// The first bytes say which options there are.
fn options(choice: &[u8; 3]) -> Options {
    let pick = |bits: u8, texts: &[Option<&str>]| -> Option<String> {
        texts[usize::from(bits) % texts.len()].map(str::to_owned)
    };
    Options {
        delim: pick(choice[0], &[None, Some(","), Some(";"), Some("||")]),
        quote: pick(choice[0] >> 2, &[None, Some("\""), Some("'"), Some("")]),
        escape: pick(choice[0] >> 4, &[None, Some("\\"), Some("\""), Some("")]),
        new_line: [
            None,
            Some(LineEnd::Lf),
            Some(LineEnd::Mixed),
            Some(LineEnd::Cr),
        ][usize::from(choice[0] >> 6)],
        comment: pick(choice[1], &[None, Some("#")]),
        trim: [None, Some(true)][usize::from(choice[1] >> 1 & 1)],
        header: [None, Some(false), Some(true), None][usize::from(choice[1] >> 2 & 3)],
        skip_footer: [None, Some(1), Some(2), None][usize::from(choice[1] >> 4 & 3)],
        encoding: pick(
            choice[1] >> 6,
            &[None, Some("utf-8"), Some("utf-16le"), Some("shift_jis")],
        ),
        types: if choice[2] & 1 == 0 {
            Types::default()
        } else {
            Types::All("text".into())
        },
        ragged: if choice[2] & 2 == 0 {
            Ragged::Error
        } else {
            Ragged::Pad
        },
        empty: if choice[2] & 4 == 0 {
            Empty::Auto
        } else {
            Empty::Null
        },
        max_row_bytes: (choice[2] & 8 != 0).then_some(64),
        ..Options::default()
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, bytes)) = bytes.split_first_chunk::<3>() else {
        return;
    };
    let options = options(choice);
    let open = || Input::read("fuzz", Cursor::new(bytes.to_vec()), &options);
    let Ok(input) = open() else { return };
    let whole = input.head().len() < 1 << 20;
    let text = input.head().to_vec();
    let Ok(layout) = sniff(&input, &options) else {
        return;
    };
    let threads = ReadOptions::default();
    let Ok(reader) = Reader::new(input, &layout, &threads) else {
        return;
    };
    let mut reader = reader.set_aside(|_| Ok(()));
    let mut rows = 0;
    for batch in reader.by_ref() {
        let Ok(batch) = batch else { return };
        rows += batch.num_rows() as u64;
    }
    let lines = reader.lines();
    assert_eq!(rows, lines.rows);
    if whole {
        let lone = matches!(layout.dialect.line_end, LineEnd::Cr | LineEnd::Mixed);
        let ends = |(at, byte): (usize, &u8)| {
            *byte == b'\n' || (lone && *byte == b'\r' && text.get(at + 1) != Some(&b'\n'))
        };
        let count = text.iter().enumerate().filter(|pair| ends(*pair)).count() as u64;
        let ended = text
            .last()
            .is_none_or(|last| *last == b'\n' || (lone && *last == b'\r'));
        assert_eq!(lines.total(), count + u64::from(!ended));
    }
    // What is proved can be read.
    let Ok(again) = open() else { return };
    let proved = prove(again, &layout, None, None).expect("what was read can be proved");
    let Ok(again) = open() else { return };
    let reader = Reader::new(again, &proved, &threads).expect("proved types can be read");
    for batch in reader.set_aside(|_| Ok(())) {
        batch.expect("proved values fit");
    }
});
