//! A load that does not end well leaves everything as it was, and one that is in progress is not seen.

use std::time::Duration;

use arrowload_core::{Aftermath, Atomicity, Error, ErrorKind, LoadSpec, Mode, load};

use super::{Case, case};
use crate::context::{CaseResult, Context, Verdict, ensure, failing, once, people, spec_of};

pub(super) const CASES: &[Case] = &[
    case!("a failed load leaves the target as it was", failed),
    case!("a load under way is not seen", unseen),
    case!("a load that is dropped publishes nothing", dropped),
    case!(
        "what a failed load says of its target is what is there",
        said
    ),
];

/// The modes, each with whether a target is there before.
fn situations(context: &Context<'_>) -> Vec<(Mode, bool)> {
    let modes = context.modes().into_iter();
    modes
        .flat_map(|mode| [(mode, false), (mode, true)])
        .filter(|(mode, there)| *mode != Mode::Create || !there)
        .collect()
}

/// The situations in which no reader may see a part of a load.
fn atomic(context: &Context<'_>) -> Vec<(Mode, bool)> {
    let mut situations = situations(context);
    situations.retain(|(mode, _)| context.keeps(*mode).atomicity != Atomicity::Row);
    situations
}

/// A target in one of the situations, with what is in it.
async fn prepare(
    context: &Context<'_>,
    mode: Mode,
    there: bool,
) -> Result<(String, LoadSpec, Option<Vec<String>>), String> {
    let target = context.target();
    if there {
        context
            .load(&context.spec_before(mode, &target), &people(0..6, "old"))
            .await?;
    }
    let mut spec = spec_of(&target, mode);
    spec.load.max_retries = 0;
    spec.load.batch_size = Some(2);
    let before = context.rows(&target).await?;
    Ok((target, spec, before))
}

fn batches() -> Vec<arrow_array::RecordBatch> {
    (0..8)
        .map(|index| people(index * 4..index * 4 + 4, "new"))
        .collect()
}

async fn failed(context: &Context<'_>) -> CaseResult {
    let situations = atomic(context);
    if situations.is_empty() {
        return Ok(Verdict::NotDeclared);
    }
    for (mode, there) in situations {
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
    let situations = atomic(context);
    if situations.is_empty() {
        return Ok(Verdict::NotDeclared);
    }
    for (mode, there) in situations {
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
    if context.kept().atomicity == Atomicity::Row {
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

/// How a load that has written all its rows ends: its source fails, or its future is dropped.
async fn ends(
    context: &Context<'_>,
    spec: &LoadSpec,
    dropped: bool,
) -> Result<Option<Aftermath>, String> {
    let loader = context.connect().await?;
    let rows = (0..8).map(|index| people(1000 + index * 4..1004 + index * 4, "new"));
    if dropped {
        let endless = failing(rows.collect(), None);
        let running = load(&loader, spec, &endless);
        let ended = tokio::time::timeout(Duration::from_millis(150), running).await;
        ensure!(ended.is_err(), "it ended without its source: {ended:?}");
        // What the loader does when it is dropped may take a moment.
        tokio::time::sleep(Duration::from_millis(50)).await;
        return Ok(Some(spec.status.aftermath()));
    }
    let broken = Error::new(ErrorKind::Query, "the source broke");
    match load(&loader, spec, &failing(rows.collect(), Some(broken))).await {
        Ok(report) => Err(format!("the source's error is lost: {report:?}")),
        Err(error) => Ok(error.aftermath()),
    }
}

async fn said(context: &Context<'_>) -> CaseResult {
    for (mode, there) in situations(context) {
        for dropped in [false, true] {
            let (target, spec, before) = prepare(context, mode, there).await?;
            let said = ends(context, &spec, dropped).await?;
            let end = if dropped {
                "it was dropped"
            } else {
                "it failed"
            };
            let at = format!("{mode} (target there: {there}), after {end}");
            let said = said.ok_or_else(|| format!("{at}: the error says nothing of it"))?;
            let after = context.rows(&target).await?;
            let left = match said {
                Aftermath::Unchanged => {
                    ensure!(
                        after == before,
                        "{at}: it says `{said}`, and readers see {after:?}"
                    );
                    continue;
                }
                Aftermath::Changed(left) => left,
                other => return Err(format!("{at}: it says `{other}`")),
            };
            let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
            let gone = before.iter().find(|row| !after.contains(row));
            let new = after.iter().find(|row| !before.contains(row));
            ensure!(
                left.old_rows_gone || gone.is_none(),
                "{at}: it says `{said}`, and {gone:?} is gone"
            );
            ensure!(
                left.new_rows || new.is_none(),
                "{at}: it says `{said}`, and readers see {new:?}"
            );
        }
    }
    Ok(Verdict::Passed)
}
