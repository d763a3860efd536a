//! Upserts: rows with equal keys are replaced, and the last row of the load wins.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrowload_core::{
    ChangeLimit, ErrorKind, KeyCounts, LoadReport, LoadSpec, Mode, NullKeys, load,
};

use super::{Case, case};
use crate::context::{CaseResult, Context, Verdict, ensure, many, once, people, spec_of, table};

pub(super) const CASES: &[Case] = &[
    case!("upsert replaces rows with equal keys", replaces),
    case!("the last row of an upsert wins", last_wins),
    case!("upsert by several keys", composite),
    case!("an upsert keeps the columns that it lacks", lacking),
    case!("an upsert meets equal keys in the target", equal_keys),
    case!("null keys are refused, or match", null_keys),
    case!("keys must be columns", unknown_keys),
    case!("limits on changes refuse a load", limits),
];

fn upsert(context: &Context<'_>, target: &str, keys: &[&str]) -> Option<LoadSpec> {
    let mut spec = context.spec(target);
    spec.load.mode = Mode::Upsert;
    spec.load.keys = keys.iter().map(|key| (*key).to_owned()).collect();
    context.supports(Mode::Upsert).then_some(spec)
}

/// What a load reports of its keys, where the loader counts them: a store that can tell calls some of the updated unchanged.
fn counted(context: &Context<'_>, report: &LoadReport, expected: KeyCounts) -> Result<(), String> {
    let Some(keys) = context.key_counts(report)? else {
        return Ok(());
    };
    let found = KeyCounts {
        updated: keys.updated + keys.unchanged,
        unchanged: 0,
        ..keys
    };
    ensure!(
        found == expected,
        "the rows met {expected:?}, and it reports {keys:?}"
    );
    Ok(())
}

async fn replaces(context: &Context<'_>) -> CaseResult {
    let target = context.target();
    let Some(spec) = upsert(context, &target, &["id"]) else {
        return Ok(Verdict::NotDeclared);
    };
    let first = context.load(&spec, &people(0..10, "a")).await?;
    counted(
        context,
        &first,
        KeyCounts {
            inserted: 10,
            ..KeyCounts::default()
        },
    )?;
    let new = people(5..15, "b");
    let report = context.load(&spec, &new).await?;
    context.expect(&target, &[&people(0..5, "a"), &new]).await?;
    counted(
        context,
        &report,
        KeyCounts {
            inserted: 5,
            updated: 5,
            ..KeyCounts::default()
        },
    )?;
    Ok(Verdict::Passed)
}

async fn last_wins(context: &Context<'_>) -> CaseResult {
    let target = context.target();
    let Some(mut spec) = upsert(context, &target, &["id"]) else {
        return Ok(Verdict::NotDeclared);
    };
    spec.load.batch_size = Some(3);
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 1, 1, 2, 3]));
    let names: ArrayRef = Arc::new(StringArray::from(vec![
        Some("a"),
        Some("b"),
        Some("c"),
        None,
        Some("e"),
        Some("f"),
    ]));
    let rows = table(vec![("id", ids), ("name", names)]);
    let loader = context.connect().await?;
    let batches = vec![rows.slice(0, 2), rows.slice(2, 1), rows.slice(3, 3)];
    let report = load(&loader, &spec, &many(rows.schema(), batches))
        .await
        .map_err(|error| format!("{error:#}"))?;
    context.expect(&target, &[&rows.slice(3, 3)]).await?;
    ensure!(
        report.rows_read == 6,
        "6 rows were read, and it reports {}",
        report.rows_read
    );
    counted(
        context,
        &report,
        KeyCounts {
            inserted: 3,
            duplicate: 3,
            ..KeyCounts::default()
        },
    )?;
    Ok(Verdict::Passed)
}

