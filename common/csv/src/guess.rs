//! Which delimiter, quote, escape and line ends a sample is most consistent with.
//!
//! The measure is that of "Wrangling messy CSV files by detecting row and type patterns" (van den Burg, Nazábal, Sutton,
//! 2019): few different row lengths, many fields, and cells that look like values rather than like half a row.

use std::collections::BTreeMap;

use crate::dialect::{Dialect, Escape, LineEnd};
use crate::options::Options;
use crate::syntax::Syntax;
use crate::walk::{Field, Walk, Walked, is_blank};
use arrowload_common_text_files::{Class, Rules, classify};
use arrowload_core::Result;

/// The bytes that are tried with every dialect.
const TRIED: usize = 32 * 1024;
/// Lines after which a quote that the sample does not close is taken for one that is never closed.
const OPEN_LINES: usize = 20;
/// Characters that are not delimiters unless they are declared, because they occur in values, or around them.
const NO_DELIMITERS: &str = ",;\t|\"'`+-.:\\()[]{}<>_@\0";

/// A row of the sample.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) start: usize,
    pub(crate) next: usize,
    pub(crate) fields: Vec<Field>,
    pub(crate) cut: bool,
    pub(crate) comment: bool,
}

impl Row {
    pub(crate) fn width(&self) -> usize {
        self.fields.len()
    }

    pub(crate) fn is_blank(&self, data: &[u8]) -> bool {
        // A row of nothing but delimiters has fields, though these may be tabs.
        !self.cut
            && !self.comment
            && self.width() == 1
            && data[self.start..self.next]
                .iter()
                .all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
    }
}

/// The rows of a sample; the last one counts if the file ends there.
pub(crate) fn rows(syntax: &Syntax, data: &[u8], whole: bool, limit: usize) -> Vec<Row> {
    let walk = Walk {
        syntax,
        data,
        end: data.len(),
        last: whole,
    };
    let (mut at, mut rows) = (0, Vec::new());
    while at < data.len() && rows.len() < limit {
        let mut fields = Vec::new();
        let walked = walk.row(at, |field| fields.push(field));
        let (next, cut, comment) = match walked {
            Walked::Row(next) => (next, false, false),
            Walked::Cut(next, _) => (next, true, false),
            Walked::Comment(next) => (next, false, true),
            Walked::Partial => match lines_after(syntax, data, at) {
                Some(next) => (next, true, false),
                None => break,
            },
        };
        rows.push(Row {
            start: at,
            next,
            fields,
            cut,
            comment,
        });
        at = next;
    }
    rows
}

/// Where the line after the one at `at` begins, if so many lines follow that a quote should have been closed.
fn lines_after(syntax: &Syntax, data: &[u8], at: usize) -> Option<usize> {
    let next = syntax.next_line(data, at, data.len());
    let end = (0..OPEN_LINES).fold(next, |at, _| {
        syntax.next_line(data, at.min(data.len()), data.len())
    });
    (end < data.len()).then_some(next)
}

/// The most likely line end, and whether there are single CRs among LFs.
fn line_end(sample: &[u8]) -> (LineEnd, bool) {
    let (mut feeds, mut pairs, mut returns) = (0, 0, 0);
    for (at, byte) in sample.iter().enumerate() {
        match byte {
            b'\n' if at > 0 && sample[at - 1] == b'\r' => pairs += 1,
            b'\n' => feeds += 1,
            b'\r' if sample.get(at + 1).is_some_and(|next| *next != b'\n') => returns += 1,
            _ => {}
        }
    }
    match (feeds, pairs, returns) {
        (0, 0, 0) if sample.last() == Some(&b'\r') => (LineEnd::Cr, false),
        (0, 0, 1..) => (LineEnd::Cr, false),
        (_, _, returns) if feeds >= pairs => (LineEnd::Lf, returns > 0),
        (_, _, returns) => (LineEnd::Crlf, returns > 0),
    }
}

