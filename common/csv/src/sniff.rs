//! Finds out what a file is: its dialect, where its table is, the names and types of its columns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrowload_common_text_files::{
    ColumnType, InferRows, Input, Mark, Profile, Rules, Types, check_supported, invalid, parse_type,
};
use arrowload_core::{Error, ErrorKind, Result};

use crate::column::Cells;
use crate::dialect::{Dialect, LineEnd};
use crate::feed::last_lines;
use crate::frame::Framer;
use crate::guess::{Row, guess, rows};
use crate::layout::{Before, ColumnPlan, Layout};
use crate::nulls::Nulls;
use crate::options::{Options, Ragged};
use crate::syntax::Syntax;

/// Rows that the structure of a file is found from.
const STRUCTURE_ROWS: usize = 2_000;
/// Lines that a footer may have, unless they are declared.
const FOOTER_ROWS: usize = 10;
/// The bytes that a row may have.
const MAX_ROW: usize = 512 << 20;

/// Says what a text looks like, if it is not CSV.
pub fn looks_like(head: &[u8]) -> Option<&'static str> {
    let text = head.trim_ascii_start();
    let begins = |word: &str| {
        text.get(..word.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()))
    };
    if begins("<!doctype html") || begins("<html") {
        Some("an HTML page")
    } else if begins("<?xml") {
        Some("an XML document")
    } else if begins("PAR1") {
        Some("a Parquet file")
    } else if begins("ARROW1") {
        Some("an Arrow file")
    } else if begins("%PDF-") {
        Some("a PDF document")
    } else {
        let after = |open: u8| {
            text.strip_prefix(&[open])
                .map(<[u8]>::trim_ascii_start)
                .and_then(<[u8]>::first)
        };
        match (after(b'{'), after(b'[')) {
            (Some(b'"' | b'}'), _) => Some("JSON"),
            (_, Some(b'{' | b']')) => Some("a JSON array"),
            _ => None,
        }
    }
}

/// Finds out how a file is written and what its columns are, from its first MiB. What is declared is not looked for.
///
/// # Errors
/// When the file is empty or no CSV, an option is wrong, or a declared column is not there.
pub fn sniff(input: &Input, options: &Options) -> Result<Layout> {
    find(input, options).map_err(|error| error.with("file", input.name()))
}

/// As [`sniff`], for a file that can be opened several times: with `infer_rows`, types are proved on as many rows as it says.
///
/// # Errors
/// As [`sniff`], and when the file cannot be read.
pub fn layout(open: impl Fn() -> Result<Input>, options: &Options) -> Result<Layout> {
    let input = open()?;
    let found = sniff(&input, options)?;
    let proved = found
        .columns
        .iter()
        .all(|column| column.mark != Mark::Sampled);
    match options.infer_rows {
        _ if proved => Ok(found),
        InferRows::Head => Ok(found),
        InferRows::Rows(rows) => crate::reader::prove(input, &found, Some(rows), None),
        InferRows::All(_) => crate::reader::prove(input, &found, None, None),
    }
}

fn find(input: &Input, options: &Options) -> Result<Layout> {
    options.check()?;
    let rules = crate::rules::rules(options)?;
    if options.delim.is_none()
        && let Some(what) = looks_like(input.head())
    {
        let message = format!("the file looks like {what}, not like CSV; set `delim` if it is CSV");
        return Err(Error::new(ErrorKind::InvalidData, message));
    }
    if input.head().is_empty() {
        return Err(Error::new(ErrorKind::InvalidData, "the file is empty"));
    }
    let mut dialect = Dialect {
        blank_lines: options.blank_lines,
        empty: options.empty,
        encoding: input.encoding(),
        compression: input.compression(),
        footer: options.skip_footer.unwrap_or(0),
        comment: options.comment.clone().filter(|text| !text.is_empty()),
        null_text: options
            .null_text
            .as_ref()
            .map(|texts| texts.list())
            .unwrap_or_default(),
        ..Dialect::default()
    };
    let skipped = skip_lines(input.head(), options.skip.unwrap_or(0), options);
    let mut told = options.clone();
    if skipped > 0 && memchr::memchr(b'\n', input.head()).is_none() {
        // The lines that are skipped ended in CR: what follows may have no line end that says so.
        told.new_line = options.new_line.or(Some(LineEnd::Cr));
    }
    let options = &told;
    guess(
        &input.head()[skipped..],
        input.is_whole(),
        options,
        &rules,
        &mut dialect,
    )?;
    Sniffer {
        head: input.head(),
        whole: input.is_whole(),
        options,
        rules,
        dialect,
        notes: Vec::new(),
        left_out: Vec::new(),
        null_word: false,
    }
    .layout(skipped)
}

