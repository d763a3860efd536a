//! What the loads of jobs were when they began: the ids that the stores keep tell one job from another by its name only, and
//! `--resume` must not take another job for the one that began.

use std::collections::VecDeque;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::job::JobLoad;
use crate::job_to::JobDestination;
use crate::to::target_of;

/// Older ones are forgotten.
const MOST_KEPT: usize = 2_000;

/// A load into one destination that began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Load {
    pub(crate) load_id: String,
    /// A digest of where its rows go.
    destination: String,
    /// A digest of what it is.
    definition: String,
    /// The job's file.
    pub(crate) file: PathBuf,
}

fn digest(text: &str) -> String {
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(text.as_bytes()))
}

/// A URL without its user, password and options, which may change from run to run.
fn plain(place: &str) -> &str {
    let Some((_, rest)) = place.split_once("://") else {
        return place;
    };
    let address = rest.split('?').next().unwrap_or_default();
    address
        .rsplit_once('@')
        .map_or(address, |(_, address)| address)
}

impl Load {
    pub(crate) fn of(
        load_id: String,
        load: &JobLoad,
        to: &JobDestination,
        file: &Path,
        folder: &Path,
    ) -> Self {
        let sql_file = load
            .sql_file
            .as_ref()
            .map(|file| std::fs::read_to_string(folder.join(file)).unwrap_or_default());
        let destination = format!(
            "{:?}",
            (
                plain(&to.to),
                target_of(&to.to).1,
                &to.target,
                &to.connection
            )
        );
        let read = (
            load.from.as_deref().map(plain),
            &load.sql,
            sql_file,
            &load.table,
            &load.params,
        );
        let definition = format!("{:?}", (read, &to.mode, &to.keys, &to.options));
        let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        Self {
            load_id,
            destination: digest(&destination),
            definition: digest(&definition),
            file,
        }
    }

    fn is_same_load(&self, other: &Self) -> bool {
        (&self.load_id, &self.destination) == (&other.load_id, &other.destination)
    }

    pub(crate) fn has_changed(&self, since: &Self) -> bool {
        self.definition != since.definition
    }
}

/// The loads of the jobs of one name, the newest last.
pub(crate) struct Begun {
    file: PathBuf,
    loads: VecDeque<Load>,
}

impl Begun {
    /// What this machine knows of the jobs of a name; nothing if it keeps no state.
    pub(crate) fn read(job: &str) -> Option<Self> {
        let file = state_folder()?
            .join("arrowload")
            .join("jobs")
            .join(format!("{}.json", digest(job)));
        let text = std::fs::read(&file).unwrap_or_default();
        Some(Self {
            file,
            loads: serde_json::from_slice(&text).unwrap_or_default(),
        })
    }

    /// The load with the id and destination of this one, as it began.
    pub(crate) fn find(&self, load: &Load) -> Option<&Load> {
        self.loads
            .iter()
            .rev()
            .find(|known| known.is_same_load(load))
    }

    /// Keeps what these loads are.
    pub(crate) fn keep(mut self, loads: &[Load]) -> std::io::Result<()> {
        self.loads
            .retain(|known| !loads.iter().any(|load| load.is_same_load(known)));
        self.loads.extend(loads.iter().cloned());
        self.loads
            .drain(..self.loads.len().saturating_sub(MOST_KEPT));
        let folder = self.file.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let mut file = NamedTempFile::new_in(folder)?;
        file.write_all(&serde_json::to_vec(&self.loads)?)?;
        file.persist(&self.file)?;
        Ok(())
    }
}

/// Where this system keeps what a user's programs remember.
fn state_folder() -> Option<PathBuf> {
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let home = || {
        absolute("HOME").map(|home| {
            home.join(if cfg!(target_os = "macos") {
                "Library/Application Support"
            } else {
                ".local/state"
            })
        })
    };
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("LOCALAPPDATA").filter(|_| cfg!(windows)))
        .or_else(home)
}
