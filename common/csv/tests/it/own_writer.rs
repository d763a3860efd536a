//! What our own writer makes reads back equal without being told.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrowload_common_csv::{Options, Texts};
use arrowload_common_text::{Csv, CsvStyle};
use proptest::prelude::*;

use crate::read;
use crate::table::{assert_same, cells, table};

fn written(batch: &RecordBatch, style: CsvStyle, header: bool) -> Vec<u8> {
    let csv = Csv::new(batch.schema_ref(), style);
    let mut out = Vec::new();
    if header {
        csv.header(&mut out);
    }
    csv.lines(batch, 0, &mut out).expect("has text");
    out
}

#[test]
fn a_quote_that_closes_at_the_beginning_of_a_line() {
    let line = "'Dear \"x\",\nline\r\n\n',1840-12-02\n";
    let text = format!("c0,c1\n{line},1970-01-01\n{line},1999-10-15\n,\n,1926-05-21\n");
    let found = read(text.as_bytes(), &Options::default()).expect("reads");
    assert_eq!(found.cells()[0][0], "Dear \"x\",\nline\r\n\n");
}

#[test]
fn a_backslash_in_quotes_is_no_escape_where_all_rows_fit() {
    let text = "c0,c1\nx,y\n\"\\\",\",\r,\t\"\nz,\n";
    let found = read(text.as_bytes(), &Options::default()).expect("reads");
    assert_eq!(found.cells()[1], ["\\", ",\r,\t"]);
    assert_eq!(found.cells().len(), 3);
}

#[test]
fn one_value_in_single_quotes_among_many_that_have_none() {
    let mut text = "id;name\n".to_owned();
    for id in 0..100 {
        let name = if id == 70 { "'it''s'" } else { "plain" };
        text += &format!("{id};{name}\n");
    }
    let found = read(text.as_bytes(), &Options::default()).expect("reads");
    assert_eq!(found.cells()[70], ["70", "it's"]);
    // One that is open, or closed and followed by text, is none.
    for name in ["'tis", "'so' they said"] {
        let text = text.replace("'it''s'", name);
        let found = read(text.as_bytes(), &Options::default()).expect("reads");
        assert_eq!(found.cells()[70], ["70", name]);
    }
}

#[test]
fn what_looks_like_quotes_or_has_blanks_around_it_is_quoted() {
    let values = ["'x'", "\"x\"", "'x", "*y*", " z ", "'", "\t", "plain"];
    let names = [" a ", "'b'", "\"c\""];
    for quote in ['"', '\''] {
        for every in [false, true] {
            let column = |index: usize| -> ArrayRef {
                let value = |row: usize| match every {
                    true => values[index],
                    false => values[row % values.len()],
                };
                Arc::new(StringArray::from_iter_values((0..16).map(value)))
            };
            let columns = names.iter().enumerate();
            let columns = columns.map(|(index, name)| (*name, column(index)));
            let batch = RecordBatch::try_from_iter(columns).expect("a batch");
            let style = CsvStyle::new(None, Some(quote), None).expect("fits");
            let bytes = written(&batch, style, true);
            let found = read(&bytes, &Options::default()).expect("reads");
            assert_eq!(found.names(), names, "{}", String::from_utf8_lossy(&bytes));
            assert_same(&cells(std::slice::from_ref(&batch)), &found.cells());
        }
    }
}

proptest! {
    #[test]
    fn with_its_defaults(batch in table(3..40)) {
        let bytes = written(&batch, CsvStyle::new(None, None, None).expect("fits"), true);
        let found = read(&bytes, &Options::default()).expect("reads");
        assert_same(&cells(std::slice::from_ref(&batch)), &found.cells());
        prop_assert_eq!(found.names().len(), batch.num_columns());
    }

    #[test]
    fn with_any_delimiter_and_quote(
        batch in table(6..40),
        delimiter in prop::sample::select(vec![',', ';', '\t', '|', '!', '~', '^', '&', '\u{1}', '\u{1f}']),
        quote in prop::sample::select(vec!['"', '\'']),
    ) {
        let style = CsvStyle::new(Some(delimiter), Some(quote), None).expect("fits");
        let bytes = written(&batch, style, true);
        let found = read(&bytes, &Options::default()).map_err(|error| TestCaseError::fail(format!("{error}\n{}", String::from_utf8_lossy(&bytes))))?;
        if found.layout.dialect.delimiter != delimiter.to_string() || found.names().len() != batch.num_columns() {
            return Err(TestCaseError::fail(format!("{}\n{}", found.layout.dialect, String::from_utf8_lossy(&bytes))));
        }
        assert_same(&cells(std::slice::from_ref(&batch)), &found.cells());
    }

    #[test]
    fn with_options_that_are_told(
        batch in table(1..20), header: bool,
        null in prop::sample::select(vec!["NULL", "\\N", "-", "n/a"]),
        delimiter in prop::sample::select(vec![',', ';', ' ', '#', '\'', '/']),
    ) {
        prop_assume!(!null.contains(delimiter));
        let style = CsvStyle::new(Some(delimiter), None, Some(null)).expect("fits");
        let bytes = written(&batch, style, header);
        let options = Options {
            delim: Some(delimiter.to_string()),
            quote: Some("\"".into()),
            escape: Some("\"".into()),
            header: Some(header),
            skip: Some(0),
            skip_footer: Some(0),
            comment: Some(String::new()),
            trim: Some(false),
            new_line: Some(arrowload_common_csv::LineEnd::Lf),
            null_text: Some(Texts::One(null.into())),
            ..Options::default()
        };
        let found = read(&bytes, &options).expect("reads");
        assert_same(&cells(std::slice::from_ref(&batch)), &found.cells());
    }
}
