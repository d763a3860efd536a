//! Whatever the bytes: rows that account for all lines, or an error; never a panic.

use arrowload_common_csv::{LineEnd, Options};
use proptest::prelude::*;

use crate::skip;

pub(crate) fn lines(bytes: &[u8], end: LineEnd) -> u64 {
    let lone = matches!(end, LineEnd::Cr | LineEnd::Mixed);
    let mut count = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let ends = *byte == b'\n' || (lone && *byte == b'\r' && bytes.get(at + 1) != Some(&b'\n'));
        count += u64::from(ends);
    }
    let ended = bytes
        .last()
        .is_none_or(|last| *last == b'\n' || (lone && *last == b'\r'));
    count + u64::from(!ended)
}

pub(crate) const SEEDS: [&str; 6] = [
    "id,name,day\n1,Ann,2024-01-01\n2,\"Bob, \"\"B\"\"\nline\",2024-01-02\n3,,\n",
    "# remark\nid;x\n1;1.5\n2;2.5\n\n3;NaN\n",
    "a\tb\r\n1\t\\N\r\n2\t\"x\r\ny\"\r\n",
    "Report\n\nid,amount\n1,1.00\n2,2.00\n\nTotal,3.00,x\n",
    "x\n1\n\n2\n",
    "id, name\n1, \"a, b\"\n2, \"c\"\n",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn every_line_is_accounted_or_it_is_an_error(
        seed in prop::sample::select(SEEDS.to_vec()),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..3_u8, prop_oneof![any::<u8>(), prop::sample::select(b"\",;\n\r\t #\\0-'".to_vec())]), 0..8),
        told: bool,
    ) {
        let mut bytes = seed.as_bytes().to_vec();
        for (place, kind, byte) in changes {
            if bytes.is_empty() {
                break;
            }
            let at = place.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => { bytes.remove(at); }
            }
        }
        let mut options = Options { encoding: Some("utf-8".into()), ..Options::default() };
        if told {
            options.delim = Some(",".into());
            options.quote = Some("\"".into());
            options.types = arrowload_common_csv::Types::All("text".into());
        }
        let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes);
        match skip(&bytes, &options) {
            Ok(found) => {
                let end = found.layout.dialect.line_end;
                prop_assert_eq!(found.lines.total(), lines(text, end), "{:?} {}", found.lines, found.layout.dialect);
                let rows: usize = found.batches.iter().map(arrow_array::RecordBatch::num_rows).sum();
                prop_assert_eq!(rows as u64, found.lines.rows);
                prop_assert_eq!(found.aside.len() as u64, found.lines.skipped);
            }
            Err(error) => prop_assert!(error.get("file").is_some(), "{}", error),
        }
    }

    #[test]
    fn any_bytes_at_all(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Err(error) = skip(&bytes, &Options::default()) {
            prop_assert!(error.get("file").is_some(), "{}", error);
        }
    }
}
