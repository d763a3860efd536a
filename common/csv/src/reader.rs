//! Batches of a file, in its order, parsed on all cores.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use arrowload_common_text_files::{Input, Mark, Pool, Profile, check_supported, cores};
use arrowload_core::{Error, ErrorKind, Result};

use crate::fault::{Misfit, RefusedRow, misfit_error};
use crate::feed::{Feed, SMALL_CHUNK};
use crate::layout::Layout;
use crate::parse::{FoundMisfit, FoundRow, Job, Parsed, Parser, Product};
use crate::syntax::Syntax;

/// Takes the rows that do not fit the table.
pub type Aside = Box<dyn FnMut(RefusedRow) -> Result<()> + Send>;

/// How a file is read.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ReadOptions {
    /// The numbers of the columns that are wanted, in the order in which they are wanted; all by default.
    pub projection: Option<Vec<usize>>,
    /// The rows of a batch, at most; 65,536 by default.
    pub batch_rows: Option<usize>,
    /// Threads that parse; as many as there are cores by default.
    pub threads: Option<usize>,
    /// Whether a row with a value that does not fit a declared type is a row that does not fit the table, for
    /// [`set_aside`](Reader::set_aside); it is an error by default.
    pub misfits_aside: bool,
}

/// What the lines of a file are. Together they are all of its lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lines {
    /// Rows that were read.
    pub rows: u64,
    /// Their lines, which are more where line ends are in quotes.
    pub row_lines: u64,
    /// Rows that were refused and set aside.
    pub skipped: u64,
    /// Their lines.
    pub skipped_lines: u64,
    /// Lines of the header.
    pub header: u64,
    /// Lines before the header.
    pub preamble: u64,
    /// Lines after the rows.
    pub footer: u64,
    /// Comments.
    pub comments: u64,
    /// Empty lines that are not rows.
    pub blank: u64,
}

impl Lines {
    /// All lines.
    pub fn total(&self) -> u64 {
        self.row_lines
            + self.skipped_lines
            + self.header
            + self.preamble
            + self.footer
            + self.comments
            + self.blank
    }
}

/// The batches of a file.
///
/// It ends with the first error. Rows that do not fit are errors, unless [`set_aside`](Self::set_aside) takes them.
pub struct Reader {
    pool: Pool<Feed, Job>,
    file: Arc<str>,
    batches: VecDeque<RecordBatch>,
    lines: Lines,
    aside: Option<Aside>,
    ended: bool,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("file", &self.file)
            .field("lines", &self.lines)
            .finish_non_exhaustive()
    }
}

impl Reader {
    /// Begins to read.
    ///
    /// # Errors
    /// When a column of the projection is not there, or a type cannot be read from CSV.
    pub fn new(input: Input, layout: &Layout, options: &ReadOptions) -> Result<Self> {
        let feed = |input, syntax| Feed::new(input, layout, syntax);
        Self::with_feed(input, layout, options, feed)
    }

    fn with_feed(
        input: Input,
        layout: &Layout,
        options: &ReadOptions,
        feed: impl FnOnce(Input, Syntax) -> Feed,
    ) -> Result<Self> {
        let schema = layout.schema();
        let (projection, schema) = match &options.projection {
            None => ((0..layout.columns.len()).collect(), schema),
            Some(wanted) => {
                let fields = wanted.iter().map(|index| {
                    schema.fields().get(*index).cloned().ok_or_else(|| {
                        let message = format!("`{}` has no column {index}", input.name());
                        Error::new(ErrorKind::InvalidOption, message)
                    })
                });
                let fields: Vec<_> = fields.collect::<Result<_>>()?;
                (wanted.clone(), Arc::new(Schema::new(fields)) as SchemaRef)
            }
        };
        for column in &layout.columns {
            check_supported("CSV", &column.name, &column.kind.data_type)?;
        }
        let batch_rows = options.batch_rows.unwrap_or(65_536).max(1);
        let mut parser = Parser::new(layout.clone(), projection, schema, batch_rows);
        parser.aside = options.misfits_aside;
        let file: Arc<str> = input.name().into();
        let feed = feed(input, parser.syntax.clone());
        let threads = options.threads.unwrap_or_else(cores);
        let job = Job {
            parser,
            product: Product::Batches,
        };
        let before = layout.before;
        Ok(Self {
            pool: Pool::new("csv", feed, job, threads)?,
            file,
            batches: VecDeque::new(),
            lines: Lines {
                header: before.header,
                preamble: before.preamble,
                comments: before.comments,
                blank: before.blank,
                ..Lines::default()
            },
            aside: None,
            ended: false,
        })
    }

    /// Takes the rows that do not fit the table, in the order of the file; an error that it answers ends the reading.
    #[must_use]
    pub fn set_aside(
        mut self,
        aside: impl FnMut(RefusedRow) -> Result<()> + Send + 'static,
    ) -> Self {
        self.aside = Some(Box::new(aside));
        self
    }

