//! What was resolved is what is begun: by the contract's own calls, with something that happens in between. And what a target says
//! of its columns.

use std::sync::Arc;

use arrow_schema::{DataType, TimeUnit};
use arrowload_core::{
    Begun, DataLoader, Error, ErrorKind, LoadRequest, LoadSession, Mode, Rejects, Result,
};
use arrowload_postgresql::{PostgresqlLoader, PostgresqlOptions, PostgresqlTarget};
use serde_json::Value;

use crate::server::{Database, database};
use crate::support::people;

type Request = LoadRequest<PostgresqlOptions>;

impl Database {
    /// The loader as its author calls it, for this user.
    async fn typed_loader(&self, user: Option<&str>) -> PostgresqlLoader {
        let mut keys = PostgresqlLoader::config_from_url(&self.url).expect("a URL");
        if let Some(user) = user {
            keys.insert("user".into(), user.into());
        }
        let config = serde_json::from_value(Value::Object(keys)).expect("a configuration");
        PostgresqlLoader::connect(config).await.expect("connected")
    }
}

fn request(mode: Mode) -> Request {
    let schema = people(0..1, "").schema();
    let mut request = LoadRequest::new("a load", "t", schema, PostgresqlOptions::default());
    request.load.mode = mode;
    if mode == Mode::Upsert {
        request.load.keys = vec!["id".into()];
    }
    request
}

/// Begins, and gives up at once.
async fn begin(
    loader: &PostgresqlLoader,
    request: Request,
    target: PostgresqlTarget,
) -> Result<()> {
    match loader.begin(request, target, Rejects::none()).await? {
        Begun::Session(session) => session.abort().await,
        Begun::AlreadyLoaded(receipt) => Err(Error::new(
            ErrorKind::Unexpected,
            format!("it is loaded: {receipt:?}"),
        )),
    }
}

const TABLE: &str = "CREATE TABLE t (id bigint PRIMARY KEY, name text); INSERT INTO t SELECT i, 'old' FROM generate_series(1, 50) AS i";

