//! The cases, in the order in which they are run.

mod atomicity;
mod columns;
mod declared;
mod loads;
mod modes;
mod promises;
mod rejects;
mod shapes;
mod types;
mod upsert;

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::context::{CaseResult, Context, Verdict};
use crate::{CaseOutcome, ConformanceReport, Subject};

/// The time limit of a case: one that hangs has failed.
const LIMIT: Duration = Duration::from_secs(120);

type Case = (
    &'static str,
    for<'a> fn(&'a Context<'a>) -> BoxFuture<'a, CaseResult>,
);

/// Names an async function as a case.
macro_rules! case {
    ($name:literal, $function:path) => {
        ($name, |context| {
            futures::FutureExt::boxed($function(context))
        })
    };
}
pub(crate) use case;

const GROUPS: [&[Case]; 9] = [
    declared::CASES,
    promises::CASES,
    modes::CASES,
    shapes::CASES,
    columns::CASES,
    atomicity::CASES,
    loads::CASES,
    upsert::CASES,
    rejects::CASES,
];

fn type_case_name(case: &crate::TypeCase) -> String {
    format!("type {}", case.name)
}

/// The names of all cases, in the order in which they are run.
pub(crate) fn names() -> Vec<String> {
    let cases = GROUPS
        .into_iter()
        .flatten()
        .map(|(name, _)| (*name).to_owned());
    cases
        .chain(crate::type_cases().iter().map(type_case_name))
        .collect()
}

pub(crate) async fn run(subject: &dyn Subject, wanted: impl Fn(&str) -> bool) -> ConformanceReport {
    let context = Context::new(subject).await;
    let mut report = ConformanceReport {
        loader: subject.descriptor().name().into(),
        ..ConformanceReport::default()
    };
    for (name, case) in GROUPS
        .into_iter()
        .flatten()
        .filter(|(name, _)| wanted(name))
    {
        let outcome = told(name, guarded(case(&context))).await;
        report.cases.push(((*name).to_owned(), outcome));
    }
    for type_case in crate::type_cases()
        .into_iter()
        .filter(|case| wanted(&type_case_name(case)))
    {
        let mut arrived = String::new();
        let name = type_case_name(&type_case);
        let case = types::arrives(&context, &type_case, &mut arrived).boxed();
        let outcome = told(&name, guarded(case)).await;
        report.types.push((type_case.name.clone(), arrived));
        report.cases.push((name, outcome));
    }
    report
}

/// Says how a case ended as soon as it has: `cargo test -- --nocapture` shows it.
#[expect(clippy::print_stdout, reason = "tests print")]
async fn told(name: &str, case: impl Future<Output = CaseOutcome>) -> CaseOutcome {
    let begun = Instant::now();
    let outcome = case.await;
    let word = match &outcome {
        CaseOutcome::Passed => "passed",
        CaseOutcome::NotDeclared => "not declared",
        CaseOutcome::Failed(_) => "FAILED",
    };
    println!("{word:<12} {name} ({:.1} s)", begun.elapsed().as_secs_f64());
    outcome
}

/// Runs a case so that neither a panic nor a hang stops the others.
async fn guarded(case: BoxFuture<'_, CaseResult>) -> CaseOutcome {
    match tokio::time::timeout(LIMIT, AssertUnwindSafe(case).catch_unwind()).await {
        Ok(Ok(Ok(Verdict::Passed))) => CaseOutcome::Passed,
        Ok(Ok(Ok(Verdict::NotDeclared))) => CaseOutcome::NotDeclared,
        Ok(Ok(Err(why))) => CaseOutcome::Failed(why),
        Ok(Err(panic)) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            CaseOutcome::Failed(format!(
                "it panicked: {}",
                text.unwrap_or("without a message")
            ))
        }
        Err(_) => CaseOutcome::Failed(format!("it hung for {LIMIT:?}")),
    }
}