fn delimiters(sample: &[u8]) -> Vec<(String, f64)> {
    let mut found: Vec<(String, f64)> = [",", ";", "\t", "|"]
        .into_iter()
        .filter(|text| memchr::memmem::find(sample, text.as_bytes()).is_some())
        .map(|text| (text.to_owned(), 1.0))
        .collect();
    for pair in ["||", "::", ";;"] {
        let pairs = memchr::memmem::find_iter(sample, pair.as_bytes()).count();
        let single = memchr::memchr_iter(pair.as_bytes()[0], sample).count();
        if pairs > 0 && pairs * 2 == single {
            found.retain(|(text, _)| *text != pair[..1]);
            found.push((pair.to_owned(), 1.0));
        }
    }
    let first = sample
        .split(|byte| matches!(byte, b'\n' | b'\r'))
        .find(|line| !line.trim_ascii().is_empty())
        .unwrap_or_default();
    let Ok(first) = std::str::from_utf8(first) else {
        return found;
    };
    for character in first.chars() {
        let known = NO_DELIMITERS.contains(character);
        let text = character.to_string();
        if known || character.is_alphanumeric() || found.iter().any(|(known, _)| *known == text) {
            continue;
        }
        if found.len() < 12 {
            found.push((text, if character == ' ' { 0.3 } else { 0.5 }));
        }
    }
    found
}

/// Characters that are around values: at their beginning and at their end.
fn quotes(sample: &[u8], delimiter: u8) -> Vec<Option<u8>> {
    let mut found = vec![Some(b'"')];
    for byte in (b'!'..=b'~').filter(u8::is_ascii_punctuation) {
        if matches!(byte, b'"' | b'\\' | b'+' | b'-' | b'.' | b':') || byte == delimiter {
            continue;
        }
        let edge = |near: Option<&u8>| {
            near.is_none_or(|near| *near == delimiter || matches!(near, b'\n' | b'\r'))
        };
        // A quote after a line end and before a delimiter may open or close.
        let (mut opens, mut closes, mut within) = (0, 0, 0);
        for at in memchr::memchr_iter(byte, sample) {
            let before = at.checked_sub(1).and_then(|before| sample.get(before));
            let (open, close) = (edge(before), edge(sample.get(at + 1)));
            opens += usize::from(open);
            closes += usize::from(close);
            // A doubled quote is inside of a quoted value.
            let doubled = before == Some(&byte) || sample.get(at + 1) == Some(&byte);
            within += usize::from(!open && !close && !doubled);
        }
        if opens > 0 && closes > 0 && within <= opens + closes {
            found.push(Some(byte));
        }
    }
    found
}

/// Whether a cell looks like a value, rather than like several.
fn is_clean(row: &[u8], field: Field, rules: &Rules) -> bool {
    let cell = &row[field.start()..field.end()];
    if field.is_quoted() || cell.is_empty() {
        return true;
    }
    let text = cell.trim_ascii();
    if !matches!(classify(text, rules), Class::Text) {
        return true;
    }
    let decimal_comma = text
        .iter()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b',' | b'.' | b'-'));
    let edges = text.first() == Some(&b'\'') || text.last() == Some(&b'\'');
    decimal_comma
        || (!edges
            && memchr::memchr3(b',', b';', b'\t', text).is_none()
            && memchr::memchr2(b'|', b'"', text).is_none())
}

/// Whether a line is one value of a kind that holds delimiters: a date, a number, an address.
fn is_one_value(line: &[u8], rules: &Rules) -> bool {
    let line = line.trim_ascii();
    if !matches!(classify(line, rules), Class::Text) {
        return true;
    }
    let Ok(text) = std::str::from_utf8(line) else {
        return false;
    };
    let day = text.split('/').count() == 3
        && text
            .split('/')
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    if day {
        return true;
    }
    let address = text.starts_with("http://") || text.starts_with("https://");
    let mail = text
        .split_once('@')
        .is_some_and(|(user, host)| !user.is_empty() && host.contains('.'));
    (address || mail) && !text.contains([',', ';', '\t', '|', ' '])
}

