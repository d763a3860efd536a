//! `on_error = skip`: what the store refuses is set aside with its reason, and can be loaded again.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use arrowload_core::{
    CODE, ErrorKind, LoadReport, LoadSpec, Mode, OnError, REASON, ROW, load, read_dead_letters,
};
use futures::TryStreamExt;

use super::{Case, case};
use crate::context::{CaseResult, Context, Verdict, ensure, once, table};

pub(super) const CASES: &[Case] = &[
    case!(
        "rows that are refused are set aside, and can be loaded again",
        set_aside
    ),
    case!(
        "a row that is refused ends a load that does not skip",
        not_set_aside
    ),
    case!("rows with a null key are set aside", null_keys),
    case!("a load that sets rows aside is not repeated", repeated),
];

/// A target whose column `n` holds no nulls, and its rows.
async fn strict_target(context: &Context<'_>) -> Result<(String, RecordBatch), String> {
    let target = context.target();
    let fields = vec![
        Field::new("id", DataType::Int64, true),
        Field::new("n", DataType::Int64, false),
    ];
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![100, 101])),
        Arc::new(Int64Array::from(vec![10, 11])),
    ];
    let first = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .map_err(|error| error.to_string())?;
    context.load(&context.spec(&target), &first).await?;
    Ok((target, first))
}

fn pairs(ids: &[i64], numbers: &[Option<i64>]) -> RecordBatch {
    table(vec![
        ("id", Arc::new(Int64Array::from(ids.to_vec()))),
        ("n", Arc::new(Int64Array::from(numbers.to_vec()))),
    ])
}

fn coming() -> RecordBatch {
    pairs(
        &[0, 1, 2, 3, 4, 5],
        &[Some(1), None, Some(2), None, Some(i64::MIN), None],
    )
}

fn good() -> RecordBatch {
    pairs(&[0, 2, 4], &[Some(1), Some(2), Some(i64::MIN)])
}

fn skipping(context: &Context<'_>, target: &str, folder: &tempfile::TempDir) -> LoadSpec {
    let mut spec = context.spec(target);
    spec.load.mode = Mode::Append;
    spec.load.keys = Vec::new();
    spec.load.batch_size = Some(4);
    spec.load.on_error = OnError::Skip;
    spec.load.dead_letters = folder.path().to_owned();
    spec
}

/// The rows of a report's dead-letter file as they were, with the number that each had in the load.
async fn dead_letters(report: &LoadReport) -> Result<Vec<(u64, RecordBatch)>, String> {
    let path = report
        .dead_letters
        .as_ref()
        .ok_or("the report names no dead-letter file")?;
    let (rows, _) = read_dead_letters(path).map_err(|error| format!("{error:#}"))?;
    let rows: Vec<RecordBatch> = rows
        .try_collect()
        .await
        .map_err(|error| format!("{error:#}"))?;
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let reader =
        arrow_ipc::reader::StreamReader::try_new(file, None).map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    for (rows, raw) in rows.iter().zip(reader) {
        let raw = raw.map_err(|error| error.to_string())?;
        let numbers = raw
            .column_by_name(ROW)
            .ok_or("there are no row numbers")?
            .as_primitive::<UInt64Type>()
            .clone();
        let reasons: &StringArray = raw
            .column_by_name(REASON)
            .ok_or("there are no reasons")?
            .as_string();
        ensure!(
            reasons
                .iter()
                .all(|reason| reason.is_some_and(|reason| !reason.is_empty())),
            "a row has no reason"
        );
        ensure!(
            raw.column_by_name(CODE).is_some(),
            "there is no column of codes"
        );
        found.extend((0..rows.num_rows()).map(|row| (numbers.value(row), rows.slice(row, 1))));
    }
    found.sort_by_key(|(number, _)| *number);
    Ok(found)
}

fn folder() -> Result<tempfile::TempDir, String> {
    tempfile::tempdir().map_err(|error| error.to_string())
}

