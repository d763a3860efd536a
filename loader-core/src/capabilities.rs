//! What a store can do, declared as constants so that a load is refused before any I/O.

use std::borrow::Cow;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::TargetNames;

/// What happens to rows that are already in the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The target must not exist; it is created and filled.
    Create,
    /// Rows are added.
    #[default]
    Append,
    /// All rows are replaced: readers see all old rows or all new ones.
    Overwrite,
    /// Rows with equal `keys` are replaced, others added. It means the same in every store; the conformance suite tries each line:
    ///
    /// | what meets | what becomes of it |
    /// |---|---|
    /// | a row whose keys the target has | the columns of the load take its values |
    /// | … and a column of the target that the load lacks | keeps its old value |
    /// | a row whose keys are new | is added |
    /// | … and a column of the target that the load lacks | gets its default, or null |
    /// | a column of the load that the target lacks | is added with `schema_evolution` (null in rows that the load does not meet), else refused |
    /// | several rows of the load with equal keys | the last one counts; the others are `duplicate` in the report |
    /// | several rows of the target with equal keys | all are replaced by the one row, and those that go are held against `max_deletes`; or the load is refused, and none is touched |
    /// | a null in a key | refused, or set aside with `on_error = skip`; under `null_keys = match` nulls are equal to each other |
    ///
    /// The loader counts `inserted`, `updated`, `unchanged` and `duplicate`, of every load or of none; the pipeline counts the rows
    /// that it set aside for a null key.
    Upsert,
}

impl Mode {
    /// All modes, in the order of the documentation.
    pub const ALL: [Mode; 4] = [Mode::Create, Mode::Append, Mode::Overwrite, Mode::Upsert];

    /// The name as it is written in options.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Append => "append",
            Self::Overwrite => "overwrite",
            Self::Upsert => "upsert",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a reader of the store can see of a load that is in progress or has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Atomicity {
    /// All or nothing: no reader sees part of a load, and a crash leaves the target as it was.
    Load,
    /// Each target file or part appears whole, but several of them appear one after the other.
    Part,
    /// Rows appear as they are written. The load is idempotent, and the loader's README says what a reader may see.
    Row,
}

impl Atomicity {
    /// A larger one promises more.
    pub(crate) const fn rank(self) -> u8 {
        match self {
            Self::Row => 0,
            Self::Part => 1,
            Self::Load => 2,
        }
    }
}

/// The sizes of batch that suit a store. Batches outside are joined or split by the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BatchSize {
    /// Smaller batches are joined until they have this many rows. 0 passes them on as they come.
    pub min_rows: usize,
    /// Larger batches are split, without copying.
    pub max_rows: usize,
    /// Batches of more bytes are split likewise; at most 1 GiB, so that 32-bit offsets never overflow.
    pub max_bytes: usize,
}

impl BatchSize {
    /// The largest `max_bytes`.
    pub const BYTES_LIMIT: usize = 1 << 30;

    /// Whatever comes, in pieces of at most 64 MiB.
    pub const ANY: Self = Self {
        min_rows: 0,
        max_rows: usize::MAX,
        max_bytes: 64 << 20,
    };
}

/// The most that a loader can do, for any target. Everything is off until a method of the same name switches it on. What holds
/// for one target, mode and options is [`Guarantees`](crate::Guarantees), in the plan.
///
/// ```
/// use arrowload_core::{Atomicity, Capabilities, Mode};
/// const CAPABILITIES: Capabilities =
///     Capabilities::new(&[Mode::Create, Mode::Append], Atomicity::Load).create_target().load_ids();
/// assert!(CAPABILITIES.supports(Mode::Append) && !CAPABILITIES.supports(Mode::Upsert));
/// ```
#[derive(Debug, Clone, Copy, Serialize)]
#[non_exhaustive]
pub struct Capabilities {
    /// The modes it has. Any other is refused, never downgraded.
    pub modes: &'static [Mode],
    /// What readers see of an unfinished load.
    pub atomicity: Atomicity,
    /// Can create a missing target; without it, a load into one is refused.
    pub create_target: bool,
    /// Can add columns to a target.
    pub schema_evolution: bool,
    /// Records the `load_id` with the data, and answers [`find_load`](crate::DataLoader::find_load).
    pub load_ids: bool,
    /// Can use more than one connection or thread for one load.
    pub parallel: bool,
    /// Can set aside the rows that the store refuses (`on_error = skip`).
    pub skip_rows: bool,
    /// Can recompute [`checksums`](crate::LoadSession::checksums) from what the store holds (`verify = checksum`).
    pub checksum: bool,
    /// Knows before the commit how many rows it would change (`max_updates`, `max_deletes`).
    pub change_limits: bool,
    /// The batches that suit it.
    pub batch: BatchSize,
    /// How its targets are made from names.
    pub target_names: TargetNames,
}

impl Capabilities {
    /// Nothing but these modes.
    pub const fn new(modes: &'static [Mode], atomicity: Atomicity) -> Self {
        Self {
            modes,
            atomicity,
            create_target: false,
            schema_evolution: false,
            load_ids: false,
            parallel: false,
            skip_rows: false,
            checksum: false,
            change_limits: false,
            batch: BatchSize::ANY,
            target_names: TargetNames::Plain,
        }
    }

    /// Can create a missing target.
    #[must_use]
    pub const fn create_target(mut self) -> Self {
        self.create_target = true;
        self
    }

    /// Can add columns to a target.
    #[must_use]
    pub const fn schema_evolution(mut self) -> Self {
        self.schema_evolution = true;
        self
    }

    /// Records the `load_id` with the data.
    #[must_use]
    pub const fn load_ids(mut self) -> Self {
        self.load_ids = true;
        self
    }

    /// Can use more than one connection or thread for one load.
    #[must_use]
    pub const fn parallel(mut self) -> Self {
        self.parallel = true;
        self
    }

    /// Can set aside the rows that the store refuses.
    #[must_use]
    pub const fn skip_rows(mut self) -> Self {
        self.skip_rows = true;
        self
    }

    /// Can recompute checksums from what the store holds.
    #[must_use]
    pub const fn checksum(mut self) -> Self {
        self.checksum = true;
        self
    }

    /// Knows before the commit how many rows it would change.
    #[must_use]
    pub const fn change_limits(mut self) -> Self {
        self.change_limits = true;
        self
    }

    /// The batches that suit it.
    #[must_use]
    pub const fn batch(mut self, batch: BatchSize) -> Self {
        self.batch = batch;
        self
    }

    /// How its targets are made from names.
    #[must_use]
    pub const fn target_names(mut self, names: TargetNames) -> Self {
        self.target_names = names;
        self
    }

    /// Whether it has this mode.
    pub fn supports(&self, mode: Mode) -> bool {
        self.modes.contains(&mode)
    }
}

/// How a type of column arrives in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "support", content = "detail")]
pub enum TypeSupport {
    /// Every value reads back equal, with the same type.
    Exact,
    /// Every value reads back equal, as this wider or more general type.
    Widened(Cow<'static, str>),
    /// Refused before the first write, for this reason.
    Unsupported(Cow<'static, str>),
}

impl TypeSupport {
    /// The word for tables.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Widened(_) => "widened",
            Self::Unsupported(_) => "refused",
        }
    }

    /// What it becomes, or why not.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Exact => None,
            Self::Widened(text) | Self::Unsupported(text) => Some(text),
        }
    }
}

impl fmt::Display for TypeSupport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.detail() {
            None => f.write_str(self.word()),
            Some(detail) => write!(f, "{}: {detail}", self.word()),
        }
    }
}
