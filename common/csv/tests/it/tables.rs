//! Where a table stands in its file: titles, footers, comments, headers; and rows that are not as long as the others.

use arrow_schema::DataType;
use arrowload_common_csv::{Empty, Options, Ragged, Texts, Types};

use crate::skip as read;

fn options() -> Options {
    Options::default()
}

/// A table of text in which only shapes tell names from values.
fn shapes(rows: usize) -> String {
    (0..rows)
        .map(|row| {
            let day = row % 28 + 1;
            format!("{day:02}/01/2024,{row:02}:15,AB-{row:03},${row}.50,Boots\n")
        })
        .collect()
}

fn pad() -> Options {
    Options {
        ragged: Ragged::Pad,
        ..options()
    }
}

#[test]
fn names_are_told_from_values_by_their_shape() {
    let names = "day,time,code,price,kind\n";
    let found = read((names.to_owned() + &shapes(30)).as_bytes(), &options()).expect("reads");
    assert_eq!(found.names(), ["day", "time", "code", "price", "kind"]);
    assert_eq!(found.lines.rows, 30);
    let found = read(shapes(30).as_bytes(), &options()).expect("reads");
    assert_eq!(found.names()[0], "column_1");
    assert_eq!(found.lines.rows, 30);
    let twice = names.to_owned() + names + &shapes(30);
    let found = read(twice.as_bytes(), &options()).expect("reads");
    assert_eq!(found.names()[0], "day day");
    assert_eq!((found.lines.header, found.lines.rows), (2, 30));
    // A row of words for nothing is no second header.
    let nothing = names.to_owned() + "n/a,n/a,n/a,n/a,Boots\n" + &shapes(30);
    let found = read(nothing.as_bytes(), &options()).expect("reads");
    assert_eq!(found.names()[0], "day");
    assert_eq!(found.lines.rows, 31);
    // Two tables in one file: the second header is a row.
    let again = names.to_owned() + &shapes(30) + names + &shapes(30);
    let found = read(again.as_bytes(), &options()).expect("reads");
    assert_eq!(found.names()[0], "day");
    assert_eq!(found.lines.rows, 61);
    // Nothing to compare with.
    let found = read(b"05/06/2019,1.2.3\n", &options()).expect("reads");
    assert_eq!(found.lines.rows, 1);
}

#[test]
fn a_title_with_delimiters_is_left_out_and_said() {
    let table = "day,time,code,price,kind\n".to_owned() + &shapes(12);
    for title in [
        "Sales of 2024,,,,\n",
        "Sales,,,,\n,,,,\n",
        ",,,,\n",
        "Sales,,,,\nall shops,,,,\n,,,,\n",
    ] {
        let found = read((title.to_owned() + &table).as_bytes(), &options()).expect("reads");
        assert_eq!(
            found.names(),
            ["day", "time", "code", "price", "kind"],
            "{title}"
        );
        let lines = title.lines().count() as u64;
        assert_eq!((found.lines.preamble, found.lines.rows), (lines, 12));
        assert_eq!(found.layout.dialect.preamble, lines);
        assert!(
            found.layout.notes[0].contains("left out"),
            "{:?}",
            found.layout.notes
        );
    }
    // Rows with few values are rows where no names stand below.
    let sparse = "1,,,\n2,,,\n3,4,5,6\n7,8,9,10\n";
    let found = read(sparse.as_bytes(), &options()).expect("reads");
    assert_eq!((found.lines.preamble, found.lines.rows), (0, 4));
    let declared = Options {
        skip: Some(0),
        header: Some(false),
        ..options()
    };
    let found = read(("Sales,,,,\n".to_owned() + &table).as_bytes(), &declared).expect("reads");
    assert_eq!((found.lines.preamble, found.lines.rows), (0, 14));
}

#[test]
fn a_footer_and_comments_are_left_out_and_said() {
    let found = read(b"id|name\n1|Ann\n2|Bob\n\nUpdated: today\n", &options()).expect("reads");
    assert_eq!((found.lines.rows, found.lines.footer), (2, 2));
    assert!(
        found.layout.notes[0].contains("the last 2 lines"),
        "{:?}",
        found.layout.notes
    );
    let found = read(b"id,name\n1,Ann\n# no row\n2,Bob\n", &options()).expect("reads");
    assert_eq!((found.lines.rows, found.lines.comments), (2, 1));
    assert!(
        found.layout.notes[0].contains("`#`"),
        "{:?}",
        found.layout.notes
    );
}

