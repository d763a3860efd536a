//! What is said before a load and kept afterwards: refusals, questions that change nothing, targets that change, and what is
//! promised of which target.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arrow_array::{ArrayRef, Float64Array, Int64Array, NullArray, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use arrowload_core::{
    AfterFailure, Atomicity, Begun, DataLoader, ErrorKind, Input, LoadRequest, LoadState, Loader,
    Mode, Rejects, load, plan_load,
};
use arrowload_file::{FileConfig, FileLoader, FileOptions};
use arrowload_testkit::loads;
use serde_json::{Value, json};
use tempfile::tempdir;

use crate::gate::{Point, kill_at};
use crate::support::{batch, names, plan, rows, run};

/// A target, options and rows that are refused before the first row, and the kind of the refusal.
type Refused = (&'static str, Value, RecordBatch, ErrorKind);

fn refused() -> Vec<Refused> {
    use ErrorKind as E;
    let plain = || rows(0..3);
    let ints = |names: &[&str]| {
        let ids = Arc::new(Int64Array::from(vec![1])) as ArrayRef;
        let columns = names.iter().map(|name| (*name, Arc::clone(&ids), true));
        RecordBatch::try_from_iter_with_nullable(columns).expect("a batch")
    };
    let texts = batch([("id", Arc::new(StringArray::from(vec!["x"])) as ArrayRef)]);
    let floats = batch([
        ("f", Arc::new(Float64Array::from(vec![1.0])) as ArrayRef),
        ("id", Arc::new(Int64Array::from(vec![1]))),
    ]);
    let list = arrow_array::ListArray::from_iter_primitive::<arrow_array::types::Int32Type, _, _>(
        [Some([Some(1)])],
    );
    let lists = batch([("l", Arc::new(list) as ArrayRef)]);
    let months = arrow_array::IntervalYearMonthArray::from(vec![1]);
    let intervals = batch([("i", Arc::new(months) as ArrayRef)]);
    let never_null = Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("n", DataType::Null, false),
    ]);
    let ids = Arc::new(Int64Array::from(Vec::<i64>::new()));
    let nothing =
        RecordBatch::try_new(Arc::new(never_null), vec![ids, Arc::new(NullArray::new(0))])
            .expect("a batch");
    let overwrite = json!({"mode": "overwrite"});
    vec![
        ("there.parquet", json!({}), plain(), E::Unsupported),
        (
            "there.parquet",
            json!({"mode": "create"}),
            plain(),
            E::TargetExists,
        ),
        (
            "there/",
            json!({"mode": "create"}),
            plain(),
            E::TargetExists,
        ),
        (
            "new.csv",
            json!({"create_table": false}),
            plain(),
            E::TargetNotFound,
        ),
        (
            "new/",
            json!({"mode": "upsert", "keys": ["id"]}),
            plain(),
            E::Unsupported,
        ),
        (
            "there.parquet",
            json!({"mode": "overwrite", "max_file_bytes": 9}),
            plain(),
            E::InvalidOption,
        ),
        (
            "there.parquet/below.csv",
            json!({}),
            plain(),
            E::InvalidOption,
        ),
        ("thesis/", overwrite.clone(), plain(), E::Unsupported),
        ("new.xyz", json!({}), plain(), E::InvalidOption),
        (
            "new.csv",
            json!({"row_group_rows": 9}),
            plain(),
            E::InvalidOption,
        ),
        (
            "new.parquet",
            json!({"row_group_rows": 0}),
            plain(),
            E::InvalidOption,
        ),
        (
            "new/",
            json!({"max_file_bytes": 0}),
            plain(),
            E::InvalidOption,
        ),
        (
            "new.csv.gz",
            json!({"compression": "zstd"}),
            plain(),
            E::InvalidOption,
        ),
        (
            "new.arrow",
            json!({"compression": "snappy"}),
            plain(),
            E::InvalidOption,
        ),
        (
            "new.csv",
            json!({"delimiter": "\"", "quote": "\""}),
            plain(),
            E::InvalidOption,
        ),
        (
            "there/",
            json!({"format": "csv"}),
            plain(),
            E::InvalidOption,
        ),
        (
            "there/",
            json!({"partition_by": ["id"]}),
            plain(),
            E::InvalidOption,
        ),
        (
            "new/",
            json!({"partition_by": ["nope"]}),
            plain(),
            E::InvalidOption,
        ),
        (
            "new/",
            json!({"partition_by": ["id", "id"]}),
            plain(),
            E::InvalidOption,
        ),
        (
            "new/",
            json!({"partition_by": ["id", "name"]}),
            plain(),
            E::InvalidOption,
        ),
        (
            "new/",
            json!({"partition_by": ["f"]}),
            floats,
            E::UnsupportedType,
        ),
        (
            "new.csv",
            json!({"verify": "checksum"}),
            plain(),
            E::Unsupported,
        ),
        ("new.csv", json!({}), lists, E::UnsupportedType),
        ("new.parquet", json!({}), intervals, E::UnsupportedType),
        ("new.parquet", json!({}), nothing, E::UnsupportedType),
        ("there/", json!({}), texts.clone(), E::SchemaMismatch),
        ("there.parquet", overwrite.clone(), texts, E::SchemaMismatch),
        (
            "there/",
            json!({}),
            ints(&["id", "other"]),
            E::SchemaMismatch,
        ),
        ("foreign/", json!({}), plain(), E::SchemaMismatch),
        ("broken.parquet", overwrite.clone(), plain(), E::InvalidData),
        ("pipe.csv", overwrite.clone(), plain(), E::Unsupported),
        ("nowhere.csv", json!({}), plain(), E::NotFound),
        ("s4://bucket/x.csv", json!({}), plain(), E::InvalidOption),
        (
            "https://host/x.csv?a=b",
            json!({}),
            plain(),
            E::InvalidOption,
        ),
        ("../x.csv", json!({}), plain(), E::InvalidOption),
    ]
}