/// What changes a target, and whether a load that has been decided must be decided again.
const CHANGES: [(&str, &str, bool); 17] = [
    ("another column", "ALTER TABLE t ADD COLUMN extra int", true),
    ("a column less", "ALTER TABLE t DROP COLUMN name", true),
    (
        "another type",
        "ALTER TABLE t ALTER name TYPE varchar(9)",
        true,
    ),
    ("not null", "ALTER TABLE t ALTER name SET NOT NULL", true),
    (
        "a default",
        "ALTER TABLE t ALTER name SET DEFAULT 'x'",
        true,
    ),
    ("another name", "ALTER TABLE t RENAME name TO called", true),
    ("an index", "CREATE UNIQUE INDEX ON t (name, id)", true),
    ("no index", "ALTER TABLE t DROP CONSTRAINT t_pkey", true),
    (
        "a reference",
        "CREATE TABLE r (t bigint REFERENCES t)",
        true,
    ),
    (
        "a rule",
        "CREATE RULE keep AS ON DELETE TO t DO INSTEAD NOTHING",
        true,
    ),
    ("dropped", "DROP TABLE t", true),
    (
        "another table",
        "DROP TABLE t; CREATE TABLE t (id bigint PRIMARY KEY, name text); GRANT ALL ON t TO arrowload_resolver",
        true,
    ),
    (
        "a privilege",
        "REVOKE SELECT ON t FROM arrowload_resolver",
        true,
    ),
    (
        "rows",
        "INSERT INTO t SELECT i, 'new' FROM generate_series(51, 999) AS i",
        false,
    ),
    ("statistics", "ANALYZE t", false),
    ("storage", "ALTER TABLE t SET (fillfactor = 50)", false),
    ("a comment", "COMMENT ON TABLE t IS 'seen'", false),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_has_changed_since_is_a_conflict() {
    let Some(database) = database("resolved").await else {
        return;
    };
    database
        .run("DROP ROLE IF EXISTS arrowload_resolver; CREATE ROLE arrowload_resolver LOGIN; GRANT ALL ON SCHEMA public TO arrowload_resolver")
        .await;
    let loader = database.typed_loader(Some("arrowload_resolver")).await;
    // So that the ledger is there, whoever begins first.
    let first = request(Mode::Append);
    database.run(TABLE).await;
    database.run("GRANT ALL ON t TO arrowload_resolver").await;
    let target = loader.resolve(&first).await.expect("resolved");
    begin(&loader, first, target).await.expect("begun");
    for mode in [Mode::Append, Mode::Overwrite, Mode::Upsert] {
        for (what, change, decides) in CHANGES {
            let table =
                format!("DROP TABLE IF EXISTS r, t; {TABLE}; GRANT ALL ON t TO arrowload_resolver");
            database.run(&table).await;
            let request = request(mode);
            let target = loader.resolve(&request).await.expect(what);
            database.run(change).await;
            let outcome = begin(&loader, request, target).await;
            match outcome {
                Ok(()) => assert!(!decides, "{mode}: {what} was not noticed"),
                Err(error) => assert!(
                    decides && error.kind() == ErrorKind::Conflict && error.is_transient(),
                    "{mode}: {what}: {error:?}"
                ),
            }
        }
        // And one that is created meanwhile.
        if mode != Mode::Upsert {
            database.run("DROP TABLE IF EXISTS r, t").await;
            let request = request(mode);
            let target = loader.resolve(&request).await.expect("resolved");
            database.run(TABLE).await;
            let error = begin(&loader, request, target).await.expect_err("created");
            assert!(error.kind() == ErrorKind::Conflict && error.is_transient());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_commits_meanwhile_is_found_when_it_begins() {
    let Some(database) = database("resolved_loaded").await else {
        return;
    };
    database.run(TABLE).await;
    let loader = database.typed_loader(None).await;
    let resolved = loader.resolve(&request(Mode::Append)).await;
    let (one, two) = (
        resolved.expect("resolved"),
        loader.resolve(&request(Mode::Append)).await,
    );
    let begun = loader
        .begin(request(Mode::Append), one, Rejects::none())
        .await;
    let Ok(Begun::Session(mut session)) = begun else {
        panic!("{begun:?}")
    };
    session
        .write(&people(100..103, "new"))
        .await
        .expect("written");
    assert_eq!(session.prepare().await.expect("prepared").rows, 3);
    session.commit().await.expect("committed");
    let two = two.expect("resolved");
    let begun = loader
        .begin(request(Mode::Append), two, Rejects::none())
        .await;
    assert!(
        matches!(&begun, Ok(Begun::AlreadyLoaded(receipt)) if receipt.rows == 3),
        "{begun:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_described_by_the_types_that_they_hold() {
    let Some(database) = database("described").await else {
        return;
    };
    let micros = TimeUnit::Microsecond;
    let columns = [
        ("boolean", Some(DataType::Boolean)),
        ("smallint", Some(DataType::Int16)),
        ("integer", Some(DataType::Int32)),
        ("bigint", Some(DataType::Int64)),
        ("real", Some(DataType::Float32)),
        ("double precision", Some(DataType::Float64)),
        ("numeric(10,2)", Some(DataType::Decimal128(10, 2))),
        ("numeric(60,5)", Some(DataType::Decimal256(60, 5))),
        ("numeric", None),
        ("text", Some(DataType::Utf8)),
        ("character varying(3)", Some(DataType::Utf8)),
        ("bytea", Some(DataType::Binary)),
        ("date", Some(DataType::Date32)),
        ("time without time zone", Some(DataType::Time64(micros))),
        (
            "timestamp without time zone",
            Some(DataType::Timestamp(micros, None)),
        ),
        (
            "timestamp with time zone",
            Some(DataType::Timestamp(micros, Some(Arc::from("UTC")))),
        ),
        ("timestamp(3) without time zone", None),
        ("uuid", None),
        ("jsonb", None),
        ("integer[]", None),
        ("mood", Some(DataType::Utf8)),
        ("positive", Some(DataType::Int32)),
        ("inet", None),
        ("point", None),
    ];
    let list: Vec<String> = columns
        .iter()
        .enumerate()
        .map(|(index, (kind, _))| {
            format!(
                "c{index} {kind}{}",
                if index == 3 { " NOT NULL" } else { "" }
            )
        })
        .collect();
    database
        .run("CREATE TYPE mood AS ENUM ('a'); CREATE DOMAIN positive AS integer CHECK (VALUE > 0)")
        .await;
    database
        .run(&format!(
            "CREATE TABLE t ({}); CREATE VIEW v AS SELECT 1 AS a",
            list.join(", ")
        ))
        .await;
    let loader = database.loader().await;
    assert_eq!(loader.describe("missing").await.expect("asked"), None);
    assert_eq!(loader.describe("no_schema.t").await.expect("asked"), None);
    let error = loader.describe("v").await.expect_err("a view");
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    let described = loader
        .describe("t")
        .await
        .expect("asked")
        .expect("it is there");
    assert_eq!(described.columns.len(), columns.len());
    for (index, (column, (kind, data_type))) in described.columns.iter().zip(columns).enumerate() {
        assert_eq!(column.name, format!("c{index}"));
        assert_eq!(column.target_type, kind);
        assert_eq!(column.data_type, data_type, "{kind}");
        assert_eq!(column.nullable, index != 3, "{kind}");
    }
}

/// Whether a trigger keeps rows is known when they are deleted: the load begins as its plan has said, and is refused at its
/// first row, or at its end if it has none.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_trigger_keeps_refuse_the_first_row() {
    let Some(database) = database("kept_by_a_trigger").await else {
        return;
    };
    database
        .run(&format!(
            "{TABLE}; CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
             CREATE TRIGGER keep BEFORE DELETE ON t FOR EACH ROW WHEN (OLD.id < 5) EXECUTE FUNCTION nothing()"
        ))
        .await;
    let loader = database.typed_loader(None).await;
    for rows in [1, 0] {
        let overwrite = request(Mode::Overwrite);
        let target = loader.resolve(&overwrite).await.expect("resolved");
        let begun = loader.begin(overwrite, target, Rejects::none()).await;
        let Begun::Session(mut session) = begun.expect("begun") else {
            panic!("it is loaded already");
        };
        let refused = match rows {
            0 => session.prepare().await.map(drop),
            _ => session.write(&people(100..100 + rows, "new")).await,
        };
        let error = refused.expect_err("a mix of old and new rows");
        assert_eq!(error.kind(), ErrorKind::Verification, "{error}");
        let says = "4 old rows of \"public\".\"t\" are still there after they were deleted";
        assert!(error.message().contains(says), "{error}");
        session.abort().await.expect("aborted");
        let there = database.rows("SELECT count(*), max(name) FROM t").await;
        assert_eq!(there, ["50|old"]);
    }
}

/// A column that has nothing but nulls, as of a CSV file, fits wherever nulls may be, in plan and load alike.
#[tokio::test(flavor = "multi_thread")]
async fn a_column_of_nulls_is_planned_and_loaded() {
    let Some(database) = database("nulls").await else {
        return;
    };
    database
        .run("CREATE TABLE old (id bigint, name text); CREATE TABLE strict (id bigint, name text NOT NULL)")
        .await;
    let loader = database.loader().await;
    let nulls: arrow_array::ArrayRef = Arc::new(arrow_array::NullArray::new(1));
    let id = Arc::clone(people(0..1, "").column(0));
    let rows = crate::support::batch(vec![("id", id), ("name", nulls)]);
    for (target, mode) in [
        ("new", Mode::Create),
        ("old", Mode::Append),
        ("old", Mode::Overwrite),
        ("strict", Mode::Append),
    ] {
        let input = crate::support::input(std::slice::from_ref(&rows));
        let spec = crate::support::spec(target, mode);
        let plan = arrowload_core::plan_load(&loader, &spec, &input).await;
        let planned = plan.and_then(|plan| plan.check());
        let loaded = arrowload_core::load(&loader, &spec, &input).await;
        if target == "strict" {
            // Its rows are what is wrong with it.
            planned.expect("a plan");
            let error = loaded.expect_err("a null");
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
            continue;
        }
        planned.expect(target);
        assert_eq!(loaded.expect(target).rows, 1);
        let there = format!("SELECT id, name IS NULL FROM {target}");
        assert_eq!(database.rows(&there).await, ["0|t"], "{target}");
    }
}
