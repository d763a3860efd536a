//! Leases: they show which loads are running, so that files of dead loads can be removed, and files of running ones never are.
//!
//! A load that has begun has a lease: a small file in the folder `arrowload-leases` of the table, named after the attempt, whose
//! data files bear the same name. It is renewed as long as the load lives, and removed when the load ends. The next load of the
//! table removes the data files of attempts whose lease has expired, unless they were committed. On the local disk the owner
//! also holds a lock on the file, which ends with its process: so on the same machine a dead load is recognised at once.
//!
//! A load that could not renew its lease in time does not commit, as its files may be gone.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind::NotFound;
use std::io::Write;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arrowload_common_object_store::{blocking, from_io, from_store};
use arrowload_core::{Error, ErrorKind, Result};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, PutMode, UpdateVersion};
use serde::{Deserialize, Serialize};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::place::Place;
use crate::table::Table;

/// The folder of a table that the leases are in. VACUUM looks into it, so that nothing stays for ever.
const FOLDER: &str = "arrowload-leases";

/// What the names of an attempt's data files begin with.
pub(crate) fn file_prefix(attempt: &str) -> String {
    format!("part-{attempt}")
}

/// Whether a file is a lease, or a data file of an attempt of ours.
pub(crate) fn is_ours(path: &Path) -> bool {
    let is_lease = path
        .parts()
        .next()
        .is_some_and(|part| part.as_ref() == FOLDER);
    let attempt = path.filename().and_then(|name| name.strip_prefix("part-"));
    let attempt = attempt.and_then(|rest| rest.get(..36));
    is_lease || attempt.is_some_and(|attempt| Uuid::try_parse(attempt).is_ok())
}

/// What a lease says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Facts {
    load_id: String,
    /// The machine of the load, as long as it runs, where it has a name.
    machine: Option<String>,
}

/// The lease of one attempt of a load. Dropping it ends the sign of life.
pub(crate) struct Lease {
    kept: Kept,
    valid: Duration,
    renewed: Arc<Mutex<Renewed>>,
    _renewing: AbortOnDropHandle<()>,
    /// Data files may have their final names already, so they remain if the load ends here.
    has_files: bool,
}

/// Where the lease is.
enum Kept {
    /// A file, which is locked as long as it is open.
    File {
        path: PathBuf,
        _locked: File,
        /// The table's folder was made for it.
        made_folder: bool,
    },
    Object(Arc<dyn ObjectStore>, Path),
}

/// When a lease was renewed last, by two clocks: one may stop while the machine sleeps, the other may be changed.
#[derive(Debug, Clone, Copy)]
struct Renewed(Instant, SystemTime);

impl Renewed {
    fn now() -> Self {
        Self(Instant::now(), SystemTime::now())
    }

    fn elapsed(self) -> Duration {
        self.0.elapsed().max(self.1.elapsed().unwrap_or_default())
    }
}

/// The lease of another attempt that is over.
struct Dead {
    attempt: Uuid,
    load_id: String,
    name: String,
    /// Its file, locked so that others do not remove the same files.
    _locked: Option<File>,
}

impl Lease {
    /// Takes a lease for an attempt, and removes what dead attempts, of whatever load, have left.
    pub(crate) async fn take(
        place: &Place,
        load_id: &str,
        attempt: &str,
        valid: Duration,
    ) -> Result<Self> {
        let name = format!("{attempt}.{}.json", valid.as_secs().max(1));
        let facts = Facts {
            load_id: load_id.to_owned(),
            // Only a lock says at once that a process of this machine has ended.
            machine: place.local.as_ref().and_then(|_| machine()),
        };
        let text = serde_json::json!(facts).to_string();
        let (kept, dead) = match &place.local {
            Some(folder) => {
                let folder = folder.clone();
                blocking(move || take_file(&folder, &name, &text, &facts)).await?
            }
            None => take_object(place.log_store.object_store(None), &name, text).await?,
        };
        let renewed = Arc::new(Mutex::new(Renewed::now()));
        let renewing = renew(kept.renewal()?, valid / 4, Arc::clone(&renewed));
        let lease = Self {
            _renewing: AbortOnDropHandle::new(tokio::spawn(renewing)),
            kept,
            valid,
            renewed,
            has_files: false,
        };
        if !dead.is_empty() {
            let attempts: Vec<Uuid> = dead.iter().map(|dead| dead.attempt).collect();
            if let Err(error) = bury(place, dead).await {
                tracing::warn!(%error, ?attempts, "what dead loads have left could not be removed");
            }
        }
        Ok(lease)
    }

    /// From now on data files have their final names, so they have to be removed if the load fails.
    pub(crate) fn has_files(&mut self) {
        self.has_files = true;
    }

    /// Whether data files have had names.
    pub(crate) fn may_leave_files(&self) -> bool {
        self.has_files
    }

    /// Refuses to go on if the load counts as dead, or soon will.
    pub(crate) fn check(&self) -> Result<()> {
        let renewed = *self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        if renewed.elapsed() < self.valid / 2 {
            return Ok(());
        }
        let message = "the load could not renew its lease in time and counts as dead, so that its files may be removed; run it again";
        Err(Error::new(ErrorKind::Conflict, message).transient())
    }

