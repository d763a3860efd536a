//! The interface of every format: the layout of a file, before it is read, and its batches.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, FieldRef};
use arrowload_core::{Error, Result, Unparsed};
use datafusion::datasource::file_format::FileFormat;
use datafusion::execution::SessionState;

use crate::file::DataFile;
use crate::how::How;
use crate::kind::{Kind, Opened, recognise};
use crate::{csv, ipc, json, parquet};

/// How sure the type of a column is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Certainty {
    /// The user said so, or the target has it.
    Declared,
    /// The values of a sample fit.
    Sampled,
    /// Every value fits.
    Proved,
    /// The format says it.
    Typed,
}

impl fmt::Display for Certainty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Declared => "declared",
            Self::Sampled => "sampled",
            Self::Proved => "proved",
            Self::Typed => "typed",
        })
    }
}

/// A column of a file.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) field: FieldRef,
    pub(crate) certainty: Certainty,
    /// Why it has its type.
    pub(crate) reason: String,
    /// Whether no value of it was seen, so that its type says nothing.
    pub(crate) is_empty: bool,
    /// Where it holds text of JSON files, and whether that is JSON text.
    pub(crate) texts: Vec<(String, bool)>,
}

impl Column {
    /// A column of a format that says what its types are.
    pub(crate) fn typed(field: &FieldRef) -> Self {
        Self {
            field: Arc::clone(field),
            certainty: Certainty::Typed,
            reason: "the file says so".into(),
            is_empty: false,
            texts: Vec::new(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        self.field.name()
    }

    pub(crate) fn data_type(&self) -> &DataType {
        self.field.data_type()
    }
}

/// What a file is.
#[derive(Debug, Clone)]
pub(crate) struct Looked {
    pub(crate) file: DataFile,
    pub(crate) kind: Kind,
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Option<u64>,
    /// Whether it was found to have a header, if that was not declared.
    pub(crate) header: Option<bool>,
    /// Its dialect, in one line.
    pub(crate) found: String,
    /// Notes on what could not be read as it is.
    pub(crate) notes: Vec<String>,
    /// Those of the notes that say what is left out, although it was not declared.
    pub(crate) left_out: Vec<String>,
    /// How to read it; none for a format that the engine itself reads.
    pub(crate) layout: Option<Arc<dyn Layout>>,
    /// The reader of the engine, for a format that it reads itself.
    pub(crate) engine: Option<Arc<dyn FileFormat>>,
}

/// How a file is read, once it is known what it is.
pub(crate) trait Layout: fmt::Debug + Send + Sync {
    /// The same with these columns read as these types; `None` if the format has types of its own, or nothing changes. It may
    /// block.
    fn with_types(&self, types: &[(usize, DataType)]) -> Result<Option<Arc<dyn Layout>>>;

    /// Its batches. It blocks.
    fn read(&self, file: &DataFile, ask: &Ask) -> Result<Batches>;

    /// The columns whose values did not fit, if that is what an error is about, and whether a wider type can be found for all of
    /// them.
    fn misfits(&self, error: &Error) -> Option<(Vec<String>, bool)>;
}

/// The batches of a file.
pub(crate) type Batches = Box<dyn Iterator<Item = Result<RecordBatch>> + Send>;

/// The reason of a column in which no value was seen, as the readers of text write it.
pub(crate) const NO_VALUES: &str = "it has no values";

/// The reason of a column that was declared, and that no row has.
pub(crate) const UNSEEN: &str = "it was declared, and no row that was looked at has it";

/// Takes rows that cannot be parsed.
#[derive(Debug, Clone)]
pub(crate) struct Aside {
    pub(crate) unparsed: Unparsed,
    /// Whether the answer to the query has exactly the rows of its only file, so that a row which is parsed again is a row of
    /// the answer.
    pub(crate) whole: bool,
}

impl Aside {
    /// The options for reading that a dead-letter file keeps.
    pub(crate) fn how(&self, again: String) -> String {
        if self.whole {
            return again;
        }
        let why = "their query does more than read a file";
        serde_json::json!({ "not_again": why }).to_string()
    }
}

/// What is wanted of a file.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    /// The numbers of its columns.
    pub(crate) projection: Vec<usize>,
    pub(crate) batch_rows: usize,
    /// Takes rows that cannot be parsed.
    pub(crate) aside: Aside,
}

/// The types that are wanted for a file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// Whether they must be proved on the whole file.
    pub(crate) prove: bool,
    /// Those of a load's target.
    pub(crate) types: BTreeMap<String, DataType>,
}

/// Finds out what a file is. It blocks.
pub(crate) fn look(
    file: &DataFile,
    how: &How,
    wanted: &Wanted,
    session: &SessionState,
) -> Result<Looked> {
    match recognise(file, how)? {
        Opened::Text(Kind::Csv, input) => csv::look(file, input, how, wanted),
        Opened::Binary(Kind::Parquet) => parquet::look(file, how, session),
        Opened::Text(_, input) => json::look(file, input, how, wanted),
        Opened::Binary(_) => ipc::look(file, how),
    }
}
