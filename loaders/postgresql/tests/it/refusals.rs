//! What a load is refused for before its first row, its plan is refused for in the same words; and neither changes anything.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrowload_core::{ErrorKind, Loader, load, plan_load};
use serde_json::{Value, json};

use crate::server::database;
use crate::support::{batch, descriptor, input, people, with};

/// Tables that have something against a load, and users who may do this or that.
const SETUP: &str = r#"
    CREATE TABLE t (id bigint, name text); CREATE TABLE keyed (id bigint PRIMARY KEY, name text);
    CREATE TABLE strict (id bigint, name text, must bigint NOT NULL);
    CREATE TABLE made (id bigint GENERATED ALWAYS AS IDENTITY, name text);
    CREATE TABLE other_type (id boolean, name money);
    CREATE TABLE parent (id bigint PRIMARY KEY, name text); CREATE TABLE child (p bigint REFERENCES parent ON DELETE CASCADE);
    CREATE TABLE plain_parent (id bigint PRIMARY KEY); CREATE TABLE plain_child (p bigint REFERENCES plain_parent);
    CREATE VIEW v AS SELECT * FROM t; CREATE MATERIALIZED VIEW m AS SELECT * FROM t; CREATE SEQUENCE s; CREATE INDEX i ON t (id);
    CREATE SCHEMA odd; CREATE TABLE odd.arrowload_loads (a int); CREATE TABLE odd.t (id bigint, name text);
    CREATE SCHEMA closed; GRANT USAGE ON SCHEMA closed TO PUBLIC; CREATE TABLE closed.t (id bigint, name text);
    GRANT ALL ON closed.t TO PUBLIC;
    REVOKE TEMPORARY ON DATABASE arrowload_test_refusals FROM PUBLIC; GRANT ALL ON SCHEMA public TO PUBLIC;
    CREATE TABLE no_insert (id bigint, name text); GRANT SELECT, DELETE, UPDATE ON no_insert TO PUBLIC;
    CREATE TABLE inserts (id bigint PRIMARY KEY, name text); GRANT INSERT ON inserts TO PUBLIC;
    CREATE TABLE guarded (id bigint, name text); GRANT ALL ON guarded TO PUBLIC;
    ALTER TABLE guarded ENABLE ROW LEVEL SECURITY; CREATE POLICY every ON guarded USING (true);
    CREATE TABLE shared (id bigint, name text); GRANT ALL ON shared TO PUBLIC;
    CREATE TABLE all_keys (id bigint PRIMARY KEY, name text); GRANT ALL ON all_keys TO PUBLIC;
    CREATE TABLE deletes (id bigint, name text); GRANT INSERT, DELETE ON deletes TO PUBLIC;
    CREATE TABLE keeps (id bigint, name text); GRANT INSERT, DELETE ON keeps TO PUBLIC;
    CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
    CREATE TRIGGER keep BEFORE DELETE ON keeps FOR EACH ROW EXECUTE FUNCTION nothing();
    CREATE TABLE ruled (id bigint, name text); CREATE RULE keep AS ON DELETE TO ruled DO INSTEAD NOTHING;
    CREATE TABLE rows (id bigint, name text); INSERT INTO rows VALUES (1, 'a'), (2, 'b');
    CREATE TABLE referred (id bigint PRIMARY KEY, name text); CREATE TABLE refers (p bigint REFERENCES referred);
    INSERT INTO referred VALUES (1, 'a');
    DROP ROLE IF EXISTS arrowload_refused; CREATE ROLE arrowload_refused LOGIN"#;

/// A target, options, and what the refusal says.
type Refused = (&'static str, Value, ErrorKind, &'static str);

