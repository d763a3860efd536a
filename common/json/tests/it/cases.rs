//! What values and documents become.

use arrowload_common_json::{
    DuplicateKeys, Format, InferRows, Mark, Mixed, Numbers, Options, Types,
};

use crate::{read, skip, types};

fn columns(text: &str) -> Vec<String> {
    read(text, &Options::default())
        .expect("it is JSON")
        .columns()
}

fn one(text: &str) -> String {
    columns(text).join(", ")
}

#[test]
fn numbers_stay_exact() {
    let cases = [
        (r#"{"a":1}{"a":-2}"#, "a Int64"),
        (r#"{"a":9223372036854775807}"#, "a Int64"),
        (r#"{"a":9223372036854775808}"#, "a Decimal128(38, 0)"),
        (
            r#"{"a":12345678901234567890123456789012345678901}"#,
            "a Decimal256(76, 0)",
        ),
        (r#"{"a":1}{"a":1.5}"#, "a Decimal128(38, 1)"),
        (r#"{"a":1.50}{"a":1.5}"#, "a Decimal128(38, 2)"),
        (r#"{"a":1e5}"#, "a Float64"),
        (r#"{"a":0.30000000000000004}{"a":0.5}"#, "a Float64"),
        (r#"{"a":-0}"#, "a Float64"),
        (r#"{"a":1e400}"#, "a Utf8"),
        (r#"{"a":12345678901234567.89}"#, "a Decimal128(38, 2)"),
        (r#"{"a":true}{"a":null}"#, "a Boolean"),
        (r#"{"a":"2024-01-01"}"#, "a Utf8"),
        (r#"{"a":null}"#, "a Utf8"),
    ];
    for (text, expected) in cases {
        assert_eq!(one(text), expected, "{text}");
    }
    let values = r#"{"a":9223372036854775808}{"a":-1}{"a":99999999999999999999999999999999999999}"#;
    let read = read(values, &Options::default()).expect("it is JSON");
    assert_eq!(
        read.rows(),
        [
            r#"{"a":9223372036854775808}"#,
            r#"{"a":-1}"#,
            r#"{"a":99999999999999999999999999999999999999}"#
        ]
    );
}

#[test]
fn numbers_as_they_are_wanted() {
    let number = |text: &str, numbers| {
        let options = Options {
            numbers,
            ..Options::default()
        };
        read(text, &options).expect("it is JSON").columns().join("")
    };
    assert_eq!(number(r#"{"a":1.5}"#, Numbers::Float), "a Float64");
    assert_eq!(
        number(r#"{"a":12345678901234567.89}"#, Numbers::Float),
        "a Utf8"
    );
    assert_eq!(
        number(r#"{"a":0.30000000000000004}{"a":0.5}"#, Numbers::Decimal),
        "a Decimal128(38, 17)"
    );
    assert_eq!(number(r#"{"a":1e5}"#, Numbers::Decimal), "a Utf8");
}

#[test]
fn nested_values_are_structs_and_lists() {
    let text = r#"
        {"a":{"b":1,"c":[1,2]},"d":[{"e":"x"},{"f":null}]}
        {"a":{"b":2},"d":[]}
        {"a":null}
        {"a":{},"d":null}
    "#;
    let found = read(text, &Options::default()).expect("it is JSON");
    let schema = found.layout.schema();
    assert_eq!(
        schema.field(0).data_type().to_string(),
        r#"Struct("b": Int64, "c": List(Int64))"#
    );
    assert_eq!(
        schema.field(1).data_type().to_string(),
        r#"List(Struct("e": Utf8, "f": Utf8))"#
    );
    assert_eq!(
        found.rows(),
        [
            r#"{"a":{"b":1,"c":[1,2]},"d":[{"e":"x","f":null},{"e":null,"f":null}]}"#,
            r#"{"a":{"b":2,"c":null},"d":[]}"#,
            r#"{"a":null,"d":null}"#,
            r#"{"a":{"b":null,"c":null},"d":null}"#,
        ]
    );
}

#[test]
fn values_that_do_not_agree_are_json_text() {
    let text = r#"
        {"a":1.50,"b":{"x" : [ 1, "a\u0041" ]},"c":[1,"1"]}
        {"a":"1.50","b":7,"c":[null]}
        {"a":true,"b":null,"c":[{}]}
    "#;
    let found = read(text, &Options::default()).expect("it is JSON");
    assert_eq!(found.columns(), ["a Utf8", "b Utf8", "c List(Utf8)"]);
    assert_eq!(
        found.layout.schema().field(0).metadata()["ARROW:extension:name"],
        "arrow.json"
    );
    assert_eq!(
        found.rows(),
        [
            r#"{"a":"1.50","b":"{\"x\":[1,\"a\\u0041\"]}","c":["1","\"1\""]}"#,
            r#"{"a":"\"1.50\"","b":"7","c":[null]}"#,
            r#"{"a":"true","b":null,"c":["{}"]}"#,
        ]
    );
    let strict = Options {
        mixed: Mixed::Error,
        ..Options::default()
    };
    let error = read(text, &strict).err().expect("they differ");
    assert!(error.to_string().contains("numbers, strings"), "{error}");
}

#[test]
fn objects_and_arrays_without_values() {
    let text = r#"{"a":{},"b":[],"c":[[]],"d":[{}]}"#;
    let found = read(text, &Options::default()).expect("it is JSON");
    assert_eq!(
        found.columns(),
        [
            "a Utf8",
            "b List(Utf8)",
            "c List(List(Utf8))",
            "d List(Utf8)"
        ]
    );
    assert_eq!(found.rows(), [r#"{"a":"{}","b":[],"c":[[]],"d":["{}"]}"#]);
    // No row at all, and rows without a key.
    assert_eq!(
        read("[]", &Options::default())
            .expect("it is JSON")
            .rows()
            .len(),
        0
    );
    let empty = read("{}\n{}\n", &Options::default()).expect("it is JSON");
    assert_eq!((empty.lines.rows, empty.batches[0].num_rows()), (2, 2));
}

#[test]
fn every_form_has_the_same_rows() {
    let expected = [
        r#"{"id":1,"name":"Ann"}"#,
        r#"{"id":2,"name":"B\u0000ob\""}"#,
    ];
    let second = r#"{"name":"B\u0000ob\"","id":2}"#;
    let first = r#"{"id":1,"name":"Ann"}"#;
    let cases = [
        (format!("{first}\n{second}\n"), Format::Ndjson, 2),
        (format!("\n{first}\r\n\r\n  {second}"), Format::Ndjson, 4),
        (format!("[{first},{second}]"), Format::Array, 1),
        (format!("[\n {first} ,\n {second}\n]\n\n"), Format::Array, 5),
        (format!("{first}{second}"), Format::Document, 1),
        (
            "{\n \"id\": 1,\n \"name\": \"Ann\"\n}\n{\n \"name\" :\"B\\u0000ob\\\"\", \"id\": 2}"
                .into(),
            Format::Document,
            6,
        ),
        (format!("{first} [{second}]"), Format::Document, 1),
    ];
    for (text, format, lines) in cases {
        let found = read(&text, &Options::default()).expect(&text);
        assert_eq!(found.layout.format, format, "{text}");
        assert_eq!(found.rows(), expected, "{text}");
        assert_eq!(
            (found.lines.rows, found.lines.total()),
            (2, lines),
            "{text}"
        );
        let marked = format!("\u{feff}{text}");
        assert_eq!(
            read(&marked, &Options::default()).expect(&text).rows(),
            expected
        );
        for order in [u16::to_le_bytes, u16::to_be_bytes] {
            let wide: Vec<u8> = marked.encode_utf16().flat_map(order).collect();
            assert_eq!(
                read(&wide, &Options::default()).expect(&text).rows(),
                expected
            );
            assert_eq!(
                read(&wide[2..], &Options::default()).expect(&text).rows(),
                expected
            );
        }
    }
}

#[test]
fn rows_that_are_no_objects_are_one_column() {
    let cases = [
        (
            "[1,2.5,null]",
            "value Decimal128(38, 1)",
            vec![r#"{"value":1.0}"#, r#"{"value":2.5}"#, r#"{"value":null}"#],
        ),
        ("42", "value Int64", vec![r#"{"value":42}"#]),
        (
            "\"a\"\n\"b\"\n",
            "value Utf8",
            vec![r#"{"value":"a"}"#, r#"{"value":"b"}"#],
        ),
        (
            "[1,2]\n[3]\n",
            "value List(Int64)",
            vec![r#"{"value":[1,2]}"#, r#"{"value":[3]}"#],
        ),
        (
            "[[1],[2]]",
            "value List(Int64)",
            vec![r#"{"value":[1]}"#, r#"{"value":[2]}"#],
        ),
        (
            "1 2\t3",
            "value Int64",
            vec![r#"{"value":1}"#, r#"{"value":2}"#, r#"{"value":3}"#],
        ),
    ];
    for (text, column, rows) in cases {
        let found = read(text, &Options::default()).expect(text);
        assert_eq!(found.columns(), [column], "{text}");
        assert_eq!(found.rows(), rows, "{text}");
    }
}

#[test]
fn a_path_leads_to_the_rows() {
    let text = r#"{"meta":{"n":[1,{"x":"]"}]},"data":{"items":[{"a":1},{"a":2}],"next":null},"data2":1}
        {"data":{"items":[]}} {"data":{"items":[{"a":3}]}} {"data":null}"#;
    let path = |path: &str| Options {
        records: Some(path.into()),
        ..Options::default()
    };
    for records in ["$.data.items[*]", "$.data.items", "$[\"data\"].items[*]"] {
        let found = read(text, &path(records)).expect(records);
        assert_eq!(found.rows(), [r#"{"a":1}"#, r#"{"a":2}"#, r#"{"a":3}"#]);
        assert_eq!(found.lines.total(), 2);
    }
    let second = read(text, &path("$.data.items[1].a")).expect("a number");
    assert_eq!(second.rows(), [r#"{"value":2}"#]);
    let nested = read(
        "[{\"b\":[{\"c\":1},{\"c\":2}]},{},{\"b\":[{\"c\":3}]}]",
        &path("$[*].b[*]"),
    );
    assert_eq!(nested.expect("rows").rows().len(), 3);
    // A document without the way is none of them.
    let lost = r#"{"data":{"items":[{"a":1}]}} {"dat":{"items":[{"a":2}]}}"#;
    for text in [lost.to_owned(), format!("{lost} {lost}")] {
        let error = read(&text, &path("$.data.items")).err().expect("lost");
        assert!(error.message().contains("document 2"), "{error}");
    }
    let twice = r#"{"data":{"items":[{"a":1}]},"data":{"items":[{"a":2}]}}"#;
    let last = Options {
        duplicate_keys: DuplicateKeys::Last,
        ..path("$.data.items")
    };
    let error = read(twice, &last).err().expect("two ways");
    assert!(error.message().contains("on the way"), "{error}");
    let error = read(text, &path("$.rows")).err().expect("there is nothing");
    assert!(error.to_string().contains("`$.rows`"), "{error}");
    for broken in [
        r#"{"data":{"items":[{"a":1}}}"#,
        r#"{"x":{]},"data":{"items":[]}}"#,
        r#"{"data":{"items":[]}"#,
        r#"{"data":{"items":[]}}}"#,
        r#"{"data":{"items":[],}}"#,
        r#"{"data":{"items":[]},"data":{"items":[]}}"#,
        r#"{"x":01,"data":{"items":[]}}"#,
    ] {
        assert!(read(broken, &path("$.data.items")).is_err(), "{broken}");
    }
}

#[test]
fn nested_objects_are_columns() {
    let text = r#"{"id":1,"a":{"b":{"c":1},"d":[{"e":1}]},"a.b.c":2}
{"id":2,"a":{"b":null}}
{"id":3}"#;
    let options = Options {
        flatten: true,
        ..Options::default()
    };
    let found = read(text, &options).expect("it is JSON");
    assert_eq!(
        found.rows(),
        [
            r#"{"id":1,"a.b.c":1,"a.d":[{"e":1}],"a.b.c_2":2}"#,
            r#"{"id":2,"a.b.c":null,"a.d":null,"a.b.c_2":null}"#,
            r#"{"id":3,"a.b.c":null,"a.d":null,"a.b.c_2":null}"#,
        ]
    );
    assert_eq!(found.layout.notes.len(), 1);
    let options = Options {
        separator: Some("_".into()),
        ..options
    };
    let found = read(text, &options).expect("it is JSON");
    assert!(found.rows()[0].starts_with(r#"{"id":1,"a_b_c":1,"a_d""#));
}

#[test]
fn declared_types_are_read_as_their_user_means_them() {
    let text = r#"{"a":"007","b":"1.5","c":"2024-02-29","d":5,"e":{"f":"1"},"g":[1,"x"],"h":1.5e3,"i":"NaN"}
{"a":8,"b":2,"c":null,"d":"x","e":{"f":"2"},"g":[],"h":1,"i":0.1}"#;
    let options = types(&[
        ("a", "int32"),
        ("b", "decimal(10,2)"),
        ("c", "date"),
        ("d", "text"),
        ("e.f", "int64"),
        ("g[]", "text"),
        ("h", "decimal(10,1)"),
        ("i", "float64"),
        ("late", "timestamp"),
    ]);
    let found = read(text, &options).expect("it fits");
    assert_eq!(
        found.rows(),
        [
            r#"{"a":7,"b":1.50,"c":"2024-02-29","d":"5","e":{"f":1},"g":["1","x"],"h":1500.0,"i":"NaN","late":null}"#,
            r#"{"a":8,"b":2.00,"c":null,"d":"x","e":{"f":2},"g":[],"h":1.0,"i":0.1,"late":null}"#,
        ]
    );
    let marks: Vec<Mark> = found
        .layout
        .columns
        .iter()
        .map(|column| column.mark)
        .collect();
    assert_eq!(marks[..4], [Mark::Declared; 4]);
    let all = Options {
        types: Types::All("text".into()),
        ..Options::default()
    };
    assert_eq!(
        read(r#"{"a":1.50,"b":"x","c":{"d": [1]}}"#, &all)
            .expect("text")
            .rows(),
        [r#"{"a":"1.50","b":"x","c":"{\"d\":[1]}"}"#]
    );
    let json = types(&[("b", "json")]);
    assert_eq!(
        read(r#"{"a":1,"b":"x"}"#, &json).expect("text").rows(),
        [r#"{"a":1,"b":"\"x\""}"#]
    );
    let astray = read(r#"{"a":"x"}"#, &types(&[("a.b", "int64")]))
        .err()
        .expect("a holds no b");
    assert!(
        astray.to_string().contains("which holds strings"),
        "{astray}"
    );
    let there = read(r#"{"a.b":"1"}"#, &types(&[("a.b", "int64")])).expect("a key with a point");
    assert_eq!(there.columns(), ["a.b Int64"]);
    let wrong = types(&[("a", "lizt")]);
    assert!(read("{}", &wrong).is_err());
}

#[test]
fn offered_types_are_taken_where_there_is_a_key() {
    let offered = [
        ("a", arrow_schema::DataType::Decimal128(20, 2)),
        ("z", arrow_schema::DataType::Int64),
    ];
    let options = Options {
        declared: offered.map(|(name, kind)| (name.to_owned(), kind)).into(),
        ..Options::default()
    };
    let found = read(r#"{"a":1}{"a":"2.5","b":1}"#, &options).expect("it fits");
    assert_eq!(found.columns(), ["a Decimal128(20, 2)", "b Int64"]);
}

#[test]
fn duplicate_keys_are_refused_or_the_last_counts() {
    let text = r#"{"a":1,"a":2,"b":[1],"b":null}"#;
    assert!(read(text, &Options::default()).is_err());
    let options = Options {
        duplicate_keys: DuplicateKeys::Last,
        ..Options::default()
    };
    assert_eq!(
        read(text, &options).expect("the last").rows(),
        [r#"{"a":2,"b":null}"#]
    );
    let error = read("{\"a\":1,\"a\":2}\n", &Options::default()).err();
    let error = error.expect("refused");
    assert!(error.message().contains("`a` stands twice"), "{error}");
}

#[test]
fn a_new_key_that_stands_twice_is_refused_and_no_new_key() {
    let many = "{\"a\":1}\n".repeat(200_000);
    for before in [&many[..8], &many] {
        let text = format!("{before}{{\"zz\":5,\"zz\":6}}\n{{\"a\":{{\"b\":1,\"b\":2}}}}\n");
        let error = read(&text, &Options::default()).err().expect("refused");
        assert!(error.message().contains("`zz` stands twice"), "{error}");
        let line = before.lines().count() + 1;
        assert_eq!(error.get("line"), Some(line.to_string().as_str()));
        let found = skip(&text, &Options::default()).expect("set aside");
        assert_eq!(
            (found.aside.len(), found.lines.rows as usize),
            (2, line - 1)
        );
    }
}

#[test]
fn objects_with_very_many_keys_are_maps() {
    let rows: Vec<String> = (0..3_000)
        .map(|row| format!(r#"{{"id":{row},"m":{{"k{row}":1}}}}"#))
        .collect();
    let found = read(rows.join("\n"), &Options::default()).expect("it is JSON");
    assert_eq!(found.columns(), ["id Int64", "m Utf8"]);
    assert_eq!(found.rows()[7], r#"{"id":7,"m":"{\"k7\":1}"}"#);
}

#[test]
fn marks_and_reasons_are_said() {
    let text = "{\"a\":1}\n{\"a\":2.5}\n";
    let found = read(text, &Options::default()).expect("it is JSON");
    let column = &found.layout.columns[0];
    assert_eq!(column.mark, Mark::Proved);
    assert_eq!(column.reason, "2 values, decided by `2.5` in line 2");
    let options = Options {
        infer_rows: InferRows::Rows(1),
        ..Options::default()
    };
    let error = read(text, &options)
        .err()
        .expect("1 row says nothing of 2.5");
    assert!(error.to_string().contains("infer_rows"), "{error}");
}

#[test]
fn lines_that_are_no_rows_are_set_aside() {
    let text = b"{\"a\":1}\n{\"a\":\n{\"a\":2} x\n\xff\n[3]\n\n{\"a\":4}";
    let found = skip(text, &Options::default()).expect("the others are rows");
    assert_eq!(found.rows(), [r#"{"a":1}"#, r#"{"a":4}"#]);
    let lines: Vec<(u64, u64)> = found
        .aside
        .iter()
        .map(|row| (row.line, row.column))
        .collect();
    assert_eq!(lines, [(2, 6), (3, 9), (4, 1), (5, 1)]);
    assert_eq!(found.aside[0].raw, b"{\"a\":\n");
    assert_eq!(
        (found.lines.rows, found.lines.skipped, found.lines.blank),
        (2, 4, 1)
    );
    assert_eq!(found.lines.total(), 7);
    let error = read(text, &Options::default()).err().expect("line 2");
    assert!(error.to_string().contains("line"), "{error}");
}