#[cfg(unix)]
#[tokio::test]
async fn what_a_load_refuses_its_plan_refuses_in_the_same_words() {
    let root = tempdir().expect("a folder");
    let path = |name: &str| root.path().join(name);
    run(path("there.parquet"), &rows(0..3), json!({}))
        .await
        .expect("a load");
    let there = format!("{}/", path("there").display());
    run(&there, &rows(0..3), json!({})).await.expect("a load");
    for (name, text) in [
        ("thesis/thesis.tex", "x"),
        ("foreign/a.csv", "id\n1\n"),
        ("broken.parquet", "PAR1, and nothing else that a file has"),
    ] {
        std::fs::create_dir_all(path(name).parent().expect("a folder")).expect("made");
        std::fs::write(path(name), text).expect("a file");
    }
    let made = std::process::Command::new("mkfifo")
        .arg(path("pipe.csv"))
        .status();
    assert!(made.expect("mkfifo").success());
    std::os::unix::fs::symlink(path("nothing"), path("nowhere.csv")).expect("a link");
    let before = dump(root.path());
    for (name, mut options, batch, kind) in refused() {
        let case = format!("{name} {options}");
        options["root"] = root.path().display().to_string().into();
        // With an id, the target is asked for it before anything else.
        let mut said = Vec::new();
        for load_id in [Value::Null, "refused".into()] {
            options["load_id"] = load_id;
            let planned = plan(name, &batch, options.clone()).await;
            let planned = planned.and_then(|plan| plan.check()).expect_err(&case);
            let loaded = run(name, &batch, options.clone()).await;
            let loaded = loaded.expect_err(&case);
            assert_eq!(planned.kind(), kind, "{case}: {planned:?}");
            assert_eq!(
                (planned.kind(), planned.message(), planned.is_transient()),
                (loaded.kind(), loaded.message(), loaded.is_transient()),
                "{case}"
            );
            assert!(dump(root.path()) == before, "{case}");
            said.push(loaded.message().to_owned());
        }
        assert_eq!(said[0], said[1], "{case}");
    }
}