    /// Gives the lease back: the load has left no files outside of the table.
    pub(crate) async fn give_back(mut self) {
        let given = match &self.kept {
            Kept::File {
                path, made_folder, ..
            } => {
                let (path, made_folder) = (path.clone(), *made_folder);
                blocking(move || {
                    remove_file(&path, made_folder);
                    Ok(())
                })
                .await
            }
            Kept::Object(store, path) => store.delete(path).await.map_err(from_store),
        };
        if let Err(error) = given {
            tracing::debug!(%error, "a lease is left; it expires");
        }
        // There is nothing left to do for `drop`.
        self.has_files = true;
    }
}

/// If no data file has its final name yet, nothing has to be removed later, so the lease is removed too.
impl Drop for Lease {
    fn drop(&mut self) {
        if self.has_files {
            return;
        }
        match &self.kept {
            Kept::File {
                path, made_folder, ..
            } => remove_file(path, *made_folder),
            Kept::Object(store, path) => {
                let (store, path) = (Arc::clone(store), path.clone());
                // Without a runtime it stays, and expires.
                if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                    runtime.spawn(async move { store.delete(&path).await });
                }
            }
        }
    }
}

/// A name for this machine that no other machine has, and that changes with each restart.
fn machine() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned())
}

/// The attempt and the seconds in the name of a lease.
fn parse(name: &str) -> Option<(Uuid, Duration)> {
    let (attempt, rest) = name.split_once('.')?;
    let seconds = rest.strip_suffix(".json")?.parse().ok()?;
    Some((Uuid::parse_str(attempt).ok()?, Duration::from_secs(seconds)))
}

fn take_file(folder: &FilePath, name: &str, text: &str, own: &Facts) -> Result<(Kept, Vec<Dead>)> {
    let made_folder = !folder.exists();
    let leases = folder.join(FOLDER);
    let at = |error| from_io(&leases, error);
    // It is locked before it gets its name, so that nobody finds it unlocked.
    let (new, path) = (leases.join(format!("{name}.new")), leases.join(name));
    let make = || fs::create_dir_all(&leases).and_then(|()| File::create_new(&new));
    // Another load may be giving back its lease, and removing the folder.
    let mut made = make();
    for _ in 0..100 {
        match &made {
            Err(error) if error.kind() == NotFound => made = make(),
            _ => break,
        }
    }
    let mut locked = made.map_err(at)?;
    // Some file systems have no locks: the time alone counts there.
    let _ = locked.try_lock();
    locked.write_all(text.as_bytes()).map_err(at)?;
    fs::rename(&new, &path).map_err(at)?;
    let mut dead = Vec::new();
    for entry in fs::read_dir(&leases).map_err(at)?.flatten() {
        if entry.path() != path
            && let Some(found) = dead_file(&entry.path(), own)
        {
            dead.push(found);
        }
    }
    let kept = Kept::File {
        path,
        _locked: locked,
        made_folder,
    };
    Ok((kept, dead))
}

/// A lease that is over: that of a process of this machine which has ended, or one that was not renewed in time.
fn dead_file(path: &FilePath, own: &Facts) -> Option<Dead> {
    let name = path.file_name()?.to_str()?.to_owned();
    let (attempt, valid) = parse(&name)?;
    let facts: Facts = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    let file = File::open(path).ok()?;
    let is_locked = match file.try_lock() {
        Ok(()) => true,
        Err(TryLockError::WouldBlock) => return None,
        Err(TryLockError::Error(_)) => false,
    };
    // The lock of another machine may not be seen here.
    let is_of_here = own.machine.is_some() && facts.machine == own.machine;
    let age = file.metadata().ok()?.modified().ok()?.elapsed();
    let expired = age.is_ok_and(|age| age > valid);
    (expired || (is_locked && is_of_here)).then_some(Dead {
        attempt,
        load_id: facts.load_id,
        name,
        _locked: Some(file),
    })
}

/// Removes a lease, and the folders that nothing else is in.
fn remove_file(path: &FilePath, made_folder: bool) {
    let removed = fs::remove_file(path);
    let leases = path.parent();
    let emptied = leases.map(fs::remove_dir);
    if made_folder && let Some(folder) = leases.and_then(FilePath::parent) {
        let _ = fs::remove_dir(folder);
    }
    tracing::trace!(?removed, ?emptied, "a lease is given back");
}

