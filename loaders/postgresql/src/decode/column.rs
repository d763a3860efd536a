//! What a column must do to be decoded: take one field after the other, and become an array.

use arrow_array::ArrayRef;

/// Why a field cannot be decoded, as one sentence.
#[derive(Debug)]
pub(crate) struct Wrong(pub(crate) Box<str>);

impl Wrong {
    /// Off the fast path: the query ends here.
    #[cold]
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into().into_boxed_str())
    }

    /// A field that is shorter or longer than its type.
    #[cold]
    pub(crate) fn length(name: &str, length: usize) -> Self {
        Self::new(format!("a value of type {name} came in {length} bytes"))
    }
}

/// A column that grows by a field at a time.
pub(crate) trait Decoder: Send + Sync {
    /// Takes a field in the binary form of its type; `None` for null.
    fn push(&mut self, field: Option<&[u8]>) -> Result<(), Wrong>;

    /// What was taken, as an array; the column is empty again. An error names its place in the array.
    fn finish(&mut self) -> Result<ArrayRef, (usize, Wrong)>;
}
