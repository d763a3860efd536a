//! How a load becomes visible in an object store.

use arrowload_core::{Error, ErrorKind, LoadState, Receipt, Result};
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutMode, PutOptions};

use crate::error::{commit_unknown, from_store};
use crate::record::{Record, file_prefix, record_name};
use crate::remote::{Store, find_load, list, newest_record, read_record};

/// The name beside a target under which an object is uploaded that must not replace another.
pub(crate) fn staged_name(target: &Path, attempt: &str) -> Path {
    let parts: Vec<_> = target.parts().collect();
    let name = format!(".arrowload-{attempt}.tmp");
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
    let copied = store.copy_if_not_exists(staged, target).await;
    remove(
        store,
        staged,
        "a temporary object could not be removed; remove it",
    )
    .await;
    match copied {
        Ok(()) => Ok(None),
        Err(error @ object_store::Error::AlreadyExists { .. }) => {
            let found = find_load(store, target, load_id).await;
            if let LoadState::Committed(receipt) = found
                .map_err(|error| commit_unknown("the target could not be read again", error))?
            {
                return Ok(Some(receipt));
            }
            let message =
                format!("`{target}` has appeared while this load ran; it was not replaced");
            Err(Error::new(ErrorKind::TargetExists, message).with_source(error))
        }
        Err(error) => Err(at_commit(from_store(error))),
    }
}

/// Removes an object that nobody needs. The load is what it is without it: a failure is told, and is none of the load.
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
fn own_prefix(load_id: &str, attempt: &str) -> String {
    format!("{}{attempt}", file_prefix(load_id))
}

/// Removes the objects of a run that will have no record.
pub(crate) async fn withdraw(store: &Store, folder: &Path, load_id: &str, attempt: &str) {
    let own = own_prefix(load_id, attempt);
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

/// Writes the record of a load whose files are visible. If another run of this load was faster, its receipt is the answer,
/// and the files of this run are removed; if not, what killed runs have left is. After an error that is no unknown commit
/// there is no record, and the files are to be [withdrawn](withdraw).
pub(crate) async fn complete(
    store: &Store,
    folder: &Path,
    mut record: Record,
) -> Result<Option<Receipt>> {
    let objects = list(store, folder).await?;
    record.sequence = newest_record(store, folder, &objects)
        .await?
        .map_or(0, |newest| newest.sequence + 1);
    let path = folder.clone().join(record_name(&record.load_id));
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
                Some(there) => Some(there.receipt()),
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
    let own = own_prefix(&record.load_id, &record.attempt);
    for object in &objects {
        let name = object.location.filename().unwrap_or_default();
        if name.starts_with(&file_prefix(&record.load_id))
            && name.starts_with(&own) == faster.is_some()
        {
            remove(store, &object.location, "readers see rows of another run of this load, which could not be removed; remove them").await;
        }
    }
    Ok(faster)
}
