//! Reports of other tools' troubles.

use arrowload_common_csv::{
    Compression, Empty, InferRows, Mark, Options, Ragged, Texts, Types, misfits,
};

use crate::{read, skip};

fn options() -> Options {
    Options::default()
}

fn text() -> Options {
    Options {
        types: Types::All("text".into()),
        ..options()
    }
}

#[test]
fn leading_zeros_stay() {
    let found = read(b"zip,city\n02134,A\n00501,B\n90210,C\n", &options()).expect("reads");
    assert_eq!(found.types(), ["Utf8", "Utf8"]);
    assert_eq!(found.cells()[1], ["00501", "B"]);
    assert!(found.layout.columns[0].reason.contains("02134"));
    let found = read(b"zip,city\n\"02134\",A\n\"00501\",B\n", &options()).expect("reads");
    assert_eq!(found.cells()[0], ["02134", "A"]);
}

#[test]
fn decimals_keep_their_digits() {
    let bytes = b"id,amount\n1,12345678901234567.89\n2,0.10\n3,99999999999999.99\n";
    let found = read(bytes, &options()).expect("reads");
    assert_eq!(found.types(), ["Int64", "Decimal128(38, 2)"]);
    assert_eq!(found.cells()[0][1], "12345678901234567.89");
    assert_eq!(found.layout.columns[1].mark, Mark::Proved);
}

#[test]
fn short_and_long_rows() {
    let short = b"id,name,note\n1,Ann,x\n2,Bob\n3,Cid,z\n";
    let error = read(short, &options()).err().expect("refused");
    assert_eq!(error.get("line"), Some("3"), "{error}");
    let pad = Options {
        ragged: Ragged::Pad,
        ..options()
    };
    assert_eq!(
        read(short, &pad).expect("pads").cells()[1],
        ["2", "Bob", "~"]
    );
    let long = b"id,name\n1,Ann\n2,Bob,extra\n";
    assert_eq!(
        read(long, &pad).err().expect("refused").get("line"),
        Some("3")
    );
    let found = skip(long, &options()).expect("reads");
    assert_eq!(found.aside[0].raw, b"2,Bob,extra\n");
    assert_eq!(
        (found.lines.rows, found.lines.skipped, found.lines.total()),
        (1, 1, 3)
    );
}

#[test]
fn a_delimiter_at_the_end_of_each_line() {
    let found = read(b"id,name,\n1,Ann,\n2,Bob,\n", &options()).expect("reads");
    assert_eq!(found.names(), ["id", "name", "column_3"]);
    assert_eq!(found.cells()[0], ["1", "Ann", "~"]);
}

#[test]
fn blank_lines_are_no_rows() {
    let found = read(b"id,name\n1,Ann\n\n2,Bob\n   \n", &options()).expect("reads");
    assert_eq!(found.cells().len(), 2);
    assert_eq!((found.lines.blank, found.lines.total()), (2, 5));
    let one = read(b"id\n1\n\n2\n", &options()).expect("reads");
    assert_eq!(one.cells(), [["1"], ["~"], ["2"]]);
}

#[test]
fn rows_of_nothing_but_delimiters_are_rows() {
    for delimiter in ["\t", " ", ","] {
        let told = Options {
            delim: Some(delimiter.into()),
            header: Some(false),
            ..options()
        };
        let bytes = format!("{delimiter}\n{delimiter}\n1{delimiter}2\n");
        assert_eq!(
            read(bytes.as_bytes(), &told).expect("reads").cells().len(),
            3
        );
    }
}

#[test]
fn an_open_quote_swallows_nothing() {
    let bytes = b"id,name\n1,Ann\n2,\"Bob\n3,Cid\n";
    assert_eq!(
        read(bytes, &options()).err().expect("refused").get("line"),
        Some("3")
    );
    let found = skip(bytes, &options()).expect("reads");
    assert_eq!(found.cells(), [["1", "Ann"], ["3", "Cid"]]);
}

