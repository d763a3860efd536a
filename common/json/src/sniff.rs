//! Finds out what a file is: how its rows are written, the names and types of its columns.

use std::sync::Arc;

use arrowload_common_text_files::{Chunks, InferRows, Input, Mark};
use arrowload_core::{Error, ErrorKind, Result};

use crate::fault::fault_error;
use crate::feed::{Feed, Kind};
use crate::layout::{Layout, Settings};
use crate::lexer::{Lexer, PADDING};
use crate::options::{Format, Options};
use crate::parse::{Parser, Product};

/// Lines by which NDJSON is known.
const LINES: usize = 100;

/// Finds out how the rows of a file are written and what its columns are, from its first MiB. What is declared is not looked
/// for.
///
/// # Errors
/// When the file is empty or no JSON, or an option is wrong.
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
        .all(|column| column.mark == Mark::Proved);
    match options.infer_rows {
        _ if proved => Ok(found),
        InferRows::Head => Ok(found),
        InferRows::Rows(rows) => crate::reader::prove(input, &found, Some(rows), None),
        InferRows::All(_) => crate::reader::prove(input, &found, None, None),
    }
}

/// Says what a text looks like, if it is not JSON.
fn looks_like(head: &[u8]) -> Option<&'static str> {
    let begins = |word: &str| {
        head.get(..word.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()))
    };
    if begins("<!doctype html") || begins("<html") {
        Some("an HTML page")
    } else if begins("<") {
        Some("an XML document")
    } else if begins("PAR1") {
        Some("a Parquet file")
    } else if begins("ARROW1") {
        Some("an Arrow file")
    } else {
        None
    }
}

fn find(input: &Input, options: &Options) -> Result<Layout> {
    options.check()?;
    let (head, whole) = (input.head(), input.is_whole());
    let text = head.trim_ascii_start();
    if text.is_empty() && whole {
        return Err(Error::new(ErrorKind::InvalidData, "the file is empty"));
    }
    if let Some(what) = looks_like(text) {
        let message = format!("the file looks like {what}, not like JSON");
        return Err(Error::new(ErrorKind::InvalidData, message));
    }
    let format = match options.format {
        Format::Auto if options.records.is_some() => Format::Document,
        Format::Auto => format(text, whole),
        declared => declared,
    };
    let limit = match options.infer_rows {
        InferRows::Rows(rows) => rows,
        _ => u64::MAX,
    };
    let mark = if whole && limit == u64::MAX {
        Mark::Proved
    } else {
        Mark::Sampled
    };
    let mut settings = Arc::new(Settings::new(options, false)?);
    if has_objects(head, whole, format, &settings) {
        settings = Arc::new(Settings::new(options, true)?);
    }
    let empty = |settings: &Arc<Settings>, profile, mark| {
        Layout::new(
            format,
            input.encoding(),
            input.compression(),
            Arc::clone(settings),
            profile,
            mark,
        )
    };
    let mut profile = settings.profile();
    let parser = Parser::new(
        &empty(&settings, settings.profile(), Mark::Sampled)?,
        Product::Profile,
        Vec::new(),
        usize::MAX,
    );
    let mut feed = Feed::over_head(head, whole, format, Arc::clone(&settings));
    let (mut buffer, mut rows, mut refused) = (Vec::new(), 0, None);
    while rows < limit {
        let Some(note) = feed.fill(&mut buffer)? else {
            break;
        };
        let parsed = parser.profile(&buffer, &note, limit - rows)?;
        rows += parsed.rows;
        refused = refused.or(parsed.refused.into_iter().next());
        if let Some(later) = &parsed.profile {
            profile.merge(later);
        }
    }
    let layout = empty(&settings, profile, mark)?;
    match refused {
        // Without a row there is no table: what is wrong with the lines says why.
        Some(row) if rows == 0 && whole && layout.columns.is_empty() => {
            Err(fault_error(&row.fault, row.place))
        }
        _ => Ok(layout),
    }
}

/// How the rows of a text are written that begins with no blank.
fn format(text: &[u8], whole: bool) -> Format {
    let array = text.first() == Some(&b'[');
    let end = match memchr::memrchr(b'\n', text) {
        _ if whole => text.len(),
        Some(last) => last + 1,
        None => 0,
    };
    let lines = text[..end].split(|byte| *byte == b'\n');
    let lines = lines
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty());
    let (mut values, mut others, mut objects) = (0, 0, 0);
    for line in lines.take(LINES) {
        let mut data = line.to_vec();
        data.resize(line.len() + PADDING, 0);
        let mut lexer = Lexer::new(&data, line.len(), true, u32::MAX);
        // Lines that are not UTF-8 are refused one by one.
        let value = lexer.skip().is_ok() && lexer.at == line.len();
        objects += usize::from(value && matches!(line.first(), Some(b'{')));
        values += usize::from(value);
        others += usize::from(!value);
    }
    match array {
        // Lines that are arrays themselves; one array that has a line is an array.
        true if values > 1 && others == 0 && objects == 0 => Format::Ndjson,
        true => Format::Array,
        false if values > 0 && values >= others => Format::Ndjson,
        false => Format::Document,
    }
}

/// Whether rows are objects: in an array if all in the head are, else if any is, and the others are refused.
fn has_objects(head: &[u8], whole: bool, format: Format, settings: &Arc<Settings>) -> bool {
    let mut feed = Feed::over_head(head, whole, format, Arc::clone(settings));
    let (mut buffer, mut objects, mut others) = (Vec::new(), 0, 0);
    // What is wrong with the text is said when its values are looked at.
    while let Ok(Some(note)) = feed.fill(&mut buffer) {
        let lines = note.kind == Kind::Lines;
        let mut lexer = Lexer::new(&buffer, note.len, lines, settings.max_depth);
        while lexer.at < lexer.len {
            match lexer.blanks() {
                b',' | b'\n' | 0 => {
                    lexer.at += 1;
                    continue;
                }
                b'{' => objects += 1,
                _ => others += 1,
            }
            if lexer.skip().is_err() {
                let rest = memchr::memchr(b'\n', &buffer[lexer.at..note.len]);
                lexer.at = match rest {
                    Some(found) if lines => lexer.at + found + 1,
                    _ => note.len,
                };
                lexer.surface();
            }
        }
    }
    objects > 0 && (others == 0 || format != Format::Array)
}