async fn take_object(
    store: Arc<dyn ObjectStore>,
    name: &str,
    text: String,
) -> Result<(Kept, Vec<Dead>)> {
    let path = Path::from_iter([FOLDER, name]);
    store.put(&path, text.into()).await.map_err(from_store)?;
    let folder = Path::from(FOLDER);
    let leases: Vec<_> = store
        .list(Some(&folder))
        .try_collect()
        .await
        .map_err(from_store)?;
    // The store's own clock says how old the others are.
    let now = leases.iter().find(|lease| lease.location == path);
    let now = now.map(|lease| lease.last_modified);
    let mut dead = Vec::new();
    for lease in leases.iter().filter(|lease| lease.location != path) {
        let found = lease.location.filename().and_then(|name| {
            let (attempt, valid) = parse(name)?;
            let age = (now? - lease.last_modified).to_std().ok()?;
            (age > valid).then(|| (attempt, name.to_owned()))
        });
        let Some((attempt, name)) = found else {
            continue;
        };
        let Ok(found) = store.get(&lease.location).await else {
            continue;
        };
        let bytes = found.bytes().await.map_err(from_store)?;
        if let Ok(facts) = serde_json::from_slice::<Facts>(&bytes) {
            dead.push(Dead {
                attempt,
                load_id: facts.load_id,
                name,
                _locked: None,
            });
        }
    }
    Ok((Kept::Object(store, path), dead))
}

/// How a lease is renewed.
enum Renewal {
    File(File),
    Object(Arc<dyn ObjectStore>, Path),
}

impl Kept {
    fn renewal(&self) -> Result<Renewal> {
        Ok(match self {
            // Not a clone, which would keep the lock.
            Self::File { path, .. } => {
                let file = File::options().append(true).open(path);
                Renewal::File(file.map_err(|error| from_io(path, error))?)
            }
            Self::Object(store, path) => Renewal::Object(Arc::clone(store), path.clone()),
        })
    }
}

async fn renew(renewal: Renewal, pause: Duration, renewed: Arc<Mutex<Renewed>>) {
    loop {
        tokio::time::sleep(pause).await;
        let begun = Renewed::now();
        let done = match &renewal {
            Renewal::File(file) => file.set_modified(SystemTime::now()).map_err(Error::from),
            Renewal::Object(store, path) => renew_object(store.as_ref(), path).await,
        };
        match done {
            Ok(()) => *renewed.lock().unwrap_or_else(PoisonError::into_inner) = begun,
            Err(error) => tracing::warn!(%error, "the lease of the load could not be renewed"),
        }
    }
}

/// Only an existing lease is renewed: if it was removed, the load counts as dead.
async fn renew_object(store: &dyn ObjectStore, path: &Path) -> Result<()> {
    let found = store.get(path).await.map_err(from_store)?;
    let version = UpdateVersion {
        e_tag: found.meta.e_tag.clone(),
        version: found.meta.version.clone(),
    };
    let bytes = found.bytes().await.map_err(from_store)?;
    let update = PutMode::Update(version).into();
    match store.put_opts(path, bytes.clone().into(), update).await {
        Err(StoreError::NotImplemented { .. } | StoreError::NotSupported { .. }) => {
            store.put(path, bytes.into()).await
        }
        done => done,
    }
    .map(drop)
    .map_err(from_store)
}

/// Removes the data files of dead attempts, unless they are the table's, and their leases.
async fn bury(place: &Place, dead: Vec<Dead>) -> Result<()> {
    // The table is read after it is certain that they are dead, because they may have committed shortly before.
    let table = Table::open(&place.log_store, false).await?;
    let store = place.log_store.object_store(None);
    for dead in dead {
        let recorded = match &table {
            Some(table) => table.find_load(&dead.load_id).await?,
            None => None,
        };
        let attempt = dead.attempt.to_string();
        let has_left = recorded.is_none_or(|load| {
            // Where the log does not say any more which attempt committed, the files may be the table's.
            load.attempt.is_some_and(|committed| committed != attempt)
        });
        // Without its lease it cannot renew it any more, and so cannot commit.
        let lease = Path::from_iter([FOLDER, dead.name.as_str()]);
        store.delete(&lease).await.map_err(from_store)?;
        if has_left {
            let files = remove_files(store.as_ref(), file_prefix(&attempt)).await?;
            tracing::info!(attempt, load_id = %dead.load_id, files, "removed what a dead load has left");
        }
    }
    Ok(())
}

async fn remove_files(store: &dyn ObjectStore, prefix: String) -> Result<usize> {
    let is_its = |path: &Path| {
        path.filename()
            .is_some_and(|name| name.starts_with(&prefix))
    };
    let files = store.list(None).map_ok(|file| file.location);
    let files: Vec<Path> = files
        .try_filter(|path| std::future::ready(is_its(path)))
        .try_collect()
        .await
        .map_err(from_store)?;
    let removed = stream::iter(files.into_iter().map(Ok)).boxed();
    let removed: Vec<Path> = store
        .delete_stream(removed)
        .try_collect()
        .await
        .map_err(from_store)?;
    Ok(removed.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_whose_lease_it_is_and_how_long_it_holds() {
        let attempt = Uuid::now_v7();
        let parsed = parse(&format!("{attempt}.3600.json"));
        assert_eq!(parsed, Some((attempt, Duration::from_secs(3600))));
        for name in [
            "x.3600.json",
            "README.md",
            ".tmpx",
            &format!("{attempt}.json"),
        ] {
            assert_eq!(parse(name), None, "{name}");
        }
    }
}