async fn composite(context: &Context<'_>) -> CaseResult {
    let target = context.target();
    let Some(spec) = upsert(context, &target, &["a", "b"]) else {
        return Ok(Verdict::NotDeclared);
    };
    let rows = |keys: Vec<(i64, &str)>, value: i64| -> RecordBatch {
        let values: ArrayRef = Arc::new(Int64Array::from(vec![value; keys.len()]));
        let (a, b): (Vec<i64>, Vec<&str>) = keys.into_iter().unzip();
        table(vec![
            ("a", Arc::new(Int64Array::from(a))),
            ("b", Arc::new(StringArray::from(b))),
            ("value", values),
        ])
    };
    context
        .load(&spec, &rows(vec![(1, "x"), (1, "y"), (2, "x")], 1))
        .await?;
    let report = context
        .load(&spec, &rows(vec![(1, "y"), (2, "")], 2))
        .await?;
    counted(
        context,
        &report,
        KeyCounts {
            inserted: 1,
            updated: 1,
            ..KeyCounts::default()
        },
    )?;
    context
        .expect(
            &target,
            &[
                &rows(vec![(1, "x"), (2, "x")], 1),
                &rows(vec![(1, "y"), (2, "")], 2),
            ],
        )
        .await?;
    Ok(Verdict::Passed)
}

/// A column that the load lacks keeps its value in existing rows, also where several rows of the load have their key, and is null
/// in new ones.
async fn lacking(context: &Context<'_>) -> CaseResult {
    let target = context.target();
    let Some(spec) = upsert(context, &target, &["id"]) else {
        return Ok(Verdict::NotDeclared);
    };
    let rows = |rows: Vec<(i64, Option<&str>, Option<i64>)>| -> RecordBatch {
        let ids = Int64Array::from_iter_values(rows.iter().map(|row| row.0));
        let names = StringArray::from_iter(rows.iter().map(|row| row.1));
        let sizes = Int64Array::from_iter(rows.iter().map(|row| row.2));
        table(vec![
            ("id", Arc::new(ids) as ArrayRef),
            ("name", Arc::new(names)),
            ("size", Arc::new(sizes)),
        ])
    };
    let old = vec![
        (1, Some("a"), Some(10)),
        (2, None, Some(20)),
        (3, Some("c"), None),
    ];
    context.load(&spec, &rows(old)).await?;
    let new = rows(vec![
        (2, Some("B"), None),
        (3, None, None),
        (4, Some("D"), None),
        (2, Some("b"), None),
    ]);
    let lacking = new.project(&[0, 1]).map_err(|error| error.to_string())?;
    context.load(&spec, &lacking).await?;
    let expected = rows(vec![
        (1, Some("a"), Some(10)),
        (2, Some("b"), Some(20)),
        (3, None, None),
        (4, Some("D"), None),
    ]);
    context.expect(&target, &[&expected]).await?;
    Ok(Verdict::Passed)
}

/// A row of the load replaces all rows of the target that have its key, or the load is refused and the target stays as it was: one of
/// them must never be left beside the new row.
async fn equal_keys(context: &Context<'_>) -> CaseResult {
    let target = context.target();
    let Some(spec) = upsert(context, &target, &["id"]) else {
        return Ok(Verdict::NotDeclared);
    };
    if !context.appends() {
        return Ok(Verdict::NotDeclared);
    }
    let old = people(0..6, "a");
    let adding = spec_of(&target, Mode::Append);
    context.load(&adding, &old).await?;
    let twice = people(2..4, "b");
    let loader = context.connect().await?;
    let added = load(&loader, &adding, &once(&twice)).await;
    let before = context.rows(&target).await?;
    // A target with unique keys has no equal ones.
    if added.is_err() || before.as_ref().is_none_or(|rows| rows.len() != 8) {
        return Ok(Verdict::NotDeclared);
    }
    let new = people(3..7, "c");
    match load(&loader, &spec, &once(&new)).await {
        Ok(_) => {
            let untouched = [&people(0..3, "a"), &people(2..3, "b"), &new];
            context.expect(&target, &untouched).await?;
        }
        Err(error) => {
            let after = context.rows(&target).await?;
            ensure!(
                after == before,
                "it refused ({error:#}), and the target has changed"
            );
        }
    }
    Ok(Verdict::Passed)
}

