//! The truth table: each mode on a target that is missing, has the same columns, or others.

use arrow_array::RecordBatch;
use arrowload_core::{ErrorKind, Mode};

use super::{Case, case};
use crate::context::{CaseResult, Context, Verdict, ensure, people, spec_of, table};

pub(super) const CASES: &[Case] = &[
    case!("each mode makes a missing target", missing),
    case!(
        "each mode without create_table refuses a missing target",
        missing_not_created
    ),
    case!("create refuses a target that is there", create_refuses),
    case!("append adds rows", append),
    case!("overwrite replaces all rows", overwrite),
    case!("columns are matched by name", by_name),
    case!("a new column needs schema_evolution", new_column),
    case!("a column of another type is refused", other_type),
];

async fn missing(context: &Context<'_>) -> CaseResult {
    ensure!(
        context.declared().create_target,
        "it cannot create targets, which the suite needs"
    );
    for mode in context.modes() {
        let (target, batch) = (context.target(), people(0..7, "a"));
        let report = context
            .load(&spec_of(&target, mode), &batch)
            .await
            .map_err(|why| format!("{mode}: {why}"))?;
        ensure!(
            (report.rows, report.rows_read, report.mode) == (7, 7, mode),
            "{mode} reports {report:?}"
        );
        context
            .expect(&target, &[&batch])
            .await
            .map_err(|why| format!("{mode}: {why}"))?;
    }
    Ok(Verdict::Passed)
}

async fn missing_not_created(context: &Context<'_>) -> CaseResult {
    for mode in meeting(context) {
        let target = context.target();
        let mut spec = spec_of(&target, mode);
        spec.load.create_table = false;
        context
            .refused(&spec, &people(0..3, "a"), &[ErrorKind::TargetNotFound])
            .await
            .map_err(|why| format!("{mode}: {why}"))?;
        ensure!(
            context.rows(&target).await?.is_none(),
            "{mode} made the target"
        );
    }
    Ok(Verdict::Passed)
}

async fn filled(context: &Context<'_>, batch: &RecordBatch) -> Result<String, String> {
    filled_for(context, context.filling_mode(), batch).await
}

/// A target with these rows, which a load in this mode meets next.
async fn filled_for(
    context: &Context<'_>,
    mode: Mode,
    batch: &RecordBatch,
) -> Result<String, String> {
    let target = context.target();
    context
        .load(&context.spec_before(mode, &target), batch)
        .await?;
    Ok(target)
}

async fn create_refuses(context: &Context<'_>) -> CaseResult {
    if !context.supports(Mode::Create) {
        return Ok(Verdict::NotDeclared);
    }
    let old = people(0..3, "a");
    let target = filled(context, &old).await?;
    context
        .refused(
            &spec_of(&target, Mode::Create),
            &people(5..9, "b"),
            &[ErrorKind::TargetExists],
        )
        .await?;
    context.expect(&target, &[&old]).await?;
    Ok(Verdict::Passed)
}

async fn append(context: &Context<'_>) -> CaseResult {
    if !context.appends() {
        return Ok(Verdict::NotDeclared);
    }
    let (first, second) = (people(0..3, "a"), people(2..9, "b"));
    let target = filled(context, &first).await?;
    let report = context
        .load(&spec_of(&target, Mode::Append), &second)
        .await?;
    ensure!(report.rows == 7, "it reports {} rows", report.rows);
    context.expect(&target, &[&first, &second]).await?;
    Ok(Verdict::Passed)
}

async fn overwrite(context: &Context<'_>) -> CaseResult {
    if !context.supports(Mode::Overwrite) {
        return Ok(Verdict::NotDeclared);
    }
    let target = filled(context, &people(0..30, "a")).await?;
    for new in [people(5..9, "b"), people(0..0, "c"), people(1..40, "d")] {
        context
            .load(&spec_of(&target, Mode::Overwrite), &new)
            .await?;
        context.expect(&target, &[&new]).await?;
    }
    Ok(Verdict::Passed)
}

/// The modes that meet rows or columns that are there.
fn meeting(context: &Context<'_>) -> Vec<Mode> {
    let modes = context.modes().into_iter();
    modes.filter(|mode| *mode != Mode::Create).collect()
}

