//! Files as tables: each file or folder below the configured folder, named without its extension, `FROM 'file.csv'`, and the table
//! functions, `FROM read_csv('file.csv', delim => ';')`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrowload_common_datafusion::{Asked, Call, Tables, from_datafusion};
use arrowload_common_object_store::blocking;
use arrowload_core::{Error, ErrorKind, Result, nearest};
use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use datafusion::execution::SessionState;
use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::file::DataFile;
use crate::how::{How, ReadConfig};
use crate::kind::{Kind, stem};
use crate::known::{self, Known};
use crate::look::{Aside, Certainty, Column, Looked, UNSEEN, Wanted, look};
use crate::peek::peek;
use crate::place::{Places, is_hidden};
use crate::table::{FileTable, in_memory};
use crate::union::Union;

/// Files that are looked at together.
const AT_ONCE: usize = 8;
/// How many folders deep a dataset may be.
const DEPTH: usize = 32;
/// The prefix of the name of a table that is the call of a table function.
const CALL: &str = "call:";

/// The function that describes files, and its name for files with a declared format.
const PEEK: &str = "peek";
const PEEK_AS: &str = "peek_";

/// The table functions.
const FUNCTIONS: [&str; 6] = [
    "read",
    "read_csv",
    "read_json",
    "read_arrow",
    "read_parquet",
    PEEK,
];

/// The tables of a folder. Nothing is listed or opened that is not asked for.
#[derive(Debug)]
pub(crate) struct FileTables {
    pub(crate) places: Places,
    /// Tables by name, over those of the folder.
    pub(crate) named: BTreeMap<String, String>,
    /// Whether nothing else has a name.
    pub(crate) only_named: bool,
    pub(crate) read: ReadConfig,
    pub(crate) known: Arc<Known>,
}

/// A call of a table function, as the name of a table.
#[derive(Debug, Serialize, Deserialize)]
struct Called {
    function: String,
    files: Vec<String>,
    options: Map<String, Value>,
}

impl Called {
    fn parse(name: &str) -> Option<Self> {
        serde_json::from_str(name.strip_prefix(CALL)?).ok()
    }

    fn kind(&self) -> Option<Kind> {
        let function = self.function.strip_prefix("read_");
        Kind::of_word(function.or(self.function.strip_prefix(PEEK_AS))?)
    }

    fn shown(&self) -> String {
        self.files.join("`, `")
    }
}

impl FileTables {
    /// Files and folders by the names of their tables, sorted.
    pub(crate) fn entries(&self) -> Vec<(String, PathBuf)> {
        let Ok(entries) = std::fs::read_dir(&self.places.folder) else {
            return Vec::new();
        };
        let table = |path: PathBuf| {
            let name = path.file_name()?.to_str()?.to_owned();
            let is_dataset = || path.is_dir() && holds_data(&path, DEPTH);
            let table = if is_hidden(&name) {
                None
            } else {
                stem(&name).or_else(|| is_dataset().then_some(name))
            };
            Some((table?, path))
        };
        let mut tables: Vec<(String, PathBuf)> = entries
            .filter_map(|entry| table(entry.ok()?.path()))
            .collect();
        tables.sort();
        tables
    }

