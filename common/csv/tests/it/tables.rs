//! Where a table stands in its file: titles, footers, comments, headers; and rows that are not as long as the others.

use arrowload_common_csv::{Options, Ragged};

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
    // The few lines before a table are longer together, but the table is wider.
    let report = "Vendor\tTest\nFrom\tJune\nTo\tJuly\nday\tid\tname\tqty\n1\t2\tx\t3\n2\t3\ty\t4\n";
    let found = read(report.as_bytes(), &options()).expect("reads");
    assert_eq!(found.names(), ["day", "id", "name", "qty"]);
    assert_eq!((found.lines.rows, found.lines.preamble), (2, 3));
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
