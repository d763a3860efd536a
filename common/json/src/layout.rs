//! What was found out about a file before it is read: how its rows are written, and its columns.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef};
use arrowload_common_text_files::time::Format as TimeFormat;
use arrowload_common_text_files::{Compression, Mark, Rules, invalid, shown};
use arrowload_core::{Error, ErrorKind, Result};

use crate::fault::Misfit;
use crate::node::{Member, Node, Typing, kinds};
use crate::options::{DuplicateKeys, Format, Options};
use crate::path::RecordPath;
use crate::profile::{Members, OBJECT, Profile};

/// The name of the only column of rows that are not objects.
pub(crate) const VALUE: &str = "value";
/// Columns that a table may have.
const MOST_COLUMNS: usize = 10_000;

/// A column as it will be read.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ColumnPlan {
    /// Its name: the key, or with `flatten` the keys that lead to it.
    pub name: String,
    /// Its type.
    pub data_type: DataType,
    /// How sure the type is.
    pub mark: Mark,
    /// Why it has this type, for a plan.
    pub reason: String,
    /// Its field.
    pub(crate) field: Field,
    /// The numbers of the members that lead to it.
    pub(crate) way: Vec<usize>,
}

/// What was found out about a file.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Layout {
    /// How its rows are written; never `auto`.
    pub format: Format,
    /// The name of the encoding, as the WHATWG has it.
    pub encoding: &'static str,
    /// What the file is packed with.
    pub compression: Compression,
    /// Its columns, in the order in which their keys were seen first.
    pub columns: Vec<ColumnPlan>,
    /// Those of them that were declared, and that no row had which was looked at.
    pub unseen: Vec<String>,
    /// Notes on what could not be read as it is: names that are not unique.
    pub notes: Vec<String>,
    /// The members of a row.
    pub(crate) members: Vec<Member>,
    /// What the values were.
    pub(crate) profile: Profile,
    pub(crate) settings: Arc<Settings>,
}

/// The settings that do not depend on the values.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) typing: Typing,
    /// The type that all columns were declared to have.
    pub(crate) all: Option<Node>,
    pub(crate) rules: Arc<Rules>,
    pub(crate) path: RecordPath,
    /// The separator between keys, if nested objects are columns.
    pub(crate) separator: Option<String>,
    pub(crate) duplicates: DuplicateKeys,
    pub(crate) max_depth: u32,
    pub(crate) max_row_bytes: usize,
    /// Whether rows are objects, whose members are columns.
    pub(crate) objects: bool,
}

impl Settings {
    pub(crate) fn new(options: &Options, objects: bool) -> Result<Self> {
        let format = |key, format: &Option<String>| match format {
            Some(format) => TimeFormat::new(key, format).map(Some),
            None => Ok(None),
        };
        let separator = options.separator.clone().unwrap_or_else(|| ".".into());
        Ok(Self {
            typing: Typing::new(options)?,
            all: Typing::all(options)?,
            rules: Arc::new(Rules {
                date_format: format("date_format", &options.date_format)?,
                timestamp_format: format("timestamp_format", &options.timestamp_format)?,
                ..Rules::default()
            }),
            path: RecordPath::new(options.records.as_deref())?,
            separator: options.flatten.then_some(separator),
            duplicates: options.duplicate_keys,
            max_depth: options.max_depth.unwrap_or(128),
            max_row_bytes: options.max_row_bytes.unwrap_or(512 << 20),
            objects,
        })
    }

    /// The profile of rows before the first.
    pub(crate) fn profile(&self) -> Profile {
        Profile {
            members: Some(Box::new(Members::columns())),
            ..Profile::default()
        }
    }