    /// The file or folder of a table, if there is one of this name.
    fn find(&self, name: &str) -> Result<Option<String>> {
        let mut found = self
            .entries()
            .into_iter()
            .filter(|(table, _)| table == name);
        let (one, two) = (found.next(), found.next());
        match (one, two) {
            (None, _) => Ok(None),
            (Some((_, path)), None) => Ok(path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())),
            (Some((_, one)), Some((_, two))) => {
                let (one, two) = (one.display(), two.display());
                let message = format!(
                    "the table `{name}` could be {one} or {two}; name the file in quotes: FROM 'file.parquet'"
                );
                Err(Error::new(ErrorKind::Query, message))
            }
        }
    }

    /// The files of a name: of a table, a file, a folder, a pattern or a URL.
    pub(crate) async fn files(
        &self,
        name: &str,
        declared: bool,
        session: &SessionState,
    ) -> Result<Vec<DataFile>> {
        let runtime = session.runtime_env();
        if let Some(place) = self.named.get(name) {
            // What a table that is a call is made from.
            let called = Called::parse(place);
            let file = called.as_ref().and_then(|called| called.files.first());
            let place = file.unwrap_or(place);
            return self.places.files(place, declared, runtime).await;
        }
        // A name that does not look like a file is a table; a file without an extension can still be named.
        let is_table = stem(name).is_none() && !name.contains(['/', '*', '?', '[']);
        if is_table && self.only_named {
            return Ok(Vec::new());
        }
        let place = match is_table {
            true => self.find(name)?,
            false => None,
        };
        let place = place.as_deref().unwrap_or(name);
        self.places.files(place, declared, runtime).await
    }

    /// Looks at all files of a table.
    pub(crate) async fn look(
        &self,
        files: Vec<DataFile>,
        how: &How,
        wanted: Wanted,
        session: &SessionState,
    ) -> Result<Vec<Looked>> {
        let shared = Arc::new((how.clone(), wanted, session.clone()));
        let written = format!("{:?} {:?}", shared.0, shared.1);
        let looks = futures::stream::iter(files).map(|file| {
            let (shared, known) = (Arc::clone(&shared), Arc::clone(&self.known));
            let key = known::key(&file, &written);
            async move {
                if let Some(looked) = known.looked(&key) {
                    return Ok(looked);
                }
                blocking(move || {
                    let (how, wanted, session) = shared.as_ref();
                    let looked = look(&file, how, wanted, session)?;
                    tracing::debug!(
                        file = file.shown(),
                        "{}: {}; {}",
                        looked.kind,
                        looked.found,
                        columns(&looked)
                    );
                    known.keep(key, &looked);
                    Ok(looked)
                })
                .await
            }
        });
        looks.buffered(AT_ONCE).try_collect().await
    }

    /// Files as one table.
    async fn table(
        &self,
        name: &str,
        files: Vec<DataFile>,
        how: &How,
        asked: &Asked,
        session: &SessionState,
    ) -> Result<FileTable> {
        let key = format!("{name}\n{how:?}");
        let learnt = self.known.table(&key);
        let wanted = Wanted {
            prove: asked.reading.prove || learnt.prove,
            types: asked.types.clone(),
        };
        let proved = wanted.prove;
        let looked = self.look(files, how, wanted, session).await?;
        let kind = looked.first().map(|looked| looked.kind);
        let options = how.files(kind.unwrap_or(Kind::Csv))?;
        let union = blocking(move || Union::new(looked, &options, &learnt)).await?;
        refuse_misspelt(&union)?;
        if union.sampled {
            asked.reading.found.say_sampled();
        }
        remark(&union, asked);
        Ok(FileTable {
            aside: Aside {
                unparsed: asked.reading.unparsed.clone(),
                // Columns from the path of a file are not in its rows.
                whole: asked.whole && union.constants.num_columns() == 0,
            },
            union: Arc::new(union),
            proved,
            known: Arc::clone(&self.known),
            key,
        })
    }

    /// Says what could not be read as it is, and warns of lines that are left out, although it was not declared: once for each
    /// file.
    fn warn(&self, union: &Union) {
        for looked in &union.files {
            let file = looked.file.shown();
            for what in &looked.notes {
                if !self.known.is_new(format!("{file}\n{what}")) {
                    continue;
                }
                match looked.left_out.contains(what) {
                    // Programs show it by this name, whichever crate reads the files.
                    true => tracing::warn!(target: "arrowload::input", "`{file}`: {what}"),
                    false => tracing::info!(target: "arrowload::input", "`{file}`: {what}"),
                }
            }
        }
    }

    async fn called(
        &self,
        name: &str,
        called: Called,
        asked: &Asked,
        session: &SessionState,
    ) -> Result<Arc<dyn TableProvider>> {
        // The options of a table hold where a function is called with it.
        let table = match called.files.as_slice() {
            [place] => self.named.get(place).and_then(|table| Called::parse(table)),
            _ => None,
        };
        let (kind, mut options) = match table {
            Some(table) => (called.kind().or(table.kind()), table.options),
            None => (called.kind(), Map::new()),
        };
        options.extend(called.options);
        let how = How::new(kind, &self.read, options)?;
        let mut files = Vec::new();
        for place in &called.files {
            let found = self.files(place, how.kind().is_some(), session).await?;
            if found.is_empty() {
                return Err(self.missing(place));
            }
            files.extend(found);
        }
        let table = self.table(name, files, &how, asked, session).await?;
        if called.function.starts_with(PEEK) {
            return in_memory(peek(&table.union)?).map_err(from_datafusion);
        }
        self.warn(&table.union);
        Ok(Arc::new(table))
    }
}