struct Score {
    value: f64,
    /// Quotes are of no use: more rows are broken by them than fields are quoted.
    misquoted: bool,
    /// Every row has the same fields, and more than one.
    uniform: bool,
    typed: f64,
    /// The share of the cells that are quoted.
    quoted: f64,
    rows: usize,
}

fn score(dialect: &Dialect, sample: &[u8], whole: bool, rules: &Rules) -> Score {
    let syntax = Syntax::new(dialect);
    let rows = rows(&syntax, sample, whole, 1_000);
    let mut widths: BTreeMap<usize, usize> = BTreeMap::new();
    let (mut cells, mut clean, mut typed, mut cut, mut count) = (0, 0, 0, 0, 0);
    let mut quoted = 0;
    for row in rows.iter().filter(|row| !row.is_blank(sample)) {
        count += 1;
        if row.cut {
            cut += 1;
            *widths.entry(1).or_default() += 1;
            continue;
        }
        *widths.entry(row.width()).or_default() += 1;
        for field in &row.fields {
            cells += 1;
            quoted += usize::from(field.is_quoted());
            clean += usize::from(is_clean(sample, *field, rules));
            let cell = &sample[field.start()..field.end()];
            typed += usize::from(!matches!(classify(cell, rules), Class::Text));
        }
    }
    if count == 0 || cells == 0 {
        return Score {
            value: 0.0,
            misquoted: cut > 1,
            uniform: false,
            typed: 0.0,
            quoted: 0.0,
            rows: 0,
        };
    }
    let pattern: f64 = widths
        .iter()
        .map(|(width, rows)| {
            let fields = *width as f64;
            *rows as f64 * (fields - 1.0).max(1e-3) / fields
        })
        .sum::<f64>()
        / widths.len() as f64;
    let whole_rows = 1.0 - cut as f64 / count as f64;
    Score {
        misquoted: cut > quoted && (cut > 1 || count > 10),
        value: pattern * (clean as f64 / cells as f64).max(1e-3) * whole_rows,
        uniform: widths.len() == 1 && !widths.contains_key(&1),
        typed: typed as f64 / cells as f64,
        quoted: quoted as f64 / cells as f64,
        rows: count,
    }
}

/// Whether a value without quotes has blanks around it.
fn trims_values(dialect: &Dialect, sample: &[u8], whole: bool) -> bool {
    let syntax = Syntax::new(dialect);
    let blank = |at: Option<usize>| {
        let byte = at.and_then(|at| sample.get(at));
        byte.is_some_and(|byte| is_blank(*byte, &syntax))
    };
    let rows = rows(&syntax, sample, whole, 1_000);
    let mut fields = rows.iter().flat_map(|row| &row.fields);
    fields.any(|field| {
        !field.is_quoted() && (blank(field.start().checked_sub(1)) || blank(Some(field.end())))
    })
}

