//! Values and keys that come after the sample.

use arrowload_common_json::{InferRows, Mark, Options, layout, misfits};

use crate::{open, read, read_again};

/// Two rows that are a sample, and others after them.
fn late(rows: &[&str]) -> (Vec<u8>, Options) {
    let options = Options {
        infer_rows: InferRows::Rows(1),
        ..Options::default()
    };
    (rows.join("\n").into_bytes(), options)
}

#[test]
fn a_value_that_does_not_fit_makes_its_column_wider() {
    let cases = [
        (["7", "1.5"], "Decimal128(38, 1)", ["7.0", "1.5"]),
        (["7", "true"], "Utf8", ["\"7\"", "\"true\""]),
        (["7", "\"x\""], "Utf8", ["\"7\"", r#""\"x\"""#]),
        (["7", "\"8\""], "Utf8", ["\"7\"", r#""\"8\"""#]),
        (["1.5", "true"], "Utf8", ["\"1.5\"", "\"true\""]),
        (["true", "7"], "Utf8", ["\"true\"", "\"7\""]),
        (["\"a\"", "7"], "Utf8", [r#""\"a\"""#, "\"7\""]),
        (
            ["\"a\"", "{\"b\": 1}"],
            "Utf8",
            [r#""\"a\"""#, r#""{\"b\":1}""#],
        ),
        (
            ["7", "9999999999999999999"],
            "Decimal128(38, 0)",
            ["7", "9999999999999999999"],
        ),
        (["7", "1e400"], "Utf8", ["\"7\"", "\"1e400\""]),
        (["[1]", "2"], "Utf8", ["\"[1]\"", "\"2\""]),
        (
            ["[1]", "[1.5]"],
            "List(Decimal128(38, 1))",
            ["[1.0]", "[1.5]"],
        ),
        (
            ["{\"a\":1}", "{\"a\":2.5}"],
            r#"Struct("a": Decimal128(38, 1))"#,
            [r#"{"a":1.0}"#, r#"{"a":2.5}"#],
        ),
        (
            ["{\"a\":1}", "{\"a\":2,\"b\":3}"],
            r#"Struct("a": Int64, "b": Int64)"#,
            [r#"{"a":1,"b":null}"#, r#"{"a":2,"b":3}"#],
        ),
        (["null", "1"], "Int64", ["null", "1"]),
        (["[]", "[1]"], "List(Int64)", ["[]", "[1]"]),
    ];
    for (values, data_type, rows) in cases {
        let lines = values.map(|value| format!("{{\"v\":{value}}}"));
        let (bytes, options) = late(&[&lines[0], &lines[1]]);
        let error = read(&bytes, &options).err().expect("it does not fit");
        let found = misfits(&error).expect("that is why");
        assert_eq!(
            (found[0].line, found[0].mark),
            (2, Mark::Sampled),
            "{values:?}"
        );
        assert!(found[0].column.starts_with('v'));
        let (read, tries) = read_again(&bytes, &options).expect("it is wide enough");
        assert_eq!(tries, 1, "{values:?}");
        assert_eq!(read.columns(), [format!("v {data_type}")], "{values:?}");
        let expected = rows.map(|row| format!("{{\"v\":{row}}}"));
        assert_eq!(read.rows(), expected, "{values:?}");
        assert!(
            read.layout.columns[0].reason.contains("line 2"),
            "{}",
            read.layout.columns[0].reason
        );
    }
}

#[test]
fn keys_that_appear_late_become_columns() {
    let (bytes, options) = late(&["{\"a\":1}", "{\"b\":2,\"a\":3}", "{\"c\":{\"d\":1}}"]);
    let error = read(&bytes, &options).err().expect("there is no b");
    let found = misfits(&error).expect("that is why");
    assert_eq!(
        (found[0].column.as_str(), &found[0].data_type),
        ("b", &None)
    );
    let (read, tries) = read_again(&bytes, &options).expect("it is wide enough");
    assert_eq!(tries, 1, "{:?}", read.layout.columns);
    assert_eq!(
        read.rows(),
        [
            r#"{"a":1,"b":null,"c":null}"#,
            r#"{"a":3,"b":2,"c":null}"#,
            r#"{"a":null,"b":null,"c":{"d":1}}"#
        ]
    );
}

#[test]
fn a_declared_type_that_a_value_does_not_fit_is_an_error() {
    let options = crate::types(&[("a", "int64"), ("b.c", "date")]);
    for (text, column) in [
        ("{\"a\":1.5}", "a"),
        ("{\"a\":\"x\"}", "a"),
        ("{\"b\":{\"c\":1}}", "b.c"),
    ] {
        let error = read(text, &options).err().expect("it does not fit");
        let found = misfits(&error).expect("that is why");
        assert_eq!(
            (found[0].column.as_str(), found[0].mark),
            (column, Mark::Declared)
        );
    }
}

#[test]
fn the_whole_file_is_proved() {
    let mut text: String = (0..100_000)
        .map(|row| format!("{{\"i\":{row},\"v\":7}}\n"))
        .collect();
    text.push_str("{\"i\":100001,\"v\":1.5,\"w\":[true]}\n");
    let options = Options {
        infer_rows: InferRows::All(arrowload_common_json::All::All),
        ..Options::default()
    };
    let sampled = read(&text, &Options::default())
        .err()
        .expect("the sample does not tell");
    assert_eq!(misfits(&sampled).expect("that is why")[0].line, 100_001);
    let bytes = text.into_bytes();
    let proved = layout(|| open(&bytes, &options), &options).expect("it is JSON");
    let columns: Vec<String> = proved
        .columns
        .iter()
        .map(|column| format!("{} {}", column.name, column.data_type))
        .collect();
    assert_eq!(
        columns,
        ["i Int64", "v Decimal128(38, 1)", "w List(Boolean)"]
    );
    assert_eq!(proved.columns[1].mark, Mark::Proved);
    assert_eq!(
        proved.columns[1].reason,
        "100001 values, decided by `1.5` in line 100001"
    );
    let (read, tries) = read_again(&bytes, &Options::default()).expect("it is wide enough");
    assert_eq!((tries, read.lines.rows), (1, 100_001));
}

#[test]
fn a_first_row_that_is_longer_than_the_head_is_looked_at_as_far_as_it_goes() {
    let long = "x".repeat(3 << 20);
    for text in [
        format!("{{\"a\":1,\"b\":\"{long}\",\"c\":2}}\n{{\"a\":2,\"b\":null,\"c\":3}}\n"),
        format!("[{{\"a\":1,\"b\":\"{long}\",\"c\":2}},{{\"a\":2,\"b\":null,\"c\":3}}]"),
        format!("{{\"a\":1,\"b\":\"{long}\",\n\"c\":2}} {{\"a\":2,\"b\":null,\"c\":3}}"),
    ] {
        let (read, tries) = read_again(text.as_bytes(), &Options::default()).expect("it is JSON");
        assert_eq!(tries, 1, "b is known to be text, and c is not known");
        assert_eq!(read.columns(), ["a Int64", "b Utf8", "c Int64"]);
        assert_eq!(read.rows()[1], r#"{"a":2,"b":null,"c":3}"#);
    }
}
