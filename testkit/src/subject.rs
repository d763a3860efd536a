//! The trait that the author of a loader implements for the suite: how to connect, how targets are named, and how to read one
//! back.

use arrow_array::RecordBatch;
use arrowload_core::{LoadSpec, LoaderDescriptor, Settings};
use futures::future::BoxFuture;

/// A loader under test, and a store of its own to test it in.
pub trait Subject: Sync {
    /// The loader: `LoaderDescriptor::of::<MyLoader>(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))`.
    fn descriptor(&self) -> LoaderDescriptor;

    /// The connection keys of an empty store. Asked for at every connection: all lead to the same store.
    fn connection(&self) -> Settings;

    /// A target that does not exist yet, for a name that is used once. Override it where a plain name is not a target.
    fn target(&self, name: &str) -> String {
        name.to_owned()
    }

    /// Everything that readers see of a target, in any order of rows, or `None` if there is no target; read by something
    /// that is not the loader. An error is a sentence.
    fn read<'a>(&'a self, target: &'a str) -> BoxFuture<'a, Result<Option<RecordBatch>, String>>;

    /// What the loader declares, and keeps for none of these targets: `atomicity`, `exactly_once`, `checksum`, `skip_rows`,
    /// `change_limits`, `parallelism`, or the name of a mode. Files in an object store, say, where it also has local ones. The
    /// plans must say the same: what is listed is held by none, and what is not listed by one at least.
    fn never_kept(&self) -> &[&'static str] {
        &[]
    }

    /// Loads that the loader's documentation says are refused before their first row, beside those that every loader refuses: the
    /// plan must refuse each in the same words.
    fn refusals(&self) -> Vec<Refusal> {
        Vec::new()
    }

    /// Whether the loader is linked into this test under its name. Left at `true`, the suite finds out that `register_loader!` was
    /// forgotten; a loader that is not a plugin says `false`.
    fn is_plugin(&self) -> bool {
        true
    }

    /// Whether the loader holds only a few batches in memory at once.
    fn streams(&self) -> bool {
        true
    }

    /// Whether column names that differ in case only are two columns in the store.
    fn case_sensitive_columns(&self) -> bool {
        true
    }

    /// Names that the store's targets can have, beside plain ones: quotes, spaces, reserved words and so on.
    fn odd_target_names(&self) -> Vec<String> {
        [
            "select",
            "with space",
            "semi;colon",
            "quote\"d",
            "o'clock",
            "ünïcode-名",
            "DROP TABLE x; --",
        ]
        .map(str::to_owned)
        .to_vec()
    }
}

/// A load that is refused before its first row.
pub struct Refusal {
    pub(crate) name: String,
    pub(crate) spec: LoadSpec,
    pub(crate) rows: RecordBatch,
}

impl Refusal {
    /// The load of these rows by this spec.
    pub fn new(name: impl Into<String>, spec: LoadSpec, rows: RecordBatch) -> Self {
        Self {
            name: name.into(),
            spec,
            rows,
        }
    }
}
