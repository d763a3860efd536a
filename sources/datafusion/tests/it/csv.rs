//! CSV files: values arrive as they stand in the file.

use crate::*;

#[tokio::test]
async fn digits_stay_as_they_are_written() {
    let folder = with(&[
        ("zips.csv", "zip,city\n02134,A\n00501,B\n90210,C\n"),
        ("quoted.csv", "zip,city\n\"02134\",A\n\"00501\",B\n"),
        (
            "money.csv",
            "id,amount\n1,12345678901234567.89\n2,0.10\n3,99999999999999.99\n",
        ),
        ("semi.csv", "a;b\n1;2\n"),
    ]);
    let source = over(folder.path()).await;
    for name in ["zips", "quoted"] {
        let sql = format!("SELECT * FROM {name} WHERE zip = '02134'");
        assert_eq!(rows(&source, &sql).await, ["02134|A"]);
        assert_eq!(types(&source, &sql).await, ["Utf8", "Utf8"]);
    }
    let sql = "SELECT id, amount FROM 'money.csv'";
    assert_eq!(types(&source, sql).await, ["Int64", "Decimal128(38, 2)"]);
    assert_eq!(
        rows(&source, sql).await,
        ["1|12345678901234567.89", "2|0.10", "3|99999999999999.99"]
    );
    assert_eq!(rows(&source, "SELECT b, a FROM semi").await, ["2|1"]);
}

#[tokio::test]
async fn rows_that_do_not_fit_are_refused_with_their_line() {
    let folder = with(&[
        ("short.csv", "id,name,note\n1,Ann,x\n2,Bob\n3,Cid,z\n"),
        ("long.csv", "id,name\n1,Ann\n2,Bob,extra\n"),
        ("trail.csv", "id,name,\n1,Ann,\n2,Bob,\n"),
        ("blank.csv", "id,name\n1,Ann\n\n2,Bob\n   \n"),
        ("open.csv", "id,name\n1,Ann\n2,\"Bob\n3,Cid\n"),
        (
            "inch.csv",
            "id,size\n1,5\" pipe\n2,\"6\"\" pipe\"\n3,a \"b\" c\n",
        ),
        ("mysql.csv", "id,t\n1,\"a \\\"quoted\\\" word\"\n2,x\n"),
        ("preamble.csv", "Report of May\n\nid,name\n1,Ann\n2,Bob\n"),
    ]);
    let source = over(folder.path()).await;
    for (name, line) in [
        ("short", "line: 3"),
        ("long", "line: 3"),
        ("open", "line: 3"),
    ] {
        let error = refused(&source, &format!("SELECT * FROM {name}")).await;
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{name}: {error:#}");
        let text = error.to_string();
        assert!(text.contains(line) && text.contains(name), "{error}");
        // No row of it is counted either.
        refused(&source, &format!("SELECT count(*) FROM {name}")).await;
    }
    let padded = "SELECT * FROM read_csv('short.csv', ragged => 'pad')";
    assert_eq!(
        rows(&source, padded).await,
        ["1|Ann|x", "2|Bob|∅", "3|Cid|z"]
    );
    for (name, expected) in [
        ("trail", vec!["1|Ann|∅", "2|Bob|∅"]),
        ("inch", vec!["1|5\" pipe", "2|6\" pipe", "3|a \"b\" c"]),
        ("mysql", vec!["1|a \"quoted\" word", "2|x"]),
        ("preamble", vec!["1|Ann", "2|Bob"]),
    ] {
        let sql = format!("SELECT * FROM {name}");
        assert_eq!(rows(&source, &sql).await, expected, "{name}");
    }
}

#[tokio::test]
async fn line_ends_in_quotes_are_part_of_values() {
    let folder = folder();
    let mut text = String::from("id,body\r\n");
    for id in 0..20_000 {
        text.push_str(&format!(
            "{id},\"Dear \"\"{id}\"\",\r\nline, two\n\n{id}\n\"\r\n"
        ));
    }
    write(folder.path(), "big.csv", text);
    let source = over(folder.path()).await;
    let sql = "SELECT count(*), sum(id), bool_and(body = concat('Dear \"', id, '\",', chr(13), chr(10), 'line, two', chr(10), chr(10), id, chr(10))) FROM big";
    assert_eq!(rows(&source, sql).await, ["20000|199990000|true"]);
}

#[tokio::test]
async fn what_a_file_is_stands_in_its_content() {
    let folder = folder();
    let gzip = |text: &str| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(text.as_bytes()).expect("packed");
        gzip.finish().expect("packed")
    };
    // Gzip without saying so, CSV that is called Parquet, and no name that says anything.
    write(folder.path(), "plain.csv", gzip("id,b\n1,x\n"));
    write(folder.path(), "noname", "id,b\n1,x\n");
    write(folder.path(), "utf16.csv", {
        let text = "id,b\n1,é\n".encode_utf16();
        [0xFF, 0xFE]
            .into_iter()
            .chain(text.flat_map(u16::to_le_bytes))
            .collect::<Vec<u8>>()
    });
    parquet(&folder.path().join("people.csv"), &people(0..3));
    write(folder.path(), "csv.parquet", "id,b\n1,x\n");
    write(
        folder.path(),
        "error.csv",
        "<html>\n<body>502 Bad Gateway</body>\n</html>\n",
    );
    write(folder.path(), "csv.json", "id,b\n1,x\n");
    write(folder.path(), "binary.csv", [0_u8, 1, 2, 3, 0, 0, 10, 0]);
    let source = over(folder.path()).await;
    assert_eq!(rows(&source, "SELECT * FROM plain").await, ["1|x"]);
    assert_eq!(rows(&source, "SELECT * FROM 'noname'").await, ["1|x"]);
    assert_eq!(rows(&source, "SELECT * FROM utf16").await, ["1|é"]);
    assert_eq!(rows(&source, "SELECT count(*) FROM people").await, ["3"]);
    for (name, part) in [
        ("csv.parquet", "no Parquet file"),
        ("error.csv", "an HTML page"),
        ("csv.json", "read_csv"),
        ("binary.csv", "no text"),
    ] {
        let error = refused(&source, &format!("SELECT * FROM '{name}'")).await;
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{name}: {error:#}");
        let text = error.to_string();
        assert!(text.contains(part) && text.contains(name), "{error}");
    }
    let declared = "SELECT * FROM read_parquet('noname')";
    assert!(
        refused(&source, declared)
            .await
            .to_string()
            .contains("no Parquet file")
    );
    let declared = "SELECT * FROM read_csv('csv.json')";
    assert_eq!(rows(&source, declared).await, ["1|x"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_does_not_read_the_file_and_a_dropped_stream_ends_its_reading() {
    let folder = folder();
    // The last row is refused: who reads that far, fails.
    let text = format!("id,name\n{}1,2,3\n", "1,Ann\n".repeat(3_000_000));
    write(folder.path(), "big.csv", text);
    let source = over(folder.path()).await;
    assert_eq!(
        rows(&source, "SELECT * FROM big LIMIT 2").await,
        ["1|Ann", "1|Ann"]
    );
    let mut stream = source
        .query(&Query::new("SELECT name FROM big"))
        .await
        .expect("a stream");
    let first = stream.try_next().await.expect("a batch").expect("rows");
    assert_eq!(first.schema().fields().len(), 1);
    drop(stream);
    let error = refused(&source, "SELECT count(*) FROM big").await;
    assert!(error.to_string().contains("line: 3000002"), "{error}");
}
