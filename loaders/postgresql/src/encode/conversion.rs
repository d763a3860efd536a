//! The form in which a column is written. The Arrow type says how its values are read; both together
//! select the code.

use std::sync::Arc;

/// The form in which PostgreSQL is to receive the values of a column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Conversion {
    /// Every value is null.
    Null,
    Bool,
    /// Integers of 2, 4 and 8 bytes; a value outside is refused.
    Int2,
    Int4,
    Int8,
    /// A value that would not come back equal is refused.
    Float4,
    Float8,
    Numeric(NumericTarget),
    /// Digits as text; precision and scale, if the column declares them.
    NumericText(Option<(i32, i32)>),
    Text(TextTarget),
    Bytea,
    /// A document that is text already; `true` for `jsonb`.
    JsonText(bool),
    /// A document made of the values.
    JsonValue(TextTarget, bool),
    Uuid,
    /// `true` for `cidr`.
    Inet(bool),
    Date,
    Time(Precision),
    Timestamp(Precision),
    Interval(Precision),
    Array(Box<ArrayTarget>),
    /// pgvector's, of this length, if the column declares one.
    Vector(Option<usize>),
}

/// An array column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ArrayTarget {
    /// The type of the elements.
    pub(crate) element_oid: u32,
    pub(crate) element: Conversion,
}

/// A `numeric` column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct NumericTarget {
    /// Precision and scale, if the column declares them and the Arrow type does not promise to fit.
    pub(crate) limit: Option<(i32, i32)>,
    /// Let the server round what has more digits than the column, in place of refusing it.
    pub(crate) round: bool,
}

/// A text column.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct TextTarget {
    /// The longest text, in characters.
    pub(crate) max_chars: Option<u32>,
    /// Whether shorter text is padded with spaces: `character(n)`.
    pub(crate) padded: bool,
    /// What stands in place of each NUL byte. If `None`, such text is refused.
    pub(crate) replace_nul: Option<Arc<str>>,
}

/// How fine a column of times is, and what happens to values that are finer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Precision {
    /// The step, in microseconds.
    pub(crate) step: i64,
    /// Cut finer values off, in place of refusing them.
    pub(crate) truncate: bool,
}
