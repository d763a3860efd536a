//! One chunk: its rows, into batches or into a profile.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StructArray};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, SchemaRef};
use arrowload_common_text_files::{Mark, Work, shown};
use arrowload_core::{Error, ErrorKind, Result};

use crate::build::{Structs, Wanted};
use crate::fault::{Fault, Place, fault_error, misfit_text};
use crate::feed::{Feed, Kind, Note};
use crate::layout::{Layout, is_at};
use crate::lexer::{Lexer, Misplaced, Step, Stop};
use crate::node::{Member, Node};
use crate::profile::Profile;

/// The product of the chunks: batches or profiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Product {
    Batches,
    Profile,
}

/// The settings by which all chunks of a file are parsed.
pub(crate) struct Parser {
    pub(crate) layout: Layout,
    pub(crate) product: Product,
    pub(crate) schema: SchemaRef,
    /// The columns that are wanted, by their numbers in the layout.
    projection: Vec<usize>,
    wanted: Wanted,
    batch_rows: usize,
    /// Whether a line with a value that does not fit a declared type is refused, and no error.
    pub(crate) aside: bool,
    /// The rows that the last chunk had: most are alike.
    usual_rows: AtomicUsize,
}

/// A line that is not a row.
#[derive(Debug)]
pub(crate) struct FoundRow {
    pub(crate) place: Place,
    pub(crate) raw: Vec<u8>,
    pub(crate) fault: Fault,
}

/// A value that does not fit.
#[derive(Debug)]
pub(crate) struct FoundMisfit {
    pub(crate) place: Place,
    pub(crate) path: String,
    pub(crate) value: String,
    pub(crate) data_type: Option<DataType>,
    pub(crate) mark: Mark,
    pub(crate) found: Arc<Profile>,
}

/// What came of a chunk.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    pub(crate) batches: Vec<RecordBatch>,
    pub(crate) refused: Vec<FoundRow>,
    pub(crate) misfit: Option<FoundMisfit>,
    pub(crate) profile: Option<Profile>,
    pub(crate) rows: u64,
    /// Lines without a row.
    pub(crate) blank: u64,
}

/// What takes the rows of a chunk.
trait Sink {
    /// Takes one row, which begins where the lexer is.
    fn row(&mut self, lexer: &mut Lexer<'_>) -> Step<()>;
    /// Forgets the values of a row that turned out to be invalid. Returns whether it could.
    fn forget(&mut self) -> bool;
    /// A row is whole.
    fn done(&mut self) -> Result<()>;
}

impl Parser {
    pub(crate) fn new(
        layout: &Layout,
        product: Product,
        projection: Vec<usize>,
        batch_rows: usize,
    ) -> Self {
        let fields = projection
            .iter()
            .map(|index| layout.columns[*index].field.clone());
        let schema = Arc::new(arrow_schema::Schema::new(fields.collect::<Vec<_>>()));
        let ways = projection
            .iter()
            .map(|index| layout.columns[*index].way.as_slice());
        let wanted = wanted(&layout.members, &ways.collect::<Vec<_>>());
        Self {
            layout: layout.clone(),
            product,
            schema,
            projection,
            wanted,
            batch_rows,
            aside: false,
            usual_rows: AtomicUsize::new(0),
        }
    }