#[test]
fn rows_of_another_length_above_rows_of_data_are_rows() {
    let found = read(b"1,2\n3,4\n5,6,7\n8,9,1\n2,3,4\n", &pad()).expect("reads");
    assert_eq!((found.lines.rows, found.lines.preamble), (5, 0));
    let found = read(b"1,2\n3,4\n5,6,7\n8,9,1\n2,3,4\n", &options()).expect("set aside");
    assert_eq!((found.aside.len(), found.lines.rows), (2, 3));
    // A line with a key above a table is none of its rows. Several of them could be a table themselves.
    let table = "day\tid\tname\tqty\n1\t2\tx\t3\n2\t3\ty\t4\n";
    let report = format!("Vendor\tTest\n{table}");
    let found = read(report.as_bytes(), &options()).expect("reads");
    assert_eq!(found.names(), ["day", "id", "name", "qty"]);
    assert_eq!((found.lines.rows, found.lines.preamble), (2, 1));
    let report = format!("Vendor\tTest\nFrom\tJune\nTo\tJuly\n{table}");
    let error = read(report.as_bytes(), &options()).err().expect("refused");
    assert!(error.message().contains("`skip = 3`"), "{error}");
    let told = Options {
        skip: Some(3),
        ..options()
    };
    let found = read(report.as_bytes(), &told).expect("reads");
    assert_eq!((found.lines.rows, found.lines.preamble), (2, 3));
}

#[test]
fn rows_are_no_footer_and_no_preamble() {
    for (text, line) in [
        ("id,name\n1,a\n2,b\n\n3,\"c\n", "5"),
        ("id,name,x\n1,a,b\n\n2,c,d\n\n3,e\n", "6"),
        ("id,name,x\n1,a,b\n\n2,c,d\n\n3\n", "6"),
        ("id,name\n1,a\n2,b\n\n3,c,d\n4,e,f\n", "5"),
        ("5\n\n6,7\n8,9\n1,2\n", "1"),
    ] {
        let error = crate::read(text.as_bytes(), &options());
        let error = error.err().unwrap_or_else(|| panic!("{text}"));
        assert_eq!(error.get("line"), Some(line), "{text}: {error}");
    }
    let one: String = (0..20).map(|row| format!("{row},a\n")).collect();
    let other: String = (0..19)
        .map(|row| format!("{row},b,1.5,x,2024-01-01\n"))
        .collect();
    let two = format!("id,name\n{one}\nid,name,v,w,day\n{other}");
    let error = read(two.as_bytes(), &options()).err().expect("refused");
    assert!(error.message().contains("`skip = 22`"), "{error}");
    // Where short rows are padded, those of the first table are such.
    let found = read(two.as_bytes(), &pad()).expect("reads");
    assert_eq!(found.lines.rows + found.lines.header, 41);
    assert_eq!(found.cells()[0].len(), 5);
    // A sum below a table is a footer, and it is said.
    let sum = "id,name,v,w,x\n1,a,1,2,3\n2,b,1,2,3\n\nTotal,2\n";
    let found = read(sum.as_bytes(), &options()).expect("reads");
    assert_eq!((found.lines.rows, found.lines.footer), (2, 2));
    assert_eq!(found.layout.left_out, found.layout.notes);
    assert_eq!(found.layout.left_out.len(), 1);
}

#[test]
fn a_row_that_looks_like_a_found_comment_is_refused() {
    let mut text = "tag,id\na,1\n#c\n".to_owned();
    for row in 0..200_000 {
        text += &format!("b,{row}\n");
    }
    text += "#lost,9000000\nc,2\n# no, row, at all\n";
    let error = crate::read(text.as_bytes(), &options())
        .err()
        .expect("refused");
    assert_eq!(error.get("line"), Some("200004"), "{error}");
    assert!(error.message().contains("comment"), "{error}");
    let found = read(text.as_bytes(), &options()).expect("reads");
    assert_eq!((found.lines.comments, found.lines.skipped), (2, 1));
    assert_eq!(found.aside[0].raw, b"#lost,9000000\n");
    // What is declared is left out, or read.
    for (comment, rows) in [("#", 200_002), ("", 200_003)] {
        let told = Options {
            comment: Some(comment.into()),
            ..options()
        };
        let found = read(text.as_bytes(), &told).expect("reads");
        assert_eq!(found.lines.rows, rows);
    }
}