#[test]
fn a_broken_row_at_the_beginning_is_no_preamble() {
    for bytes in [
        b"\"abc\n".as_slice(),
        b"1,\"a\n2,b\n3,c\n",
        b"\"id,name\n1,Ann\n2,Bob\n",
    ] {
        assert_eq!(
            read(bytes, &options()).err().expect("refused").get("line"),
            Some("1")
        );
        let found = skip(bytes, &options()).expect("reads");
        assert_eq!((found.lines.skipped, found.lines.preamble), (1, 0));
    }
    let declared = Options {
        header: Some(true),
        ..options()
    };
    assert!(read(b"\"id,name\n1,Ann\n", &declared).is_err());
    let latin = Options {
        encoding: Some("utf-8".into()),
        ..options()
    };
    assert!(read(b"id,n\xE4me\n1,Ann\n", &latin).is_err());
    let long = [b"a".repeat(2 << 20), b",b\n1,2\n".to_vec()].concat();
    assert!(read(&long, &options()).is_err());
}

#[test]
fn quotes_within_values() {
    let found = read(
        b"id,size\n1,5\" pipe\n2,\"6\"\" pipe\"\n3,a \"b\" c\n",
        &options(),
    )
    .expect("reads");
    assert_eq!(
        found.cells(),
        [["1", "5\" pipe"], ["2", "6\" pipe"], ["3", "a \"b\" c"]]
    );
    let found = read(b"id,t\n1,\"a \\\"quoted\\\" word\"\n2,x\n", &options()).expect("reads");
    assert_eq!(found.cells()[0], ["1", "a \"quoted\" word"]);
}

#[test]
fn a_preamble_and_a_footer() {
    let found = read(b"Report of May\n\nid,name\n1,Ann\n2,Bob\n", &options()).expect("reads");
    assert_eq!(found.names(), ["id", "name"]);
    assert_eq!((found.lines.preamble, found.lines.total()), (2, 5));
    let found = read(b"id,name\n1,Ann\n2,Bob\n\nTotal: 2\n", &options()).expect("reads");
    assert_eq!(found.cells().len(), 2);
    assert_eq!((found.lines.footer, found.lines.total()), (2, 5));
    let declared = Options {
        skip: Some(1),
        skip_footer: Some(1),
        ..options()
    };
    let found = read(b"a,b,c\nid,name,x\n1,Ann,x\n2,Total,x", &declared).expect("reads");
    assert_eq!(found.cells(), [["1", "Ann", "x"]]);
    assert_eq!(found.types()[0], "Int64");
}

#[test]
fn comments_among_the_rows() {
    let found = read(
        b"id,name\n1,Ann\n# a, remark, on \"rows\n2,Bob\n",
        &options(),
    )
    .expect("reads");
    assert_eq!(found.cells(), [["1", "Ann"], ["2", "Bob"]]);
    assert_eq!((found.lines.comments, found.lines.total()), (1, 4));
    let found = read(b"#id,name\n1,Ann\n2,Bob\n", &options()).expect("reads");
    assert_eq!(found.names(), ["#id", "name"]);
}

#[test]
fn delimiters_are_found() {
    for delimiter in [
        ",", ";", "\t", "|", "||", "~", "^", "\u{1f}", "¦", "!", "#", "&", "/",
    ] {
        let line = |cells: [&str; 3]| cells.join(delimiter);
        let text = [
            line(["id", "name", "day"]),
            line(["1", "Ann Lee", "2024-01-01"]),
            line(["2", "Bob O'Neil", "2024-01-02"]),
            line(["3", "Cid", "2024-01-03"]),
        ]
        .join("\n");
        let found = read(text.as_bytes(), &options()).expect("reads");
        assert_eq!(found.layout.dialect.delimiter, delimiter);
        assert_eq!(found.types(), ["Int64", "Utf8", "Date32"], "{delimiter:?}");
    }
}

