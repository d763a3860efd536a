//! Cases for what a plan says before a load: refusals, records, and the columns of a target.

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrowload_core::{
    ErrorKind, LoadSpec, LoadState, Mark, Mode, NullKeys, Result as LoadResult, load, plan_load,
};

use super::{Case, case};
use crate::context::{CaseResult, Context, Verdict, ensure, once, people, spec_of, table};

pub(super) const CASES: &[Case] = &[
    case!(
        "what a load refuses, its plan refuses in the same words",
        refusals
    ),
    case!("an id that was another load is refused", another),
    case!("the definition and the mark are recorded", recorded),
    case!("a target is described by its columns", described),
];

/// Loads that some or all loaders refuse before their first row, into a target that is missing or there.
fn refused(context: &Context<'_>, target: &str) -> Vec<(String, LoadSpec, RecordBatch)> {
    let batch = people(0..3, "a");
    let text: ArrayRef = std::sync::Arc::new(StringArray::from(vec!["x", "y", "z"]));
    let other = table(vec![("id", text), ("name", batch.column(1).clone())]);
    let wide = table(vec![
        ("id", batch.column(0).clone()),
        ("name", batch.column(1).clone()),
        ("extra", batch.column(0).clone()),
    ]);
    let mut loads = Vec::new();
    for mode in context.declared().modes {
        let mut add = |name: &str, rows: &RecordBatch, set: &dyn Fn(&mut LoadSpec)| {
            let mut spec = spec_of(target, *mode);
            spec.load.load_id = Some(format!("refused {mode} {name}"));
            set(&mut spec);
            loads.push((format!("{mode}, {name}"), spec, rows.clone()));
        };
        add("nothing odd", &batch, &|_| {});
        add("other types", &other, &|_| {});
        add("another column", &wide, &|_| {});
        add("no create_table", &batch, &|spec| {
            spec.load.create_table = *mode == Mode::Create
        });
        add("keys that are no columns", &batch, &|spec| {
            spec.load.keys = vec!["no_such_column".into()]
        });
        add("an option that is set twice", &batch, &|spec| {
            spec.load.null_keys = NullKeys::Match;
            spec.load.verify = arrowload_core::Verify::Checksum;
        });
        add("limits", &batch, &|spec| {
            spec.load.max_deletes = Some(arrowload_core::ChangeLimit::Rows(u64::MAX));
        });
        add("set aside", &batch, &|spec| {
            spec.load.on_error = arrowload_core::OnError::Skip;
            spec.load.dead_letters = std::env::temp_dir().join("arrowload-conformance-rejects");
        });
    }
    loads
}

/// What a plan refuses with: the columns that it cannot hold are refused by its check.
async fn plan_of(
    context: &Context<'_>,
    spec: &LoadSpec,
    rows: &RecordBatch,
) -> Result<LoadResult<()>, String> {
    let loader = context.connect().await?;
    Ok(match plan_load(&loader, spec, &once(rows)).await {
        Ok(plan) => plan.check(),
        Err(error) => Err(error),
    })
}

async fn refusals(context: &Context<'_>) -> CaseResult {
    for there in [false, true] {
        let mut loads = refused(context, &context.target());
        if !there {
            let own = context.subject.refusals().into_iter();
            loads.extend(own.map(|refusal| (refusal.name, refusal.spec, refusal.rows)));
        }
        for (name, mut spec, rows) in loads {
            let at = format!("{name} (target there: {there})");
            if there {
                spec.target = context.target();
                context
                    .load(&context.spec(&spec.target), &people(0..3, "a"))
                    .await?;
            } else if name.contains(", ") {
                spec.target = context.target();
            }
            let planned = plan_of(context, &spec, &rows).await?;
            let loader = context.connect().await?;
            let loaded = load(&loader, &spec, &once(&rows)).await;
            match (planned, loaded) {
                (Ok(()), Ok(_)) => {}
                (Err(planned), Err(loaded)) => ensure!(
                    (planned.kind(), planned.message()) == (loaded.kind(), loaded.message()),
                    "{at}: the plan refuses with {:?} `{planned}`, and the load with {:?} `{loaded}`",
                    planned.kind(),
                    loaded.kind()
                ),
                // A row may be refused that no plan has seen.
                (Ok(()), Err(loaded)) if loaded.row().is_some() => {}
                (planned, loaded) => {
                    return Err(format!(
                        "{at}: the plan says {planned:?}, and the load {loaded:?}"
                    ));
                }
            }
        }
    }
    Ok(Verdict::Passed)
}

