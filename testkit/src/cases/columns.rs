//! Cases for names of columns and targets: whatever characters they have, they arrive or are refused,
//! and nothing else happens.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use arrowload_core::{ErrorKind, load};

use super::{Case, case};
use crate::context::{CaseResult, Context, Verdict, ensure, many, once, people, table};

pub(super) const CASES: &[Case] = &[
    case!("odd column names arrive or are refused", column_names),
    case!("odd target names are targets", target_names),
    case!("a null in a column announced without is refused", not_null),
];

const ODD: [&str; 14] = [
    "select",
    "order",
    "with space",
    "UPPER",
    "quote\"d",
    "o'clock",
    "back`tick",
    "semi;colon",
    "dot.ted",
    "percent%",
    "ünïcode-名",
    "new\nline",
    "x'; DROP TABLE t; --",
    "1digit",
];

async fn column_names(context: &Context<'_>) -> CaseResult {
    let long = "l".repeat(60);
    for name in ODD.into_iter().chain([long.as_str()]) {
        let target = context.target();
        let batch = people(0..4, "a");
        let batch = table(vec![
            ("id", batch.column(0).clone()),
            (name, batch.column(1).clone()),
        ]);
        holds_or_refuses(context, &target, &batch)
            .await
            .map_err(|why| format!("column {name:?}: {why}"))?;
    }
    if context.subject.case_sensitive_columns() {
        let value = |value: i64| -> ArrayRef { Arc::new(Int64Array::from(vec![value])) };
        let batch = table(vec![
            ("id", value(1)),
            ("Name", value(2)),
            ("name", value(3)),
            ("NAME", value(4)),
        ]);
        holds_or_refuses(context, &context.target(), &batch)
            .await
            .map_err(|why| format!("names that differ in case: {why}"))?;
    }
    Ok(Verdict::Passed)
}

async fn holds_or_refuses(
    context: &Context<'_>,
    target: &str,
    batch: &RecordBatch,
) -> Result<(), String> {
    let loader = context.connect().await?;
    match load(&loader, &context.spec(target), &once(batch)).await {
        Ok(_) => context.expect(target, &[batch]).await,
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::SchemaMismatch
                    | ErrorKind::InvalidOption
                    | ErrorKind::Unsupported
                    | ErrorKind::UnsupportedType
            ) =>
        {
            ensure!(
                context.rows(target).await?.is_none(),
                "it was refused, and a target is left behind"
            );
            Ok(())
        }
        Err(error) => Err(format!("{error:#}")),
    }
}

async fn target_names(context: &Context<'_>) -> CaseResult {
    let bystander = context.target();
    let batch = people(0..4, "a");
    context.load(&context.spec(&bystander), &batch).await?;
    for name in context.subject.odd_target_names() {
        let target = context.subject.target(&name);
        context
            .load(&context.spec(&target), &batch)
            .await
            .map_err(|why| format!("target {name:?}: {why}"))?;
        context
            .expect(&target, &[&batch])
            .await
            .map_err(|why| format!("target {name:?}: {why}"))?;
        context
            .expect(&bystander, &[&batch])
            .await
            .map_err(|why| format!("target {name:?} touched another: {why}"))?;
    }
    Ok(Verdict::Passed)
}

async fn not_null(context: &Context<'_>) -> CaseResult {
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
    let announced = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false)]));
    let nullable = table(vec![("id", ids)]);
    let (target, loader) = (context.target(), context.connect().await?);
    let error = load(
        &loader,
        &context.spec(&target),
        &many(announced, vec![nullable]),
    )
    .await
    .err()
    .ok_or("it is taken")?;
    ensure!(
        error.row() == Some(1),
        "the error does not name row 1: {error}"
    );
    ensure!(
        context.rows(&target).await?.is_none(),
        "a target is left behind"
    );
    Ok(Verdict::Passed)
}
