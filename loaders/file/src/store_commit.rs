//! How a load becomes visible in an object store.

use arrowload_common_object_store::from_store;
use arrowload_core::{Error, ErrorKind, LoadState, Mode, Receipt, Result};
use chrono::Utc;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt, PutMode, PutOptions};

use crate::error::commit_unknown;
use crate::record::{Record, file_prefix, record_name};
use crate::remote::{Store, find_load, list, newest_record, read_record};
use crate::stage::{LEASE, PREFIX, is_stage, own_prefix, staged_name};

/// The name beside a target under which an object is uploaded that must not replace another.
pub(crate) fn staged_object(target: &Path, load_id: &str, attempt: &str) -> Path {
    let name = staged_name(load_id, attempt);
    let parts: Vec<_> = target.parts().collect();
    parts
        .iter()
        .take(parts.len().saturating_sub(1))
        .cloned()
        .chain([name.as_str().into()])
        .collect()
}

/// Gives an uploaded object a name that is free, in one step of the store, and removes the one it had. If another run of
/// this load was faster, its receipt is the answer.
pub(crate) async fn place_new(
    store: &Store,
    staged: &Path,
    target: &Path,
    load_id: &str,
) -> Result<Option<Receipt>> {
    // A store has no lease that could be renewed: the staged object is used for half of it, or given up.
    let copying = store.copy_if_not_exists(staged, target);
    let Ok(copied) = tokio::time::timeout(LEASE / 2, copying).await else {
        let late = Error::new(ErrorKind::Timeout, "the object store took too long to copy");
        return Err(commit_unknown("the commit was not answered in time", late));
    };
    remove(
        store,
        staged,
        "a temporary object could not be removed; remove it",
    )
    .await;
    let error = match copied {
        Ok(()) => return Ok(None),
        Err(
            error @ (object_store::Error::AlreadyExists { .. }
            | object_store::Error::NotFound { .. }),
        ) => error,
        Err(error) => return Err(at_commit(from_store(error))),
    };
    // Another load was faster, or a run of this load, which has removed what this one had staged.
    let found = find_load(store, target, load_id)
        .await
        .map_err(|error| commit_unknown("the target could not be read again", error))?;
    match found {
        LoadState::Committed { receipt, .. } => Ok(Some(receipt)),
        LoadState::NotCommitted if matches!(error, object_store::Error::NotFound { .. }) => {
            let message = format!("the staged file for `{target}` is gone");
            Err(Error::new(ErrorKind::Conflict, message)
                .with_source(error)
                .transient())
        }
        _ => {
            let message =
                format!("`{target}` has appeared while this load ran; it was not replaced");
            Err(Error::new(ErrorKind::TargetExists, message).with_source(error))
        }
    }
}

/// Removes the objects beside a target that loads have staged that were killed: this load's own, which has committed, and
/// others' after their lease.
pub(crate) async fn sweep(store: &Store, target: &Path, load_id: &str) {
    let depth = target.parts().count();
    let folder: Path = target.parts().take(depth.saturating_sub(1)).collect();
    let first = folder.clone().join(PREFIX);
    // Stores list by name: what is staged comes first, and nothing else is asked for.
    let listed = store.list_with_offset(Some(&folder), &first);
    let staged: Result<Vec<ObjectMeta>, _> = listed
        .try_take_while(|object| {
            let is_staged = object.location.as_ref().starts_with(first.as_ref());
            std::future::ready(Ok(is_staged))
        })
        .try_collect()
        .await;
    let own = own_prefix(load_id);
    let before = Utc::now() - LEASE;
    for object in staged.unwrap_or_else(|error| {
        tracing::debug!(%error, %folder, "what loads that were killed have left was not looked for");
        Vec::new()
    }) {
        let name = object.location.filename().unwrap_or_default();
        let is_beside = object.location.parts().count() == depth;
        if is_beside && is_stage(name) && (name.starts_with(&own) || object.last_modified < before) {
            remove(store, &object.location, "what a load that was killed has left could not be removed").await;
        }
    }
}

/// Removes an object that is not needed any more. A failure is reported, but does not fail the load.
pub(crate) async fn remove(store: &Store, object: &Path, why: &str) {
    match store.delete(object).await {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
        Err(error) => tracing::warn!(%error, %object, "{why}"),
    }
}

/// An error while something became visible: unless the store refused, it says neither yes nor no. A request that is sent again
/// finds the upload gone that the first one completed.
pub(crate) fn at_commit(error: Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::Unexpected => {}
        _ if error.is_transient() => {}
        _ => return error,
    }
    commit_unknown("the object store did not answer the commit", error)
}