    /// Adds what the user declared and no row has.
    fn require(&self, profile: &mut Profile) -> Result<()> {
        let paths = self.typing.own().filter(|path| !path.contains("[]"));
        for path in paths.filter(|_| self.objects) {
            let Some(mut members) = profile.members.as_deref_mut() else {
                continue;
            };
            if members.get(path.as_bytes()).is_some() {
                continue;
            }
            // A key may have a point in its name; a declared one is a way, unless there is such a key.
            let mut rest = path;
            while let Some((key, after)) = rest.split_once('.') {
                let next = members.named(key.as_bytes());
                if next.seen & !OBJECT != 0 {
                    let held = kinds(next.seen);
                    let message = format!("`{path}` leads into `{key}`, which holds {held}");
                    return Err(invalid("types", message));
                }
                next.seen = OBJECT;
                members = next.members.get_or_insert_default();
                rest = after;
            }
            if members.wide {
                let message = format!("`{path}` leads into objects with too many keys");
                return Err(invalid("types", message));
            }
            members.named(rest.as_bytes());
        }
        Ok(())
    }

    /// The members of a row.
    fn members(&self, profile: &Profile) -> Result<Vec<Member>> {
        let single;
        let (names, profiles): (Vec<&[u8]>, &[Profile]) = match &profile.members {
            Some(members) if self.objects => (members.names.iter().collect(), &members.profiles),
            _ => {
                single = [profile.clone()];
                (vec![VALUE.as_bytes()], &single)
            }
        };
        if names.len() > MOST_COLUMNS {
            let message = format!(
                "the rows have more than {MOST_COLUMNS} keys; declare them as one value with `records` or another layout"
            );
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        let mut members = Vec::with_capacity(names.len());
        for (name, profile) in names.into_iter().zip(profiles) {
            let name = String::from_utf8_lossy(name).into_owned();
            let path = name.clone();
            members.push(match &self.all {
                Some(node) if self.typing.of(&path).is_none() => Member {
                    name,
                    node: node.clone(),
                    declared: true,
                },
                _ => self.typing.member(profile, name, &path)?,
            });
        }
        Ok(members)
    }
}

/// What a profile says about a type.
fn reason(profile: Option<&Profile>, node: &Node) -> String {
    let Some(profile) = profile.filter(|profile| profile.values > 0) else {
        return "it has no values".to_owned();
    };
    let several = profile.seen.count_ones() > 1;
    let what = match (&profile.deciding, node) {
        (Some((line, value)), _) => {
            format!("decided by `{}` in line {line}", value.escape_debug())
        }
        (None, _) => kinds(profile.seen),
    };
    let mixed = if several {
        format!("{}, ", kinds(profile.seen))
    } else {
        String::new()
    };
    format!("{} values, {mixed}{what}", profile.values)
}

impl Layout {
    /// Makes the layout of a file from a profile.
    pub(crate) fn new(
        format: Format,
        encoding: &'static str,
        compression: Compression,
        settings: Arc<Settings>,
        profile: Profile,
        mark: Mark,
    ) -> Result<Self> {
        let is_seen = |path: &&str| {
            let members = profile.members.as_deref();
            members.is_none_or(|members| members.get(path.as_bytes()).is_some())
        };
        let plain = settings.typing.own();
        let plain = plain.filter(|path| settings.objects && !path.contains(['.', '[']));
        let unseen = plain.filter(|path| !is_seen(path)).map(str::to_owned);
        let unseen = unseen.collect();
        let mut layout = Self {
            format,
            encoding,
            compression,
            columns: Vec::new(),
            unseen,
            notes: Vec::new(),
            members: Vec::new(),
            profile,
            settings,
        };
        layout.plan(mark)?;
        Ok(layout)
    }