#[test]
fn european_files() {
    let bytes = b"id;betrag;tag\n1;1.234,50;31.12.2023\n2;7,25;01.01.2024\n";
    let found = read(bytes, &options()).expect("reads");
    assert_eq!(found.types(), ["Int64", "Utf8", "Date32"]);
    let declared = Options {
        decimal_separator: Some(','),
        thousands_separator: Some('.'),
        ..options()
    };
    let found = read(bytes, &declared).expect("reads");
    assert_eq!(found.types()[1], "Decimal128(38, 2)");
    assert_eq!(found.cells()[0], ["1", "1234.50", "2023-12-31"]);
}

#[test]
fn headers_or_none() {
    assert_eq!(
        read(b"1,Ann\n2,Bob\n", &options()).expect("reads").names(),
        ["column_1", "column_2"]
    );
    assert_eq!(
        read(b"a,b\nc,d\n", &options()).expect("reads").names(),
        ["a", "b"]
    );
    let found = read(b"a,a,b\n1,2,3\n", &options()).expect("reads");
    assert_eq!(found.names(), ["a", "a_2", "b"]);
    assert_eq!(found.layout.notes.len(), 1);
    let none = Options {
        header: Some(false),
        ..options()
    };
    assert_eq!(read(b"a,b\nc,d\n", &none).expect("reads").cells().len(), 2);
    let two = Options {
        header_rows: Some(2),
        ..options()
    };
    let found = read(b"width,weight\ncm,kg\n1,2\n", &two).expect("reads");
    assert_eq!(found.names(), ["width cm", "weight kg"]);
    let units: String = (0..20).map(|row| format!("{row},{row}.5\n")).collect();
    let found = read(
        format!("width,weight\ncm,kg\n{units}").as_bytes(),
        &options(),
    )
    .expect("reads");
    assert_eq!(found.names(), ["width cm", "weight kg"]);
    assert_eq!(
        read(b"id,name\n", &options()).expect("reads").names(),
        ["id", "name"]
    );
}

#[test]
fn surrounding_blanks() {
    let found = read(
        b"id, name, day\n1, \"Lee, Ann\", 2024-01-01\n2, Bob, 2024-01-02\n",
        &options(),
    )
    .expect("reads");
    assert!(found.layout.dialect.trim);
    assert_eq!(found.cells()[0], ["1", "Lee, Ann", "2024-01-01"]);
}

#[test]
fn line_ends() {
    for end in ["\n", "\r\n", "\r"] {
        let text = ["id,name", "1,Ann", "2,\"B\r\no\rb\n\"", "3,Cid", ""].join(end);
        let found = read(text.as_bytes(), &options()).expect("reads");
        assert_eq!(
            found.cells(),
            [["1", "Ann"], ["2", "B\r\no\rb\n"], ["3", "Cid"]],
            "{end:?}"
        );
    }
    let found = read(b"id,name\r\n1,Ann\r2,Bob\n3,Cid", &options()).expect("reads");
    assert_eq!(found.cells().len(), 3);
}

#[test]
fn nulls_and_empty_texts() {
    let bytes = b"a,b\nx,\ny,\"\"\n";
    let with = |options: Options| {
        let found = read(bytes, &options).expect("reads");
        [found.cells()[0][1].clone(), found.cells()[1][1].clone()]
    };
    assert_eq!(with(options()), ["~", ""]);
    assert_eq!(
        with(Options {
            empty: Empty::Null,
            ..options()
        }),
        ["~", "~"]
    );
    assert_eq!(
        with(Options {
            empty: Empty::Text,
            ..options()
        }),
        ["", ""]
    );
    let null = Options {
        null_text: Some(Texts::Several(vec!["NA".into(), "-".into()])),
        ..options()
    };
    let found = read(b"a,b\n1,NA\n-,\n3,\"NA\"\n", &null).expect("reads");
    assert_eq!(found.cells(), [["1", "~"], ["~", ""], ["3", "NA"]]);
    assert_eq!(found.types(), ["Int64", "Utf8"]);
    let found = read(b"a,b\n1,\\N\n2,x\n", &options()).expect("reads");
    assert_eq!(found.cells()[0], ["1", "~"]);
    let found = read(b"a,b\n1,NULL\nNULL,x\n2,\"\"\n", &options()).expect("reads");
    assert_eq!(found.cells(), [["1", "~"], ["~", "x"], ["2", ""]]);
    let found = read(b"a,b\n1,NULL\n,x\n", &options()).expect("reads");
    assert_eq!(found.cells()[0], ["1", "NULL"]);
}