/// Everything below a folder: names, times and contents.
fn dump(folder: &Path) -> Vec<(PathBuf, SystemTime, Vec<u8>)> {
    let mut found = Vec::new();
    for name in names(folder) {
        let path = folder.join(name);
        let Ok(metadata) = std::fs::metadata(&path) else {
            continue;
        };
        let modified = metadata.modified().expect("a time");
        let mut bytes = Vec::new();
        if metadata.is_dir() {
            found.extend(dump(&path));
        } else if metadata.is_file() {
            bytes = std::fs::read(&path).expect("bytes");
        }
        found.push((path, modified, bytes));
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_changes_nothing() {
    let root = tempdir().expect("a folder");
    let target = |name: &str| format!("{}/{name}", root.path().display());
    for name in ["there.parquet", "there.csv", "there.arrow", "there/"] {
        let options = json!({"load_id": "there"});
        run(target(name), &rows(0..9), options).await.expect(name);
    }
    for (name, at) in [
        ("killed.parquet", Point::Committing),
        ("killed/", Point::Writing),
    ] {
        kill_at(&target(name), &json!({"load_id": "killed"}), 0..9, at);
    }
    // Killed between its files and its record.
    let cut = target("cut/");
    run(&cut, &rows(0..9), json!({"load_id": "before"}))
        .await
        .expect("a load");
    run(&cut, &rows(0..9), json!({"load_id": "killed"}))
        .await
        .expect("a load");
    for name in names(Path::new(&cut)) {
        let record = Path::new(&cut).join(&name);
        if name.starts_with('_')
            && std::fs::read_to_string(&record)
                .expect("JSON")
                .contains("killed")
        {
            std::fs::remove_file(record).expect("removed");
        }
    }
    let before = dump(root.path());
    for name in [
        "new.parquet",
        "new.csv",
        "new/",
        "new/below/new.arrow",
        "there.parquet",
        "there.csv",
        "there.arrow",
        "there/",
        "killed.parquet",
        "killed/",
        "cut/",
    ] {
        for mode in ["create", "append", "overwrite"] {
            for load_id in ["killed", "there", "new"] {
                let options = json!({"mode": mode, "load_id": load_id});
                // Some are refused.
                let _ = plan(target(name), &rows(0..9), options).await;
                assert!(dump(root.path()) == before, "a plan of {mode} into {name}");
            }
        }
        let (loader, _) = loads::prepare::<FileLoader>(target(name), json!({}))
            .await
            .expect("a loader");
        let found = loader.find_load(&target(name), "killed").await;
        assert!(
            !matches!(found, Ok(LoadState::Committed { .. }) | Err(_)),
            "{name}: {found:?}"
        );
        loader.describe(&target(name)).await.expect("an answer");
        assert!(dump(root.path()) == before, "questions about {name}");
    }
}

#[tokio::test]
async fn an_id_that_was_another_load_is_refused_and_an_old_record_matches() {
    let root = tempdir().expect("a folder");
    for name in ["a.parquet", "a.arrow", "a.arrows", "folder/"] {
        let target = format!("{}/{name}", root.path().display());
        let load_as = async |query: &str, options: Value| {
            let mut all = json!({"mode": "overwrite", "load_id": "one"});
            all.as_object_mut()
                .expect("an object")
                .extend(options.as_object().expect("an object").clone());
            let (loader, spec) = loads::prepare::<FileLoader>(&target, all).await?;
            let input = || Input::table(rows(0..1).schema(), vec![rows(0..9)]).defined_as(query);
            let plan = plan_load(&loader, &spec, &input()).await;
            let report = load(&loader, &spec, &input()).await;
            assert_eq!(
                plan.as_ref().map_err(|error| error.message()).err(),
                report.as_ref().map_err(|error| error.message()).err(),
                "{name}"
            );
            report
        };
        load_as("select 1", json!({})).await.expect("a load");
        let tuned = json!({"batch_size": 2, "max_retries": 1, "parallelism": 1});
        let again = load_as("select 1", tuned).await.expect("the same");
        assert_eq!((again.already_loaded, again.rows), (true, 9), "{name}");
        for (query, options) in [
            ("select 2", json!({})),
            ("select 1", json!({"schema_evolution": true})),
        ] {
            let error = load_as(query, options).await.expect_err("another load");
            assert_eq!(error.kind(), ErrorKind::InvalidOption, "{name}: {error}");
            assert!(error.message().contains("another load"), "{name}: {error}");
        }
    }
    // A record of the previous version.
    let folder = root.path().join("folder");
    let record = names(&folder)
        .into_iter()
        .find(|name| name.starts_with('_'))
        .expect("a record");
    let text = std::fs::read_to_string(folder.join(&record)).expect("JSON");
    let mut old: Value = serde_json::from_str(&text).expect("JSON");
    let kept = old.as_object_mut().expect("an object");
    assert!(kept.remove("definition").is_some());
    std::fs::write(folder.join(&record), old.to_string()).expect("written");
    let target = format!("{}/", folder.display());
    let options = json!({"mode": "append", "load_id": "one"});
    let report = run(target, &rows(0..1), options).await.expect("the same");
    assert_eq!((report.already_loaded, report.rows), (true, 9));
}

fn request(target: &str, mode: Mode) -> LoadRequest<FileOptions> {
    let mut request = LoadRequest::new("one", target, rows(0..1).schema(), FileOptions::default());
    request.load.mode = mode;
    request
}

#[tokio::test]
async fn a_target_that_changes_while_a_load_begins_is_a_conflict() {
    let root = tempdir().expect("a folder");
    let wide = batch([
        ("id", Arc::new(Int64Array::from(vec![1])) as ArrayRef),
        ("name", Arc::new(StringArray::from(vec!["a"]))),
        ("extra", Arc::new(Int64Array::from(vec![1]))),
    ]);
    let evolve = json!({"mode": "overwrite", "schema_evolution": true});
    let cases = [
        // Made meanwhile.
        (
            "new.parquet",
            Mode::Create,
            false,
            json!({}),
            rows(0..9),
            true,
        ),
        ("new/", Mode::Append, false, json!({}), rows(0..9), true),
        // Other columns.
        (
            "a.parquet",
            Mode::Overwrite,
            true,
            evolve.clone(),
            wide.clone(),
            true,
        ),
        (
            "a/",
            Mode::Append,
            true,
            json!({"schema_evolution": true}),
            wide.clone(),
            true,
        ),
        ("b/", Mode::Overwrite, true, evolve, wide, true),
        // Other rows.
        (
            "c.parquet",
            Mode::Overwrite,
            true,
            json!({"mode": "overwrite"}),
            rows(0..9),
            false,
        ),
        (
            "c.arrow",
            Mode::Overwrite,
            true,
            json!({"mode": "overwrite"}),
            rows(0..9),
            false,
        ),
        ("c/", Mode::Append, true, json!({}), rows(0..9), false),
        ("d/", Mode::Overwrite, true, json!({}), rows(0..9), false),
    ];
    for (name, mode, there, change, changed, is_conflict) in cases {
        let target = format!("{}/{name}", root.path().display());
        if there {
            run(&target, &rows(0..3), json!({})).await.expect("a load");
        }
        let loader = FileLoader::connect(FileConfig::default())
            .await
            .expect("a loader");
        let request = request(&target, mode);
        let resolved = loader.resolve(&request).await.expect("resolved");
        run(&target, &changed, change).await.expect("another load");
        match loader.begin(request, resolved, Rejects::none()).await {
            Err(error) => assert_eq!(
                (error.kind(), error.is_transient(), is_conflict),
                (ErrorKind::Conflict, true, true),
                "{name}: {error:?}"
            ),
            Ok(Begun::Session(session)) => {
                assert!(!is_conflict, "{name} began");
                use arrowload_core::LoadSession;
                let mut session = session;
                session.write(&rows(0..5)).await.expect("written");
                session.prepare().await.expect("prepared");
                assert_eq!(session.commit().await.expect("a load").rows, 5, "{name}");
            }
            Ok(Begun::AlreadyLoaded(receipt)) => panic!("{name}: {receipt:?}"),
        }
    }
}

#[tokio::test]
async fn each_target_has_its_own_promises() {
    let root = tempdir().expect("a folder");
    let there = format!("{}/there/", root.path().display());
    run(&there, &rows(0..3), json!({})).await.expect("a load");
    std::fs::create_dir(root.path().join("empty")).expect("a folder");
    let (whole, part) = (Atomicity::Load, Atomicity::Part);
    let (unchanged, new_rows) = (
        AfterFailure::UNCHANGED,
        AfterFailure::UNCHANGED.with_new_rows(),
    );
    for (name, mode, atomicity, after, exactly_once, checksum, threads) in [
        ("a.parquet", "create", whole, unchanged, true, true, 3),
        ("a.arrow", "append", whole, unchanged, true, true, 1),
        ("a.csv", "overwrite", whole, unchanged, false, false, 1),
        ("new/", "append", whole, unchanged, true, true, 3),
        ("empty/", "append", whole, unchanged, true, true, 3),
        ("there/", "overwrite", whole, unchanged, true, true, 3),
        ("there/", "append", part, new_rows, true, true, 3),
    ] {
        let target = format!("{}/{name}", root.path().display());
        let options = json!({"mode": mode, "parallelism": 3});
        let kept = plan(&target, &rows(0..1), options)
            .await
            .expect(name)
            .guarantees;
        assert_eq!(
            (kept.atomicity, kept.after_failure, kept.parallelism),
            (atomicity, after, threads),
            "{name}"
        );
        assert_eq!(
            (kept.exactly_once, kept.checksum),
            (exactly_once, checksum),
            "{name}"
        );
    }
    let wide = batch([
        ("id", Arc::new(Int64Array::from(vec![1])) as ArrayRef),
        ("extra", Arc::new(Int64Array::from(vec![1]))),
    ]);
    let evolves = plan(&there, &wide, json!({"schema_evolution": true})).await;
    let after = evolves.expect("a plan").guarantees.after_failure;
    assert_eq!(after, new_rows.with_schema_evolved());
}

#[tokio::test]
async fn a_plan_names_all_that_a_load_makes() {
    let root = tempdir().expect("a folder");
    let target = format!("{}/new/t/", root.path().display());
    let plan = plan(&target, &rows(0..1), json!({})).await.expect("a plan");
    let text = plan.resources.join("\n");
    let home = root.path().display().to_string();
    for part in [
        "new/t/ (parquet, snappy)",
        "_arrowload-…",
        ".arrowload-….tmp",
        &home,
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[tokio::test]
async fn targets_that_know_their_columns_describe_them() {
    let root = tempdir().expect("a folder");
    for (name, options, known) in [
        ("a.parquet", json!({}), true),
        ("a.arrow", json!({}), true),
        ("a.arrows", json!({}), true),
        ("a.csv", json!({}), false),
        ("parquet/", json!({"partition_by": ["name"]}), true),
        ("csv/", json!({"format": "csv"}), true),
    ] {
        let target = format!("{}/{name}", root.path().display());
        let loader = loads::prepare::<FileLoader>(&target, json!({})).await;
        let loader: Loader = loader.expect("a loader").0;
        assert_eq!(loader.describe(&target).await.expect("an answer"), None);
        run(&target, &rows(0..3), options).await.expect(name);
        let described = loader.describe(&target).await.expect("an answer");
        let types = described.map(|described| {
            let columns = described.columns.into_iter();
            let columns = columns.map(|column| (column.name, column.data_type));
            columns.collect::<Vec<_>>()
        });
        let expected = known.then(|| {
            vec![
                ("id".to_owned(), Some(DataType::Int64)),
                ("name".to_owned(), Some(DataType::Utf8)),
            ]
        });
        assert_eq!(types, expected, "{name}");
    }
}