    fn plan(&mut self, mark: Mark) -> Result<()> {
        let settings = Arc::clone(&self.settings);
        settings.require(&mut self.profile)?;
        self.members = settings.members(&self.profile)?;
        let mut columns = Vec::new();
        let profile = settings.objects.then_some(&self.profile);
        collect(
            &self.members,
            profile,
            mark,
            &settings,
            &mut Vec::new(),
            "",
            &mut columns,
        );
        if !settings.objects
            && let Some(column) = columns.first_mut()
            && column.mark != Mark::Declared
        {
            column.reason = reason(Some(&self.profile), &Node::Unknown);
        }
        self.notes.clear();
        let mut used = BTreeSet::new();
        for column in &mut columns {
            let plain = column.name.clone();
            let mut count = 1;
            while !used.insert(column.name.clone()) {
                count += 1;
                column.name = format!("{plain}_{count}");
            }
            if column.name != plain {
                let note = format!(
                    "the name `{plain}` stands twice: one column is `{}`",
                    column.name
                );
                self.notes.push(note);
                column.field.set_name(column.name.clone());
            }
        }
        self.columns = columns;
        Ok(())
    }

    /// The columns as an Arrow schema; every column may hold nulls.
    pub fn schema(&self) -> SchemaRef {
        let fields = self.columns.iter().map(|column| column.field.clone());
        Arc::new(Schema::new(fields.collect::<Fields>()))
    }

    /// Where a column holds text, from the column on (`.a`, `[]`), and whether that is JSON text: values as they are written.
    pub fn texts(&self, column: usize) -> Vec<(String, bool)> {
        let way = self.columns.get(column).map(|column| &*column.way);
        let (mut node, mut members) = (None, &*self.members);
        for index in way.unwrap_or_default() {
            node = members.get(*index).map(|member| &member.node);
            members = match node {
                Some(Node::Struct(below)) => below,
                _ => &[],
            };
        }
        let mut texts = Vec::new();
        if let Some(node) = node {
            node.texts("", &mut texts);
        }
        texts
    }

    /// Takes what was found around values that did not fit, for another try. Types that were declared stay.
    ///
    /// # Errors
    /// When there are too many columns, or values are of different kinds and `mixed` is `error`.
    pub fn widen(&mut self, misfits: &[Misfit]) -> Result<()> {
        let before = self.columns.clone();
        for misfit in misfits {
            self.profile.merge(&misfit.found);
        }
        self.plan(Mark::Sampled)?;
        for column in &mut self.columns {
            let known = before.iter().find(|known| known.name == column.name);
            let changed = known.is_none_or(|known| known.data_type != column.data_type);
            let cause = misfits
                .iter()
                .find(|misfit| is_at(&misfit.column, &column.name));
            if let (true, Some(misfit)) = (changed, cause) {
                let value = shown(misfit.value.as_bytes());
                column.reason = format!(
                    "widened for `{}` in line {}",
                    value.escape_debug(),
                    misfit.line
                );
            }
        }
        Ok(())
    }
}

/// Whether a place is a column, or within it.
pub(crate) fn is_at(place: &str, column: &str) -> bool {
    let below = place.strip_prefix(column);
    below.is_some_and(|below| below.is_empty() || below.starts_with(['.', '[']))
}

/// The columns that members are: nested objects are several, if there is a separator.
fn collect(
    members: &[Member],
    profile: Option<&Profile>,
    mark: Mark,
    settings: &Settings,
    way: &mut Vec<usize>,
    before: &str,
    columns: &mut Vec<ColumnPlan>,
) {
    for (index, member) in members.iter().enumerate() {
        let below = profile.and_then(|profile| profile.members.as_deref());
        let profile = below.and_then(|below| below.get(member.name.as_bytes()));
        let name = format!("{before}{}", member.name);
        way.push(index);
        match (&member.node, &settings.separator) {
            (Node::Struct(members), Some(separator)) => {
                let before = format!("{name}{separator}");
                collect(members, profile, mark, settings, way, &before, columns);
            }
            (node, _) => columns.push(ColumnPlan {
                data_type: node.data_type(),
                field: node.column(&name),
                name,
                mark: if member.declared {
                    Mark::Declared
                } else {
                    mark
                },
                reason: if member.declared {
                    "it was declared".to_owned()
                } else {
                    reason(profile, node)
                },
                way: way.clone(),
            }),
        }
        way.pop();
    }
}
