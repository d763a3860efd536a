//! `arrowload query`.

use arrowload::Operator;
use arrowload::core::{LoadOptions, Unparsed};

use crate::args::{Common, OnError, QueryArgs, Report};
use crate::exit::{Exit, Failure};
use crate::input::Question;
use crate::output::{self, Output};
use crate::show;

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
            let mut unparsed = match args.on_error {
                OnError::Fail => Unparsed::default(),
                OnError::Skip => Unparsed::in_folder(&LoadOptions::default().dead_letters),
            };
            if question.columns.is_some() {
                unparsed = unparsed.of_changed_rows();
            }
            let rows = query.set_aside(unparsed.clone()).stream().await?;
            let rows = match &question.columns {
                Some(columns) => columns.apply(rows)?,
                None => rows,
            };
            let exit = output::print(&question.client, rows, format, args.wide).await?;
            let Some(file) = unparsed.publish()? else {
                return Ok(exit);
            };
            show::note(&show::unparsed_rows(unparsed.rows(), &file, " --to …"));
            Ok(Exit::Partly)
        }
        Output::File(file) => {
            let on_error = match args.on_error {
                OnError::Fail => "fail",
                OnError::Skip => "skip_unparsed",
            };
            let load = |target| {
                let load = query.load("file", target).option("on_error", on_error);
                match question.columns.clone() {
                    Some(columns) => load.through(columns),
                    None => load,
                }
            };
            file.load(load, common).await
        }
    }
}
