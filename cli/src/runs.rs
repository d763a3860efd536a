//! The state of a job's runs on this machine: their ids, and which of their loads have committed, so that `--resume` can continue
//! the last run, and notices if committed loads have disappeared since.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

/// Older ones are forgotten.
const MOST_KEPT: usize = 200;

/// A run of a job.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Run {
    /// The id that was given or made up.
    pub(crate) id: String,
    /// A digest of the job's variables.
    vars: String,
    /// The job's file.
    pub(crate) file: PathBuf,
    /// Its loads by name.
    pub(crate) loads: BTreeMap<String, Known>,
}

/// What is known of a load of a run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Known {
    /// Whether it committed in all its destinations.
    pub(crate) committed: bool,
    /// How often it was loaded again under another id, because what had committed was gone.
    #[serde(default)]
    pub(crate) again: u32,
}

/// The runs of the jobs of one name with the same variables, the newest last.
pub(crate) struct Runs {
    /// Where they are kept; `None` if this machine keeps no state.
    place: Option<PathBuf>,
    vars: String,
    all: Vec<Run>,
}

impl Runs {
    /// The runs of a job with these variables.
    pub(crate) fn read(job: &str, vars: &str) -> Self {
        let name = format!("{:032x}.json", xxhash_rust::xxh3::xxh3_128(job.as_bytes()));
        let place = state_folder().map(|folder| folder.join("arrowload").join("runs").join(name));
        Self {
            all: place.as_deref().map(read).unwrap_or_default(),
            place,
            vars: vars.to_owned(),
        }
    }

    /// The last run.
    pub(crate) fn last(&self) -> Option<&Run> {
        self.all.iter().rev().find(|run| run.vars == self.vars)
    }

    /// Whether a run of this id has begun on this machine.
    pub(crate) fn knows(&self, id: &str) -> bool {
        let same = |run: &Run| run.id == id && run.vars == self.vars;
        self.all.iter().any(same)
    }

    /// The run of this id; one that is not known is new.
    pub(crate) fn find(&self, id: &str, file: &Path) -> Run {
        let same = |run: &&Run| run.id == id && run.vars == self.vars;
        self.all.iter().rev().find(same).cloned().unwrap_or(Run {
            id: id.to_owned(),
            vars: self.vars.clone(),
            file: std::path::absolute(file).unwrap_or_else(|_| file.to_owned()),
            loads: BTreeMap::new(),
        })
    }

    /// Keeps a run as the last. What other programs have kept meanwhile stays.
    pub(crate) fn keep(&self, run: &Run) -> std::io::Result<()> {
        let Some(place) = &self.place else {
            return Ok(());
        };
        let mut all = others(place, run);
        all.push(run.clone());
        all.drain(..all.len().saturating_sub(MOST_KEPT));
        write(place, &all)
    }

    /// Forgets a run.
    pub(crate) fn forget(&self, run: &Run) -> std::io::Result<()> {
        match &self.place {
            None => Ok(()),
            Some(place) => write(place, &others(place, run)),
        }
    }
}

fn write(place: &Path, all: &[Run]) -> std::io::Result<()> {
    let folder = place.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(&serde_json::to_vec(all)?)?;
    file.persist(place)?;
    Ok(())
}

/// The runs that are kept beside this one.
fn others(place: &Path, run: &Run) -> Vec<Run> {
    let mut all = read(place);
    all.retain(|known| (&known.id, &known.vars) != (&run.id, &run.vars));
    all
}

fn read(place: &Path) -> Vec<Run> {
    let text = std::fs::read(place).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Where this system keeps what a user's programs remember.
pub(crate) fn state_folder() -> Option<PathBuf> {
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
