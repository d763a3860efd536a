//! Tests that the fast scanner, the plain scanner and the framer give the same results for any
//! bytes.

use proptest::prelude::*;

use crate::dialect::{Dialect, Escape, LineEnd};
use crate::frame::Framer;
use crate::masks::BLOCK;
use crate::syntax::Syntax;
use crate::tokens::{Chunk, Tokens};
use crate::walk::Field;

fn padded(data: &[u8]) -> Vec<u8> {
    let mut padded = data.to_vec();
    padded.resize(data.len() + BLOCK, b'"');
    padded
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        4 => Just(b'a'),
        3 => Just(b','),
        3 => Just(b'"'),
        2 => Just(b'\n'),
        1 => Just(b'\r'),
        1 => Just(b' '),
        1 => Just(b'\\'),
        1 => Just(b'#'),
    ];
    prop::collection::vec(byte, 0..300)
}

fn lines() -> impl Strategy<Value = LineEnd> {
    prop_oneof![Just(LineEnd::Lf), Just(LineEnd::Mixed)]
}

fn any_dialect() -> impl Strategy<Value = Dialect> {
    (
        lines(),
        any::<bool>(),
        0..3_usize,
        any::<bool>(),
        0..3_usize,
    )
        .prop_map(|(line_end, comments, escape, trim, delimiter)| Dialect {
            line_end,
            comment: comments.then(|| "#".into()),
            escape: [Escape::Doubled, Escape::Byte(b'\\'), Escape::None][escape],
            trim,
            delimiter: [",", ",a", " "][delimiter].into(),
            ..Dialect::default()
        })
}

fn contents(tokens: &Tokens, data: &[u8]) -> Vec<(bool, Vec<u8>)> {
    let content = |field: &Field| (field.is_quoted(), data[field.start()..field.end()].to_vec());
    tokens.fields.iter().map(content).collect()
}

/// All rows, through stripes of a few rows.
fn read(syntax: &Syntax, data: &[u8], width: usize, pad: bool) -> (Tokens, Vec<(bool, Vec<u8>)>) {
    let padded = padded(data);
    let chunk = Chunk {
        data: &padded,
        len: data.len(),
    };
    let mut tokens = Tokens::new(width, pad);
    let (mut at, mut all) = (0, Vec::new());
    while at < data.len() {
        tokens.clear();
        at = tokens.read(syntax, chunk, at, 3);
        assert!(tokens.rows() <= 3);
        all.extend(contents(&tokens, &padded));
    }
    (tokens, all)
}

proptest! {
    #[test]
    fn both_scanners_find_the_same_rows(
        data in bytes(), line_end in lines(), width in 1..4_usize, pad: bool, quote: bool,
    ) {
        let dialect = Dialect { line_end, quote: quote.then_some(b'"'), ..Dialect::default() };
        let syntax = Syntax::new(&dialect);
        prop_assert!(syntax.is_plain());
        let padded = padded(&data);
        let chunk = Chunk { data: &padded, len: data.len() };
        let mut fast = Tokens::new(width, pad);
        prop_assert_eq!(fast.read(&syntax, chunk, 0, usize::MAX / 8), data.len());
        let mut plain = Tokens::new(width, pad);
        prop_assert_eq!(plain.read_plain(&syntax, chunk, 0, usize::MAX / 8), data.len());
        prop_assert_eq!(&fast.fields, &plain.fields);
        prop_assert_eq!(&fast.refused, &plain.refused);
        prop_assert_eq!(fast.account, plain.account);
    }

    #[test]
    fn every_line_is_accounted(data in bytes(), dialect in any_dialect(), width in 1..4_usize, pad: bool) {
        let syntax = Syntax::new(&dialect);
        let (tokens, fields) = read(&syntax, &data, width, pad);
        prop_assert_eq!(tokens.account.lines(), syntax.lines(&data));
        prop_assert_eq!(fields.len() as u64, tokens.account.rows * width as u64);
    }

    #[test]
    fn a_cut_changes_no_row(
        data in bytes(), dialect in prop_oneof![lines().prop_map(|line_end| Dialect { line_end, ..Dialect::default() }), any_dialect()],
        width in 1..4_usize, cut: prop::sample::Index,
    ) {
        let syntax = Syntax::new(&dialect);
        let seen = cut.index(data.len() + 1);
        let boundary = Framer::default().boundary(&syntax, &data[..seen], false);
        prop_assert!(boundary <= seen);
        let (whole, fields) = read(&syntax, &data, width, false);
        let (left, mut parts) = read(&syntax, &data[..boundary], width, false);
        let (right, rest) = read(&syntax, &data[boundary..], width, false);
        parts.extend(rest);
        prop_assert_eq!(fields, parts);
        prop_assert_eq!(whole.account.lines(), left.account.lines() + right.account.lines());
        prop_assert_eq!(whole.account.refused, left.account.refused + right.account.refused);
    }

    #[test]
    fn giving_up_ends_and_loses_no_line(data in bytes(), dialect in any_dialect(), cut: prop::sample::Index) {
        let syntax = Syntax::new(&dialect);
        let seen = cut.index(data.len() + 1);
        let boundary = Framer::default().boundary(&syntax, &data[..seen], true);
        let (left, _) = read(&syntax, &data[..boundary], 2, false);
        let (right, _) = read(&syntax, &data[boundary..], 2, false);
        prop_assert_eq!(left.account.lines() + right.account.lines(), syntax.lines(&data));
    }
}

#[test]
fn a_quote_that_is_never_closed_costs_one_line() {
    let data = b"1,\"a\n2,b\n3,\"c\"\n4,\"d\n";
    let (tokens, fields) = read(&Syntax::new(&Dialect::default()), data, 2, false);
    let refused: Vec<&[u8]> = tokens
        .refused
        .iter()
        .map(|row| &data[row.start..row.end])
        .collect();
    assert_eq!(refused, [b"1,\"a\n".as_slice(), b"4,\"d\n"]);
    assert_eq!(fields.len(), 4);
}

#[test]
fn many_open_quotes_take_no_time() {
    let line = b"1,\"\"\"a\n2,\"\"\n";
    let data = line.repeat(5_000);
    let (tokens, _) = read(&Syntax::new(&Dialect::default()), &data, 2, false);
    assert_eq!(tokens.account.lines(), 10_000);
}
