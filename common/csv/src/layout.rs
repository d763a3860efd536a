//! What was found out about a file before it is read: its dialect, its columns, where its rows begin.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use arrowload_common_text_files::{ColumnType, Mark, Rules};

use crate::dialect::Dialect;
use crate::fault::Misfit;

/// A column as it will be read.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ColumnPlan {
    /// Its name: from the header, unique among the columns.
    pub name: String,
    /// Its type.
    pub kind: ColumnType,
    /// How sure the type is.
    pub mark: Mark,
    /// Why it has this type, for a plan.
    pub reason: String,
}

/// What was found out about a file.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Layout {
    /// How it is written.
    pub dialect: Dialect,
    /// Its columns, in the order of the file.
    pub columns: Vec<ColumnPlan>,
    /// Notes on what could not be read as it is: repeated or missing names, an encoding that was guessed, lines that are left out.
    pub notes: Vec<String>,
    /// Those of the notes that say which lines are left out, although it was not declared.
    pub left_out: Vec<String>,
    /// Where the rows begin, in bytes of the decoded text.
    pub(crate) start: usize,
    /// The lines before the rows.
    pub(crate) before: Before,
    pub(crate) rules: Arc<Rules>,
    pub(crate) pad: bool,
    /// Whether the text for null was detected and is a word, such as `NULL`: in columns that are declared as text it is a
    /// word.
    pub(crate) null_word: bool,
    pub(crate) max_row_bytes: usize,
}

/// The lines before the rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Before {
    pub(crate) preamble: u64,
    pub(crate) header: u64,
    pub(crate) blank: u64,
    pub(crate) comments: u64,
}

impl Before {
    pub(crate) fn lines(self) -> u64 {
        self.preamble + self.header + self.blank + self.comments
    }
}

impl Layout {
    /// Whether a found word such as `NULL` stands for null in some columns, and for itself in others, which are declared text.
    pub fn has_two_nulls(&self) -> bool {
        let declared = |column: &ColumnPlan| {
            let text = matches!(
                column.kind.data_type,
                DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
            );
            text && !column.kind.strict
        };
        self.null_word && self.columns.iter().any(declared)
    }

    /// The columns as an Arrow schema; every column may hold nulls.
    pub fn schema(&self) -> SchemaRef {
        let field =
            |column: &ColumnPlan| Field::new(&column.name, column.kind.data_type.clone(), true);
        Arc::new(Schema::new(
            self.columns.iter().map(field).collect::<Vec<_>>(),
        ))
    }

    /// Widens the types of columns for values that did not fit, before another attempt.
    pub fn widen(&mut self, misfits: &[Misfit]) {
        for misfit in misfits {
            if let Some(column) = self.columns.get_mut(misfit.index) {
                column.kind = misfit.wider.clone();
                column.mark = Mark::Sampled;
                column.reason = format!(
                    "widened for `{}` in line {}",
                    misfit.value.escape_debug(),
                    misfit.line
                );
            }
        }
    }
}
