//! One chunk: rows and fields, then column by column, in stripes that stay in the cache.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;
use arrowload_common_text_files::{ColumnType, Profile, Work, shown};
use arrowload_core::{Error, ErrorKind, Result};

use crate::column::{Cells, Column, column};
use crate::feed::Feed;
use crate::layout::Layout;
use crate::nulls::Nulls;
use crate::profile;
use crate::syntax::{Fault, Syntax};
use crate::tokens::{Account, Chunk, Refused, Tokens};
use crate::walk::Field;

/// Rows whose fields are found at once.
const STRIPE: usize = 1_024;

/// What all chunks of a file are parsed by.
pub(crate) struct Parser {
    pub(crate) layout: Layout,
    pub(crate) syntax: Syntax,
    pub(crate) schema: SchemaRef,
    /// The columns that are wanted, by their numbers in the file.
    pub(crate) projection: Vec<usize>,
    pub(crate) batch_rows: usize,
    text_nulls: Nulls,
    /// Of text that is declared.
    declared_nulls: Nulls,
    other_nulls: Nulls,
}

/// A value that did not fit: its line is counted from the chunk's first, which is 0.
#[derive(Debug, Clone)]
pub(crate) struct FoundMisfit {
    pub(crate) line: u64,
    pub(crate) row: usize,
    pub(crate) index: usize,
    pub(crate) value: String,
    pub(crate) wider: ColumnType,
}

/// A row that was refused: its line is counted from the chunk's first, which is 0.
#[derive(Debug, Clone)]
pub(crate) struct FoundRow {
    pub(crate) line: u64,
    pub(crate) lines: u64,
    pub(crate) raw: Vec<u8>,
    pub(crate) fault: Fault,
}

/// What came of a chunk.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    pub(crate) batches: Vec<RecordBatch>,
    pub(crate) refused: Vec<FoundRow>,
    /// The first of each column, in one stripe.
    pub(crate) misfits: Vec<FoundMisfit>,
    pub(crate) account: Account,
    pub(crate) profiles: Vec<Profile>,
}

impl Parser {
    pub(crate) fn new(
        layout: Layout,
        projection: Vec<usize>,
        schema: SchemaRef,
        batch_rows: usize,
    ) -> Self {
        let mut declared = layout.dialect.clone();
        if layout.null_word {
            declared.null_text.clear();
        }
        Self {
            syntax: Syntax::new(&layout.dialect),
            declared_nulls: Nulls::new(&declared, true),
            text_nulls: Nulls::new(&layout.dialect, true),
            other_nulls: Nulls::new(&layout.dialect, false),
            layout,
            schema,
            projection,
            batch_rows,
        }
    }

    pub(crate) fn width(&self) -> usize {
        self.layout.columns.len().max(1)
    }

    fn nulls(&self, kind: &ColumnType) -> &Nulls {
        use arrow_schema::DataType as T;
        match kind.data_type {
            T::Utf8 | T::LargeUtf8 | T::Utf8View if !kind.strict => &self.declared_nulls,
            T::Utf8 | T::LargeUtf8 | T::Utf8View => &self.text_nulls,
            _ => &self.other_nulls,
        }
    }

    /// Parses a chunk into batches.
    pub(crate) fn batches(&self, chunk: Chunk<'_>) -> Result<Parsed> {
        let mut parsed = Parsed::default();
        let mut building = Building::new(self, chunk.len)?;
        let text = simdutf8::basic::from_utf8(&chunk.data[..chunk.len]).is_ok();
        let tokens = self.stripes(chunk, text, |tokens| {
            let cells = self.cells(chunk, &tokens.fields);
            building.fill(self, chunk, cells, tokens, &mut parsed)
        })?;
        building.finish(self, &mut parsed)?;
        self.account(chunk, &tokens, &mut parsed)?;
        Ok(parsed)
    }

    /// Looks at the values of a chunk, and keeps none.
    pub(crate) fn profile(&self, chunk: Chunk<'_>) -> Result<Parsed> {
        let mut parsed = Parsed {
            profiles: vec![Profile::default(); self.projection.len()],
            ..Parsed::default()
        };
        // Bytes that are no text fit no type but text: rows that have them need not be told apart.
        let tokens = self.stripes(chunk, true, |tokens| {
            let cells = self.cells(chunk, &tokens.fields);
            for (profile, index) in parsed.profiles.iter_mut().zip(&self.projection) {
                let line = |at: usize| self.syntax.line_ends(&chunk.data[..at]);
                profile::add(
                    profile,
                    cells,
                    *index,
                    &self.other_nulls,
                    &self.layout.rules,
                    line,
                );
            }
            Ok(true)
        })?;
        self.account(chunk, &tokens, &mut parsed)?;
        Ok(parsed)
    }