    fn lexer<'a>(&self, data: &'a [u8], note: &Note) -> Lexer<'a> {
        let settings = &self.layout.settings;
        Lexer::new(data, note.len, note.kind == Kind::Lines, settings.max_depth)
    }

    /// Parses a chunk into batches.
    fn batches(&self, data: &[u8], note: &Note) -> Result<Parsed> {
        let settings = &self.layout.settings;
        let mut parsed = Parsed::default();
        let mut building = Building {
            parser: self,
            root: Structs::new(&self.layout.members, &self.wanted, &settings.rules)?,
            begun: 0,
            batches: Vec::new(),
        };
        let usual = self.usual_rows.load(Ordering::Relaxed);
        building.root.reserve(usual.min(self.batch_rows));
        self.rows(data, note, &mut building, &mut parsed, u64::MAX)?;
        building.finish()?;
        self.usual_rows
            .store(parsed.rows as usize, Ordering::Relaxed);
        parsed.batches = building.batches;
        Ok(parsed)
    }

    /// Looks at the values of the first rows of a chunk, and keeps none.
    pub(crate) fn profile(&self, data: &[u8], note: &Note, limit: u64) -> Result<Parsed> {
        let mut parsed = Parsed::default();
        let mut profiling = Profiling {
            parser: self,
            profile: self.layout.settings.profile(),
            apart: None,
        };
        let whole = self.rows(data, note, &mut profiling, &mut parsed, limit)?;
        if !whole {
            // A row was invalid and has left traces in the profile: now each row is examined separately.
            parsed = Parsed::default();
            profiling.profile = self.layout.settings.profile();
            profiling.apart = Some(self.layout.settings.profile());
            self.rows(data, note, &mut profiling, &mut parsed, limit)?;
        }
        let mut profile = profiling.profile;
        // Most often all of them are in the first rows.
        let last = (profile.last_place() as usize).min(note.len);
        let ends: Vec<u64> = memchr::memchr_iter(b'\n', &data[..last])
            .map(|end| end as u64)
            .collect();
        let line = |place: u64| note.place.line + ends.partition_point(|end| *end < place) as u64;
        profile.places(&line);
        parsed.profile = Some(profile);
        Ok(parsed)
    }

    /// Goes over the rows of a chunk; whether the sink could forget all that were none.
    fn rows(
        &self,
        data: &[u8],
        note: &Note,
        sink: &mut impl Sink,
        parsed: &mut Parsed,
        limit: u64,
    ) -> Result<bool> {
        let text = simdutf8::basic::from_utf8(&data[..note.len]).is_ok();
        if note.cut {
            // Whatever is wrong with the end of it is found when it is read.
            let mut lexer = self.lexer(data, note);
            lexer.set_lines(false);
            lexer.blanks();
            let _cut = sink.row(&mut lexer);
            return Ok(true);
        }
        match note.kind {
            Kind::Lines => self.lines(data, note, text, sink, parsed, limit),
            _ if !text => {
                let valid = std::str::from_utf8(&data[..note.len])
                    .map_or_else(|error| error.valid_up_to(), str::len);
                Err(fault_error(
                    &Fault::NotText,
                    note.place.after(&data[..valid]),
                ))
            }
            kind => {
                let mut lexer = self.lexer(data, note);
                let read = self.values(&mut lexer, kind, sink, parsed, limit)?;
                match read.map_err(|stop| *stop) {
                    Ok(()) => {}
                    Err(Stop::Fault(at, fault)) => {
                        return Err(fault_error(&fault, note.place.after(&data[..at])));
                    }
                    Err(Stop::Misfit(misplaced)) => {
                        parsed.misfit = Some(self.misfit(data, note, &misplaced)?);
                    }
                }
                Ok(true)
            }
        }
    }

    /// Goes over values with commas or blanks between them.
    fn values(
        &self,
        lexer: &mut Lexer<'_>,
        kind: Kind,
        sink: &mut impl Sink,
        parsed: &mut Parsed,
        limit: u64,
    ) -> Result<Step<()>> {
        lexer.blanks();
        while parsed.rows < limit {
            if lexer.at >= lexer.len {
                if kind == Kind::Documents {
                    break;
                }
                return Ok(lexer.fault(lexer.at, Fault::Missing));
            }
            if let Err(stop) = sink.row(lexer) {
                return Ok(Err(stop));
            }
            sink.done()?;
            parsed.rows += 1;
            let last = lexer.data[lexer.at - 1];
            let end = lexer.at;
            let byte = lexer.blanks();
            if lexer.at >= lexer.len {
                break;
            }
            match kind {
                Kind::Elements if byte == b',' => {
                    lexer.at += 1;
                    lexer.blanks();
                }
                Kind::Elements => return Ok(lexer.expected("`,` or `]`")),
                _ if end == lexer.at && last.is_ascii_alphanumeric() => {
                    return Ok(lexer.fault(end, Fault::Trailing));
                }
                _ => {}
            }
        }
        Ok(Ok(()))
    }

    /// Goes over lines.
    fn lines(
        &self,
        data: &[u8],
        note: &Note,
        text: bool,
        sink: &mut impl Sink,
        parsed: &mut Parsed,
        limit: u64,
    ) -> Result<bool> {
        let mut lexer = self.lexer(data, note);
        let mut whole = true;
        while lexer.at < lexer.len && parsed.rows < limit {
            let start = lexer.at;
            let byte = lexer.blanks();
            if byte == b'\n' || lexer.at >= lexer.len {
                lexer.at = (lexer.at + 1).min(lexer.len);
                parsed.blank += 1;
                continue;
            }
            lexer.surface();
            let row = if text {
                sink.row(&mut lexer)
            } else {
                let end = line_end(data, start, lexer.len);
                match std::str::from_utf8(&data[start..end]) {
                    Ok(_) => sink.row(&mut lexer),
                    Err(error) => lexer.fault(start + error.valid_up_to(), Fault::NotText),
                }
            };
            let row = row.and_then(|()| {
                if lexer.blanks() == b'\n' || lexer.at >= lexer.len {
                    return Ok(());
                }
                lexer.fault(lexer.at, Fault::Trailing)
            });
            let Err(mut stop) = row else {
                lexer.at = (lexer.at + 1).min(lexer.len);
                sink.done()?;
                parsed.rows += 1;
                continue;
            };
            if let Stop::Misfit(misplaced) = &*stop {
                // A line that is not JSON is refused, whatever its values are.
                match self.check_line(&mut lexer, start) {
                    Err(fault) => stop = fault,
                    Ok(()) => match self.text_aside(data, misplaced) {
                        Some(text) => {
                            let at = misplaced.start;
                            *stop = Stop::Fault(at, Fault::Misfit(text));
                        }
                        None => {
                            parsed.misfit = Some(self.misfit(data, note, misplaced)?);
                            sink.forget();
                            return Ok(whole);
                        }
                    },
                }
            }
            let Stop::Fault(at, fault) = *stop else {
                let message = "a value that does not fit was lost";
                return Err(Error::new(ErrorKind::Unexpected, message));
            };
            whole &= sink.forget();
            let end = line_end(data, start, lexer.len);
            // Each line was a row, blank or refused.
            let before = parsed.rows + parsed.blank + parsed.refused.len() as u64;
            parsed.refused.push(FoundRow {
                place: Place {
                    line: note.place.line + before,
                    column: (at.min(end) - start) as u64 + 1,
                },
                raw: data[start..end].to_vec(),
                fault,
            });
            lexer.at = end;
        }
        let ends = if lexer.at == note.len {
            note.line_ends
        } else {
            memchr::memchr_iter(b'\n', &data[..lexer.at]).count() as u64
        };
        let lines = ends + u64::from(lexer.at > 0 && data[lexer.at - 1] != b'\n');
        let known = parsed.rows + parsed.blank + parsed.refused.len() as u64;
        if lines != known {
            let message =
                format!("{known} of {lines} lines are accounted for: a defect of the reader");
            return Err(Error::new(ErrorKind::Unexpected, message));
        }
        Ok(whole)
    }

    /// Whether a line with a value that does not fit is a row at all: of one that is none, no type would be found.
    fn check_line(&self, lexer: &mut Lexer<'_>, start: usize) -> Step<()> {
        lexer.at = start;
        lexer.surface();
        lexer.blanks();
        let mut alone = Profiling {
            parser: self,
            profile: self.layout.settings.profile(),
            apart: None,
        };
        alone.row(lexer)?;
        if lexer.blanks() == b'\n' || lexer.at >= lexer.len {
            return Ok(());
        }
        lexer.fault(lexer.at, Fault::Trailing)
    }

    /// What is to be said of a value that does not fit, and what the rows of its chunk are.
    fn misfit(&self, data: &[u8], note: &Note, found: &Misplaced) -> Result<FoundMisfit> {
        let profile = self.profile(data, note, u64::MAX)?;
        let (path, data_type, mark) = self.expected(found);
        Ok(FoundMisfit {
            place: note.place.after(&data[..found.start]),
            path,
            value: shown(&data[found.start..found.end]),
            data_type,
            mark,
            found: Arc::new(profile.profile.unwrap_or_default()),
        })
    }

    /// What is to be said of a value that does not fit, if its line is set aside for it.
    fn text_aside(&self, data: &[u8], found: &Misplaced) -> Option<String> {
        if !self.aside {
            return None;
        }
        let (path, data_type, mark) = self.expected(found);
        let value = shown(&data[found.start..found.end]);
        (mark == Mark::Declared && data_type.is_some())
            .then(|| misfit_text(&value, &path, data_type.as_ref(), mark))
    }

    /// The keys that lead to a value that does not fit, the type that it should have, and where that comes from.
    fn expected(&self, found: &Misplaced) -> (String, Option<DataType>, Mark) {
        let mut keys = found.path.iter().rev();
        let mut members = Some(self.layout.members.as_slice());
        let (mut path, mut node, mut declared) = (String::new(), None::<&Node>, false);
        let mut next = keys.next();
        while let Some(key) = next {
            if key == "[]" {
                path.push_str("[]");
                node = match node {
                    Some(Node::List(_, item)) => Some(&**item),
                    _ => None,
                };
            } else {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(key);
                let member =
                    members.and_then(|members| members.iter().find(|member| member.name == *key));
                declared |= member.is_some_and(|member| member.declared);
                node = member.map(|member| &member.node);
            }
            members = match node {
                Some(Node::Struct(members)) => Some(members),
                _ => None,
            };
            next = keys.next();
        }
        let columns = &mut self.layout.columns.iter();
        let column = columns.find(|column| is_at(&path, &column.name));
        let mark = match column {
            _ if declared => Mark::Declared,
            Some(column) => column.mark,
            None => Mark::Sampled,
        };
        let data_type = match found.unknown_key {
            true => None,
            false => node.map(Node::data_type),
        };
        (path, data_type, mark)
    }
}