/// Refuses a type for a column that no file has, if its name is similar to that of a column without a declared type: it would be a
/// column of nulls, and the other column would not get the type that was meant for it.
fn refuse_misspelt(union: &Union) -> Result<()> {
    let columns = || union.files.iter().flat_map(|looked| &looked.columns);
    let declared = |column: &&Column| column.certainty == Certainty::Declared;
    for unseen in columns().filter(|column| column.reason == UNSEEN) {
        let name = unseen.name();
        if columns().any(|column| column.name() == name && column.reason != UNSEEN) {
            continue;
        }
        let others = columns().filter(|column| !declared(column));
        if let Some(near) = nearest(name, others.map(Column::name)) {
            let message = format!(
                "`types` has a type for `{name}`, which no row has that was looked at; did you mean `{near}`? If there are both, declare \
                 both"
            );
            return Err(Error::new(ErrorKind::InvalidOption, message).with("key", "types"));
        }
    }
    Ok(())
}

/// Says in the plan what the first file is.
fn remark(union: &Union, asked: &Asked) {
    let Some(first) = union.files.first() else {
        return;
    };
    let others = match union.files.len() - 1 {
        0 => String::new(),
        1 => ", and 1 other file".into(),
        others => format!(", and {others} other files"),
    };
    let found = match first.found.as_str() {
        "" => String::new(),
        found => format!(": {found}"),
    };
    let (name, kind) = (first.file.shown(), first.kind);
    let mut remark = format!("`{name}`{others} is {kind}{found}");
    if first
        .columns
        .iter()
        .any(|column| column.certainty != Certainty::Typed)
    {
        remark.push_str("; ");
        remark.push_str(&columns(first));
    }
    asked.reading.found.remark(remark);
    for note in &first.notes {
        asked.reading.found.remark(format!("`{name}`: {note}"));
    }
}

/// The columns of a file with their types, for a line.
fn columns(looked: &Looked) -> String {
    const SHOWN: usize = 50;
    let columns = looked.columns.iter().take(SHOWN).map(|column| {
        let (name, kind, certainty) = (column.name(), column.data_type(), column.certainty);
        format!("{name} {kind} ({certainty})")
    });
    let mut text = columns.collect::<Vec<_>>().join(", ");
    if looked.columns.len() > SHOWN {
        text.push_str(&format!(", and {} more", looked.columns.len() - SHOWN));
    }
    text
}

/// Whether there is a data file in a folder, however deep.
fn holds_data(folder: &std::path::Path, depth: usize) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return false;
    };
    let mut folders = Vec::new();
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        match path.is_dir() {
            _ if is_hidden(&name) => {}
            true => folders.push(path),
            false if Kind::of_name(&name).is_some() => return true,
            false => {}
        }
    }
    depth > 0 && folders.iter().any(|folder| holds_data(folder, depth - 1))
}

