//! The state of a load, for callers that follow it from outside: above all, what an interrupted load has left in its target.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::{AfterFailure, Aftermath};

/// What a load is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Phase {
    /// Connecting, and looking whether the load has committed already.
    #[default]
    Connecting,
    /// Waiting for the query's first rows.
    Querying,
    /// Looking at the target, and beginning.
    Resolving,
    /// Handing rows to the store.
    Writing,
    /// All rows are handed over; the store takes in the last ones, merges or indexes them.
    Preparing,
    /// Comparing checksums.
    Verifying,
    /// Publishing the load.
    Committing,
    /// The load is in the target.
    Committed,
}

impl Phase {
    /// As programs read it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Querying => "querying",
            Self::Resolving => "resolving",
            Self::Writing => "writing",
            Self::Preparing => "preparing",
            Self::Verifying => "verifying",
            Self::Committing => "committing",
            Self::Committed => "committed",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolving => "looking at the target",
            other => other.word(),
        })
    }
}

/// Follows one load. Clones follow the same one, also after its future was dropped: so that a program that interrupts a load can
/// say what happened to its target.
#[derive(Debug, Clone, Default)]
pub struct LoadStatus(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    load_id: Option<String>,
    phase: Phase,
    /// What attempts that were begun may have left.
    left: Option<AfterFailure>,
    /// It is recorded as committed, and is being completed.
    incomplete: bool,
}

impl LoadStatus {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The id of the load, as soon as it has one.
    pub fn load_id(&self) -> Option<String> {
        self.lock().load_id.clone()
    }

    /// What the load is doing, or was doing when it ended.
    pub fn phase(&self) -> Phase {
        self.lock().phase
    }

    /// What happened to the target if the load ends here: if its future was dropped, or its process dies.
    pub fn aftermath(&self) -> Aftermath {
        let state = self.lock();
        match state.phase {
            Phase::Committed => Aftermath::Committed,
            _ if state.incomplete => Aftermath::Incomplete,
            Phase::Committing => Aftermath::Unknown,
            _ => left(&state),
        }
    }

    /// A load begins; what is known of an earlier one with the same spec is forgotten.
    pub(crate) fn start(&self, load_id: &str) {
        *self.lock() = State {
            load_id: Some(load_id.to_owned()),
            ..State::default()
        };
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.lock().phase = phase;
    }

    /// An attempt begins, which may leave this.
    pub(crate) fn begin(&self, after: AfterFailure) {
        let mut state = self.lock();
        let before = state.left.unwrap_or_default();
        state.left = Some(AfterFailure {
            new_rows: before.new_rows || after.new_rows,
            old_rows_gone: before.old_rows_gone || after.old_rows_gone,
            schema_evolved: before.schema_evolved || after.schema_evolved,
        });
    }

    /// The load is recorded, and whether not all of it is in place. Sessions that make the record before the rows are in place say
    /// so between the two.
    pub fn set_incomplete(&self, incomplete: bool) {
        self.lock().incomplete = incomplete;
    }

    /// What is left by attempts that failed before their commit was in doubt.
    pub(crate) fn after_failure(&self) -> Aftermath {
        left(&self.lock())
    }
}

fn left(state: &State) -> Aftermath {
    state.left.unwrap_or_default().into()
}