    fn cells<'a>(&'a self, chunk: Chunk<'a>, fields: &'a [Field]) -> Cells<'a> {
        Cells {
            syntax: &self.syntax,
            data: chunk.data,
            fields,
            width: self.width(),
        }
    }

    /// Goes over the rows of a chunk, as long as `each` wants more. Unless all is `text`, rows that are not are refused.
    fn stripes(
        &self,
        chunk: Chunk<'_>,
        text: bool,
        mut each: impl FnMut(&Tokens) -> Result<bool>,
    ) -> Result<Tokens> {
        let mut tokens = Tokens::new(self.width(), self.layout.pad);
        let mut at = 0;
        while at < chunk.len {
            tokens.clear();
            if text {
                at = tokens.read(&self.syntax, chunk, at, STRIPE);
            } else {
                while at < chunk.len && tokens.rows() < STRIPE {
                    let rows = tokens.rows();
                    at = tokens.read(&self.syntax, chunk, at, rows + 1);
                    if tokens.rows() > rows {
                        tokens.check_last(&self.syntax, chunk.data, at);
                    }
                }
            }
            if !each(&tokens)? {
                break;
            }
        }
        Ok(tokens)
    }

    /// The lines of the chunk, and the rows that were refused.
    fn account(&self, chunk: Chunk<'_>, tokens: &Tokens, parsed: &mut Parsed) -> Result<()> {
        parsed.account = tokens.account;
        let (mut line, mut at) = (0, 0);
        for row in &tokens.refused {
            let Refused { start, end, .. } = *row;
            line += self.syntax.line_ends(&chunk.data[at..start]);
            at = start;
            let raw = chunk.data[start..end].to_vec();
            parsed.refused.push(FoundRow {
                line,
                lines: self.syntax.lines(&raw),
                raw,
                fault: row.fault,
            });
        }
        let lines = self.syntax.lines(&chunk.data[..chunk.len]);
        if parsed.misfits.is_empty() && lines != tokens.account.lines() {
            let message = format!(
                "{} of {lines} lines are accounted for: a defect of the reader",
                tokens.account.lines()
            );
            return Err(Error::new(ErrorKind::Unexpected, message));
        }
        Ok(())
    }
}

/// What is made of the chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Product {
    Batches,
    Profile,
}

/// The work on a file.
pub(crate) struct Job {
    pub(crate) parser: Parser,
    pub(crate) product: Product,
}

impl Work<Feed> for Job {
    type Done = Parsed;

    fn work(&self, data: &[u8], len: usize) -> Result<Parsed> {
        let chunk = Chunk { data, len };
        match self.product {
            Product::Batches => self.parser.batches(chunk),
            Product::Profile => self.parser.profile(chunk),
        }
    }
}

/// The batch that is being filled.
struct Building {
    columns: Vec<Box<dyn Column>>,
    rows: usize,
}

impl Building {
    fn new(parser: &Parser, bytes: usize) -> Result<Self> {
        // A guess that is seldom too low: short fields are rare in all columns at once.
        let rows = (bytes / (parser.width() * 2))
            .min(parser.batch_rows)
            .min(16_384);
        let make = |index: &usize| {
            let plan = &parser.layout.columns[*index];
            column(&plan.kind, &parser.layout.rules, rows)
                .map_err(|error| error.with("column", &plan.name))
        };
        Ok(Self {
            columns: parser
                .projection
                .iter()
                .map(make)
                .collect::<Result<Vec<_>>>()?,
            rows: 0,
        })
    }

    /// Adds the rows of a stripe; whether to go on.
    fn fill(
        &mut self,
        parser: &Parser,
        chunk: Chunk<'_>,
        cells: Cells<'_>,
        tokens: &Tokens,
        parsed: &mut Parsed,
    ) -> Result<bool> {
        for (builder, index) in self.columns.iter_mut().zip(&parser.projection) {
            let plan = &parser.layout.columns[*index];
            let Err(row) = builder.fill(cells, *index, parser.nulls(&plan.kind)) else {
                continue;
            };
            let field = cells.fields[row * cells.width + index];
            let mut scratch = Vec::new();
            let value = cells.text(field, &mut scratch).bytes();
            parsed.misfits.push(FoundMisfit {
                line: parser.syntax.line_ends(&chunk.data[..field.start()]),
                row,
                index: *index,
                value: shown(value),
                wider: plan.kind.wider(value, &parser.layout.rules),
            });
        }
        self.rows += tokens.rows();
        if parsed.misfits.is_empty() && self.rows + STRIPE > parser.batch_rows {
            self.finish(parser, parsed)?;
        }
        parsed.misfits.sort_by_key(|misfit| misfit.row);
        Ok(parsed.misfits.is_empty())
    }

    fn finish(&mut self, parser: &Parser, parsed: &mut Parsed) -> Result<()> {
        if self.rows == 0 || !parsed.misfits.is_empty() {
            return Ok(());
        }
        let arrays: Vec<ArrayRef> = self
            .columns
            .iter_mut()
            .map(|column| column.finish())
            .collect::<Result<_>>()?;
        let rows = RecordBatchOptions::new().with_row_count(Some(std::mem::take(&mut self.rows)));
        parsed.batches.push(RecordBatch::try_new_with_options(
            Arc::clone(&parser.schema),
            arrays,
            &rows,
        )?);
        Ok(())
    }
}