async fn another(context: &Context<'_>) -> CaseResult {
    if !context.kept().exactly_once {
        return Ok(Verdict::NotDeclared);
    }
    let (target, batch) = (context.target(), people(0..3, "a"));
    let mut spec = context.spec(&target);
    spec.load.load_id = Some("one load".into());
    let input = |text: &str| once(&batch).defined_as(text);
    let loader = context.connect().await?;
    let first = load(&loader, &spec, &input("select 1")).await;
    first.map_err(|error| format!("the load failed: {error:#}"))?;
    spec.load.batch_size = Some(1);
    spec.load.max_retries = 1;
    let again = load(&loader, &spec, &input("select 1")).await;
    ensure!(
        again.as_ref().is_ok_and(|report| report.already_loaded),
        "the same load with another size of batch: {again:?}"
    );
    let planned = plan_load(&loader, &spec, &input("select 2")).await.err();
    let loaded = load(&loader, &spec, &input("select 2")).await.err();
    for (what, error) in [("plan", planned), ("load", loaded)] {
        let refused = error.as_ref().is_some_and(|error| {
            error.kind() == ErrorKind::InvalidOption && error.message().contains("another load")
        });
        ensure!(
            refused,
            "the id of another query is taken by the {what}: {error:?}; does find_load give back the definition?"
        );
    }
    context.expect(&target, &[&batch]).await?;
    Ok(Verdict::Passed)
}

async fn recorded(context: &Context<'_>) -> CaseResult {
    for mode in context.modes() {
        if !context.keeps(mode).exactly_once {
            continue;
        }
        let (target, batch) = (context.target(), people(0..3, "a"));
        let mut spec = spec_of(&target, mode);
        spec.load.load_id = Some("marked".into());
        let mark = Mark::new(Some("2024-01-01 \"ü\"".into()), "2024-02-01; '");
        spec.mark = Some(mark.clone());
        let loader = context.connect().await?;
        let outcome = load(&loader, &spec, &once(&batch).defined_as("select 1")).await;
        outcome.map_err(|error| format!("{mode}: the load failed: {error:#}"))?;
        // Another connection, as another process would have.
        let loader = context.connect().await?;
        let state = loader.find_load(&target, "marked").await;
        let Ok(LoadState::Committed { receipt, complete }) = &state else {
            return Err(format!("{mode}: find_load says {state:?}"));
        };
        ensure!(*complete, "{mode}: the load is not complete");
        ensure!(
            receipt.mark.as_ref() == Some(&mark),
            "{mode}: the mark is {:?}",
            receipt.mark
        );
        ensure!(
            receipt
                .definition
                .as_ref()
                .is_some_and(|text| text.as_str().contains("query=")),
            "{mode}: the definition is {:?}",
            receipt.definition
        );
        ensure!(
            receipt.rows == 3,
            "{mode}: it recorded {} rows",
            receipt.rows
        );
    }
    Ok(if context.held().any(|kept| kept.exactly_once) {
        Verdict::Passed
    } else {
        Verdict::NotDeclared
    })
}

async fn described(context: &Context<'_>) -> CaseResult {
    let (target, batch) = (context.target(), people(0..3, "a"));
    let loader = context.connect().await?;
    let before = loader
        .describe(&target)
        .await
        .map_err(|error| format!("{error:#}"))?;
    ensure!(
        before.is_none(),
        "a target that is missing has the columns {before:?}"
    );
    ensure!(
        context.rows(&target).await?.is_none(),
        "the question made the target"
    );
    context.load(&context.spec(&target), &batch).await?;
    let described = loader
        .describe(&target)
        .await
        .map_err(|error| format!("{error:#}"))?;
    let Some(described) = described else {
        return Ok(Verdict::NotDeclared);
    };
    let names: Vec<&str> = described
        .columns
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    ensure!(names == ["id", "name"], "the columns are called {names:?}");
    for (column, field) in described.columns.iter().zip(batch.schema_ref().fields()) {
        ensure!(
            !column.target_type.is_empty() && column.nullable,
            "`{}` is described as {column:?}",
            field.name()
        );
    }
    Ok(Verdict::Passed)
}
