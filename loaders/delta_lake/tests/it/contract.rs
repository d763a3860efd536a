//! What is asked and promised before a load, and kept after it: plans, refusals, records, conflicts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, NullArray, StringArray, TimestampNanosecondArray};
use arrowload_core::{
    Begun, DataLoader, ErrorKind, Input, LoadRequest, LoadSession, LoadState, Mark, Rejects,
    TypeSupport, load,
};
use arrowload_delta_lake::{DeltaLakeConfig, DeltaLakeLoader, DeltaLakeOptions};
use arrowload_testkit::python;
use serde_json::{Value, json};

use crate::support::{ask, batch, delta, plan, prepare, refused, rows, run};

/// Every file below a folder, with what it holds.
fn dump(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => {
                    found.push((path.clone(), Vec::new()));
                    folders.push(path);
                }
                false => found.push((path.clone(), std::fs::read(&path).expect("read"))),
            }
        }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_change_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    run(at("there"), &rows(0..3), json!({ "load_id": "one" }))
        .await
        .expect("it loads");
    // As a load that was killed leaves it: a data file that no commit names, and a lease.
    let attempt = "01890a5d-ac96-774b-bcce-b302099a8057";
    run(at("cut-off"), &rows(0..3), json!({}))
        .await
        .expect("it loads");
    let lease = at("cut-off").join("arrowload-leases");
    std::fs::create_dir(&lease).expect("a folder");
    let says = json!({ "loadId": "killed", "machine": null }).to_string();
    std::fs::write(lease.join(format!("{attempt}.1.json")), says).expect("written");
    std::fs::write(at("cut-off").join(format!("part-{attempt}-0.parquet")), "x").expect("written");

    for name in ["missing", "there", "cut-off"] {
        let before = dump(folder.path());
        for (mode, keys) in [
            ("append", json!([])),
            ("overwrite", json!([])),
            ("upsert", json!(["id"])),
        ] {
            let options = json!({ "mode": mode, "keys": keys, "load_id": "killed" });
            plan(at(name), &rows(0..3), options).await.expect("a plan");
        }
        let (loader, spec) = prepare(&at(name), json!({})).await.expect("it connects");
        for id in ["one", "killed"] {
            loader.find_load(&spec.target, id).await.expect("an answer");
        }
        loader.describe(&spec.target).await.expect("an answer");
        assert_eq!(dump(folder.path()), before, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_load_has_left_goes_with_the_next_load_once_its_lease_has_expired() {
    let folder = tempfile::tempdir().expect("a folder");
    run(
        folder.path(),
        &rows(0..3),
        json!({ "partition_by": ["name"] }),
    )
    .await
    .expect("it loads");
    let leases = folder.path().join("arrowload-leases");
    std::fs::create_dir(&leases).expect("a folder");
    let partition = folder.path().join("name=x");
    std::fs::create_dir(&partition).expect("a folder");
    // Of another machine, whose locks are not seen here.
    let says = json!({ "loadId": "killed", "machine": "another" }).to_string();
    let hour = std::time::Duration::from_secs(3600);
    let mut files = Vec::new();
    for (attempt, age) in [
        ("01890a5d-ac96-774b-bcce-b302099a8057", hour * 2),
        ("01890a5d-ac96-774b-bcce-b302099a8058", hour / 2),
    ] {
        let lease = leases.join(format!("{attempt}.3600.json"));
        std::fs::write(&lease, &says).expect("written");
        let file = std::fs::File::options()
            .append(true)
            .open(&lease)
            .expect("open");
        file.set_modified(std::time::SystemTime::now() - age)
            .expect("set");
        let data = partition.join(format!("part-{attempt}-0.parquet"));
        std::fs::write(&data, "x").expect("written");
        files.push((lease, data));
    }
    run(folder.path(), &rows(3..4), json!({}))
        .await
        .expect("it loads");
    let there: Vec<(bool, bool)> = files
        .iter()
        .map(|(lease, data)| (lease.exists(), data.exists()))
        .collect();
    assert_eq!(there, [(false, false), (true, true)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_between_the_look_and_the_beginning_is_a_conflict_if_it_decides() {
    let folder = tempfile::tempdir().expect("a folder");
    let wide = |ids: std::ops::Range<i64>| {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(ids));
        batch([
            ("id", ids.clone()),
            ("name", rows(0..ids.len() as i64).column(1).clone()),
            ("more", ids),
        ])
    };
    let more = json!({ "schema_evolution": true });
    let cases = [
        ("rows", Some(rows(0..3)), rows(3..5), json!({}), false),
        (
            "rows of an overwrite",
            Some(rows(0..3)),
            rows(3..5),
            json!({ "mode": "overwrite" }),
            false,
        ),
        ("a column", Some(rows(0..3)), wide(3..5), more, true),
        (
            "a table that was not there",
            None,
            rows(3..5),
            json!({}),
            true,
        ),
    ];
    for (name, first, meanwhile, options, conflicts) in cases {
        let path = folder.path().join(name);
        if let Some(first) = first {
            run(&path, &first, json!({})).await.expect("it loads");
        }
        let loader = DeltaLakeLoader::connect(DeltaLakeConfig::default())
            .await
            .expect("it connects");
        let target = path.to_str().expect("UTF-8");
        let request = LoadRequest::new(
            name,
            target,
            rows(0..0).schema(),
            DeltaLakeOptions::default(),
        );
        let found = loader.resolve(&request).await.expect("it fits");
        run(&path, &meanwhile, options).await.expect("it loads");
        let begun = loader.begin(request, found, Rejects::none()).await;
        if conflicts {
            let error = begun.err().expect(name);
            assert_eq!(
                (error.kind(), error.is_transient()),
                (ErrorKind::Conflict, true),
                "{name}: {error}"
            );
            continue;
        }
        let Ok(Begun::Session(mut session)) = begun else {
            panic!("{name}: it does not begin")
        };
        session.write(&rows(5..6)).await.expect("written");
        session.prepare().await.expect("prepared");
        session.commit().await.expect("committed");
    }
    if python::available() {
        let ids = "[row['id'] for row in rows]";
        assert_eq!(
            delta(&folder.path().join("rows"), ids),
            json!([0, 1, 2, 3, 4, 5])
        );
        let overwritten = folder.path().join("rows of an overwrite");
        assert_eq!(delta(&overwritten, ids), json!([3, 4, 5]));
    }
}

/// Another run with the same id commits after the question and before the look: no row comes twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_committed_meanwhile_is_found_before_the_first_row() {
    let folder = tempfile::tempdir().expect("a folder");
    let loader = DeltaLakeLoader::connect(DeltaLakeConfig::default())
        .await
        .expect("it connects");
    let target = folder.path().to_str().expect("UTF-8");
    let request = LoadRequest::new(
        "same",
        target,
        rows(0..0).schema(),
        DeltaLakeOptions::default(),
    );
    assert!(matches!(
        loader.find_load(target, "same").await,
        Ok(LoadState::NotCommitted)
    ));
    run(folder.path(), &rows(0..3), json!({ "load_id": "same" }))
        .await
        .expect("it loads");
    let found = loader.resolve(&request).await.expect("it fits");
    match loader
        .begin(request, found, Rejects::none())
        .await
        .expect("an answer")
    {
        Begun::AlreadyLoaded(receipt) => assert_eq!(receipt.rows, 3),
        Begun::Session(_) => panic!("it would load again"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_outlive_the_log_and_old_ones_match_anything() {
    if !python::available() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    // As the version before this one recorded a load.
    let log = folder.path().join("_delta_log");
    run(folder.path(), &rows(0..1), json!({}))
        .await
        .expect("it loads");
    let entry = json!({ "txn": { "appId": "arrowload:old", "version": 7, "lastUpdated": 0 } });
    let facts = json!({ "commitInfo": { "arrowload": { "loadId": "old", "attempt": "x", "version": "0.1.0" } } });
    std::fs::write(
        log.join("00000000000000000001.json"),
        format!("{facts}\n{entry}\n"),
    )
    .expect("written");
    let again = run(
        folder.path(),
        &rows(0..3),
        json!({ "mode": "overwrite", "load_id": "old" }),
    )
    .await;
    let again = again.expect("an old record matches anything");
    assert!(again.already_loaded && again.rows == 7);

    // Marks stay when the log is cleaned up; so many that the first is forgotten.
    let mark = |number: usize| Mark::new(Some(format!("from {number}")), format!("to {number}"));
    for number in 0..18 {
        let options = json!({ "load_id": format!("marked {number}"), "checkpoint_interval": 1000 });
        let (loader, mut spec) = prepare(folder.path(), options).await.expect("it connects");
        spec.mark = Some(mark(number));
        let rows = Input::table(rows(0..1).schema(), vec![rows(0..1)]).defined_as("select 1");
        load(&loader, &spec, &rows).await.expect("it loads");
    }
    let at = folder.path().to_str().expect("UTF-8");
    ask(
        "import deltalake; deltalake.DeltaTable(sys.argv[1]).create_checkpoint(); print('0')"
            .replace("import", "import sys,")
            .as_str(),
        &[at],
    );
    for entry in std::fs::read_dir(&log).expect("a log") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|ending| ending == "json") {
            std::fs::remove_file(path).expect("removed");
        }
    }
    let (loader, spec) = prepare(folder.path(), json!({}))
        .await
        .expect("it connects");
    for (number, kept) in [(17, true), (2, true), (1, false)] {
        let found = loader
            .find_load(&spec.target, &format!("marked {number}"))
            .await;
        let Ok(LoadState::Committed { receipt, .. }) = found else {
            panic!("{number}: {found:?}")
        };
        assert_eq!(
            (receipt.rows, receipt.mark),
            (1, kept.then(|| mark(number))),
            "{number}"
        );
        assert_eq!(receipt.definition.is_some(), kept, "{number}");
    }
    // Marks are no property that decides: a load that was resolved before one goes on.
    run(folder.path(), &rows(0..1), json!({}))
        .await
        .expect("it loads");
}

#[tokio::test(flavor = "multi_thread")]
async fn marks_of_loads_side_by_side_are_all_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    run(folder.path(), &rows(0..1), json!({}))
        .await
        .expect("it loads");
    let loader = DeltaLakeLoader::connect(DeltaLakeConfig::default())
        .await
        .expect("it connects");
    let target = folder.path().to_str().expect("UTF-8");
    let mut sessions = Vec::new();
    for id in ["a", "b", "c"] {
        let mut request =
            LoadRequest::new(id, target, rows(0..0).schema(), DeltaLakeOptions::default());
        request.mark = Some(Mark::new(None, id));
        let found = loader.resolve(&request).await.expect("it fits");
        match loader
            .begin(request, found, Rejects::none())
            .await
            .expect("it begins")
        {
            Begun::Session(session) => sessions.push(session),
            Begun::AlreadyLoaded(_) => panic!("it was there"),
        }
    }
    for mut session in sessions {
        session.write(&rows(0..1)).await.expect("written");
        session.prepare().await.expect("prepared");
        session.commit().await.expect("committed");
    }
    let entry = std::fs::read_to_string(folder.path().join("_delta_log/00000000000000000003.json"));
    let entry = entry.expect("an entry");
    let metadata = entry.lines().find_map(|line| {
        let action: Value = serde_json::from_str(line).expect("JSON");
        action.get("metaData").cloned()
    });
    let metadata = metadata.expect("a description");
    let marks = metadata["configuration"]["arrowload.marks"]
        .as_str()
        .expect("marks");
    let marks: Value = serde_json::from_str(marks).expect("JSON");
    let marks = marks.as_array().expect("a list").iter();
    let new: Vec<&str> = marks
        .filter_map(|mark| mark["mark"]["new"].as_str())
        .collect();
    assert_eq!(new, ["a", "b", "c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_of_nulls_takes_the_type_of_the_table_s() {
    if !python::available() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let nulls = |length: usize| {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(3..3 + length as i64));
        batch([("id", ids), ("name", Arc::new(NullArray::new(length)))])
    };
    let planned = plan(folder.path(), &nulls(1), json!({}))
        .await
        .expect("a plan");
    assert!(
        matches!(&planned.columns[1].support, TypeSupport::Unsupported(why) if why.contains("cast it"))
    );
    let refused = run(folder.path(), &nulls(1), json!({}))
        .await
        .expect_err("no type");
    assert_eq!(refused.kind(), ErrorKind::UnsupportedType);

    run(folder.path(), &rows(1..3), json!({}))
        .await
        .expect("it loads");
    let planned = plan(folder.path(), &nulls(1), json!({}))
        .await
        .expect("a plan");
    assert_eq!(planned.columns[1].target_type, "string");
    for options in [json!({}), json!({ "mode": "upsert", "keys": ["id"] })] {
        run(folder.path(), &nulls(2), options)
            .await
            .expect("it loads");
    }
    let seen = delta(folder.path(), "[[row['id'], row['name']] for row in rows]");
    assert_eq!(
        seen,
        json!([[1, "name 1"], [2, "name 2"], [3, null], [4, null]])
    );
    // A column that the load would add has no type.
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![9]));
    let added = batch([("id", ids), ("added", Arc::new(NullArray::new(1)))]);
    let error = run(folder.path(), &added, json!({ "schema_evolution": true })).await;
    assert_eq!(
        error.expect_err("no type").kind(),
        ErrorKind::UnsupportedType
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_has_no_checksum_and_the_report_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let times: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1, 1_001]));
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let rows = batch([("at", times), ("id", ids)]);
    let options = json!({ "nanoseconds": "truncate", "verify": "checksum" });
    let planned = plan(folder.path(), &rows, options.clone())
        .await
        .expect("a plan");
    assert!(planned.columns[0].unproved.is_some() && planned.columns[1].unproved.is_none());
    let report = run(folder.path(), &rows, options).await.expect("it loads");
    assert_eq!(report.unproved, ["at"]);
    assert_eq!(report.checksums.expect("checksums").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_names_what_would_be_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t");
    let target = path.display();
    let planned = plan(
        &path,
        &rows(0..1),
        json!({ "partition_by": ["name"], "parallelism": 1 }),
    )
    .await;
    let planned = planned.expect("a plan");
    let made = format!(
        "CREATE TABLE delta.`{target}` (`id` long, `name` string) USING DELTA PARTITIONED BY (`name`)"
    );
    assert_eq!(
        (planned.ddl, planned.guarantees.parallelism),
        (vec![made], 1)
    );
    run(&path, &rows(0..1), json!({})).await.expect("it loads");
    let planned = plan(&path, &rows(0..1), json!({})).await.expect("a plan");
    assert!(planned.ddl.is_empty(), "{:?}", planned.ddl);
    let text: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    let wide = batch([("id", rows(0..1).column(0).clone()), ("more", text)]);
    let planned = plan(&path, &wide, json!({ "schema_evolution": true }))
        .await
        .expect("a plan");
    assert_eq!(
        planned.ddl,
        [format!(
            "ALTER TABLE delta.`{target}` ADD COLUMNS (`more` string)"
        )]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_load_refuses_its_plan_refuses_in_the_same_words() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    run(at("there"), &rows(0..3), json!({}))
        .await
        .expect("it loads");
    run(
        at("parts"),
        &rows(0..3),
        json!({ "partition_by": ["name"] }),
    )
    .await
    .expect("it loads");
    std::fs::write(at("file"), "x").expect("written");
    let upsert = |more: Value| merged(&json!({ "mode": "upsert", "keys": ["id"] }), &more);
    let overwrite = |more: Value| merged(&json!({ "mode": "overwrite" }), &more);
    use ErrorKind as K;
    let cases = [
        // Options that contradict each other, or that the mode has no use for.
        (
            "there",
            json!({ "keys": ["id"] }),
            K::InvalidOption,
            "mode upsert",
        ),
        (
            "there",
            json!({ "overwrite_partitions": true }),
            K::InvalidOption,
            "mode overwrite",
        ),
        (
            "there",
            json!({ "replace_where": "id = 1" }),
            K::InvalidOption,
            "mode overwrite",
        ),
        (
            "there",
            json!({ "when_matched": "delete" }),
            K::InvalidOption,
            "mode upsert",
        ),
        (
            "there",
            json!({ "when_not_matched": "ignore" }),
            K::InvalidOption,
            "mode upsert",
        ),
        (
            "there",
            json!({ "when_not_matched_by_source": "delete" }),
            K::InvalidOption,
            "mode upsert",
        ),
        (
            "there",
            json!({ "key_memory_bytes": 1 }),
            K::InvalidOption,
            "mode upsert",
        ),
        (
            "there",
            json!({ "max_file_bytes": 0 }),
            K::InvalidOption,
            "at least 1",
        ),
        (
            "there",
            json!({ "row_group_rows": 0 }),
            K::InvalidOption,
            "at least 1",
        ),
        (
            "there",
            json!({ "checkpoint_interval": 0 }),
            K::InvalidOption,
            "at least 1",
        ),
        (
            "there",
            upsert(json!({ "key_memory_bytes": 0 })),
            K::InvalidOption,
            "at least 1",
        ),
        (
            "there",
            json!({ "vacuum_retention": "soon" }),
            K::InvalidOption,
            "7 days",
        ),
        (
            "there",
            json!({ "vacuum_retention": "1 hour" }),
            K::InvalidOption,
            "168 hours",
        ),
        (
            "missing",
            json!({ "vacuum_retention": "1 hour" }),
            K::InvalidOption,
            "168 hours",
        ),
        (
            "there",
            json!({ "lease": "never" }),
            K::InvalidOption,
            "1 hour",
        ),
        (
            "there",
            json!({ "optimize_after_write": true, "z_order_by": ["id"] }),
            K::InvalidOption,
            "z_order_by",
        ),
        (
            "there",
            json!({ "z_order_by": ["nothing"] }),
            K::InvalidOption,
            "nothing",
        ),
        (
            "there",
            overwrite(json!({ "overwrite_partitions": true, "replace_where": "id = 1" })),
            K::InvalidOption,
            "set one of them",
        ),
        (
            "there",
            overwrite(json!({ "replace_where": "id = 1", "schema_evolution": true })),
            K::InvalidOption,
            "another schema",
        ),
        (
            "there",
            overwrite(json!({ "overwrite_partitions": true })),
            K::InvalidOption,
            "not partitioned",
        ),
        (
            "there",
            overwrite(json!({ "replace_where": "nothing = 1" })),
            K::InvalidOption,
            "nothing",
        ),
        (
            "there",
            overwrite(json!({ "replace_where": "id + 1" })),
            K::InvalidOption,
            "neither true nor false",
        ),
        (
            "there",
            overwrite(json!({ "replace_where": "id = 1", "verify": "checksum" })),
            K::Unsupported,
            "verify = counts",
        ),
        (
            "there",
            upsert(json!({ "verify": "checksum" })),
            K::Unsupported,
            "verify = counts",
        ),
        (
            "there",
            json!({ "on_error": "skip" }),
            K::Unsupported,
            "on_error",
        ),
        // What the table has, or has not.
        (
            "there",
            json!({ "mode": "create" }),
            K::TargetExists,
            "exists already",
        ),
        (
            "missing",
            json!({ "create_table": false }),
            K::TargetNotFound,
            "does not exist",
        ),
        (
            "there",
            json!({ "partition_by": ["name"] }),
            K::InvalidOption,
            "not partitioned",
        ),
        (
            "parts",
            json!({ "partition_by": ["id"] }),
            K::InvalidOption,
            "partitioned by name",
        ),
        (
            "missing",
            json!({ "partition_by": ["nothing"] }),
            K::InvalidOption,
            "`nothing`",
        ),
        (
            "missing",
            json!({ "partition_by": ["id", "id"] }),
            K::InvalidOption,
            "twice",
        ),
        (
            "missing",
            json!({ "partition_by": ["id", "name"] }),
            K::InvalidOption,
            "at least one column",
        ),
        ("file", json!({}), K::InvalidOption, "is a file"),
        ("file/below", json!({}), K::InvalidOption, "is a file"),
    ];
    for (target, options, kind, part) in cases {
        let before = dump(folder.path());
        let error = refused(at(target), &rows(0..1), options.clone()).await;
        assert_eq!(error.kind(), kind, "{options}: {error:#}");
        assert!(error.message().contains(part), "{options}: {error}");
        assert_eq!(dump(folder.path()), before, "{options}");
    }

    // Columns that do not fit.
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let text: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    let time: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1]));
    for (target, batch, kind, part) in [
        (
            "there",
            batch([("id", text.clone())]),
            K::SchemaMismatch,
            "`id`",
        ),
        (
            "there",
            batch([("id", ids.clone()), ("more", ids.clone())]),
            K::SchemaMismatch,
            "`more`",
        ),
        (
            "missing",
            batch([("a b", ids.clone())]),
            K::SchemaMismatch,
            "`a b`",
        ),
        (
            "missing",
            batch([("a", ids.clone()), ("A", ids.clone())]),
            K::SchemaMismatch,
            "another case",
        ),
        (
            "missing",
            batch([("at", time)]),
            K::UnsupportedType,
            "nanoseconds = exact",
        ),
    ] {
        let error = refused(at(target), &batch, json!({})).await;
        assert_eq!(error.kind(), kind, "{error:#}");
        assert!(error.message().contains(part), "{error}");
    }
}