impl Work<Feed> for Parser {
    type Done = Parsed;

    fn work(&self, data: &[u8], note: Note) -> Result<Parsed> {
        match self.product {
            Product::Batches => self.batches(data, &note),
            Product::Profile => self.profile(data, &note, u64::MAX),
        }
    }
}

/// Where the line that begins at `start` ends, after its line end.
fn line_end(data: &[u8], start: usize, len: usize) -> usize {
    memchr::memchr(b'\n', &data[start..len]).map_or(len, |found| start + found + 1)
}

/// Which members are wanted, by the ways to the columns that are.
fn wanted(members: &[Member], ways: &[&[usize]]) -> Wanted {
    let part = |(index, member): (usize, &Member)| {
        let below: Vec<&[usize]> = ways
            .iter()
            .filter_map(|way| way.strip_prefix(&[index]))
            .collect();
        match &member.node {
            _ if below.is_empty() => Wanted::None,
            _ if below.iter().any(|way| way.is_empty()) => Wanted::All,
            Node::Struct(members) => wanted(members, &below),
            _ => Wanted::All,
        }
    };
    Wanted::Members(members.iter().enumerate().map(part).collect())
}

/// Rows that become batches.
struct Building<'a> {
    parser: &'a Parser,
    root: Structs,
    /// The rows that are whole.
    begun: usize,
    batches: Vec<RecordBatch>,
}

