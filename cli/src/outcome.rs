//! The output about loads that have ended, and about plans: for one destination or several, as text or as JSON.

use arrowload::{ConnectionKey, DestinationOutcome, LoadReport, Plan};
use serde_json::{Value, json};

use crate::args::{Common, Report};
use crate::exit::{Exit, Failure, say};
use crate::machine;
use crate::show::{self, note};

/// Prints a result. A failure to print is ignored, because the exit code has the result too.
fn shown(text: &str) -> Result<(), Failure> {
    match show::print(text) {
        Err(Failure::BrokenPipe) => Ok(()),
        printed => printed,
    }
}

/// Prints what a load did, which is done.
pub(crate) fn tell(text: &str) -> Result<(), Failure> {
    shown(text).map_err(|failure| match failure {
        Failure::Failed(why) => Failure::Unreported(why),
        other => other,
    })
}

/// The end of a load that is in its target.
pub(crate) fn exit_of(report: &LoadReport) -> Exit {
    if report.rows_rejected > 0 || report.rows_unparsed > 0 {
        Exit::Partly
    } else {
        Exit::Done
    }
}

fn exit(outcome: &DestinationOutcome) -> Exit {
    outcome.result.as_ref().map_or_else(Exit::of, exit_of)
}

/// The worst of the ends.
pub(crate) fn worst(outcomes: &[DestinationOutcome]) -> Exit {
    outcomes.iter().map(exit).max().unwrap_or(Exit::Done)
}

/// The outcome of a load, in a word or two.
pub(crate) fn status(outcome: &DestinationOutcome) -> &'static str {
    match &outcome.result {
        Ok(report) => show::status(report),
        Err(_) => "failed",
    }
}

/// Says how each of several destinations has ended: what has arrived on standard output, what has failed on standard error.
pub(crate) fn several(outcomes: &[DestinationOutcome], common: &Common) -> Result<Exit, Failure> {
    let output = common.output;
    let failed = outcomes.iter().filter(|one| one.result.is_err()).count();
    let mut told = Ok(());
    for outcome in outcomes {
        match &outcome.result {
            Ok(_) if output == Report::Json || common.quiet => {}
            Ok(report) => told = told.and(tell(&(show::report(report) + asked_again(outcome)))),
            Err(error) => say(error, common.verbose > 0),
        }
    }
    if output == Report::Json {
        let shown: Vec<Value> = outcomes.iter().map(machine::outcome).collect();
        let (arrived, status) = (
            outcomes.len() - failed,
            if failed > 0 { "failed" } else { "loaded" },
        );
        let shown = json!({ "status": status, "arrived": arrived, "failed": failed, "destinations": shown });
        told = told.and(tell(&machine::json(&shown)?));
    }
    if failed > 0 {
        note(&how_to_go_on(outcomes, failed));
    }
    told.map(|()| worst(outcomes))
}

/// Why the rows of one destination may differ from those of another.
pub(crate) fn asked_again(outcome: &DestinationOutcome) -> &'static str {
    if outcome.asked_again {
        "  the query was run again for this destination, and its answer may differ from the rows in the other destinations\n"
    } else {
        ""
    }
}

/// A repetition serves only where every target knows what it has.
fn how_to_go_on(outcomes: &[DestinationOutcome], failed: usize) -> String {
    let summary = format!("{failed} of {} destinations failed", outcomes.len());
    let mut arrived = outcomes
        .iter()
        .filter_map(|one| one.result.as_ref().ok())
        .peekable();
    let Some(first) = arrived.peek() else {
        return summary;
    };
    let load_id = first.load_id.clone();
    let is_known = |report: &LoadReport| {
        report.load_id == load_id && report.guarantees.is_none_or(|held| held.exactly_once)
    };
    if arrived.all(is_known) {
        format!(
            "{summary}; repeat the load with --load-id {load_id}: what has arrived is not written again, and the query is run again for \
             the others, and its answer may differ"
        )
    } else {
        format!("{summary}; load into those alone, as what has arrived would be written again")
    }
}

/// Plans that were made: as an object, and how the loads would end.
pub(crate) struct Planned {
    pub(crate) object: Value,
    pub(crate) exit: Exit,
}

/// Shows the plans, and refuses what the loads would refuse, in the same words. `source` is how the source is reached.
pub(crate) fn plans(
    planned: Vec<DestinationOutcome<Plan>>,
    source: &[ConnectionKey],
    common: &Common,
) -> Result<Planned, Failure> {
    let is_one = planned.len() == 1;
    let is_shown = common.output == Report::Text && !common.quiet;
    let (mut worst, mut entries) = (Exit::Done, Vec::new());
    for outcome in planned {
        let (plan, refusal) = match outcome.result {
            Ok(plan) => {
                let refusal = plan.check().err();
                let refusal = refusal.map(|error| error.with("loader", &plan.loader));
                (Some(plan), refusal)
            }
            Err(error) if is_one => return Err(error.into()),
            Err(error) => (None, Some(error)),
        };
        if let Some(plan) = plan.as_ref().filter(|_| is_shown) {
            let from: String = source
                .iter()
                .map(|key| format!("\n  reads by: {key}"))
                .collect();
            let note = match outcome.asked_again {
                true => {
                    "\n  the query would be run again for this destination, and may answer otherwise than it did for those that have \
                     their rows already"
                }
                false => "",
            };
            shown(&format!("{plan}{from}{note}"))?;
        }
        if let Some(error) = &refusal {
            say(error, common.verbose > 0);
            worst = worst.max(Exit::of(error));
        }
        let error = refusal.as_ref().map(machine::error);
        entries.push(match plan {
            Some(plan) if is_one => {
                let mut shown = json!(plan);
                shown["source"] = json!(source);
                if let Some(error) = error {
                    shown["error"] = error;
                }
                shown
            }
            plan => json!({
                "loader": outcome.loader,
                "target": outcome.target,
                "connection": outcome.connection,
                "asked_again": outcome.asked_again,
                "plan": plan,
                "error": error,
            }),
        });
    }
    let mut object = match is_one {
        true => entries.remove(0),
        false => json!({ "destinations": entries }),
    };
    object["status"] = if worst == Exit::Done {
        "planned"
    } else {
        "refused"
    }
    .into();
    Ok(Planned {
        object,
        exit: worst,
    })
}