fn merged(one: &Value, other: &Value) -> Value {
    let all = [one, other].into_iter().filter_map(Value::as_object);
    Value::Object(all.flat_map(Clone::clone).collect())
}

/// A user who may not write the folder.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_may_not_be_written_is_refused_by_plan_and_load() {
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;
    const FOLDER: &str = "ARROWLOAD_DELTA_READ_ONLY";
    if let Ok(folder) = std::env::var(FOLDER) {
        for target in ["there", "there/below"] {
            let error = refused(Path::new(&folder).join(target), &rows(0..1), json!({})).await;
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:#}");
        }
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    run(folder.path().join("there"), &rows(0..1), json!({}))
        .await
        .expect("it loads");
    let set = |path: &Path, mode: u32| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("set");
    };
    for path in [
        folder.path().join("there/_delta_log"),
        folder.path().join("there"),
        folder.path().to_owned(),
    ] {
        set(&path, 0o555);
    }
    // Root may write everything, and becomes somebody else; another user stays who it is.
    let this = std::env::current_exe().expect("this program");
    let copy = tempfile::tempdir().expect("a folder");
    set(copy.path(), 0o755);
    let program = copy.path().join("it");
    std::fs::hard_link(&this, &program)
        .or_else(|_| std::fs::copy(&this, &program).map(drop))
        .expect("copied");
    let mut command = match rustix::process::geteuid().is_root() {
        true => {
            let mut command = Command::new("setpriv");
            command
                .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
                .arg(&program);
            command
        }
        false => Command::new(&program),
    };
    let name = "contract::a_table_that_may_not_be_written_is_refused_by_plan_and_load";
    let output = command
        .args(["--exact", name])
        .env(FOLDER, folder.path())
        .output();
    for path in [
        folder.path().to_owned(),
        folder.path().join("there"),
        folder.path().join("there/_delta_log"),
    ] {
        set(&path, 0o755);
    }
    let output = output.expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
}
