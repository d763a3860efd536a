//! `arrowload query`.

use crate::args::{Common, QueryArgs};
use crate::exit::{Exit, Failure};
use crate::input::Question;
use crate::output::{self, Output};

pub(crate) async fn command(args: QueryArgs, common: &Common) -> Result<Exit, Failure> {
    let question = Question::ask(&args.from)?;
    let query = question.query.clone();
    match Output::of(args.format, args.output)? {
        Output::Print(format) => {
            output::print(&question.client, query.stream().await?, format).await
        }
        Output::File(file) => {
            file.load(|target| query.load("file", target), common.quiet)
                .await
        }
    }
}
