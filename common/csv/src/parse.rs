//! One chunk: rows and fields, then column by column, in stripes that stay in the cache.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;
use arrowload_common_text_files::{ColumnType, Mark, Profile, Work, shown};
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

/// The settings by which all chunks of a file are parsed.
pub(crate) struct Parser {
    pub(crate) layout: Layout,
    pub(crate) syntax: Syntax,
    pub(crate) schema: SchemaRef,
    /// The columns that are wanted, by their numbers in the file.
    pub(crate) projection: Vec<usize>,
    pub(crate) batch_rows: usize,
    /// Whether a row with a value that does not fit a declared type is refused, and no error.
    pub(crate) aside: bool,
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
    /// The value that does not fit, where that is the fault.
    pub(crate) misfit: Option<FoundMisfit>,
}

/// Where a stripe of rows begins in its chunk, and whether the chunk is text.
#[derive(Debug, Clone, Copy)]
struct Stripe {
    start: usize,
    text: bool,
}

/// What came of a chunk.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    pub(crate) batches: Vec<RecordBatch>,
    pub(crate) refused: Vec<FoundRow>,
    /// The first of each column, in one stripe.
    pub(crate) misfits: Vec<FoundMisfit>,
    /// Rows with a value that does not fit a declared type, until they are among those that were refused. The lines of their values are
    /// counted from the beginning of the row.
    unfit: Vec<(Refused, FoundMisfit)>,
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
            aside: false,
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
        let tokens = self.stripes(chunk, text, |tokens, start| {
            let stripe = Stripe { start, text };
            building.fill(self, chunk, stripe, tokens, &mut parsed)
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
        // Invalid bytes fit no type except text, so their rows need no special treatment here.
        let tokens = self.stripes(chunk, true, |tokens, _| {
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

    /// Goes over the rows of a chunk, as long as `each`, which is told where they begin, wants more. Unless all is `text`, rows that are
    /// not are refused.
    fn stripes(
        &self,
        chunk: Chunk<'_>,
        text: bool,
        mut each: impl FnMut(&Tokens, usize) -> Result<bool>,
    ) -> Result<Tokens> {
        let mut tokens = Tokens::new(self.width(), self.layout.pad);
        let mut at = 0;
        while at < chunk.len {
            tokens.clear();
            let start = at;
            at = self.read(&mut tokens, chunk, at, STRIPE, text);
            if !each(&tokens, start)? {
                break;
            }
        }
        Ok(tokens)
    }

    /// Reads so many rows, or as many as there are. Unless all is `text`, rows that are not are refused.
    fn read(
        &self,
        tokens: &mut Tokens,
        chunk: Chunk<'_>,
        mut at: usize,
        max_rows: usize,
        text: bool,
    ) -> usize {
        if text {
            return tokens.read(&self.syntax, chunk, at, max_rows);
        }
        while at < chunk.len && tokens.rows() < max_rows {
            let rows = tokens.rows();
            at = tokens.read(&self.syntax, chunk, at, rows + 1);
            if tokens.rows() > rows {
                tokens.check_last(&self.syntax, chunk.data, at);
            }
        }
        at
    }

    /// Where some rows of a stripe are, whose numbers come in their order.
    fn spans(
        &self,
        chunk: Chunk<'_>,
        stripe: Stripe,
        wanted: impl Iterator<Item = usize>,
    ) -> Vec<(usize, usize)> {
        let mut tokens = Tokens::new(self.width(), self.layout.pad);
        let (mut at, mut read, mut spans) = (stripe.start, 0, Vec::new());
        for row in wanted {
            if row > read {
                tokens.clear();
                at = self.read(&mut tokens, chunk, at, row - read, stripe.text);
            }
            tokens.clear();
            at = self.read(&mut tokens, chunk, at, 1, stripe.text);
            read = row + 1;
            spans.push((tokens.last_start(), at));
        }
        spans
    }

    /// A value that does not fit. Its line is to be counted from `from` on.
    fn misfit(
        &self,
        chunk: Chunk<'_>,
        cells: Cells<'_>,
        row: usize,
        index: usize,
        from: usize,
    ) -> FoundMisfit {
        let field = cells.fields[row * cells.width + index];
        let mut scratch = Vec::new();
        let value = cells.text(field, &mut scratch).bytes();
        let kind = &self.layout.columns[index].kind;
        FoundMisfit {
            line: self.syntax.line_ends(&chunk.data[from..field.start()]),
            row,
            index,
            value: shown(value),
            wider: kind.wider(value, &self.layout.rules),
        }
    }

    /// The lines of the chunk, and the rows that were refused.
    fn account(&self, chunk: Chunk<'_>, tokens: &Tokens, parsed: &mut Parsed) -> Result<()> {
        parsed.account = tokens.account;
        let refused = tokens.refused.iter().map(|row| (*row, None));
        let unfit = std::mem::take(&mut parsed.unfit).into_iter();
        let mut refused: Vec<(Refused, Option<FoundMisfit>)> = refused
            .chain(unfit.map(|(row, misfit)| (row, Some(misfit))))
            .collect();
        refused.sort_by_key(|(row, _)| row.start);
        let (mut line, mut at) = (0, 0);
        for (row, mut misfit) in refused {
            let Refused { start, end, .. } = row;
            line += self.syntax.line_ends(&chunk.data[at..start]);
            at = start;
            let raw = chunk.data[start..end].to_vec();
            let lines = self.syntax.lines(&raw);
            if let Some(misfit) = &mut misfit {
                misfit.line += line;
                let account = &mut parsed.account;
                account.rows -= 1;
                account.row_lines -= lines;
                account.refused += 1;
                account.refused_lines += lines;
            }
            parsed.refused.push(FoundRow {
                line,
                lines,
                raw,
                fault: row.fault,
                misfit,
            });
        }
        let lines = self.syntax.lines(&chunk.data[..chunk.len]);
        if parsed.misfits.is_empty() && lines != parsed.account.lines() {
            let message = format!(
                "{} of {lines} lines are accounted for: a defect of the reader",
                parsed.account.lines()
            );
            return Err(Error::new(ErrorKind::Unexpected, message));
        }
        Ok(())
    }
}

/// The product of the chunks: batches or profiles.
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
    /// Whether a value of the chunk did not fit a declared type, and its row is refused: others may follow.
    careful: bool,
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
            careful: false,
        })
    }

    /// Adds the rows of a stripe; whether to go on.
    fn fill(
        &mut self,
        parser: &Parser,
        chunk: Chunk<'_>,
        stripe: Stripe,
        tokens: &Tokens,
        parsed: &mut Parsed,
    ) -> Result<bool> {
        if !self.careful {
            self.take(parser, chunk, &tokens.fields, parsed);
            let is_declared =
                |misfit: &FoundMisfit| parser.layout.columns[misfit.index].mark == Mark::Declared;
            self.careful = parser.aside && parsed.misfits.iter().any(is_declared);
            if self.careful {
                parsed.misfits.clear();
                self.forget_stripe(parser, parsed)?;
            }
        }
        let rows = match self.careful {
            false => tokens.rows(),
            true => {
                let fields = fitting(parser, chunk, stripe, tokens, parsed)?;
                self.take(parser, chunk, &fields, parsed);
                fields.len() / parser.width()
            }
        };
        self.rows += rows;
        if parsed.misfits.is_empty() && self.rows + STRIPE > parser.batch_rows {
            self.finish(parser, parsed)?;
        }
        parsed.misfits.sort_by_key(|misfit| misfit.row);
        Ok(parsed.misfits.is_empty())
    }

    /// Adds rows, up to the first value of each column that does not fit.
    fn take(&mut self, parser: &Parser, chunk: Chunk<'_>, fields: &[Field], parsed: &mut Parsed) {
        let cells = parser.cells(chunk, fields);
        for (builder, index) in self.columns.iter_mut().zip(&parser.projection) {
            let plan = &parser.layout.columns[*index];
            if let Err(row) = builder.fill(cells, *index, parser.nulls(&plan.kind)) {
                let misfit = parser.misfit(chunk, cells, row, *index, 0);
                parsed.misfits.push(misfit);
            }
        }
    }

    /// Forgets what there is of a stripe that was not taken whole: the rows before it are a batch.
    fn forget_stripe(&mut self, parser: &Parser, parsed: &mut Parsed) -> Result<()> {
        let rows = std::mem::take(&mut self.rows);
        let columns = self.columns.iter_mut();
        let arrays = columns.map(|column| Ok(column.finish()?.slice(0, rows)));
        let arrays: Vec<ArrayRef> = arrays.collect::<Result<_>>()?;
        if rows > 0 {
            parsed.batches.push(batch(parser, arrays, rows)?);
        }
        Ok(())
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
        let rows = std::mem::take(&mut self.rows);
        parsed.batches.push(batch(parser, arrays, rows)?);
        Ok(())
    }
}