#[test]
fn fields_that_are_missing_are_null_whatever_stands_for_null() {
    let table = "id,name,note\n1,a,b\n2,x,y\n3,c\n";
    for told in [
        Options {
            null_text: Some(Texts::One("-".into())),
            ..pad()
        },
        Options {
            empty: Empty::Text,
            ..pad()
        },
        Options {
            types: Types::Columns([("note".to_owned(), "text_view".to_owned())].into()),
            null_text: Some(Texts::One("-".into())),
            ..pad()
        },
        Options {
            types: Types::Columns([("note".to_owned(), "binary".to_owned())].into()),
            ..pad()
        },
    ] {
        let table = match &told.types {
            Types::Columns(types) if types.values().any(|kind| kind == "binary") => {
                table.replace("b\n", "0a\n").replace("y\n", "0b\n")
            }
            _ => table.to_owned(),
        };
        let found = read(table.as_bytes(), &told).expect("reads");
        assert_eq!(found.cells()[2], ["3", "c", "~"]);
    }
    let found = read(b"id,name,note\n1,\\N,b\n2,x,\n3,c\n", &pad()).expect("reads");
    assert_eq!(found.cells()[1..], [["2", "x", ""], ["3", "c", "~"]]);
}

#[test]
fn a_found_word_for_null_is_a_word_where_text_is_declared() {
    let text = b"id,name,n\n1,NULL,5\n2,x,NULL\n";
    let found = read(text, &options()).expect("reads");
    assert_eq!(found.cells(), [["1", "~", "5"], ["2", "x", "~"]]);
    let told = Options {
        types: Types::Columns([("name".to_owned(), "text".to_owned())].into()),
        ..options()
    };
    let found = read(text, &told).expect("reads");
    assert_eq!(found.cells(), [["1", "NULL", "5"], ["2", "x", "~"]]);
    assert!(found.layout.has_two_nulls());
    let told = Options {
        types: Types::All("text".into()),
        ..options()
    };
    let found = read(text, &told).expect("reads");
    assert_eq!(found.cells()[0], ["1", "NULL", "5"]);
    let told = Options {
        null_text: Some(Texts::One("NULL".into())),
        ..told
    };
    let found = read(text, &told).expect("reads");
    assert_eq!(found.cells()[0], ["1", "~", "5"]);
}

#[test]
fn strict_types_are_read_as_found_ones_and_offered_floats_are_not_rounded() {
    let strict = |kind: &str| Options {
        strict_types: [("v".to_owned(), kind.to_owned())].into(),
        header: Some(true),
        ..options()
    };
    for (kind, value) in [
        ("int64", "02134"),
        ("float64", "0.12345678901234567890"),
        ("float32", "0.123456789"),
    ] {
        let text = format!("v,w\n{value},x\n");
        assert!(read(text.as_bytes(), &strict(kind)).is_err(), "{kind}");
        assert!(read(b"v,w\n12,x\n", &strict(kind)).is_ok(), "{kind}");
        let mut told = strict(kind);
        told.types = Types::Columns(std::mem::take(&mut told.strict_types));
        assert!(read(text.as_bytes(), &told).is_ok(), "{kind} is declared");
    }
    let offered = |kind: DataType| Options {
        declared: [("v".to_owned(), kind)].into(),
        ..options()
    };
    for (kind, value) in [
        (DataType::Float64, "9007199254740993"),
        (DataType::Float64, "0.12345678901234567890"),
        (DataType::Float32, "16777217"),
    ] {
        let text = format!("v,w\n{value},x\n");
        assert!(read(text.as_bytes(), &offered(kind)).is_err(), "{value}");
    }
    let found = read(b"v,w\n02134,x\n", &offered(DataType::Int64)).expect("reads");
    assert_eq!(found.cells()[0][0], "2134");
}

