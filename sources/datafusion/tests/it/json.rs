//! JSON files: what stands late in a file, or in an array, arrives.

use crate::*;

#[tokio::test]
async fn json_is_read_as_it_is_found() {
    let folder = folder();
    write(
        folder.path(),
        "lines.ndjson",
        "{\"id\":1}\n{\"id\":2}\n{\"id\":3}\n",
    );
    write(
        folder.path(),
        "arr.json",
        "[{\"id\":1},{\"id\":2},{\"id\":3}]\n",
    );
    write(
        folder.path(),
        "bom.ndjson",
        "\u{feff}{\"id\":1}\n{\"id\":2}\n{\"id\":3}\n",
    );
    // JSON that is called CSV, or nothing.
    write(
        folder.path(),
        "json.csv",
        "{\"id\":1}\n{\"id\":2}\n{\"id\":3}\n",
    );
    write(
        folder.path(),
        "noname",
        "[\n  {\"id\":1},\n  {\"id\":2},\n  {\"id\":3}\n]",
    );
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(b"{\"id\":1}\n{\"id\":2}\n{\"id\":3}\n")
        .expect("packed");
    write(
        folder.path(),
        "packed.ndjson",
        gzip.finish().expect("packed"),
    );
    write(folder.path(), "latin.ndjson", b"{\"id\":\"\xE9\"}\n");
    let source = over(folder.path()).await;
    for name in [
        "lines.ndjson",
        "arr.json",
        "bom.ndjson",
        "json.csv",
        "noname",
        "packed.ndjson",
    ] {
        let sql = format!("SELECT id FROM '{name}'");
        assert_eq!(rows(&source, &sql).await, ["1", "2", "3"], "{name}");
        let sql = format!("SELECT count(*) FROM '{name}'");
        assert_eq!(rows(&source, &sql).await, ["3"], "{name}");
    }
    let declared =
        "SELECT id FROM read_json('lines.ndjson', types => {'id': 'text'}) WHERE id = '2'";
    assert_eq!(rows(&source, declared).await, ["2"]);
    let error = refused(
        &source,
        "SELECT id FROM read_json('arr.json', format => 'ndjson')",
    )
    .await;
    assert_eq!(error.kind(), ErrorKind::InvalidData, "{error:#}");
    let error = refused(&source, "SELECT count(*) FROM 'latin.ndjson'").await;
    assert_eq!(error.kind(), ErrorKind::InvalidData, "{error:#}");
}

#[tokio::test]
async fn keys_of_all_files_are_columns() {
    let folder = with(&[
        ("j/1.ndjson", "{\"a\":1,\"o\":{\"x\":1}}\n"),
        (
            "j/2.ndjson",
            "{\"a\":1.5,\"b\":\"x\",\"o\":{\"y\":\"z\"}}\n",
        ),
        ("bad/1.ndjson", "{\"a\":1}\n"),
        ("bad/2.ndjson", "{\"a\":\"1\"}\n"),
    ]);
    let source = over(folder.path()).await;
    let sql = "SELECT a, b, o['x'], o['y'] FROM j";
    assert_eq!(rows(&source, sql).await, ["1.0|∅|1|∅", "1.5|x|∅|z"]);
    let error = refused(&source, "SELECT * FROM bad").await;
    for part in ["bad/1.ndjson", "bad/2.ndjson", "types"] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
}

#[tokio::test]
async fn text_of_one_file_is_not_mixed_with_json_text_of_another() {
    let folder = with(&[
        ("flat/a.ndjson", "{\"a\":\"1\"}\n"),
        ("flat/b.ndjson", "{\"a\":\"x\"}\n{\"a\":1}\n"),
        ("deep/a.ndjson", "{\"o\":{\"a\":\"1\"}}\n"),
        (
            "deep/b.ndjson",
            "{\"o\":{\"a\":\"x\"}}\n{\"o\":{\"a\":1}}\n",
        ),
        (
            "wide/a.ndjson",
            "{\"o\":{\"a\":\"x\"}}\n{\"o\":{\"a\":1}}\n",
        ),
        ("wide/b.ndjson", "{\"o\":{\"b\":1}}\n"),
        ("same/a.ndjson", "{\"a\":\"x\"}\n{\"a\":1}\n"),
        ("same/b.ndjson", "{\"a\":\"y\"}\n{\"a\":2}\n"),
        ("same/c.ndjson", "{\"a\":null}\n"),
    ]);
    let source = over(folder.path()).await;
    for name in ["flat", "deep", "wide"] {
        let error = refused(&source, &format!("SELECT * FROM {name}")).await;
        for part in ["a.ndjson", "b.ndjson", "types"] {
            assert!(error.to_string().contains(part), "{part}: {error}");
        }
    }
    let json = ["\"x\"", "1", "\"y\"", "2", "∅"];
    assert_eq!(rows(&source, "SELECT * FROM same").await, json);
    let told = "SELECT * FROM read_json('flat', types => {'a': 'json'})";
    assert_eq!(rows(&source, told).await, ["\"1\"", "\"x\"", "1"]);
}

/// A later value that no sample has shown: the reading begins again, and the value arrives as it stands in the file.
#[tokio::test(flavor = "multi_thread")]
async fn late_values_arrive() {
    let folder = folder();
    for (name, lead, late) in [
        ("fraction", "7", "1.5"),
        ("boolean", "7", "true"),
        ("text", "7", "\"007\""),
        ("long", "7", "9999999999999999999"),
        ("object", "\"a\"", "{\"b\":1}"),
    ] {
        let mut text = String::new();
        for row in 0..150_001 {
            text.push_str(&format!("{{\"i\":{row},\"v\":{lead}}}\n"));
        }
        text.push_str(&format!("{{\"i\":150001,\"v\":{late}}}\n"));
        write(folder.path(), &format!("{name}.ndjson"), text);
        let source = over(folder.path()).await;
        let sql = format!("SELECT v FROM {name} WHERE i > 150000");
        let error = refused(&source, &sql).await;
        assert_eq!(
            error.retry(),
            arrowload_core::Retry::Reopen,
            "{name}: {error}"
        );
        assert!(error.to_string().contains("150002"), "{name}: {error}");
        let expected = late;
        assert_eq!(rows(&source, &sql).await, [expected], "{name}");
    }
}