/// Completes what was declared by what fits the sample best.
pub(crate) fn guess(
    head: &[u8],
    whole: bool,
    options: &Options,
    rules: &Rules,
    dialect: &mut Dialect,
) -> Result<()> {
    let sample = &head[..head.len().min(TRIED)];
    let whole = whole && sample.len() == head.len();
    let (found_end, single_returns) = line_end(sample);
    dialect.line_end = options.new_line.unwrap_or(found_end);
    let mut line_ends = vec![dialect.line_end];
    if options.new_line.is_none() && single_returns {
        line_ends.push(LineEnd::Mixed);
    }
    let one_column = options.delim.is_none()
        && sample
            .split(|byte| matches!(byte, b'\n' | b'\r'))
            .filter(|line| !line.trim_ascii().is_empty())
            .all(|line| is_one_value(line, rules));
    let mut candidates = match options.delimiter() {
        Some(delimiter) => vec![(delimiter.to_owned(), 1.0)],
        None if one_column => Vec::new(),
        None => delimiters(sample),
    };
    if candidates.is_empty() {
        candidates.push((",".to_owned(), 1.0));
    }
    let declared_quote = options.quote()?;
    let mut best: Option<(f64, Dialect)> = None;
    for (delimiter, prior) in &candidates {
        let first = delimiter.bytes().next().unwrap_or(b',');
        let quotes = match declared_quote {
            Some(quote) => vec![quote],
            None => quotes(sample, first),
        };
        let spaced = format!("{delimiter} ");
        let every = memchr::memmem::find_iter(sample, delimiter.as_bytes()).count();
        let padded = delimiter != " "
            && every > 1
            && memchr::memmem::find_iter(sample, spaced.as_bytes()).count() == every;
        let (mut index, mut is_table) = (0, false);
        let mut quotes = quotes;
        while let Some(quote) = quotes.get(index).copied() {
            index += 1;
            if quote.is_some_and(|quote| quote == first) {
                continue;
            }
            let slashed = |byte: u8| memchr::memmem::find(sample, &[b'\\', byte]).is_some();
            let slashes = quote.is_some_and(slashed) || slashed(first) || slashed(b'\n');
            let opened = quote.is_some_and(|quote| {
                let opened = [spaced.as_bytes(), &[quote]].concat();
                delimiter != " " && memchr::memmem::find(sample, &opened).is_some()
            });
            let trims = match options.trim {
                Some(trim) => vec![trim],
                None if padded => vec![true],
                None if opened => vec![true, false],
                None => vec![false],
            };
            let escapes = match options.escape(quote)? {
                Some(escape) => vec![escape],
                None if slashes => vec![Escape::Doubled, Escape::Byte(b'\\')],
                None => vec![Escape::Doubled],
            };
            let (line_ends, trims) = (&line_ends, &trims);
            let written = escapes.iter().flat_map(|escape| {
                let line_ends = line_ends.iter();
                line_ends.flat_map(move |end| trims.iter().map(move |trim| (*escape, *end, *trim)))
            });
            for (escape, line_end, trim) in written {
                let tried = Dialect {
                    delimiter: delimiter.clone(),
                    quote,
                    escape,
                    line_end,
                    trim,
                    ..dialect.clone()
                };
                if trim && trims.len() > 1 && trims_values(&tried, sample, whole) {
                    continue;
                }
                let score = score(&tried, sample, whole, rules);
                if score.misquoted && declared_quote.is_none() && !quotes.contains(&None) {
                    quotes.push(None);
                }
                // If the rows have the same number of fields without it, a character is not a quote only because a value begins and
                // ends with it.
                is_table |= index == 1 && score.uniform;
                let is_usual = matches!(quote, None | Some(b'"' | b'\''));
                if is_table && !is_usual && declared_quote.is_none() && score.quoted < 0.5 {
                    continue;
                }
                let rare = *prior < 1.0 && options.delim.is_none();
                let enough = score.uniform
                    && score.rows > 1
                    && (delimiter != " " || (score.typed >= 0.5 && score.rows > 2));
                if rare && !enough {
                    continue;
                }
                // If two guesses are equally good, the first one wins: the more common quote, the doubled quote, the more common
                // line end. Single quotes around one value are enough, however many others have none.
                let rarer = match quote {
                    _ if index == 1 => 1.0,
                    Some(b'\'') => 1.0 - 1e-6,
                    _ => 0.98,
                };
                // A CR in a value makes two rows of one where it ends lines, and rows count: it takes more than that.
                let mixed = match line_end {
                    LineEnd::Mixed if options.new_line.is_none() => 0.9,
                    _ => 1.0,
                };
                let value = score.value * prior * rarer * mixed;
                if best
                    .as_ref()
                    .is_none_or(|(known, _)| value > *known + 1e-12)
                {
                    best = Some((value, tried));
                }
                // The guess fits completely: a rarer escape or line end could only make more rows from the same text.
                if score.uniform {
                    break;
                }
            }
        }
    }
    if let Some((_, found)) = best {
        *dialect = found;
    }
    Ok(())
}
