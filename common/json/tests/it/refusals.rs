//! What is no JSON, and where it is wrong.

use arrowload_common_json::{Format, Options};

use crate::read;

#[test]
fn what_is_no_json_is_refused_with_its_place() {
    let cases = [
        ("[1,]", "a value is missing", 1, 4),
        ("[1 2]", "`,` or `]`", 1, 4),
        ("[1,2", "ends within", 1, 5),
        ("{\n\"a\":1,\n}", "a key in quotes", 3, 1),
        ("{\"a\":01}", "begins with a zero", 1, 6),
        ("{\"a\":NaN}", "NaN", 1, 6),
        ("{\"a\":[-Infinity]}", "NaN and inf", 1, 8),
        ("{\"a\":\"\\ud800\"}", "surrogate", 1, 7),
        ("{\"a\":\"\\x\"}", "no escape", 1, 7),
        ("{\"a\":\"\t\"}", "0x09", 1, 7),
        ("{\"a\":1}}", "a value was expected", 1, 8),
        ("[{\"a\":1}] x", "something follows", 1, 11),
        ("{\"a\":1}\n{\"a\":1,\"a\":2}\n", "stands twice", 2, 8),
        ("<html>", "an HTML page", 0, 0),
        (" \n ", "empty", 0, 0),
    ];
    for (text, message, line, column) in cases {
        let error = read(text, &Options::default()).err().expect(text);
        let said = error.to_string();
        assert!(said.contains(message), "{text}: {said}");
        if line > 0 {
            let place = |key: &str| error.get(key);
            assert_eq!(
                place("line"),
                Some(line.to_string().as_str()),
                "{text}: {said}"
            );
            assert_eq!(
                place("column"),
                Some(column.to_string().as_str()),
                "{text}: {said}"
            );
            assert_eq!(place("file"), Some("test.json"));
        }
    }
}

#[test]
fn depth_has_a_limit_in_every_form() {
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    for text in [
        deep.clone(),
        format!("{{\"a\":{deep}}}"),
        format!("{{\"a\":1}}\n{{\"a\":{deep}}}\n"),
        format!("[1,{deep}]"),
    ] {
        let error = read(&text, &Options::default()).err().expect("too deep");
        assert!(error.to_string().contains("max_depth"), "{error}");
    }
    let options = Options {
        max_depth: Some(1_000),
        ..Options::default()
    };
    let text = format!("{{\"a\":{}1{}}}", "[".repeat(900), "]".repeat(900));
    assert_eq!(read(&text, &options).expect("not too deep").rows().len(), 1);
}

#[test]
fn a_declared_form_is_held_to() {
    let declared = |format| Options {
        format,
        ..Options::default()
    };
    assert!(
        read("[1,2]", &declared(Format::Ndjson))
            .expect("a line")
            .rows()
            .len()
            == 1
    );
    assert!(read("{\"a\":1}\n", &declared(Format::Array)).is_err());
    assert!(read("{\"a\":\n1}\n", &declared(Format::Ndjson)).is_err());
    assert!(read("[1] [2]", &declared(Format::Array)).is_err());
    assert_eq!(
        read("[1] [2]", &declared(Format::Document))
            .expect("two")
            .rows()
            .len(),
        2
    );
}

#[test]
fn options_that_contradict_are_refused() {
    let options = [
        Options {
            separator: Some("_".into()),
            ..Options::default()
        },
        Options {
            records: Some("a".into()),
            ..Options::default()
        },
        Options {
            records: Some("$.a".into()),
            format: Format::Array,
            ..Options::default()
        },
        Options {
            max_depth: Some(0),
            ..Options::default()
        },
        Options {
            max_row_bytes: Some(1 << 30),
            ..Options::default()
        },
        Options {
            encoding: Some("utf-99".into()),
            ..Options::default()
        },
        Options {
            date_format: Some("%!".into()),
            ..Options::default()
        },
    ];
    for options in options {
        assert!(read("{}", &options).is_err(), "{options:?}");
    }
}

#[test]
fn a_row_has_a_limit() {
    let options = Options {
        max_row_bytes: Some(1 << 20),
        ..Options::default()
    };
    let text = format!("{{\"a\":\"{}\"}}", "x".repeat(3 << 20));
    let error = read(&text, &options).err().expect("too long");
    assert!(error.to_string().contains("max_row_bytes"), "{error}");
}
