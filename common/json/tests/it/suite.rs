//! JSONTestSuite: what must be read is read, what must not be is refused.

use arrowload_common_json::{DuplicateKeys, Options};

use crate::read;

/// What a parser may decide for itself, and we read. All other such cases are refused: half surrogates, bytes that are no
/// UTF-8, and 500 nested arrays, unless `max_depth` allows them.
const READ: [&str; 14] = [
    "i_number_double_huge_neg_exp",
    "i_number_huge_exp",
    "i_number_neg_int_huge_exp",
    "i_number_pos_double_huge_exp",
    "i_number_real_neg_overflow",
    "i_number_real_pos_overflow",
    "i_number_real_underflow",
    "i_number_too_big_neg_int",
    "i_number_too_big_pos_int",
    "i_number_very_big_negative_int",
    "i_string_UTF-16LE_with_BOM",
    "i_string_utf16BE_no_BOM",
    "i_string_utf16LE_no_BOM",
    "i_structure_UTF-8_BOM_empty_object",
];

/// The cases: name and bytes.
fn cases() -> Vec<(String, Vec<u8>)> {
    let mut cases: Vec<(String, Vec<u8>)> = Vec::new();
    for line in include_str!("suite.txt").lines() {
        let Some((name, text)) = line.split_once('\t') else {
            continue;
        };
        let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
        while let Some((byte, after)) = rest.split_first() {
            rest = after;
            match (byte, after) {
                (b'\\', [b'\\', after @ ..]) => {
                    bytes.push(b'\\');
                    rest = after;
                }
                (b'\\', [b'x', high, low, after @ ..]) => {
                    let digit = |byte: &u8| char::from(*byte).to_digit(16).expect("a digit") as u8;
                    bytes.push(digit(high) << 4 | digit(low));
                    rest = after;
                }
                _ => bytes.push(*byte),
            }
        }
        cases.push((name.to_owned(), bytes));
    }
    let open = b"[".repeat(100_000);
    cases.push(("n_structure_100000_opening_arrays".into(), open));
    let mut open = b"[{\"\":".repeat(50_000);
    open.push(b'\n');
    cases.push(("n_structure_open_array_object".into(), open));
    cases
}

#[test]
fn the_cases_are_decided_as_the_standard_has_them() {
    let options = Options {
        duplicate_keys: DuplicateKeys::Last,
        ..Options::default()
    };
    let cases = cases();
    assert_eq!(cases.len(), 318);
    let mut wrong = Vec::new();
    for (name, bytes) in cases {
        let result = read(&bytes, &options);
        let accepted = match name.as_bytes()[0] {
            b'y' => true,
            b'n' => false,
            _ => READ.contains(&name.as_str()),
        };
        if result.is_ok() != accepted {
            wrong.push(format!(
                "{name}: {:?}",
                result.err().map(|error| error.to_string())
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