async fn by_name(context: &Context<'_>) -> CaseResult {
    for mode in meeting(context) {
        let (old, new) = (people(0..3, "a"), people(10..14, "b"));
        let target = filled_for(context, mode, &old).await?;
        let swapped = new.project(&[1, 0]).map_err(|error| error.to_string())?;
        context
            .load(&spec_of(&target, mode), &swapped)
            .await
            .map_err(|why| format!("{mode}, columns swapped: {why}"))?;
        let ids = table(vec![("id", people(20..22, "").column(0).clone())]);
        let kept = |batch| {
            if mode == Mode::Overwrite {
                Vec::new()
            } else {
                vec![batch]
            }
        };
        context
            .expect(&target, &[kept(&old), vec![&new]].concat())
            .await
            .map_err(|why| format!("{mode}: {why}"))?;
        context
            .load(&spec_of(&target, mode), &ids)
            .await
            .map_err(|why| format!("{mode}, a column missing: {why}"))?;
        let nulls = arrow_array::new_null_array(&arrow_schema::DataType::Utf8, 2);
        let ids = table(vec![("id", ids.column(0).clone()), ("name", nulls)]);
        context
            .expect(&target, &[kept(&old), kept(&new), vec![&ids]].concat())
            .await
            .map_err(|why| format!("{mode}, a column missing: {why}"))?;
    }
    Ok(Verdict::Passed)
}

async fn new_column(context: &Context<'_>) -> CaseResult {
    let evolves = context.declared().schema_evolution;
    for mode in meeting(context) {
        let old = people(0..3, "a");
        let target = filled_for(context, mode, &old).await?;
        let wide = |batch: &RecordBatch, extra: arrow_array::ArrayRef| {
            table(vec![
                ("id", batch.column(0).clone()),
                ("name", batch.column(1).clone()),
                ("extra", extra),
            ])
        };
        let new = people(10..13, "b");
        let new = wide(&new, new.column(0).clone());
        let mut spec = spec_of(&target, mode);
        let error = context
            .refused(&spec, &new, &[ErrorKind::SchemaMismatch])
            .await
            .map_err(|why| format!("{mode}: {why}"))?;
        ensure!(
            error.to_string().contains("extra"),
            "{mode}: the error does not name the column: {error}"
        );
        context
            .expect(&target, &[&old])
            .await
            .map_err(|why| format!("{mode}, after a refusal: {why}"))?;
        if !evolves {
            continue;
        }
        spec.load.schema_evolution = true;
        context
            .load(&spec, &new)
            .await
            .map_err(|why| format!("{mode} with schema_evolution: {why}"))?;
        let old = wide(
            &old,
            arrow_array::new_null_array(&arrow_schema::DataType::Int64, 3),
        );
        let expected = if mode == Mode::Overwrite {
            vec![&new]
        } else {
            vec![&old, &new]
        };
        context
            .expect(&target, &expected)
            .await
            .map_err(|why| format!("{mode} with schema_evolution: {why}"))?;
    }
    Ok(if evolves {
        Verdict::Passed
    } else {
        Verdict::NotDeclared
    })
}

async fn other_type(context: &Context<'_>) -> CaseResult {
    for mode in meeting(context) {
        let old = people(0..3, "a");
        let target = filled_for(context, mode, &old).await?;
        let text: arrow_array::ArrayRef =
            std::sync::Arc::new(arrow_array::StringArray::from(vec!["not a number"]));
        let new = table(vec![
            ("id", text),
            ("name", people(0..1, "b").column(1).clone()),
        ]);
        let error = context
            .refused(
                &spec_of(&target, mode),
                &new,
                &[ErrorKind::SchemaMismatch, ErrorKind::UnsupportedType],
            )
            .await;
        let error = error.map_err(|why| format!("{mode}: {why}"))?;
        ensure!(
            error.to_string().contains("id"),
            "{mode}: the error does not name the column: {error}"
        );
        context
            .expect(&target, &[&old])
            .await
            .map_err(|why| format!("{mode}, after a refusal: {why}"))?;
    }
    Ok(Verdict::Passed)
}
