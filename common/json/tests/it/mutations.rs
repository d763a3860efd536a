//! Bytes that were changed: rows that account for all lines, or an error, and never a panic.

use arrowload_common_json::{Format, Options, ReadOptions, Reader, prove, sniff};
use proptest::prelude::*;

use crate::{open, skip};

const TEXTS: [&str; 4] = [
    "{\"id\":1,\"name\":\"Ann\",\"x\":[1.5,null],\"y\":{\"z\":true}}\n{\"id\":22,\"name\":\"B\\u00e9\\n\",\"x\":[],\"y\":{\"z\":false}}\n\n{\"id\":-3,\"y\":null}\n",
    "[{\"a\":1e5,\"b\":\"x\"},\n {\"a\":2.25,\"b\":\"\\\"y\\\"\"},{\"a\":null}]\n",
    "{\n  \"data\": {\"items\": [{\"a\": 1}, {\"a\": \"2\"}], \"n\": 2}\n}\n{\"data\": {\"items\": []}}",
    "1 \"two\" [3, [4]] null {\"five\": 5}",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn lines_are_accounted_or_there_is_an_error(
        text in 0_usize..4,
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..4, prop::sample::select(b"{}[]\",:\\\n\r\t 0-1.eEtfnu\x00\xff\xc3".to_vec())), 0..4),
        options in 0_usize..8,
    ) {
        let mut bytes = TEXTS[text].as_bytes().to_vec();
        for (place, kind, byte) in changes {
            if bytes.is_empty() {
                break;
            }
            let at = place.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => { bytes.remove(at); }
                _ => bytes.truncate(at),
            }
        }
        let options = Options {
            format: [Format::Auto, Format::Ndjson, Format::Auto, Format::Document][options % 4],
            records: (options == 2).then(|| "$.data.items".to_owned()),
            flatten: options > 3,
            // Without a guess at UTF-16, lines can be counted here.
            encoding: Some("utf-8".into()),
            ..Options::default()
        };
        if let Ok(read) = skip(&bytes, &options) {
            let rows: usize = read.batches.iter().map(|batch| batch.num_rows()).sum();
            prop_assert_eq!(rows as u64, read.lines.rows);
            prop_assert_eq!(read.aside.len() as u64, read.lines.skipped);
            let ends = bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
            let open_line = u64::from(bytes.last().is_some_and(|last| *last != b'\n'));
            prop_assert_eq!(read.lines.total(), ends + open_line);
            for row in &read.aside {
                let line = bytes.split_inclusive(|byte| *byte == b'\n').nth(row.line as usize - 1);
                prop_assert_eq!(line, Some(row.raw.as_slice()));
            }
            // What is proved can be read.
            let input = open(&bytes, &options).expect("it was opened");
            let layout = sniff(&input, &options).expect("it was looked at");
            let proved = prove(input, &layout, None, None).expect("it was read");
            let input = open(&bytes, &options).expect("it was opened");
            let reader = Reader::new(input, &proved, &ReadOptions::default()).expect("it begins");
            for batch in reader.set_aside(|_| Ok(())) {
                batch.expect("proved values fit");
            }
        }
    }
}
