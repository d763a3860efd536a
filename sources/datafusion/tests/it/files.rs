//! Several files as one table.

use crate::*;

#[tokio::test]
async fn columns_go_by_their_names() {
    let folder = with(&[
        ("o1/1.csv", "id,first,last\n1,Ann,Lee\n"),
        ("o1/2.csv", "id,last,first\n2,Kim,Bob\n"),
        ("o2/1.csv", "id,lat,lon\n1,47.1,8.5\n"),
        ("o2/2.csv", "id,lon,lat\n2,8.6,47.25\n"),
        ("o3/1.csv", "id,a\n1,x\n"),
        ("o3/2.csv", "id,a,b\n2,y,z\n"),
        ("o4/1.csv", "id,a,b\n1,x,y\n"),
        ("o4/2.csv", "id,b,c\n2,Y,Z\n"),
    ]);
    let source = over(folder.path()).await;
    for (name, expected) in [
        ("o1", ["1|Ann|Lee", "2|Bob|Kim"]),
        ("o2", ["1|47.10|8.5", "2|47.25|8.6"]),
        ("o3", ["1|x|∅", "2|y|z"]),
        ("o4", ["1|x|y|∅", "2|∅|Y|Z"]),
    ] {
        for from in [format!("'{name}/*.csv'"), name.to_owned()] {
            // Files come in the order of their names, without being sorted.
            let sql = format!("SELECT * FROM {from}");
            assert_eq!(rows(&source, &sql).await, expected, "{from}");
        }
    }
    let some = "SELECT b, id FROM 'o3/*.csv' WHERE a = 'y'";
    assert_eq!(rows(&source, some).await, ["z|2"]);
    assert_eq!(rows(&source, "SELECT count(*) FROM o3").await, ["2"]);
    let list = "SELECT id, filename FROM read_csv(['o3/2.csv', 'o1/1.csv'], filename => true)";
    assert_eq!(rows(&source, list).await, ["2|o3/2.csv", "1|o1/1.csv"]);
    let named = "SELECT count(*) FROM read('o3', filename => 'src') WHERE src = 'o3/1.csv'";
    assert_eq!(rows(&source, named).await, ["1"]);
}

#[tokio::test]
async fn names_with_an_underscore_are_data_where_a_pattern_fits_them() {
    let folder = with(&[
        ("u/a.csv", "id\n1\n"),
        ("u/_b.csv", "id\n2\n"),
        ("u/.c.csv", "id\n3\n"),
        ("u/_SUCCESS", "done"),
        ("u/_temporary/d.csv", "id\n4\n"),
    ]);
    let source = over(folder.path()).await;
    for (from, sum) in [
        ("u", "1"),
        ("'u/*'", "1"),
        ("'u/**'", "1"),
        ("'u/*.csv'", "3"),
        ("'u/**/*.csv'", "3"),
        ("'u/_temporary/*.csv'", "4"),
    ] {
        let sql = format!("SELECT sum(id) FROM {from}");
        assert_eq!(rows(&source, &sql).await, [sum], "{from}");
    }
}

#[tokio::test]
async fn types_of_files_meet_without_loss() {
    let folder = with(&[
        ("numbers/1.csv", "v,w,e,x\n1,1,,5\n"),
        ("numbers/2.csv", "v,w,e,x\n1.50,02134,7,1e3\n"),
        ("numbers/3.csv", "v,w,e,x\n99999999999999999999,x,8,0.1\n"),
        ("dates/1.csv", "d\n2024-01-01\n"),
        ("dates/2.csv", "d\n2024-01-01 00:00:00\n"),
    ]);
    let source = over(folder.path()).await;
    let sql = "SELECT * FROM numbers";
    let expected = ["Decimal128(38, 2)", "Utf8", "Int64", "Float64"];
    assert_eq!(types(&source, sql).await, expected);
    assert_eq!(
        rows(&source, sql).await,
        [
            "1.00|1|∅|5.0",
            "1.50|02134|7|1000.0",
            "99999999999999999999.00|x|8|0.1"
        ]
    );
    let sql = "SELECT * FROM dates";
    assert_eq!(
        rows(&source, sql).await,
        ["2024-01-01", "2024-01-01 00:00:00"]
    );
}