#[test]
fn a_guessed_encoding_is_said_and_quoted_names_keep_their_blanks() {
    let found = read(b"id,name\n1,M\xfcller\n", &options()).expect("reads");
    assert_eq!(found.cells()[0][1], "Müller");
    assert!(found.layout.notes[0].contains("windows-1252"));
    let broken = b"id,name\n1,M\xc3\xbcller\n2,Z\xc3\xbcrich\n3,\xe6\x97";
    let error = crate::read(broken, &options()).err().expect("refused");
    assert_eq!(error.get("line"), Some("4"), "{error}");
    let found = read(b"\" id \",\"b\"\n1,2\n", &options()).expect("reads");
    assert_eq!(found.names(), [" id ", "b"]);
}

#[test]
fn padding_drops_empty_fields_and_never_a_value() {
    let bytes = b"a,b\n1,2,\n3\n4,5,,,\n6,7,8\n9,1,\"\"\n0,0\n0,0\n0,0\n0,0\n";
    let found = read(bytes, &pad()).expect("reads");
    assert_eq!(found.cells()[..3], [["1", "2"], ["3", "~"], ["4", "5"]]);
    let aside: Vec<u64> = found.aside.iter().map(|row| row.line).collect();
    assert_eq!(aside, [5, 6]);
    let found = read(bytes, &options()).expect("reads");
    assert_eq!(found.aside.len(), 5);
    let named = Options {
        names: vec!["a".into(), "b".into(), "c".into()],
        header: Some(false),
        ..pad()
    };
    let found = read(b"1,2\n3,4\n", &named).expect("reads");
    assert_eq!(found.cells(), [["1", "2", "~"], ["3", "4", "~"]]);
    let named = Options {
        skip: Some(1),
        ..named
    };
    let found = read(b"a,b,c\n", &named).expect("no rows");
    assert_eq!((found.names(), found.lines.rows), (vec!["a", "b", "c"], 0));
}

#[test]
fn quotes_that_are_none_and_escapes_without_quotes_are_found() {
    let rows = "\"X\" Ltd|1|2011\n\"Y\" Inc|2|2012\n\"Z\" SA|3|2015\n";
    let found = read(rows.as_bytes(), &options()).expect("reads");
    assert_eq!(found.cells()[0], ["\"X\" Ltd", "1", "2011"]);
    // One open quote in a large file of tabs.
    let mut long = "1\t\"half\t2\n".to_owned();
    for row in 0..3_000 {
        long.push_str(&format!("{row}\tplain; text, and more\t{row}\n"));
    }
    let found = read(long.as_bytes(), &options()).expect("reads");
    assert_eq!(found.lines.rows, 3_001);
    assert_eq!(found.cells()[0], ["1", "\"half", "2"]);
    let escaped = b"id,text\n1,a\\,b\n2,c\\\nd\n3,e\n4,f\n";
    let found = read(escaped, &options()).expect("reads");
    assert_eq!(
        found.cells(),
        [["1", "a,b"], ["2", "c\nd"], ["3", "e"], ["4", "f"]]
    );
    // Blanks before quotes, and nowhere else.
    let found = read(b"id,name\n1,Ann\n2, \"Lee, Bob\"\n3,Cid\n", &options()).expect("reads");
    assert_eq!(found.cells()[1], ["2", "Lee, Bob"]);
    let found = read(b"id,name\n1, Ann\n2, \"Lee\"\n3,Cid\n", &options()).expect("reads");
    assert_eq!(found.cells()[0], ["1", " Ann"]);
    for text in [
        "[1.2.3.4]\n[1.2.3.5]\n[2.2.3.4]\n",
        "1/1/2020\n1/2/2020\n5/7/1995\n",
    ] {
        assert_eq!(
            read(text.as_bytes(), &options())
                .expect("reads")
                .names()
                .len(),
            1,
            "{text}"
        );
    }
}

#[test]
fn a_tab_can_be_written_with_a_backslash() {
    let told = Options {
        delim: Some("\\t".into()),
        ..options()
    };
    let found = read(b"a,b\tc\n1,2\t3\n", &told).expect("reads");
    assert_eq!(found.names(), ["a,b", "c"]);
}

#[test]
fn lines_that_are_skipped_say_how_lines_end() {
    let told = Options {
        skip: Some(1),
        ..options()
    };
    let found = read(b"title\rlast line", &told).expect("reads");
    assert_eq!((found.lines.preamble, found.lines.total()), (1, 2));
    assert_eq!(
        found.layout.dialect.line_end,
        arrowload_common_csv::LineEnd::Cr
    );
}
