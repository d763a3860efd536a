//! The guarantees of a load for its target, and what a failed load may have left there.

use std::fmt;

use serde::Serialize;

use crate::{Atomicity, Capabilities, Error, ErrorKind, Result};

/// What is guaranteed for this target, mode and options: decided when the target is [resolved](crate::DataLoader::resolve),
/// and at most as wide as the loader's [`Capabilities`].
///
/// The pipeline acts on it, and the plan, the report and every message about a failed load are made from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Guarantees {
    /// What readers see of an unfinished load.
    pub atomicity: Atomicity,
    /// Whether repeating the load with its `load_id` writes nothing twice.
    pub exactly_once: bool,
    /// Whether checksums can be recomputed from what the store holds.
    pub checksum: bool,
    /// Whether rows that the store refuses can be set aside.
    pub skip_rows: bool,
    /// Whether the rows that a load would change are known before its commit.
    pub change_limits: bool,
    /// How many connections or threads write, at most.
    pub parallelism: usize,
    /// What a load that fails, or is killed, before it is committed may leave in the target.
    pub after_failure: AfterFailure,
}

impl Guarantees {
    /// The strongest guarantees that these capabilities allow, with one connection.
    pub const fn of(capabilities: &Capabilities) -> Self {
        Self {
            atomicity: capabilities.atomicity,
            exactly_once: capabilities.load_ids,
            checksum: capabilities.checksum,
            skip_rows: capabilities.skip_rows,
            change_limits: capabilities.change_limits,
            parallelism: 1,
            after_failure: match capabilities.atomicity {
                Atomicity::Load => AfterFailure::UNCHANGED,
                Atomicity::Part | Atomicity::Row => AfterFailure::UNCHANGED.with_new_rows(),
            },
        }
    }

    /// Refuses guarantees that are wider than what the loader declares: a defect of the loader.
    ///
    /// # Errors
    /// [`ErrorKind::Unexpected`], naming the guarantee.
    pub fn check_within(&self, loader: &str, capabilities: &Capabilities) -> Result<()> {
        let wider = [
            (
                "atomicity",
                self.atomicity.rank() > capabilities.atomicity.rank(),
            ),
            ("exactly_once", self.exactly_once && !capabilities.load_ids),
            ("checksum", self.checksum && !capabilities.checksum),
            ("skip_rows", self.skip_rows && !capabilities.skip_rows),
            (
                "change_limits",
                self.change_limits && !capabilities.change_limits,
            ),
            (
                "parallelism",
                self.parallelism > 1 && !capabilities.parallel,
            ),
            (
                "after_failure",
                self.atomicity == Atomicity::Load && self.after_failure.changes_rows(),
            ),
        ];
        match wider.into_iter().find(|(_, wider)| *wider) {
            None => Ok(()),
            Some((name, _)) => {
                let message = format!(
                    "internal error: {loader} plans a `{name}` that goes beyond what it declares"
                );
                Err(Error::new(ErrorKind::Unexpected, message))
            }
        }
    }
}

impl fmt::Display for Guarantees {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let readers = match self.atomicity {
            Atomicity::Load => "readers see all of the load or nothing",
            Atomicity::Part => "readers see whole files, one after the other",
            Atomicity::Row => "readers see rows as they are written",
        };
        let again = if self.exactly_once {
            "writes nothing again"
        } else {
            "writes the rows again"
        };
        write!(
            f,
            "{readers}; repeating the load with its load_id {again}; if it fails, {}",
            Aftermath::from(self.after_failure)
        )
    }
}

/// What a load that did not commit may leave in its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct AfterFailure {
    /// Rows of the load may be in the target, and readers may see them.
    pub new_rows: bool,
    /// Rows that were in the target may be gone.
    pub old_rows_gone: bool,
    /// The target may have been created, or may have new columns.
    pub schema_evolved: bool,
}

impl AfterFailure {
    /// The target is as it was.
    pub const UNCHANGED: Self = Self {
        new_rows: false,
        old_rows_gone: false,
        schema_evolved: false,
    };

