//! Batches of a file, in its order, parsed on all cores.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use arrowload_common_text_files::{Input, Mark, Pool, cores};
use arrowload_core::{Error, ErrorKind, Result};

use crate::fault::{Misfit, RefusedRow, misfit_error};
use crate::feed::{Feed, SMALL_CHUNK};
use crate::layout::Layout;
use crate::options::Format;
use crate::parse::{FoundMisfit, FoundRow, Parsed, Parser, Product};

/// Takes the lines that are not rows.
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
    /// Whether a line of NDJSON with a value that does not fit a declared type is a line that is not a row, for
    /// [`set_aside`](Reader::set_aside); it is an error by default.
    pub misfits_aside: bool,
}

/// What the lines of a file are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lines {
    /// Rows that were read. In NDJSON, each is a line.
    pub rows: u64,
    /// Lines of NDJSON that were refused and set aside.
    pub skipped: u64,
    /// Lines of NDJSON without a value.
    pub blank: u64,
    /// Lines of documents and arrays, whose rows may have several, or share one.
    pub document: u64,
}

impl Lines {
    /// All lines.
    pub fn total(&self) -> u64 {
        match self.document {
            0 => self.rows + self.skipped + self.blank,
            lines => lines,
        }
    }
}

/// The batches of a file.
///
/// It ends with the first error. In NDJSON, lines that are not rows are errors, unless [`set_aside`](Self::set_aside) takes them.
pub struct Reader {
    pool: Pool<Feed, Parser>,
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

fn feed(input: Input, layout: &Layout) -> Feed {
    let (head, rest) = input.into_parts();
    Feed::new(head, rest, layout.format, Arc::clone(&layout.settings))
}

impl Reader {
    /// Begins to read.
    ///
    /// # Errors
    /// When a column of the projection is not there, or a thread cannot be started.
    pub fn new(input: Input, layout: &Layout, options: &ReadOptions) -> Result<Self> {
        Self::with_feed(input, layout, options, feed)
    }

    pub(crate) fn with_feed(
        input: Input,
        layout: &Layout,
        options: &ReadOptions,
        feed: impl FnOnce(Input, &Layout) -> Feed,
    ) -> Result<Self> {
        let all = layout.columns.len();
        let projection = match &options.projection {
            None => (0..all).collect(),
            Some(wanted) => {
                if let Some(index) = wanted.iter().find(|index| **index >= all) {
                    let message = format!("`{}` has no column {index}", input.name());
                    return Err(Error::new(ErrorKind::InvalidOption, message));
                }
                wanted.clone()
            }
        };
        let batch_rows = options.batch_rows.unwrap_or(65_536).max(1);
        let mut parser = Parser::new(layout, Product::Batches, projection, batch_rows);
        parser.aside = options.misfits_aside;
        let file: Arc<str> = input.name().into();
        let threads = options.threads.unwrap_or_else(cores);
        Ok(Self {
            pool: Pool::new("json", feed(input, layout), parser, threads)?,
            file,
            batches: VecDeque::new(),
            lines: Lines::default(),
            aside: None,
            ended: false,
        })
    }

    /// Takes the lines of NDJSON that are not rows, in the order of the file; an error that it answers ends the reading.
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
        Arc::clone(&self.pool.work().schema)
    }

    /// What the lines were up to the last batch; at the end, all lines of the file.
    pub fn lines(&self) -> Lines {
        self.lines
    }

    fn take(&mut self, parsed: Parsed) -> Result<()> {
        for row in parsed.refused {
            let row = self.refused(row);
            match &mut self.aside {
                Some(aside) => aside(row)?,
                // A line is before the value that does not fit: nothing of the chunk is read after that.
                None => return Err(row.error()),
            }
            self.lines.skipped += 1;
        }
        if let Some(misfit) = parsed.misfit {
            return Err(misfit_error(self.misfit(misfit)));
        }
        self.lines.rows += parsed.rows;
        self.lines.blank += parsed.blank;
        self.batches.extend(parsed.batches);
        Ok(())
    }

    fn refused(&self, row: FoundRow) -> RefusedRow {
        RefusedRow {
            file: self.file.to_string(),
            line: row.place.line,
            column: row.place.column,
            raw: row.raw,
            fault: row.fault,
        }
    }

    fn misfit(&self, found: FoundMisfit) -> Misfit {
        Misfit {
            file: self.file.to_string(),
            line: found.place.line,
            column: found.path,
            value: found.value,
            data_type: found.data_type,
            mark: found.mark,
            found: found.found,
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
                    if self.pool.work().layout.format != Format::Ndjson {
                        self.lines.document = self.pool.chunks(Feed::lines);
                    }
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
/// The input is read to the end, or as far as the rows go; it has to be opened again to be read. Lines that are not rows are not
/// evidence.
///
/// # Errors
/// When the file cannot be read, or is not JSON.
pub fn prove(
    input: Input,
    layout: &Layout,
    rows: Option<u64>,
    threads: Option<usize>,
) -> Result<Layout> {
    let file: Arc<str> = input.name().into();
    let proved = prove_named(input, layout, rows, threads);
    proved.map_err(|error| error.with("file", &file))
}

fn prove_named(
    input: Input,
    layout: &Layout,
    rows: Option<u64>,
    threads: Option<usize>,
) -> Result<Layout> {
    let parser = Parser::new(layout, Product::Profile, Vec::new(), usize::MAX);
    let pool = Pool::new(
        "json",
        feed(input, layout).with_chunk(SMALL_CHUNK),
        parser,
        threads.unwrap_or_else(cores),
    )?;
    let mut profile = layout.settings.profile();
    let (mut seen, mut mark) = (0, Mark::Proved);
    for parsed in pool {
        let parsed = parsed?;
        if let Some(later) = &parsed.profile {
            profile.merge(later);
        }
        seen += parsed.rows;
        if rows.is_some_and(|rows| seen >= rows) {
            mark = Mark::Sampled;
            break;
        }
    }
    Layout::new(
        layout.format,
        layout.encoding,
        layout.compression,
        Arc::clone(&layout.settings),
        profile,
        mark,
    )
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