#[test]
fn declared_types() {
    let declared = |types: &[(&str, &str)]| Options {
        types: Types::Columns(
            types
                .iter()
                .map(|(name, kind)| ((*name).into(), (*kind).into()))
                .collect(),
        ),
        ..options()
    };
    let bytes = b"zip,amount,ok\n02134,1.5,t\n00501,2,f\n";
    let found = read(
        bytes,
        &declared(&[
            ("zip", "int32"),
            ("amount", "decimal(20,2)"),
            ("ok", "boolean"),
        ]),
    )
    .expect("reads");
    assert_eq!(found.cells()[0], ["2134", "1.50", "true"]);
    let error = read(bytes, &declared(&[("amount", "decimal(3,0)")]))
        .err()
        .expect("a misfit");
    assert_eq!(
        (error.get("line"), error.get("column"), error.get("value")),
        (Some("2"), Some("amount"), Some("1.5"))
    );
    assert_eq!(
        misfits(&error).expect("typed")[0]
            .wider
            .data_type
            .to_string(),
        "Decimal128(38, 1)"
    );
    assert!(read(bytes, &declared(&[("zap", "text")])).is_err());
    assert_eq!(
        read(bytes, &text()).expect("reads").cells()[0],
        ["02134", "1.5", "t"]
    );
    let american = Options {
        date_format: Some("%m/%d/%Y".into()),
        ..options()
    };
    let found = read(b"id,day\n1,12/31/2023\n2,01/01/2024\n", &american).expect("reads");
    assert_eq!(found.cells()[0], ["1", "2023-12-31"]);
    let words = Options {
        true_values: vec!["ja".into()],
        false_values: vec!["nein".into()],
        ..options()
    };
    assert_eq!(
        read(b"id,ok\n1,ja\n2,nein\n", &words)
            .expect("reads")
            .types()[1],
        "Boolean"
    );
}

#[test]
fn what_is_no_csv_is_refused_by_name() {
    for (bytes, what) in [
        (
            b"<html>\n<body>502 Bad Gateway</body>\n</html>\n".as_slice(),
            "an HTML page",
        ),
        (b"[{\"id\":1},{\"id\":2}]\n", "a JSON array"),
        (b"\xEF\xBB\xBF{\"id\":1}\n{\"id\":2}\n", "JSON"),
        (b"", "empty"),
    ] {
        let error = read(bytes, &options()).err().expect("refused");
        assert!(error.message().contains(what), "{error}");
    }
    let semicolons = read(b"a;b\n1;2\n", &options()).expect("reads");
    assert_eq!(semicolons.names(), ["a", "b"]);
}

#[test]
fn encodings_and_marks() {
    let text = "id,name\n1,Zoë\n2,Jürgen\n3,François\n";
    let utf16 = |mark: bool, bytes: fn(u16) -> [u8; 2]| {
        let units = mark
            .then_some(0xFEFF)
            .into_iter()
            .chain(text.encode_utf16());
        units.flat_map(bytes).collect::<Vec<u8>>()
    };
    let latin: Vec<u8> = text.chars().map(|character| character as u8).collect();
    for bytes in [
        text.as_bytes().to_vec(),
        [b"\xEF\xBB\xBF", text.as_bytes()].concat(),
        utf16(true, u16::to_le_bytes),
        utf16(true, u16::to_be_bytes),
        utf16(false, u16::to_le_bytes),
        utf16(false, u16::to_be_bytes),
        latin,
    ] {
        let found = read(&bytes, &options()).expect("reads");
        assert_eq!(found.names(), ["id", "name"]);
        assert_eq!(
            found.cells(),
            [["1", "Zoë"], ["2", "Jürgen"], ["3", "François"]]
        );
    }
}