async fn null_keys(context: &Context<'_>) -> CaseResult {
    let target = context.target();
    let Some(mut spec) = upsert(context, &target, &["id"]) else {
        return Ok(Verdict::NotDeclared);
    };
    let rows = |name: &str| -> RecordBatch {
        let names: ArrayRef = Arc::new(StringArray::from(vec![name, name]));
        table(vec![
            ("id", Arc::new(Int64Array::from(vec![Some(1), None]))),
            ("name", names),
        ])
    };
    let error = context
        .refused(&spec, &rows("a"), &[ErrorKind::NullKey])
        .await?;
    ensure!(
        error.row() == Some(1) && error.get("column") == Some("id"),
        "the error does not name row and column: {error}"
    );
    ensure!(
        context.rows(&target).await?.is_none(),
        "a target is left behind"
    );
    spec.load.null_keys = NullKeys::Match;
    for (name, inserted, updated) in [("a", 2, 0), ("b", 0, 2)] {
        let report = context
            .load(&spec, &rows(name))
            .await
            .map_err(|why| format!("null_keys = match: {why}"))?;
        counted(
            context,
            &report,
            KeyCounts {
                inserted,
                updated,
                null: 1,
                ..KeyCounts::default()
            },
        )?;
    }
    context
        .expect(&target, &[&rows("b")])
        .await
        .map_err(|why| format!("null_keys = match: {why}"))?;
    Ok(Verdict::Passed)
}

async fn unknown_keys(context: &Context<'_>) -> CaseResult {
    let target = context.target();
    let Some(spec) = upsert(context, &target, &["no_such_column"]) else {
        return Ok(Verdict::NotDeclared);
    };
    context
        .refused(&spec, &people(0..3, "a"), &[ErrorKind::InvalidOption])
        .await?;
    let Some(spec) = upsert(context, &target, &[]) else {
        return Ok(Verdict::NotDeclared);
    };
    context
        .refused(&spec, &people(0..3, "a"), &[ErrorKind::InvalidOption])
        .await?;
    ensure!(
        context.rows(&target).await?.is_none(),
        "a target is left behind"
    );
    Ok(Verdict::Passed)
}

async fn limits(context: &Context<'_>) -> CaseResult {
    let target = context.target();
    let old = people(0..10, "a");
    if !context.held().any(|kept| kept.change_limits) {
        let mut spec = context.spec(&target);
        spec.load.max_updates = Some(ChangeLimit::Rows(1));
        context
            .refused(&spec, &old, &[ErrorKind::Unsupported])
            .await?;
        return Ok(Verdict::NotDeclared);
    }
    context.load(&context.spec(&target), &old).await?;
    let counts = |mode| context.supports(mode) && context.keeps(mode).change_limits;
    if let Some(mut spec) = upsert(context, &target, &["id"]).filter(|_| counts(Mode::Upsert)) {
        spec.load.max_updates = Some(ChangeLimit::Percent(20.0));
        context
            .refused(&spec, &people(0..3, "b"), &[ErrorKind::LimitExceeded])
            .await?;
        context.expect(&target, &[&old]).await?;
        let report = context.load(&spec, &people(0..2, "b")).await?;
        counted(
            context,
            &report,
            KeyCounts {
                updated: 2,
                ..KeyCounts::default()
            },
        )?;
        context
            .expect(&target, &[&people(0..2, "b"), &people(2..10, "a")])
            .await?;
    }
    if counts(Mode::Overwrite) {
        let mut spec = context.spec(&target);
        (spec.load.mode, spec.load.max_deletes) = (Mode::Overwrite, Some(ChangeLimit::Rows(9)));
        context
            .refused(&spec, &people(0..1, "c"), &[ErrorKind::LimitExceeded])
            .await?;
    }
    Ok(Verdict::Passed)
}