impl Sink for Building<'_> {
    #[inline]
    fn row(&mut self, lexer: &mut Lexer<'_>) -> Step<()> {
        let settings = &self.parser.layout.settings;
        if !settings.objects {
            return self.root.value(lexer, settings.duplicates);
        }
        if lexer.data[lexer.at] != b'{' {
            return no_object(lexer);
        }
        lexer.at += 1;
        self.root.object(lexer, settings.duplicates)
    }

    fn forget(&mut self) -> bool {
        self.root.truncate(self.begun);
        true
    }

    fn done(&mut self) -> Result<()> {
        self.begun += 1;
        if self.begun >= self.parser.batch_rows {
            self.finish()?;
        }
        Ok(())
    }
}

/// A row that is not an object, if it is JSON at all.
#[cold]
fn no_object(lexer: &mut Lexer<'_>) -> Step<()> {
    let start = lexer.at;
    lexer.skip()?;
    lexer.fault(start, Fault::NoObject)
}

impl Building<'_> {
    fn finish(&mut self) -> Result<()> {
        // Some values of a row that did not fit may have been appended already.
        self.root.truncate(self.begun);
        let rows = std::mem::take(&mut self.begun);
        if rows == 0 {
            return Ok(());
        }
        let members = &self.parser.layout.members;
        let (arrays, _) = self.root.finish(members)?;
        let mut columns = Vec::with_capacity(self.parser.projection.len());
        for index in &self.parser.projection {
            let plan = &self.parser.layout.columns[*index];
            let (first, rest) = plan.way.split_first().ok_or_else(lost)?;
            let array = arrays.get(*first).cloned().flatten().ok_or_else(lost)?;
            columns.push(below(array, &members[*first].node, rest)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let schema = Arc::clone(&self.parser.schema);
        self.batches.push(RecordBatch::try_new_with_options(
            schema, columns, &options,
        )?);
        Ok(())
    }
}

fn lost() -> Error {
    Error::new(
        ErrorKind::Unexpected,
        "a column was lost: a defect of the reader",
    )
}

/// A member of nested objects as a column: null where an object above it is.
fn below(array: ArrayRef, node: &Node, way: &[usize]) -> Result<ArrayRef> {
    let (mut array, mut node) = (array, node);
    let mut nulls: Option<NullBuffer> = None;
    for index in way {
        let (Node::Struct(members), Some(structs)) =
            (node, array.as_any().downcast_ref::<StructArray>())
        else {
            return Err(lost());
        };
        let member = members.get(*index).ok_or_else(lost)?;
        nulls = NullBuffer::union(nulls.as_ref(), structs.nulls());
        let child = structs.column_by_name(&member.name).ok_or_else(lost)?;
        node = &member.node;
        array = Arc::clone(child);
    }
    if nulls.is_none() {
        return Ok(array);
    }
    let nulls = NullBuffer::union(nulls.as_ref(), array.nulls());
    let data = array.to_data().into_builder().nulls(nulls).build()?;
    Ok(arrow_array::make_array(data))
}

/// Rows that are looked at.
struct Profiling<'a> {
    parser: &'a Parser,
    profile: Profile,
    /// The row that is looked at, where rows may turn out to be none.
    apart: Option<Profile>,
}

impl Sink for Profiling<'_> {
    fn row(&mut self, lexer: &mut Lexer<'_>) -> Step<()> {
        let settings = &self.parser.layout.settings;
        let profile = self.apart.as_mut().unwrap_or(&mut self.profile);
        if !settings.objects {
            return profile.value(lexer, settings.duplicates);
        }
        if lexer.data[lexer.at] != b'{' {
            return no_object(lexer);
        }
        lexer.at += 1;
        match &mut profile.members {
            Some(members) => members.object(lexer, settings.duplicates),
            None => lexer.skip(),
        }
    }

    fn forget(&mut self) -> bool {
        match &mut self.apart {
            Some(row) => {
                *row = self.parser.layout.settings.profile();
                true
            }
            None => false,
        }
    }

    fn done(&mut self) -> Result<()> {
        if let Some(row) = &mut self.apart {
            self.profile.merge(row);
            *row = self.parser.layout.settings.profile();
        }
        Ok(())
    }
}