#[test]
fn compressed_files() {
    let packed = zstd::encode_all(b"id,name\n1,Ann\n".as_slice(), 1).expect("packs");
    let found = read(&packed, &options()).expect("reads");
    assert_eq!(found.layout.dialect.compression, Compression::Zstd);
    assert_eq!(found.cells(), [["1", "Ann"]]);
    let error = read(&packed[..packed.len() - 3], &options())
        .err()
        .expect("cut off");
    assert_eq!(error.get("file"), Some("test.csv"));
}

#[test]
fn a_stream_of_bytes() {
    let pieces = [b"id,na".as_slice(), b"me\n1,A", b"", b"nn\n"];
    let stream = futures::stream::iter(pieces.map(|piece| Ok(bytes::Bytes::from_static(piece))));
    let input = arrowload_common_csv::Input::stream("stdin", stream, &options()).expect("opens");
    let layout = arrowload_common_csv::sniff(&input, &options()).expect("a table");
    let reader =
        arrowload_common_csv::Reader::new(input, &layout, &Default::default()).expect("begins");
    let rows: usize = reader.map(|batch| batch.expect("reads").num_rows()).sum();
    assert_eq!(rows, 1);
}

#[test]
fn projection_reads_the_columns_that_are_wanted() {
    let options = options();
    let input = |bytes: &'static [u8]| {
        arrowload_common_csv::Input::read("x", bytes, &options).expect("opens")
    };
    let bytes = b"a,b,c\n1,x,2.5\n2,y,3.5\n";
    let layout = arrowload_common_csv::sniff(&input(bytes), &options).expect("a table");
    let mut wanted = arrowload_common_csv::ReadOptions::default();
    for (projection, expected) in [(vec![2, 0], vec!["2.5", "1"]), (vec![], vec![])] {
        wanted.projection = Some(projection);
        let reader =
            arrowload_common_csv::Reader::new(input(bytes), &layout, &wanted).expect("begins");
        let batches: Vec<_> = reader.collect::<Result<_, _>>().expect("reads");
        assert_eq!(crate::table::cells(&batches)[0], expected);
        assert_eq!(batches[0].num_rows(), 2);
    }
}

#[test]
fn the_whole_file_is_proved_on_request() {
    let mut text = "id,x\n".to_owned();
    for row in 0..300_000 {
        text.push_str(&format!("{row},{row}\n"));
    }
    text.push_str("7,1.25\n");
    let options = Options {
        infer_rows: InferRows::All(arrowload_common_csv::All::All),
        ..options()
    };
    let open = || {
        arrowload_common_csv::Input::read(
            "big.csv",
            std::io::Cursor::new(text.clone().into_bytes()),
            &options,
        )
    };
    let sampled = arrowload_common_csv::sniff(&open().expect("opens"), &options).expect("a table");
    assert_eq!(
        (
            sampled.columns[1].mark,
            sampled.columns[1].kind.data_type.to_string().as_str()
        ),
        (Mark::Sampled, "Int64")
    );
    let proved = arrowload_common_csv::layout(open, &options).expect("proves");
    assert_eq!(
        (
            proved.columns[1].mark,
            proved.columns[1].kind.data_type.to_string().as_str()
        ),
        (Mark::Proved, "Decimal128(38, 2)")
    );
    let reader =
        arrowload_common_csv::Reader::new(open().expect("opens"), &proved, &Default::default())
            .expect("begins");
    let rows: usize = reader.map(|batch| batch.expect("reads").num_rows()).sum();
    assert_eq!(rows, 300_001);
}