fn batch(parser: &Parser, arrays: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let rows = RecordBatchOptions::new().with_row_count(Some(rows));
    let schema = Arc::clone(&parser.schema);
    Ok(RecordBatch::try_new_with_options(schema, arrays, &rows)?)
}

/// The fields of the rows of a stripe whose values fit the declared types; the other rows are refused.
fn fitting(
    parser: &Parser,
    chunk: Chunk<'_>,
    stripe: Stripe,
    tokens: &Tokens,
    parsed: &mut Parsed,
) -> Result<Vec<Field>> {
    let (cells, width) = (parser.cells(chunk, &tokens.fields), parser.width());
    // The first column of each row that does not fit.
    let mut unfit: BTreeMap<usize, usize> = BTreeMap::new();
    for index in &parser.projection {
        let plan = &parser.layout.columns[*index];
        if plan.mark != Mark::Declared {
            continue;
        }
        let mut probe = column(&plan.kind, &parser.layout.rules, 0)?;
        let mut from = 0;
        while let Err(row) = probe.fill(
            Cells {
                fields: &tokens.fields[from * width..],
                ..cells
            },
            *index,
            parser.nulls(&plan.kind),
        ) {
            unfit.entry(from + row).or_insert(*index);
            from += row + 1;
        }
    }
    if unfit.is_empty() {
        return Ok(tokens.fields.clone());
    }
    let spans = parser.spans(chunk, stripe, unfit.keys().copied());
    for ((row, index), (start, end)) in unfit.iter().zip(spans) {
        let fault = Fault::Misfit;
        let misfit = parser.misfit(chunk, cells, *row, *index, start);
        parsed.unfit.push((Refused { start, end, fault }, misfit));
    }
    let rows = tokens.fields.chunks_exact(width).enumerate();
    let rows = rows.filter(|(row, _)| !unfit.contains_key(row));
    Ok(rows.flat_map(|(_, fields)| fields).copied().collect())
}