#[async_trait]
impl Tables for FileTables {
    fn names(&self) -> Vec<String> {
        let folder = match self.only_named {
            true => Vec::new(),
            false => self.entries(),
        };
        let folder = folder.into_iter().map(|(name, _)| name);
        let mut names: Vec<String> = self.named.keys().cloned().chain(folder).collect();
        names.sort();
        names.dedup();
        names
    }

    async fn open(
        &self,
        name: &str,
        session: &SessionState,
        asked: &Asked,
    ) -> Result<Option<Arc<dyn TableProvider>>> {
        // A table may stand for a call, as a command line that declares a format has it.
        let called = Called::parse(self.named.get(name).map_or(name, String::as_str));
        if let Some(called) = called {
            return self.called(name, called, asked, session).await.map(Some);
        }
        let files = self.files(name, false, session).await?;
        if files.is_empty() {
            return Ok(None);
        }
        let how = How::new(None, &self.read, Map::new())?;
        let table = self.table(name, files, &how, asked, session).await?;
        self.warn(&table.union);
        Ok(Some(Arc::new(table)))
    }

    fn functions(&self) -> &'static [&'static str] {
        &FUNCTIONS
    }

    fn call(&self, call: Call) -> Result<String> {
        let refused = |message: String| Err(Error::new(ErrorKind::InvalidOption, message));
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let files: Option<Vec<String>> = match call.values.as_slice() {
            [Value::Array(files)] => files.iter().map(text).collect(),
            [file] => text(file).map(|file| vec![file]),
            _ => None,
        };
        let function = call.function;
        let Some(files) = files.filter(|files| !files.is_empty()) else {
            return refused(format!(
                "{function} takes a file, folder, pattern or URL, or a list of them, and then options: {function}('x.csv', key => value)"
            ));
        };
        let mut called = Called {
            function,
            files,
            options: call.named,
        };
        let declared = called.options.get("format").and_then(Value::as_str);
        if let Some(kind) = declared.and_then(Kind::of_word)
            && called.function == PEEK
        {
            called.options.remove("format");
            called.function = format!("{PEEK_AS}{}", kind.word());
        }
        How::new(called.kind(), &self.read, called.options.clone())?;
        match serde_json::to_string(&called) {
            Ok(text) => Ok(format!("{CALL}{text}")),
            Err(error) => refused(format!("a value cannot be written as JSON: {error}")),
        }
    }

    fn missing(&self, name: &str) -> Error {
        let folder = self.places.folder.display();
        let called = Called::parse(name);
        let is_call = called.is_some();
        let name = called.map_or_else(|| name.to_owned(), |called| called.shown());
        if is_call || stem(&name).is_some() || name.contains('/') {
            return Error::new(
                ErrorKind::NotFound,
                format!("there is no file `{name}` (names are relative to {folder})"),
            );
        }
        let known = self.names();
        let hint = nearest(&name, known.iter().map(String::as_str))
            .map_or_else(|| ".".into(), |known| format!("; did you mean `{known}`?"));
        let list = if known.is_empty() {
            "none".into()
        } else {
            known.join(", ")
        };
        if self.only_named {
            // The place of a file is not a name of a table, nor is its name with its endings.
            let is_table = |name: &&String| !name.contains(['/', '\\']) && stem(name).is_none();
            let names = known.iter().filter(is_table);
            let names: Vec<&str> = names.map(String::as_str).collect();
            let message = format!(
                "there is no table `{name}`; the tables are {}. Another file is named in quotes: FROM 'file.parquet'",
                names.join(", ")
            );
            return Error::new(ErrorKind::NotFound, message);
        }
        let message = format!(
            "there is no table `{name}` in {folder}{hint} Tables: {list}. A file is named in quotes: FROM 'file.parquet'"
        );
        Error::new(ErrorKind::NotFound, message)
    }
}
