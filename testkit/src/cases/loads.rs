//! Loads that are repeated, run side by side, or are tried again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arrowload_core::{BatchStream, Error, ErrorKind, Input, LoadState, Mode, Verify, load};
use futures::stream;

use super::{Case, case};
use crate::context::{CaseResult, Context, Verdict, ensure, many, once, people};

pub(super) const CASES: &[Case] = &[
    case!("repeating a load_id writes nothing", repeated),
    case!("two runs of one load_id at once write once", twins),
    case!(
        "a load that is tried again has no duplicate rows",
        tried_again
    ),
    case!("loads into several targets at once", side_by_side),
    case!("loads into one target at once", into_one),
    case!("checksums agree", checksums),
];

async fn repeated(context: &Context<'_>) -> CaseResult {
    if !context.kept().exactly_once {
        return Ok(Verdict::NotDeclared);
    }
    let (target, batch) = (context.target(), people(0..6, "a"));
    let mut spec = context.spec(&target);
    spec.load.load_id = Some("load / of ünïcode; \"1\"".into());
    let loader = context.connect().await?;
    let before = loader
        .find_load(&target, "load / of ünïcode; \"1\"")
        .await
        .map_err(|error| format!("{error:#}"))?;
    ensure!(
        matches!(before, LoadState::NotCommitted),
        "before the load, find_load says {before:?}"
    );
    let first = context.load(&spec, &batch).await?;
    ensure!(
        !first.already_loaded && first.rows == 6,
        "the first load reports {first:?}"
    );
    for _ in 0..2 {
        // Each run connects again.
        let again = context
            .load(&spec, &batch)
            .await
            .map_err(|why| format!("repeated: {why}"))?;
        ensure!(
            again.already_loaded && again.rows == 6,
            "the repeated load reports {again:?}"
        );
        context
            .expect(&target, &[&batch])
            .await
            .map_err(|why| format!("repeated: {why}"))?;
    }
    if context.appends() {
        let other = people(6..9, "b");
        spec.load.mode = Mode::Append;
        spec.load.load_id = Some("another load".into());
        context.load(&spec, &other).await?;
        context
            .expect(&target, &[&batch, &other])
            .await
            .map_err(|why| format!("another load_id: {why}"))?;
    }
    Ok(Verdict::Passed)
}

async fn twins(context: &Context<'_>) -> CaseResult {
    if !context.kept().exactly_once {
        return Ok(Verdict::NotDeclared);
    }
    for _ in 0..3 {
        let (target, batch) = (context.target(), people(0..60, "a"));
        let mut spec = context.spec(&target);
        spec.load.load_id = Some("twins".into());
        spec.load.batch_size = Some(7);
        let (one, two) = (context.connect().await?, context.connect().await?);
        let (first, second) = (once(&batch), once(&batch));
        let outcomes = tokio::join!(load(&one, &spec, &first), load(&two, &spec, &second));
        let outcomes = [outcomes.0, outcomes.1];
        ensure!(
            outcomes.iter().any(Result::is_ok),
            "both failed: {outcomes:?}"
        );
        let odd = outcomes.iter().find(|outcome| {
            outcome.as_ref().is_err_and(|error| {
                error.kind() != ErrorKind::Conflict && error.kind() != ErrorKind::TargetExists
            })
        });
        ensure!(
            odd.is_none(),
            "one failed with something other than a conflict: {odd:?}"
        );
        context.expect(&target, &[&batch]).await?;
    }
    Ok(Verdict::Passed)
}

