//! A cache of facts about files: their layouts, and which files have values that their sample did not show.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::file::DataFile;
use crate::look::Looked;

/// Files that are remembered, at most.
const FILES: usize = 4_096;
/// A file that was written a moment ago may be written again without a new time.
const SETTLED: Duration = Duration::from_secs(3);

/// What was learnt about a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Learnt {
    /// Whether its types must be proved on its whole files.
    pub(crate) prove: bool,
    /// Columns that no type holds but text.
    pub(crate) text: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct State {
    tables: HashMap<String, Learnt>,
    files: HashMap<String, Looked>,
    /// What was said already.
    said: HashSet<String>,
}

/// What a source remembers, for all of its queries.
#[derive(Debug, Default)]
pub(crate) struct Known(Mutex<State>);

impl Known {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was learnt about a table.
    pub(crate) fn table(&self, key: &str) -> Learnt {
        self.state().tables.get(key).cloned().unwrap_or_default()
    }

    /// Whether something was not said before.
    pub(crate) fn is_new(&self, said: String) -> bool {
        let mut state = self.state();
        if state.said.len() >= FILES {
            state.said.clear();
        }
        state.said.insert(said)
    }

    /// A value did not fit: from now on types are inferred from the whole files. If they were already, these columns
    /// become text.
    ///
    /// `proved` is how the reading found its types: several parts of one reading may say this at the same time.
    pub(crate) fn learn(&self, key: &str, columns: &[String], proved: bool) {
        let mut state = self.state();
        let learnt = state.tables.entry(key.to_owned()).or_default();
        if proved {
            learnt.text.extend(columns.iter().cloned());
        }
        learnt.prove = true;
    }

    /// What a file is, if it was looked at in this way and has not changed.
    pub(crate) fn looked(&self, key: &str) -> Option<Looked> {
        self.state().files.get(key).cloned()
    }

    /// Keeps what a file is.
    pub(crate) fn keep(&self, key: String, looked: &Looked) {
        let modified = SystemTime::from(looked.file.meta.last_modified);
        let age = SystemTime::now().duration_since(modified);
        if !age.is_ok_and(|age| age > SETTLED) {
            return;
        }
        let mut state = self.state();
        if state.files.len() >= FILES {
            state.files.clear();
        }
        state.files.insert(key, looked.clone());
    }
}

/// The key of a file together with the options that it is read with.
pub(crate) fn key(file: &DataFile, how: &str) -> String {
    format!("{}\n{how}", file.stamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_becomes_text_only_after_its_whole_files_were_looked_at() {
        let known = Known::default();
        let columns = ["x".to_owned()];
        // Two parts of a reading by samples.
        known.learn("t", &columns, false);
        known.learn("t", &columns, false);
        let learnt = known.table("t");
        assert!(learnt.prove && learnt.text.is_empty(), "{learnt:?}");
        known.learn("t", &columns, true);
        assert!(known.table("t").text.contains("x"));
    }
}