async fn set_aside(context: &Context<'_>) -> CaseResult {
    if !context.kept().skip_rows || !context.appends() {
        return Ok(Verdict::NotDeclared);
    }
    let ((target, first), folder) = (strict_target(context).await?, folder()?);
    let report = context
        .load(&skipping(context, &target, &folder), &coming())
        .await?;
    if (report.rows, report.rows_rejected) == (6, 0) {
        // A store without such columns: it says so by holding the nulls.
        context.expect(&target, &[&first, &coming()]).await?;
        return Ok(Verdict::NotDeclared);
    }
    ensure!(
        (report.rows, report.rows_rejected) == (3, 3),
        "it reports {} rows and {} set aside, not 3 and 3",
        report.rows,
        report.rows_rejected
    );
    context.expect(&target, &[&first, &good()]).await?;
    let dead = dead_letters(&report).await?;
    let numbers: Vec<u64> = dead.iter().map(|(number, _)| *number).collect();
    ensure!(
        numbers == [1, 3, 5],
        "the rows that were set aside have the numbers {numbers:?}, not 1, 3 and 5"
    );
    for (number, row) in &dead {
        ensure!(
            *row == coming().slice(*number as usize, 1),
            "row {number} was set aside as {row:?}"
        );
    }
    // Where there is room for them they load as any rows do.
    let (elsewhere, loader) = (context.target(), context.connect().await?);
    let path = report
        .dead_letters
        .ok_or("the report names no dead-letter file")?;
    let (rows, origin) = read_dead_letters(&path).map_err(|error| format!("{error:#}"))?;
    ensure!(
        (origin.target.as_str(), origin.load_id.as_str())
            == (target.as_str(), report.load_id.as_str()),
        "its origin is {origin:?}"
    );
    let again = load(
        &loader,
        &context.spec(&elsewhere),
        &arrowload_core::Input::stream(rows),
    )
    .await;
    again.map_err(|error| format!("what was set aside does not load: {error:#}"))?;
    context
        .expect(&elsewhere, &[&pairs(&[1, 3, 5], &[None, None, None])])
        .await?;
    Ok(Verdict::Passed)
}

async fn not_set_aside(context: &Context<'_>) -> CaseResult {
    if !context.appends() || !context.kept().skip_rows {
        return Ok(Verdict::NotDeclared);
    }
    let ((target, first), folder) = (strict_target(context).await?, folder()?);
    let mut spec = skipping(context, &target, &folder);
    spec.load.on_error = OnError::Fail;
    let loader = context.connect().await?;
    let failed = load(&loader, &spec, &once(&coming())).await;
    let rows = context.rows(&target).await?.map_or(0, |rows| rows.len());
    if failed.is_ok() && rows == 8 {
        return Ok(Verdict::NotDeclared);
    }
    let Err(error) = failed else {
        return Err(format!(
            "it loaded {} of 6 rows, and should have refused",
            rows - 2
        ));
    };
    ensure!(
        [ErrorKind::InvalidData, ErrorKind::SchemaMismatch].contains(&error.kind()),
        "it refused with {:?}: {error:#}",
        error.kind()
    );
    ensure!(
        ["`n`", "column: n"]
            .iter()
            .any(|name| error.to_string().contains(name)),
        "the error does not name the column: {error:#}"
    );
    context.expect(&target, &[&first]).await?;
    let left = std::fs::read_dir(folder.path())
        .map_err(|error| error.to_string())?
        .count();
    ensure!(left == 0, "a load that failed left a dead-letter file");
    Ok(Verdict::Passed)
}

async fn null_keys(context: &Context<'_>) -> CaseResult {
    if !context.supports(Mode::Upsert) || !context.keeps(Mode::Upsert).skip_rows {
        return Ok(Verdict::NotDeclared);
    }
    let (target, folder) = (context.target(), folder()?);
    let mut spec = skipping(context, &target, &folder);
    spec.load.mode = Mode::Upsert;
    spec.load.keys = vec!["id".into()];
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(2)]));
    let batch = table(vec![
        ("id", ids),
        ("name", Arc::new(StringArray::from(vec!["a", "b", "c"]))),
    ]);
    let loader = context.connect().await?;
    let report = load(&loader, &spec, &once(&batch))
        .await
        .map_err(|error| format!("the load failed: {error:#}"))?;
    ensure!(
        (report.rows, report.rows_rejected) == (2, 1),
        "it reports {report:?}"
    );
    if let Some(keys) = context.key_counts(&report)? {
        ensure!(
            (keys.inserted, keys.null) == (2, 1),
            "2 rows are new and 1 has a null key, and it reports {keys:?}"
        );
    }
    context
        .expect(&target, &[&batch.slice(0, 1), &batch.slice(2, 1)])
        .await?;
    let dead = dead_letters(&report).await?;
    ensure!(
        dead == [(1, batch.slice(1, 1))],
        "what was set aside is {dead:?}"
    );
    Ok(Verdict::Passed)
}

async fn repeated(context: &Context<'_>) -> CaseResult {
    let kept = context.kept();
    if !kept.skip_rows || !kept.exactly_once || !context.appends() {
        return Ok(Verdict::NotDeclared);
    }
    let ((target, first), folder) = (strict_target(context).await?, folder()?);
    let mut spec = skipping(context, &target, &folder);
    spec.load.load_id = Some("set aside once".into());
    let once = context.load(&spec, &coming()).await?;
    let again = context.load(&spec, &coming()).await?;
    ensure!(again.already_loaded, "the repeated load reports {again:?}");
    let said = |report: &LoadReport| {
        (
            report.rows,
            report.rows_rejected,
            report.dead_letters.clone(),
        )
    };
    ensure!(
        said(&again) == said(&once),
        "the load reports {once:?}, and repeated {again:?}"
    );
    let arrived = if once.rows_rejected == 0 {
        coming()
    } else {
        good()
    };
    context.expect(&target, &[&first, &arrived]).await?;
    Ok(Verdict::Passed)
}