/// What the objects of one run of a load are called, before their numbers.
fn run_prefix(load_id: &str, attempt: &str) -> String {
    format!("{}{attempt}", file_prefix(load_id))
}

/// Removes the objects of a run that will have no record.
pub(crate) async fn withdraw(store: &Store, folder: &Path, load_id: &str, attempt: &str) {
    let own = run_prefix(load_id, attempt);
    match list(store, folder).await {
        Ok(objects) => {
            for object in objects.iter().filter(|object| {
                object
                    .location
                    .filename()
                    .is_some_and(|name| name.starts_with(&own))
            }) {
                remove(
                    store,
                    &object.location,
                    "readers see an object of a load that failed; repeat the load, or remove it",
                )
                .await;
            }
        }
        Err(error) => {
            tracing::warn!(%error, %folder, "readers may see objects of a load that failed; repeat the load, or remove `{own}…`")
        }
    }
}

/// Writes the record of a load whose files are visible, unless another load has changed the folder's columns since it had the
/// record `base`. If another run of this load was faster, its receipt is the answer, and the files of this run are removed; if not,
/// what killed runs have left is. After an error that is not an unknown commit there is no record, and the files are to be
/// [withdrawn](withdraw).
pub(crate) async fn complete(
    store: &Store,
    folder: &Path,
    mut record: Record,
    mode: Mode,
    base: Option<&Record>,
) -> Result<Option<Receipt>> {
    let objects = list(store, folder).await?;
    let newest = newest_record(store, folder, &objects).await?;
    let path = folder.clone().join(record_name(&record.load_id));
    // Another run of this load does not count as another load.
    let is_first = objects.iter().all(|object| object.location != path);
    if let (Some(newest), true) = (&newest, is_first) {
        if mode == Mode::Create {
            let message = format!("`{folder}` has appeared while this load ran");
            return Err(Error::new(ErrorKind::TargetExists, message));
        }
        if newest.has_overtaken(base, &record) {
            let message = format!("another load changed `{folder}` while this one ran");
            return Err(Error::new(ErrorKind::Conflict, message).transient());
        }
    }
    record.sequence = newest.map_or(0, |newest| newest.sequence + 1);
    let payload = record.encode()?;
    let create = PutOptions {
        mode: PutMode::Create,
        ..PutOptions::default()
    };
    let mut put = store.put_opts(&path, payload.clone().into(), create).await;
    if matches!(
        put,
        Err(object_store::Error::NotImplemented { .. } | object_store::Error::NotSupported { .. })
    ) {
        put = store.put(&path, payload.into()).await;
    }
    let faster = match put {
        Ok(_) => None,
        Err(error @ object_store::Error::AlreadyExists { .. }) => {
            let found = read_record(store, &path).await;
            match found.map_err(|error| {
                commit_unknown("the record of the load could not be read again", error)
            })? {
                // A request that was sent twice: it is this run's own.
                Some(there) if there.attempt == record.attempt => None,
                Some(there) => Some(there),
                None => {
                    let message =
                        format!("the record of another run of this load, `{path}`, has vanished");
                    return Err(Error::new(ErrorKind::Conflict, message)
                        .with_source(error)
                        .transient());
                }
            }
        }
        Err(error) => return Err(at_commit(from_store(error))),
    };
    let own = run_prefix(&record.load_id, &record.attempt);
    let committed = faster.as_ref().unwrap_or(&record);
    for object in &objects {
        let is_own = object
            .location
            .filename()
            .is_some_and(|name| name.starts_with(&own));
        if is_of_another_run(object, committed) || (is_own && faster.is_some()) {
            remove(store, &object.location, SEEN_TWICE).await;
        }
    }
    Ok(faster.map(|there| there.receipt()))
}

const SEEN_TWICE: &str =
    "readers see rows of another run of this load, which could not be removed; remove them";

/// Whether an object was made by a run of a load that is not the one that has committed.
pub(crate) fn is_of_another_run(object: &ObjectMeta, committed: &Record) -> bool {
    let name = object.location.filename().unwrap_or_default();
    name.starts_with(&file_prefix(&committed.load_id))
        && !name.starts_with(&run_prefix(&committed.load_id, &committed.attempt))
}

/// Removes from a folder what other runs of a load have left that has committed: the run that commits can be killed before it
/// has done so.
pub(crate) async fn remove_other_runs(store: &Store, folder: &Path, load_id: &str) -> Result<()> {
    let path = folder.clone().join(record_name(load_id));
    let Some(record) = read_record(store, &path).await? else {
        return Ok(());
    };
    for object in list(store, folder).await? {
        if is_of_another_run(&object, &record) {
            match store.delete(&object.location).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(from_store(error)),
            }
        }
    }
    Ok(())
}