/// Where the text goes on after so many lines.
fn skip_lines(head: &[u8], lines: u64, options: &Options) -> usize {
    let has_feeds = memchr::memchr(b'\n', head).is_some();
    let end = options
        .new_line
        .unwrap_or(if has_feeds { LineEnd::Lf } else { LineEnd::Cr });
    let syntax = Syntax::new(&Dialect {
        line_end: end,
        ..Dialect::default()
    });
    (0..lines).fold(0, |at, _| {
        syntax.next_line(head, at.min(head.len()), head.len())
    })
}

pub(crate) struct Sniffer<'a> {
    head: &'a [u8],
    whole: bool,
    pub(crate) options: &'a Options,
    pub(crate) rules: Rules,
    pub(crate) dialect: Dialect,
    notes: Vec<String>,
    /// Notes on lines that are left out.
    left_out: Vec<String>,
    null_word: bool,
}

impl Sniffer<'_> {
    fn layout(mut self, skipped: usize) -> Result<Layout> {
        let text = &self.head[skipped..];
        let mut rows = self.rows(text);
        self.find_comments(text, &rows);
        if self.dialect.comment.is_some() {
            rows = self.rows(text);
        }
        let body: Vec<&Row> = rows
            .iter()
            .filter(|row| !row.comment && !row.cut && !row.is_blank(text))
            .collect();
        let common = common_width(&body);
        let first = self.first_row(text, &body, common)?;
        let body = &body[first..];
        let header_rows = match self.options.header_rows()? {
            Some(rows) => rows,
            None => self.find_header(text, body).0,
        };
        let mut header_rows = header_rows.min(body.len());
        let broken = self.broken(text, &rows, body, header_rows)?;
        if broken.is_some() {
            header_rows = 0;
        }
        let given = self.options.names.len();
        let width = if given > 0 && (body.is_empty() || self.options.ragged == Ragged::Pad) {
            given
        } else {
            body.iter()
                .take(header_rows)
                .map(|row| row.width())
                .chain([common])
                .max()
                .unwrap_or(1)
        };
        self.dialect.header_rows = header_rows;
        let begin = broken.unwrap_or_else(|| body.first().map_or(text.len(), |row| row.start));
        let end = match header_rows {
            0 => begin,
            rows => body[rows - 1].next,
        };
        if self.options.skip_footer.is_none() {
            self.find_footer(text, &rows, common);
        }
        let syntax = Syntax::new(&self.dialect);
        let before = self.before(
            &syntax,
            skipped,
            text,
            &rows,
            begin,
            end,
            &body[..header_rows],
        );
        let names = self.names(&syntax, text, &body[..header_rows], width)?;
        self.find_nulls(text, &body[header_rows..]);
        let columns = self.columns(&syntax, text, end, &names)?;
        self.note_lines(before);
        Ok(Layout {
            dialect: self.dialect,
            columns,
            notes: self.notes,
            left_out: self.left_out,
            null_word: self.null_word,
            start: skipped + end,
            before,
            rules: Arc::new(self.rules),
            pad: self.options.ragged == Ragged::Pad,
            max_row_bytes: self.options.max_row_bytes.unwrap_or(MAX_ROW),
        })
    }

    /// A row with a malformed quote before the table's first row: it is not a preamble, and is refused when it is read.
    fn broken(
        &self,
        text: &[u8],
        rows: &[Row],
        body: &[&Row],
        header_rows: usize,
    ) -> Result<Option<usize>> {
        if body.is_empty() && !self.whole {
            let message = "the first row is longer than 1 MiB";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let end = match header_rows {
            0 => body.first().map_or(text.len(), |row| row.start),
            rows => body[rows - 1].next,
        };
        let broken = rows.iter().find(|row| row.cut && row.start < end);
        if broken.is_some() && self.options.header_rows()?.is_some_and(|rows| rows > 0) {
            let message =
                "a quote in the header, or before it, is not closed or is followed by text";
            return Err(Error::new(ErrorKind::InvalidData, message));
        }
        Ok(broken.map(|row| row.start))
    }

    fn rows(&self, text: &[u8]) -> Vec<Row> {
        rows(
            &Syntax::new(&self.dialect),
            text,
            self.whole,
            STRUCTURE_ROWS,
        )
    }

    /// Lines that begin with `#` and are not like the others are comments, if they are among the rows.
    fn find_comments(&mut self, text: &[u8], rows: &[Row]) {
        if self.options.comment.is_some() {
            return;
        }
        let sharp = |row: &Row| text[row.start..row.next].starts_with(b"#");
        let others: Vec<&Row> = rows
            .iter()
            .filter(|row| !sharp(row) && !row.cut && !row.is_blank(text))
            .collect();
        let common = common_width(&others);
        let marked: Vec<&Row> = rows.iter().filter(|row| sharp(row)).collect();
        let like = marked
            .iter()
            .filter(|row| row.width() == common && !row.cut);
        let unlike = like.count() * 20 <= marked.len();
        let first_other = others.first().map_or(usize::MAX, |row| row.start);
        let among = marked.iter().any(|row| row.start > first_other);
        if common > 1 && unlike && among {
            self.dialect.comment = Some("#".into());
            self.dialect.comment_found = true;
        }
    }

    /// Lines at the end of the file that are apart, and are not like the rows.
    fn find_footer(&mut self, text: &[u8], rows: &[Row], common: usize) {
        if !self.whole || common < 2 || rows.len() >= STRUCTURE_ROWS {
            return;
        }
        let Some(last) = rows
            .iter()
            .rposition(|row| row.width() == common && !row.cut && !row.comment)
        else {
            return;
        };
        let after = &rows[last + 1..];
        let apart = after.first().is_some_and(|row| row.is_blank(text));
        let fit = |row: &&Row| row.width() == common && !row.cut && !row.comment;
        let lines: Vec<&Row> = after
            .iter()
            .filter(|row| !row.is_blank(text) && !row.comment)
            .collect();
        let few =
            !lines.is_empty() && lines.len() <= FOOTER_ROWS.min(rows.iter().filter(fit).count());
        let remarks = lines
            .iter()
            .all(|row| !row.cut && self.is_remark(text, row, common));
        if apart && few && remarks {
            let syntax = Syntax::new(&self.dialect);
            self.dialect.footer = syntax.lines(&text[rows[last].next..]);
        }
    }

    /// Accounts for the lines before the rows.
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of the text that it counts"
    )]
    fn before(
        &mut self,
        syntax: &Syntax,
        skipped: usize,
        text: &[u8],
        rows: &[Row],
        begin: usize,
        end: usize,
        header: &[&Row],
    ) -> Before {
        let preamble = syntax.lines(&self.head[..skipped]) + syntax.lines(&text[..begin]);
        let mut before = Before {
            preamble,
            ..Before::default()
        };
        self.dialect.preamble = preamble;
        for row in rows
            .iter()
            .filter(|row| row.start >= begin && row.next <= end)
        {
            let lines = syntax.lines(&text[row.start..row.next]);
            if header.iter().any(|known| known.start == row.start) {
                before.header += lines;
            } else if row.comment {
                before.comments += lines;
            } else if row.is_blank(text) {
                before.blank += lines;
            } else {
                before.preamble += lines;
            }
        }
        before
    }

    /// Says which lines of the file are not part of its table, although it was not declared, and that the encoding is a guess.
    fn note_lines(&mut self, before: Before) {
        let count = before.preamble;
        if self.options.skip.is_none() && count > 0 {
            let syntax = Syntax::new(&self.dialect);
            let end = (0..count).fold(0, |at, _| syntax.next_line(self.head, at, self.head.len()));
            if !self.head[..end].trim_ascii().is_empty() {
                self.left_out.push(format!(
                    "{} not like the table, and left out; `skip = 0` reads from line 1 on",
                    lines_to(count)
                ));
            }
        }
        if self.options.skip_footer.is_none() && self.dialect.footer > 0 {
            let count = self.dialect.footer;
            self.left_out.push(format!(
                "the last {count} lines differ from the table, and are left out; `skip_footer = 0` reads them as rows"
            ));
        }
        if self.options.comment.is_none()
            && let Some(comment) = &self.dialect.comment
        {
            self.left_out.push(format!(
                "lines that begin with `{comment}` differ from the table, and are left out; `comment = \"\"` reads them as rows"
            ));
        }
        self.notes.extend(self.left_out.iter().cloned());
        let encoding = self.dialect.encoding;
        if self.options.encoding.is_none() && !encoding.starts_with("UTF-") {
            self.notes.push(format!(
                "the text is no UTF-8, and read as {encoding}, which is a guess; declare its `encoding`"
            ));
        }
    }

    fn names(
        &mut self,
        syntax: &Syntax,
        text: &[u8],
        header: &[&Row],
        width: usize,
    ) -> Result<Vec<String>> {
        let given = &self.options.names;
        if !given.is_empty() && given.len() != width {
            let hint = match given.len() > width && self.options.ragged != Ragged::Pad {
                true => "; `ragged = \"pad\"` fills with nulls",
                false => "",
            };
            let message = format!(
                "`names` has {} names, and the file {width} columns{hint}",
                given.len()
            );
            return Err(invalid("names", message));
        }
        let mut names: Vec<String> = Vec::with_capacity(width);
        let mut used: BTreeSet<String> = BTreeSet::new();
        for column in 0..width {
            let mut name = match given.get(column) {
                Some(name) => name.clone(),
                None => {
                    let mut parts = Vec::new();
                    for row in header {
                        let mut scratch = Vec::new();
                        let cell = cell_text(syntax, text, row, column, &mut scratch);
                        let cell = std::str::from_utf8(cell).map_err(|_| {
                            let message =
                                "the header has bytes that are no text; declare its `encoding`";
                            Error::new(ErrorKind::InvalidData, message)
                        })?;
                        let quoted = row
                            .fields
                            .get(column)
                            .is_some_and(|field| field.is_quoted());
                        let part = if quoted { cell } else { cell.trim() };
                        if !part.is_empty() {
                            parts.push(part.to_owned());
                        }
                    }
                    parts.join(" ")
                }
            };
            if name.is_empty() {
                name = format!("column_{}", column + 1);
                if !header.is_empty() {
                    self.notes
                        .push(format!("column {} has no name: it is `{name}`", column + 1));
                }
            }
            let plain = name.clone();
            let mut count = 1;
            while !used.insert(name.clone()) {
                count += 1;
                name = format!("{plain}_{count}");
            }
            if name != plain {
                let note = format!(
                    "the name `{plain}` stands twice: column {} is `{name}`",
                    column + 1
                );
                self.notes.push(note);
            }
            names.push(name);
        }
        Ok(names)
    }

    /// Texts that mean null although it was not declared: `\N`, which writers leave without quotes only for null; and `NULL`, if
    /// it is the only text in a column that does not fit its type, and nothing else means null.
    fn find_nulls(&mut self, text: &[u8], body: &[&Row]) {
        if self.options.null_text.is_some() {
            return;
        }
        let cell = |row: &Row, column: usize| {
            let field = row.fields[column];
            field.is_plain().then(|| &text[field.start()..field.end()])
        };
        let holds = |word: &[u8]| {
            body.iter()
                .any(|row| (0..row.width()).any(|column| cell(row, column) == Some(word)))
        };
        if holds(b"\\N") {
            self.dialect.null_text = vec!["\\N".into()];
            return;
        }
        for word in ["NULL", "null"] {
            if !holds(word.as_bytes()) || holds(b"") {
                continue;
            }
            let mut with = self.dialect.clone();
            with.null_text = vec![word.into()];
            let before = std::mem::replace(&mut self.dialect, with);
            let width = body.first().map_or(0, |row| row.width());
            let decides = (0..width).any(|column| {
                let used = body
                    .iter()
                    .any(|row| column < row.width() && cell(row, column) == Some(word.as_bytes()));
                used && self.profile(text, body, column).is_typed(&self.rules)
            });
            if decides {
                self.null_word = true;
                return;
            }
            self.dialect = before;
        }
    }

    fn columns(
        &mut self,
        syntax: &Syntax,
        text: &[u8],
        start: usize,
        names: &[String],
    ) -> Result<Vec<ColumnPlan>> {
        let declared = self.declared(names)?;
        let profiles = self.profiles(syntax, text, start, names.len());
        let sampled = !self.whole || matches!(self.options.infer_rows, InferRows::Rows(_));
        let mark = if sampled { Mark::Sampled } else { Mark::Proved };
        let first = syntax.line_ends(&self.head[..self.head.len() - text.len() + start]) + 1;
        let mut columns = Vec::with_capacity(names.len());
        for (name, profile) in names.iter().zip(profiles) {
            columns.push(match declared.get(name.as_str()) {
                Some(kind) => {
                    check_supported("CSV", name, &kind.data_type)?;
                    ColumnPlan {
                        name: name.clone(),
                        kind: kind.clone(),
                        mark: Mark::Declared,
                        reason: "it was declared".to_owned(),
                    }
                }
                None => {
                    let (kind, reason) = profile.after(first).decide(&self.rules);
                    ColumnPlan {
                        name: name.clone(),
                        kind,
                        mark,
                        reason,
                    }
                }
            });
        }
        Ok(columns)
    }

    fn declared(&self, names: &[String]) -> Result<BTreeMap<String, ColumnType>> {
        let known = |key: &'static str, name: &String| match names.contains(name) {
            true => Ok(name.clone()),
            false => {
                let message = format!(
                    "there is no column `{name}`; the columns are {}",
                    names.join(", ")
                );
                Err(invalid(key, message))
            }
        };
        let offered = self.options.declared.iter();
        let mut declared: BTreeMap<String, ColumnType> = offered
            .map(|(name, data_type)| (name.clone(), ColumnType::offered(data_type.clone())))
            .collect();
        for (name, data_type) in &self.options.strict_types {
            let kind = ColumnType::found(parse_type(data_type)?);
            declared.insert(known("strict_types", name)?, kind);
        }
        match &self.options.types {
            Types::All(name) => {
                let kind = ColumnType::declared(parse_type(name)?);
                declared.extend(names.iter().map(|name| (name.clone(), kind.clone())));
            }
            Types::Columns(types) => {
                for (name, data_type) in types {
                    let kind = ColumnType::declared(parse_type(data_type)?);
                    declared.insert(known("types", name)?, kind);
                }
            }
        }
        Ok(declared)
    }

    /// What the values of the head are, from `start` on.
    fn profiles(&self, syntax: &Syntax, text: &[u8], start: usize, width: usize) -> Vec<Profile> {
        let end = if self.whole {
            last_lines(syntax, text, self.dialect.footer).0
        } else {
            start + Framer::default().boundary(syntax, &text[start..], false)
        };
        let mut padded = text[start..end.max(start)].to_vec();
        let len = padded.len();
        padded.resize(len + crate::masks::BLOCK, 0);
        let chunk = crate::tokens::Chunk { data: &padded, len };
        let mut tokens = crate::tokens::Tokens::new(width, self.options.ragged == Ragged::Pad);
        let limit = match self.options.infer_rows {
            InferRows::Rows(rows) => usize::try_from(rows).unwrap_or(usize::MAX),
            _ => usize::MAX,
        };
        tokens.read(syntax, chunk, 0, limit);
        let cells = Cells {
            syntax,
            data: &padded,
            fields: &tokens.fields,
            width,
        };
        let nulls = Nulls::new(&self.dialect, false);
        let mut profiles = vec![Profile::default(); width];
        for (index, profile) in profiles.iter_mut().enumerate() {
            let line = |at: usize| syntax.line_ends(&padded[..at]);
            crate::profile::add(profile, cells, index, &nulls, &self.rules, line);
        }
        profiles
    }
}

/// The first so many lines, as the beginning of a sentence.
pub(crate) fn lines_to(count: u64) -> String {
    match count {
        1 => "line 1 is".to_owned(),
        _ => format!("lines 1 to {count} are"),
    }
}

/// The content of a cell; nothing where the row has none.
pub(crate) fn cell_text<'a>(
    syntax: &'a Syntax,
    text: &'a [u8],
    row: &'a Row,
    column: usize,
    scratch: &'a mut Vec<u8>,
) -> &'a [u8] {
    let Some(field) = row.fields.get(column) else {
        return &[];
    };
    let cells = Cells {
        syntax,
        data: text,
        fields: &row.fields,
        width: 1,
    };
    cells.text(*field, scratch).bytes()
}

/// The number of fields that the rows of the table have: that of most rows, where rows with many fields count for more than
/// the lines of a title.
fn common_width(rows: &[&Row]) -> usize {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for row in rows {
        *counts.entry(row.width()).or_default() += 1;
    }
    let weight = |(width, count): &(usize, usize)| *count as f64 * (*width as f64).powf(0.25);
    counts
        .into_iter()
        .max_by(|a, b| weight(a).total_cmp(&weight(b)))
        .map_or(1, |(width, _)| width)
}