async fn tried_again(context: &Context<'_>) -> CaseResult {
    for mode in context.modes() {
        let (target, batch) = (context.target(), people(0..40, "a"));
        let mut spec = context.spec(&target);
        spec.load.mode = mode;
        spec.load.batch_size = Some(5);
        spec.load.keys = if mode == Mode::Upsert {
            vec!["id".into()]
        } else {
            Vec::new()
        };
        let runs = Arc::new(AtomicU32::new(0));
        let (counter, rows) = (Arc::clone(&runs), batch.clone());
        let input = Input::repeatable(move |_| {
            let breaks = counter.fetch_add(1, Ordering::Relaxed) < 2;
            let reset = || Err(Error::new(ErrorKind::Connection, "reset by peer").transient());
            let second = if breaks {
                reset()
            } else {
                Ok(rows.slice(20, 20))
            };
            let batches = stream::iter([Ok(rows.slice(0, 20)), second]);
            let stream = BatchStream::new(rows.schema(), batches);
            Box::pin(async move { Ok(stream) })
        });
        let loader = context.connect().await?;
        match load(&loader, &spec, &input).await {
            Ok(report) => {
                ensure!(
                    report.retries == 2 && report.rows == 40,
                    "{mode} reports {report:?}"
                );
                context
                    .expect(&target, &[&batch])
                    .await
                    .map_err(|why| format!("{mode}: {why}"))?;
            }
            // A store that could keep part of the first run is not written to again.
            Err(error) => ensure!(
                runs.load(Ordering::Relaxed) == 1 && error.kind() == ErrorKind::Connection,
                "{mode}: {error:#}"
            ),
        }
    }
    Ok(Verdict::Passed)
}

async fn side_by_side(context: &Context<'_>) -> CaseResult {
    let loader = context.connect().await?;
    let targets: Vec<String> = (0..6).map(|_| context.target()).collect();
    let run = async |index: usize, target: &String| {
        let batch = people(index as i64 * 10..index as i64 * 10 + 5, "a");
        load(&loader, &context.spec(target), &once(&batch))
            .await
            .map_err(|error| format!("{target}: {error:#}"))?;
        context.expect(target, &[&batch]).await
    };
    let runs = targets
        .iter()
        .enumerate()
        .map(|(index, target)| run(index, target));
    futures::future::try_join_all(runs).await?;
    Ok(Verdict::Passed)
}

async fn into_one(context: &Context<'_>) -> CaseResult {
    if !context.appends() {
        return Ok(Verdict::NotDeclared);
    }
    let (loader, target) = (context.connect().await?, context.target());
    let first = people(0..3, "a");
    context.load(&context.spec(&target), &first).await?;
    let batches: Vec<_> = (1..7)
        .map(|index| people(index * 10..index * 10 + 5, "a"))
        .collect();
    let run = async |batch| load(&loader, &context.spec(&target), &once(batch)).await;
    let outcomes = futures::future::join_all(batches.iter().map(run)).await;
    let mut expected = vec![&first];
    for (outcome, batch) in outcomes.into_iter().zip(&batches) {
        match outcome {
            Ok(_) => expected.push(batch),
            Err(error) if error.kind() == ErrorKind::Conflict => {}
            Err(error) => return Err(format!("{error:#}")),
        }
    }
    ensure!(expected.len() > 1, "all loads but the first failed");
    context.expect(&target, &expected).await?;
    Ok(Verdict::Passed)
}

async fn checksums(context: &Context<'_>) -> CaseResult {
    if !context.kept().checksum {
        return Ok(Verdict::NotDeclared);
    }
    let (target, loader) = (context.target(), context.connect().await?);
    let batches = vec![people(0..5, "a"), people(5..90, "b")];
    let mut spec = context.spec(&target);
    spec.load.verify = Verify::Checksum;
    let report = load(&loader, &spec, &many(batches[0].schema(), batches.clone()))
        .await
        .map_err(|error| format!("{error:#}"))?;
    let columns = report.checksums.ok_or("the report has no checksums")?;
    ensure!(
        columns.len() == 2 && columns[0].values == 90,
        "the checksums are {columns:?}"
    );
    context
        .expect(&target, &batches.iter().collect::<Vec<_>>())
        .await?;
    Ok(Verdict::Passed)
}
