//! Where a table begins in its file, and which of its rows hold names.

use std::collections::BTreeSet;

use arrow_schema::DataType;
use arrowload_common_text_files::{Class, Profile, classify};
use arrowload_core::{Error, ErrorKind, Result};

use crate::guess::Row;
use crate::nulls::Nulls;
use crate::options::Ragged;
use crate::sniff::{Sniffer, cell_text, lines_to};
use crate::syntax::Syntax;

/// Rows that the columns are judged by.
const SAMPLE: usize = 1_000;
/// Rows at the beginning of a table that may be a title.
const TITLE_ROWS: usize = 20;
/// Words for a value that is not there: they are not names.
const NO_VALUES: [&str; 9] = ["n/a", "na", "nan", "null", "none", "nil", "-", "?", "\\n"];

/// What all values of a column have in common, so that names can be distinguished from values.
enum Kind {
    /// They have a type.
    Typed(Profile),
    /// They are text, and all but a few have a digit.
    Digits,
}

/// The evidence that the first rows are names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// They differ in kind from the values of the columns; or there are no names.
    Strong,
    /// They could be names.
    Weak,
}

impl Sniffer<'_> {
    /// The number of the first row of the table: what is before it is not like it.
    ///
    /// # Errors
    /// When what is above the names is a table itself.
    pub(crate) fn first_row(&self, text: &[u8], body: &[&Row], common: usize) -> Result<usize> {
        if self.options.skip.is_some() || common < 2 {
            return Ok(0);
        }
        let Some(first) = body.iter().position(|row| row.width() == common) else {
            return Ok(0);
        };
        let apart = |row: usize| {
            text[body[row].next..body[row + 1].start]
                .iter()
                .any(|byte| matches!(byte, b'\n' | b'\r'))
        };
        let headed = self.find_header(text, &body[first..]).0 > 0;
        if first > 0 && !headed {
            // Rows of another length that are next to the others, and above no names, are rows that do not fit; so are rows
            // that do not look like a remark.
            let near = |row: &usize| body[*row].width() > 1 && !apart(*row);
            let near = (0..first).rev().take_while(near).last().unwrap_or(first);
            let remark = |row: &&Row| self.is_remark(text, row, common);
            return Ok(near.min(body[..first].iter().take_while(|row| remark(row)).count()));
        }
        if !self.is_preamble(text, &body[..first], body.len() - first, common) {
            let is_short = |row: &&Row| row.width() <= common;
            if self.options.ragged == Ragged::Pad && body[..first].iter().all(is_short) {
                return Ok(0);
            }
            let lines = Syntax::new(&self.dialect).lines(&text[..body[first].start]);
            let message = format!(
                "{} above what seems to be the table, and like rows of another one; `skip = {lines}` leaves them out, `skip = 0` reads from line 1 on",
                lines_to(lines)
            );
            return Err(Error::new(ErrorKind::InvalidData, message).with("line", 1));
        }
        Ok(first + self.title_rows(text, &body[first..], common))
    }

    /// Whether rows are not like those of a table that has names and `below` rows, so that they can be left out.
    fn is_preamble(&self, text: &[u8], above: &[&Row], below: usize, common: usize) -> bool {
        let mut widths = BTreeSet::new();
        above.len() <= below
            && above.iter().all(|row| {
                let width = row.width();
                width == 1 || (self.is_remark(text, row, common) && widths.insert(width))
            })
    }

    /// Whether a row has far fewer fields than those of the table, and begins with words.
    pub(crate) fn is_remark(&self, text: &[u8], row: &Row, common: usize) -> bool {
        let syntax = Syntax::new(&self.dialect);
        let mut scratch = Vec::new();
        let first = cell_text(&syntax, text, row, 0, &mut scratch);
        let letter = |byte: &u8| byte.is_ascii_alphabetic() || *byte >= 0x80;
        (row.width() == 1 || row.width() * 2 <= common)
            && matches!(classify(first, &self.rules), Class::Text)
            && first.iter().any(letter)
    }

    /// Rows of a title that were given the delimiters of the table: few of their cells are filled, and names are below.
    fn title_rows(&self, text: &[u8], body: &[&Row], common: usize) -> usize {
        if common < 3 || self.options.header == Some(false) {
            return 0;
        }
        let syntax = Syntax::new(&self.dialect);
        let filled = |row: &Row| {
            (0..row.width())
                .filter(|column| {
                    let mut scratch = Vec::new();
                    let cell = cell_text(&syntax, text, row, *column, &mut scratch);
                    !cell.trim_ascii().is_empty()
                })
                .count()
        };
        let counts: Vec<usize> = body
            .iter()
            .take(TITLE_ROWS + 1)
            .map(|row| filled(row))
            .collect();
        let title = counts
            .iter()
            .take_while(|count| **count * 3 <= common)
            .count();
        if title == 0
            || counts
                .get(title)
                .is_none_or(|count| *count * 3 < common * 2)
        {
            return 0;
        }
        let separated = counts[0] > 0 && counts[title - 1] == 0;
        match self.find_header(text, &body[title..]) {
            (0, _) => 0,
            (_, Evidence::Weak) if !separated => 0,
            _ => title,
        }
    }

    pub(crate) fn profile(&self, text: &[u8], rows: &[&Row], column: usize) -> Profile {
        let mut profile = Profile::default();
        self.each_value(text, rows, column, |cell| {
            profile.value(cell, cell.len(), &self.rules);
        });
        profile
    }

    fn each_value(&self, text: &[u8], rows: &[&Row], column: usize, mut each: impl FnMut(&[u8])) {
        let nulls = Nulls::new(&self.dialect, false);
        let syntax = Syntax::new(&self.dialect);
        for row in rows {
            let Some(field) = row.fields.get(column) else {
                continue;
            };
            let mut scratch = Vec::new();
            let cell = cell_text(&syntax, text, row, column, &mut scratch);
            if !nulls.is_null(cell, field.is_quoted()) {
                each(cell);
            }
        }
    }

    fn kind(&self, text: &[u8], rows: &[&Row], column: usize) -> Option<Kind> {
        let profile = self.profile(text, rows, column);
        if profile.is_typed(&self.rules) {
            return Some(Kind::Typed(profile));
        }
        let (mut values, mut with_digit) = (0, 0);
        self.each_value(text, rows, column, |cell| {
            values += 1;
            with_digit += usize::from(has_digit(cell));
        });
        (values > 1 && with_digit * 20 >= values * 19).then_some(Kind::Digits)
    }

    /// How many rows hold names, of those that the table begins with.
    pub(crate) fn find_header(&self, text: &[u8], body: &[&Row]) -> (usize, Evidence) {
        let Some(first) = body.first() else {
            return (0, Evidence::Strong);
        };
        let deep = self.deep_header(text, body);
        if deep > 1 {
            return (deep, Evidence::Strong);
        }
        let sample = &body[1..body.len().min(SAMPLE + 1)];
        let syntax = Syntax::new(&self.dialect);
        // Counts for and against names, in columns with types and in others.
        let (mut typed, mut digits) = ((0, 0), (0, 0));
        for column in 0..first.width() {
            let mut scratch = Vec::new();
            let cell = cell_text(&syntax, text, first, column, &mut scratch);
            if cell.is_empty() {
                continue;
            }
            match self.kind(text, sample, column) {
                Some(Kind::Typed(profile)) if self.fits(&profile, cell) => typed.1 += 1,
                Some(Kind::Typed(_)) => typed.0 += 1,
                Some(Kind::Digits) if has_digit(cell) => {
                    // A name may have digits, too: only what is built as the values are speaks against it.
                    let built = shape(cell);
                    let mut same = false;
                    self.each_value(text, sample, column, |value| same |= shape(value) == built);
                    digits.1 += usize::from(same);
                }
                Some(Kind::Digits) => digits.0 += 1,
                None => {}
            }
        }
        for (with, against) in [typed, digits] {
            if with + against > 0 {
                return (usize::from(with > 0 && with >= against), Evidence::Strong);
            }
        }
        if sample.is_empty() {
            // Nothing to compare with: names seldom have digits.
            let filled = first.fields.iter().filter(|field| field.len() > 0);
            let with_digit = filled
                .clone()
                .filter(|field| has_digit(&text[field.start()..field.end()]));
            if with_digit.count() * 2 > filled.count() {
                return (0, Evidence::Weak);
            }
        }
        let could_be = self.could_be_names(&syntax, text, first, sample);
        (usize::from(could_be), Evidence::Weak)
    }

    fn fits(&self, profile: &Profile, cell: &[u8]) -> bool {
        let before = profile.decide(&self.rules).0.data_type;
        let mut with = profile.clone();
        with.value(cell, cell.len(), &self.rules);
        let after = with.decide(&self.rules).0.data_type;
        before == after || after != DataType::Utf8
    }

    /// Rows that the table begins with, and that have a name in every column that has a kind: at least two, and half of all.
    /// None if the table has few rows.
    fn deep_header(&self, text: &[u8], body: &[&Row]) -> usize {
        if body.len() < 12 {
            return 0;
        }
        let syntax = Syntax::new(&self.dialect);
        let rest = &body[4..body.len().min(SAMPLE + 4)];
        let width = body[0].width();
        let columns: Vec<(usize, Kind)> = (0..width)
            .filter_map(|column| Some((column, self.kind(text, rest, column)?)))
            .collect();
        if columns.len() < 2 || columns.len() * 2 < width {
            return 0;
        }
        let is_header = |row: &&&Row| {
            columns.iter().all(|(column, kind)| {
                let mut scratch = Vec::new();
                let cell = cell_text(&syntax, text, row, *column, &mut scratch);
                let word = String::from_utf8_lossy(cell.trim_ascii()).to_lowercase();
                let unlike = match kind {
                    Kind::Typed(profile) => !self.fits(profile, cell),
                    Kind::Digits => !has_digit(cell),
                };
                unlike && !word.is_empty() && !NO_VALUES.contains(&word.as_str())
            })
        };
        body.iter().take(4).take_while(is_header).count()
    }

    /// Whether cells of a table of nothing but text could be names: each is there, once, and not again below.
    fn could_be_names(&self, syntax: &Syntax, text: &[u8], first: &Row, sample: &[&Row]) -> bool {
        let (mut seen, mut empty) = (BTreeSet::new(), 0);
        for column in 0..first.width() {
            let mut scratch = Vec::new();
            let cell = cell_text(syntax, text, first, column, &mut scratch).to_vec();
            if cell.is_empty() {
                empty += 1;
                continue;
            }
            let alone = sample.is_empty() && !matches!(classify(&cell, &self.rules), Class::Text);
            let again = sample.iter().any(|row| {
                let mut scratch = Vec::new();
                cell_text(syntax, text, row, column, &mut scratch) == cell
            });
            if alone || again || !seen.insert(cell) {
                return false;
            }
        }
        empty * 2 < first.width()
    }
}

fn has_digit(cell: &[u8]) -> bool {
    cell.iter().any(u8::is_ascii_digit)
}

/// How a text is built: runs of digits, runs of letters, and what is between them.
fn shape(cell: &[u8]) -> Vec<u8> {
    let class = |byte: &u8| match byte {
        b'0'..=b'9' => b'9',
        b'a'..=b'z' | b'A'..=b'Z' | 0x80.. => b'a',
        other => *other,
    };
    let mut shape: Vec<u8> = cell.iter().map(class).collect();
    shape.dedup();
    shape
}