fn for_anybody() -> Vec<Refused> {
    use ErrorKind as K;
    let upsert = |more: Value| {
        let mut options = json!({ "mode": "upsert", "keys": ["id"] });
        let more = more.as_object().expect("an object").clone();
        options.as_object_mut().expect("an object").extend(more);
        options
    };
    vec![
        ("a.b.c", json!({}), K::InvalidOption, "is no table"),
        (
            "pg_catalog.t",
            json!({}),
            K::InvalidOption,
            "the server's own",
        ),
        (
            "arrowload_loads",
            json!({}),
            K::InvalidOption,
            "records what has been loaded",
        ),
        (
            "no_schema.t",
            json!({}),
            K::NotFound,
            "there is no schema `no_schema`",
        ),
        (
            "odd.t",
            json!({}),
            K::SchemaMismatch,
            "is not the table that records loads",
        ),
        ("v", json!({}), K::Unsupported, "is a view"),
        ("m", json!({}), K::Unsupported, "is a materialized view"),
        ("s", json!({}), K::Unsupported, "is a sequence"),
        ("i", json!({}), K::Unsupported, "is an index"),
        (
            "t",
            json!({ "mode": "create" }),
            K::TargetExists,
            "exists already",
        ),
        (
            "new",
            json!({ "create_table": false }),
            K::TargetNotFound,
            "does not exist",
        ),
        (
            "t",
            json!({ "on_conflict": "ignore" }),
            K::InvalidOption,
            "an option of mode upsert",
        ),
        (
            "t",
            json!({ "update_columns": ["name"] }),
            K::InvalidOption,
            "an option of mode upsert",
        ),
        (
            "keyed",
            upsert(json!({ "on_conflict": "ignore", "update_columns": ["name"] })),
            K::InvalidOption,
            "set one of them",
        ),
        (
            "keyed",
            upsert(json!({ "update_columns": ["id"] })),
            K::InvalidOption,
            "a key",
        ),
        (
            "keyed",
            upsert(json!({ "update_columns": ["x"] })),
            K::InvalidOption,
            "no column",
        ),
        (
            "t",
            upsert(json!({})),
            K::SchemaMismatch,
            "CREATE UNIQUE INDEX ON",
        ),
        (
            "keyed",
            upsert(json!({ "keys": ["x"] })),
            K::InvalidOption,
            "x",
        ),
        (
            "t",
            json!({ "keys": ["id"] }),
            K::InvalidOption,
            "`keys` are for mode upsert",
        ),
        (
            "t",
            json!({ "column_map": { "x": "y" } }),
            K::InvalidOption,
            "column_map names `x`",
        ),
        (
            "t",
            json!({ "column_map": { "id": "xmin" } }),
            K::InvalidOption,
            "a system column",
        ),
        (
            "t",
            json!({ "column_map": { "id": "name" } }),
            K::InvalidOption,
            "two columns would be named",
        ),
        (
            "t",
            json!({ "column_map": { "id": "" } }),
            K::InvalidOption,
            "is empty",
        ),
        (
            "t",
            json!({ "column_map": { "id": "a" } }),
            K::SchemaMismatch,
            "has no column `a`",
        ),
        (
            "strict",
            json!({}),
            K::SchemaMismatch,
            "has no column `must`",
        ),
        (
            "made",
            json!({}),
            K::UnsupportedType,
            "GENERATED ALWAYS AS IDENTITY",
        ),
        ("other_type", json!({}), K::UnsupportedType, "column `name`"),
        (
            "parent",
            json!({ "mode": "overwrite" }),
            K::Unsupported,
            "does more than check",
        ),
        (
            "plain_parent",
            json!({ "mode": "overwrite", "schema_evolution": true }),
            K::Unsupported,
            "cannot change the columns",
        ),
        (
            "new",
            json!({ "freeze": true, "parallelism": 3 }),
            K::InvalidOption,
            "freeze",
        ),
        (
            "ruled",
            json!({ "mode": "overwrite" }),
            K::Unsupported,
            "its rule `keep` does something else instead",
        ),
        (
            "rows",
            json!({ "mode": "overwrite", "max_deletes": 1 }),
            K::LimitExceeded,
            "would delete 2 of 2 rows",
        ),
        (
            "referred",
            json!({ "mode": "overwrite", "max_deletes": "50%" }),
            K::LimitExceeded,
            "would delete 1 of 1 rows",
        ),
    ]
}