    /// Rows of the load may remain.
    #[must_use]
    pub const fn with_new_rows(mut self) -> Self {
        self.new_rows = true;
        self
    }

    /// Existing rows may be gone.
    #[must_use]
    pub const fn with_old_rows_gone(mut self) -> Self {
        self.old_rows_gone = true;
        self
    }

    /// The target may have been created, or may have new columns.
    #[must_use]
    pub const fn with_schema_evolved(mut self) -> Self {
        self.schema_evolved = true;
        self
    }

    const fn changes_rows(self) -> bool {
        self.new_rows || self.old_rows_gone
    }
}

/// What happened to the target of a load that did not end well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Aftermath {
    /// It is as it was.
    Unchanged,
    /// It may hold traces of the load.
    Changed(AfterFailure),
    /// The load is recorded as committed, and its rows are not all in place yet: repeating it with its `load_id` completes it.
    Incomplete,
    /// The load is committed, all of it.
    Committed,
    /// The answer to the commit was lost, and the store could not be asked.
    Unknown,
}

impl From<AfterFailure> for Aftermath {
    fn from(after: AfterFailure) -> Self {
        if after == AfterFailure::UNCHANGED {
            Self::Unchanged
        } else {
            Self::Changed(after)
        }
    }
}

impl fmt::Display for Aftermath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let after = match self {
            Self::Unchanged => return f.write_str("the target is unchanged"),
            Self::Incomplete => {
                return f.write_str(
                    "the load is recorded, but not all of its rows are in place yet; repeat it with its load_id to complete it",
                );
            }
            Self::Committed => return f.write_str("the load is committed"),
            Self::Unknown => {
                return f.write_str("whether the load was committed is not known");
            }
            Self::Changed(after) => after,
        };
        let traces = [
            (after.new_rows, "rows of this load may remain in the target"),
            (
                after.old_rows_gone,
                "rows that were in the target may be gone",
            ),
            (
                after.schema_evolved,
                "the target may have been created, or have new columns",
            ),
        ];
        let said: Vec<&str> = traces
            .into_iter()
            .filter_map(|(may, text)| may.then_some(text))
            .collect();
        f.write_str(&said.join(", and "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Mode;

    #[test]
    fn what_goes_beyond_the_declared_is_named() {
        let declared = Capabilities::new(&Mode::ALL, Atomicity::Part);
        let most = Guarantees::of(&declared);
        assert!(most.check_within("x", &declared).is_ok());
        type Widen = fn(&mut Guarantees);
        let cases: [(&str, Widen); 4] = [
            ("atomicity", |wider| {
                wider.atomicity = Atomicity::Load;
                wider.after_failure = AfterFailure::UNCHANGED;
            }),
            ("exactly_once", |wider| wider.exactly_once = true),
            ("parallelism", |wider| wider.parallelism = 2),
            ("skip_rows", |wider| wider.skip_rows = true),
        ];
        for (name, widen) in cases {
            let mut wider = most;
            widen(&mut wider);
            let error = wider.check_within("x", &declared).expect_err(name);
            assert!(error.message().contains(&format!("`{name}`")), "{error}");
        }
        let all = Guarantees::of(&Capabilities::new(&Mode::ALL, Atomicity::Load));
        let mut contradicts = all;
        contradicts.after_failure = AfterFailure::UNCHANGED.with_new_rows();
        let declared = Capabilities::new(&Mode::ALL, Atomicity::Load);
        assert!(contradicts.check_within("x", &declared).is_err());
    }

    #[test]
    fn each_trace_is_said() {
        assert_eq!(
            Aftermath::from(AfterFailure::UNCHANGED).to_string(),
            "the target is unchanged"
        );
        let after = AfterFailure::UNCHANGED.with_new_rows().with_old_rows_gone();
        assert_eq!(
            Aftermath::from(after).to_string(),
            "rows of this load may remain in the target, and rows that were in the target may be gone"
        );
    }
}
