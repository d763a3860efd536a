//! `arrowload query`.

use arrowload::Operator;

use crate::args::{Common, QueryArgs, Report};
use crate::exit::{Exit, Failure};
use crate::input::Question;
use crate::output::{self, Output};

pub(crate) async fn command(args: QueryArgs, common: &Common) -> Result<Exit, Failure> {
    let output = Output::of(args.format, args.out)?;
    if common.output == Report::Json && matches!(output, Output::Print(_)) {
        return Err(Failure::usage(
            "--output json is about reports: with -o FILE; the rows as JSON are --format json",
        ));
    }
    let question = Question::ask(&args.from).await?;
    let query = question.query.clone();
    match output {
        Output::Print(format) => {
            let rows = query.stream().await?;
            let rows = match &question.columns {
                Some(columns) => columns.apply(rows)?,
                None => rows,
            };
            output::print(&question.client, rows, format, args.wide).await
        }
        Output::File(file) => {
            let load = |target| {
                let load = query.load("file", target);
                match question.columns.clone() {
                    Some(columns) => load.through(columns),
                    None => load,
                }
            };
            file.load(load, common).await
        }
    }
}