fn for_a_user() -> Vec<Refused> {
    use ErrorKind::PermissionDenied as K;
    let skip = json!({ "verify": "checksum", "on_error": "skip" });
    vec![
        ("no_insert", json!({}), K, "GRANT INSERT ON"),
        (
            "inserts",
            json!({ "mode": "overwrite" }),
            K,
            "GRANT DELETE ON",
        ),
        (
            "inserts",
            json!({ "mode": "upsert", "keys": ["id"] }),
            K,
            "GRANT UPDATE ON",
        ),
        (
            "inserts",
            json!({ "verify": "checksum" }),
            K,
            "GRANT SELECT ON",
        ),
        (
            "keeps",
            json!({ "mode": "overwrite" }),
            K,
            "GRANT SELECT ON",
        ),
        (
            "deletes",
            json!({ "mode": "overwrite", "max_deletes": 1 }),
            K,
            "GRANT SELECT ON",
        ),
        (
            "all_keys",
            json!({ "mode": "upsert", "keys": ["id"] }),
            K,
            "GRANT TEMPORARY ON DATABASE",
        ),
        ("inserts", skip, K, "GRANT SELECT ON"),
        ("guarded", json!({}), K, "BYPASSRLS"),
        (
            "closed.new",
            json!({}),
            K,
            "GRANT CREATE ON SCHEMA \"closed\"",
        ),
        (
            "closed.t",
            json!({}),
            K,
            "name another schema with the connection key `ledger_schema`",
        ),
        (
            "shared",
            json!({ "schema_evolution": true, "column_map": { "name": "more" } }),
            K,
            "which only its owner may",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_refused_in_the_words_of_the_load() {
    let Some(database) = database("refusals").await else {
        return;
    };
    database.run(SETUP).await;
    // The ledger of the schema is there, for everybody.
    database
        .load(&with("first", json!({})), &people(0..1, "a"))
        .await;
    database.run("GRANT ALL ON arrowload_loads TO PUBLIC").await;
    let mut settings = database.settings();
    let anybody = Loader::connect(&descriptor(), &settings, 0).await;
    settings.set("user", "arrowload_refused", "the test");
    let user = Loader::connect(&descriptor(), &settings, 0).await;
    let (anybody, user) = (anybody.expect("connected"), user.expect("connected"));
    let folder = tempfile::tempdir().expect("a folder");
    let before = database.dump().await;
    let cases = for_anybody().into_iter().map(|case| (&anybody, case));
    let cases = cases.chain(for_a_user().into_iter().map(|case| (&user, case)));
    for (loader, (target, options, kind, words)) in cases {
        let what = format!("{target} {options}");
        let mut spec = with(target, options);
        spec.load.dead_letters = folder.path().into();
        let rows = input(&[people(0..3, "a")]);
        let planned = match plan_load(loader, &spec, &rows).await {
            Ok(plan) => plan.check(),
            Err(error) => Err(error),
        };
        let planned = planned.expect_err(&what);
        let loaded = load(loader, &spec, &rows).await.expect_err(&what);
        assert_eq!(
            (planned.kind(), planned.message(), planned.code()),
            (loaded.kind(), loaded.message(), loaded.code()),
            "{what}"
        );
        assert!(
            planned.kind() == kind && planned.to_string().contains(words),
            "{what}: {planned:?}"
        );
        assert_eq!(
            loaded.aftermath(),
            Some(arrowload_core::Aftermath::Unchanged),
            "{what}"
        );
    }
    assert_eq!(database.dump().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_would_be_too_wide_is_refused_in_the_words_of_the_load() {
    let Some(database) = database("refusals_wide").await else {
        return;
    };
    let one: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let names: Vec<String> = (0..1_601).map(|index| format!("c{index}")).collect();
    let wide: RecordBatch = batch(
        names
            .iter()
            .map(|name| (name.as_str(), Arc::clone(&one)))
            .collect(),
    );
    let loader = database.loader().await;
    let spec = with("t", json!({}));
    let rows = input(&[wide]);
    let planned = plan_load(&loader, &spec, &rows)
        .await
        .expect_err("too wide");
    let loaded = load(&loader, &spec, &rows).await.expect_err("too wide");
    assert_eq!(planned.message(), loaded.message());
    assert_eq!(planned.kind(), ErrorKind::Unsupported);
}