    /// The columns of the batches.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.pool.work().parser.schema)
    }

    /// What the lines were up to the last batch; at the end, all lines of the file.
    pub fn lines(&self) -> Lines {
        self.lines
    }

    fn take(&mut self, parsed: Parsed) -> Result<()> {
        let before = self.lines.total();
        let (first_row, first_misfit) = (parsed.refused.first(), parsed.misfits.first());
        // If both end the reading, the error that comes first in the file is reported.
        let row_first = match (first_row, first_misfit) {
            (Some(row), Some(misfit)) => row.line < misfit.line,
            (row, _) => row.is_some(),
        };
        if self.aside.is_none() && row_first {
            let row = parsed.refused.into_iter().next();
            return Err(row.map_or_else(
                || Error::new(ErrorKind::Unexpected, "a refused row was lost"),
                |row| self.refused(row, before).error(),
            ));
        }
        if !parsed.misfits.is_empty() {
            let misfits = parsed.misfits.into_iter();
            return Err(misfit_error(
                misfits.map(|misfit| self.misfit(misfit, before)).collect(),
            ));
        }
        let account = parsed.account;
        for row in parsed.refused {
            let row = self.refused(row, before);
            if let Some(aside) = &mut self.aside {
                aside(row)?;
            }
        }
        self.lines.rows += account.rows;
        self.lines.row_lines += account.row_lines;
        self.lines.skipped += account.refused;
        self.lines.skipped_lines += account.refused_lines;
        self.lines.blank += account.blank;
        self.lines.comments += account.comments;
        self.batches.extend(parsed.batches);
        Ok(())
    }

    fn refused(&self, row: FoundRow, before: u64) -> RefusedRow {
        RefusedRow {
            file: self.file.to_string(),
            line: before + row.line + 1,
            lines: row.lines,
            raw: row.raw,
            fault: row.fault,
            expected: self.pool.work().parser.width(),
            misfit: row.misfit.map(|found| Box::new(self.misfit(found, before))),
        }
    }

    fn misfit(&self, found: FoundMisfit, before: u64) -> Misfit {
        let plan = &self.pool.work().parser.layout.columns[found.index];
        Misfit {
            file: self.file.to_string(),
            line: before + found.line + 1,
            column: plan.name.clone(),
            index: found.index,
            value: found.value,
            data_type: plan.kind.data_type.clone(),
            mark: plan.mark,
            wider: found.wider,
        }
    }
}

impl Iterator for Reader {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(batch) = self.batches.pop_front() {
                return Some(Ok(batch));
            }
            if self.ended {
                return None;
            }
            let taken = match self.pool.next() {
                Some(Ok(parsed)) => self.take(parsed),
                Some(Err(error)) => Err(error),
                None => {
                    self.ended = true;
                    self.lines.footer = self.pool.chunks(|feed| feed.footer_lines);
                    return None;
                }
            };
            if let Err(error) = taken {
                self.ended = true;
                return Some(Err(error.with("file", &self.file)));
            }
        }
    }
}

/// Proves the types of columns that are not declared, on the first `rows` rows of the file or on all of them.
///
/// The input is read to the end, or as far as the rows go; it has to be opened again to be read.
///
/// # Errors
/// When the file cannot be read.
pub fn prove(
    input: Input,
    layout: &Layout,
    rows: Option<u64>,
    threads: Option<usize>,
) -> Result<Layout> {
    let undeclared: Vec<usize> = (0..layout.columns.len())
        .filter(|index| layout.columns[*index].mark != Mark::Declared)
        .collect();
    let mut proved = layout.clone();
    if undeclared.is_empty() {
        return Ok(proved);
    }
    let schema = layout.schema();
    let parser = Parser::new(layout.clone(), undeclared.clone(), schema, usize::MAX);
    let file: Arc<str> = input.name().into();
    let feed = Feed::new(input, layout, parser.syntax.clone()).with_chunk(SMALL_CHUNK);
    let job = Job {
        parser,
        product: Product::Profile,
    };
    let pool = Pool::new("csv", feed, job, threads.unwrap_or_else(cores))?;
    let mut profiles = vec![Profile::default(); undeclared.len()];
    let (mut lines, mut seen, mut mark) = (layout.before.lines(), 0, Mark::Proved);
    for parsed in pool {
        let parsed = parsed.map_err(|error| error.with("file", &file))?;
        for (profile, later) in profiles.iter_mut().zip(parsed.profiles) {
            profile.merge(later.after(lines + 1));
        }
        lines += parsed.account.lines();
        seen += parsed.account.rows;
        if rows.is_some_and(|rows| seen >= rows) {
            mark = Mark::Sampled;
            break;
        }
    }
    for (index, profile) in undeclared.iter().zip(&profiles) {
        let (kind, reason) = profile.decide(&layout.rules);
        let column = &mut proved.columns[*index];
        column.kind = kind;
        column.mark = mark;
        column.reason = reason;
    }
    Ok(proved)
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