#[tokio::test]
async fn typed_files_meet_where_a_type_holds_both_and_name_each_other_where_none_does() {
    let folder = folder();
    let small: ArrayRef = Arc::new(arrow_array::Int32Array::from(vec![1, 2]));
    let large: ArrayRef = Arc::new(Int64Array::from(vec![1 << 40]));
    let text: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    let one =
        |array: &ArrayRef| RecordBatch::try_from_iter([("a", Arc::clone(array))]).expect("a batch");
    parquet(&folder.path().join("p/1.parquet"), &one(&small));
    parquet(&folder.path().join("p/2.parquet"), &one(&large));
    parquet(&folder.path().join("bad/1.parquet"), &one(&small));
    parquet(&folder.path().join("bad/2.parquet"), &one(&text));
    parquet(&folder.path().join("mixed/1.parquet"), &one(&small));
    write(folder.path(), "mixed/2.csv", "a\n1\n");
    for (name, array) in [("i/1.arrow", &small), ("i/2.arrow", &large)] {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        let batch = one(array);
        let file = std::fs::File::create(path).expect("a file");
        let mut writer =
            arrow_ipc::writer::FileWriter::try_new(file, &batch.schema()).expect("a writer");
        writer.write(&batch).expect("written");
        writer.finish().expect("finished");
    }
    let source = over(folder.path()).await;
    for name in ["p", "i"] {
        let sql = format!("SELECT a FROM {name} ORDER BY a");
        assert_eq!(types(&source, &sql).await, ["Int64"]);
        assert_eq!(rows(&source, &sql).await, ["1", "2", "1099511627776"]);
        let sql = format!("SELECT count(*) FROM {name}");
        assert_eq!(rows(&source, &sql).await, ["3"]);
        let sql = format!("SELECT a FROM {name} WHERE a > 2");
        assert_eq!(rows(&source, &sql).await, ["1099511627776"]);
    }
    let error = refused(&source, "SELECT * FROM bad").await;
    assert_eq!(error.kind(), ErrorKind::SchemaMismatch, "{error:#}");
    for part in ["bad/1.parquet", "bad/2.parquet", "Int32", "Utf8", "`a`"] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    let error = refused(&source, "SELECT * FROM mixed").await;
    for part in ["mixed/1.parquet", "mixed/2.csv", "CSV", "Parquet"] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
}

#[tokio::test]
async fn what_a_column_is_stays() {
    let folder = folder();
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let uuid = std::collections::HashMap::from([(
        "ARROW:extension:name".to_owned(),
        "arrow.json".to_owned(),
    )]);
    let fields = vec![
        arrow_schema::Field::new("id", arrow_schema::DataType::Int64, false),
        arrow_schema::Field::new("doc", arrow_schema::DataType::Utf8, true).with_metadata(uuid),
    ];
    let schema = Arc::new(arrow_schema::Schema::new(fields));
    let docs: ArrayRef = Arc::new(StringArray::from(vec!["{}"]));
    let batch = RecordBatch::try_new(schema, vec![ids, docs]).expect("a batch");
    parquet(&folder.path().join("t.parquet"), &batch);
    let source = over(folder.path()).await;
    let schema = source
        .schema(&Query::new("SELECT * FROM t"))
        .await
        .expect("a schema");
    assert!(!schema.field(0).is_nullable());
    let name = schema.field(1).metadata().get("ARROW:extension:name");
    assert_eq!(name.map(String::as_str), Some("arrow.json"));
    assert_eq!(rows(&source, "SELECT * FROM t").await, ["1|{}"]);
}

#[tokio::test]
async fn files_with_and_without_a_header_are_no_table_until_it_is_said() {
    let folder = with(&[("h/1.csv", "id,n\n1,2\n3,4\n"), ("h/2.csv", "5,6\n7,8\n")]);
    let source = over(folder.path()).await;
    let error = refused(&source, "SELECT * FROM h").await;
    assert_eq!(error.kind(), ErrorKind::SchemaMismatch, "{error:#}");
    for part in ["h/1.csv", "h/2.csv", "header => false"] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    let said = "SELECT count(*) FROM read_csv('h', header => false)";
    assert_eq!(rows(&source, said).await, ["5"]);
}

#[tokio::test]
async fn two_columns_of_one_name_are_refused() {
    let folder = folder();
    let column = |values: [i64; 2]| -> ArrayRef { Arc::new(Int64Array::from(values.to_vec())) };
    let field = |name: &str| arrow_schema::Field::new(name, arrow_schema::DataType::Int64, true);
    let schema = arrow_schema::Schema::new(vec![field("a"), field("b"), field("a")]);
    let columns = vec![column([1, 2]), column([3, 4]), column([5, 6])];
    let batch = RecordBatch::try_new(Arc::new(schema), columns).expect("a batch");
    parquet(&folder.path().join("twins.parquet"), &batch);
    let bytes = |mut out: Vec<u8>, stream: bool| {
        if stream {
            let writer = arrow_ipc::writer::StreamWriter::try_new(&mut out, &batch.schema());
            let mut writer = writer.expect("a writer");
            writer.write(&batch).expect("written");
            writer.finish().expect("ended");
        } else {
            let writer = arrow_ipc::writer::FileWriter::try_new(&mut out, &batch.schema());
            let mut writer = writer.expect("a writer");
            writer.write(&batch).expect("written");
            writer.finish().expect("ended");
        }
        out
    };
    write(folder.path(), "twins.arrow", bytes(Vec::new(), false));
    write(folder.path(), "twins.arrows", bytes(Vec::new(), true));
    let source = over(folder.path()).await;
    for name in ["twins.parquet", "twins.arrow", "twins.arrows"] {
        let error = refused(&source, &format!("SELECT b FROM '{name}'")).await;
        assert_eq!(error.kind(), ErrorKind::SchemaMismatch, "{error:#}");
        let text = error.to_string();
        assert!(
            text.contains("columns 1 and 3") && text.contains(name),
            "{text}"
        );
    }
}
