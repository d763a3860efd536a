//! A load that does not end well leaves everything as it was, and one that is under way is not seen.

use std::time::Duration;

use arrowload_core::{Atomicity, Error, ErrorKind, Mode, load};

use super::{Case, case};
use crate::context::{CaseResult, Context, Verdict, ensure, failing, once, people};

pub(super) const CASES: &[Case] = &[
    case!("a failed load leaves the target as it was", failed),
    case!("a load under way is not seen", unseen),
    case!("a load that is dropped publishes nothing", dropped),
];

/// The modes, each with whether a target is there before.
fn situations(context: &Context<'_>) -> Vec<(Mode, bool)> {
    let modes = context.capabilities().modes.iter();
    modes
        .flat_map(|mode| [(*mode, false), (*mode, true)])
        .filter(|(mode, there)| *mode != Mode::Create || !there)
        .collect()
}

/// A target in one of the situations, with what is in it.
async fn prepare(
    context: &Context<'_>,
    mode: Mode,
    there: bool,
) -> Result<(String, arrowload_core::LoadSpec, Option<Vec<String>>), String> {
    let target = context.target();
    if there {
        context
            .load(&context.spec(&target), &people(0..6, "old"))
            .await?;
    }
    let mut spec = context.spec(&target);
    spec.load.mode = mode;
    spec.load.max_retries = 0;
    spec.load.batch_size = Some(2);
    spec.load.keys = if mode == Mode::Upsert {
        vec!["id".into()]
    } else {
        Vec::new()
    };
    let before = context.rows(&target).await?;
    Ok((target, spec, before))
}

fn batches() -> Vec<arrow_array::RecordBatch> {
    (0..8)
        .map(|index| people(index * 4..index * 4 + 4, "new"))
        .collect()
}

async fn failed(context: &Context<'_>) -> CaseResult {
    if context.capabilities().atomicity == Atomicity::Row {
        return Ok(Verdict::NotDeclared);
    }
    for (mode, there) in situations(context) {
        let (target, spec, before) = prepare(context, mode, there).await?;
        let loader = context.connect().await?;
        let broken = Error::new(ErrorKind::Query, "the source broke");
        let outcome = load(&loader, &spec, &failing(batches(), Some(broken))).await;
        ensure!(
            outcome
                .as_ref()
                .is_err_and(|error| error.kind() == ErrorKind::Query),
            "{mode}: the source's error is lost: {outcome:?}"
        );
        let after = context.rows(&target).await?;
        ensure!(
            after == before,
            "{mode} (target there: {there}): after a failed load readers see {after:?}"
        );
    }
    Ok(Verdict::Passed)
}

async fn unseen(context: &Context<'_>) -> CaseResult {
    if context.capabilities().atomicity == Atomicity::Row {
        return Ok(Verdict::NotDeclared);
    }
    for (mode, there) in situations(context) {
        let (target, spec, before) = prepare(context, mode, there).await?;
        let loader = context.connect().await?;
        let endless = failing(batches(), None);
        let running = load(&loader, &spec, &endless);
        let seen = watch(context, &target);
        tokio::select! {
            outcome = running => return Err(format!("{mode}: it ended without its source: {outcome:?}")),
            seen = seen => {
                let seen = seen?;
                ensure!(seen.iter().all(|rows| *rows == before), "{mode} (target there: {there}): readers see a load that is under way");
            }
        }
        let after = context.rows(&target).await?;
        ensure!(
            after == before,
            "{mode} (target there: {there}): readers see a load that was dropped"
        );
    }
    Ok(Verdict::Passed)
}

/// What readers see, several times while a load has written all it was given.
async fn watch(context: &Context<'_>, target: &str) -> Result<Vec<Option<Vec<String>>>, String> {
    let mut seen = Vec::new();
    for pause in [5, 50, 100] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        seen.push(context.rows(target).await?);
    }
    Ok(seen)
}

async fn dropped(context: &Context<'_>) -> CaseResult {
    if context.capabilities().atomicity == Atomicity::Row {
        return Ok(Verdict::NotDeclared);
    }
    let loader = context.connect().await?;
    let target = context.target();
    for pause in [0, 1, 3, 10, 30] {
        let mut spec = context.spec(&target);
        spec.load.batch_size = Some(2);
        let endless = failing(batches(), None);
        let cut =
            tokio::time::timeout(Duration::from_millis(pause), load(&loader, &spec, &endless))
                .await;
        ensure!(cut.is_err(), "it ended without its source");
        ensure!(
            context.rows(&target).await?.is_none(),
            "after {pause} ms it was dropped, and readers see a target"
        );
    }
    let batch = people(0..3, "a");
    let report = load(&loader, &context.spec(&target), &once(&batch)).await;
    report
        .map_err(|error| format!("the loader is not usable after a load was dropped: {error:#}"))?;
    context.expect(&target, &[&batch]).await?;
    Ok(Verdict::Passed)
}
