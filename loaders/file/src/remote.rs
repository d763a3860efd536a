//! Targets in object stores: reads their state.

use std::sync::Arc;

use arrowload_common_object_store::from_store;
use arrowload_core::{Error, ErrorKind, LoadState, Result};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::async_reader::ParquetObjectReader;

use crate::existing::{Found, Kind, is_hidden, is_left};
use crate::options::Format;
use crate::record::{History, RECORD_PREFIX, Record, record_name};
use crate::store_commit::is_of_another_run;

pub(crate) type Store = Arc<dyn ObjectStore>;

pub(crate) async fn inspect(store: &Store, path: &Path, left: Option<&str>) -> Result<Found> {
    if let Some(object) = head(store, path).await? {
        let format = object.location.filename().and_then(Format::of_name);
        let file = Found {
            kind: Kind::File,
            format,
            ..Found::default()
        };
        return Ok(match parquet(store, &object).await? {
            Some(metadata) => {
                let rows = u64::try_from(metadata.metadata().file_metadata().num_rows()).ok();
                let history = History::of(metadata.schema(), rows);
                Found {
                    format: Some(Format::Parquet),
                    schema: Some(metadata.schema().clone()),
                    history,
                    ..file
                }
            }
            None => file,
        });
    }
    inspect_folder(store, path, left).await
}

pub(crate) async fn list(store: &Store, folder: &Path) -> Result<Vec<ObjectMeta>> {
    store
        .list(Some(folder))
        .try_collect()
        .await
        .map_err(from_store)
}

async fn inspect_folder(store: &Store, path: &Path, left: Option<&str>) -> Result<Found> {
    let mut objects = list(store, path).await?;
    let all = objects.len();
    objects.retain(|object| !is_left(object.location.filename().unwrap_or_default(), left));
    let resumes = objects.len() < all;
    if objects.is_empty() {
        return Ok(Found {
            resumes,
            ..Found::default()
        });
    }
    let found = Found {
        resumes,
        kind: Kind::Folder,
        ..Found::default()
    };
    if let Some(record) = newest_record(store, path, &objects).await? {
        return Ok(Found {
            format: Some(record.format),
            schema: Some(record.schema()?),
            record: Some(record),
            ..found
        });
    }
    let data = objects
        .iter()
        .filter(|object| data_name(path, &object.location).is_some());
    let Some(newest) = data.max_by_key(|object| object.last_modified) else {
        return Ok(found);
    };
    let format = newest.location.filename().and_then(Format::of_name);
    let schema = parquet(store, newest)
        .await?
        .map(|metadata| metadata.schema().clone());
    Ok(Found {
        format,
        schema,
        ..found
    })
}

/// The name of an object below a folder, if it is a data file that readers see.
fn data_name<'a>(folder: &Path, object: &'a Path) -> Option<&'a str> {
    let hidden = object
        .prefix_match(folder)?
        .any(|part| is_hidden(part.as_ref()));
    object
        .filename()
        .filter(|name| !hidden && Format::of_name(name).is_some())
}

pub(crate) async fn newest_record(
    store: &Store,
    folder: &Path,
    objects: &[ObjectMeta],
) -> Result<Option<Record>> {
    let prefix = folder.clone().join(RECORD_PREFIX);
    let records: Vec<&ObjectMeta> = objects
        .iter()
        .filter(|object| object.location.as_ref().starts_with(prefix.as_ref()))
        .collect();
    let newest = records.iter().map(|object| object.last_modified).max();
    let mut found: Option<Record> = None;
    // Stores tell the time in seconds: the records of one second are read and compared.
    for object in records
        .iter()
        .filter(|object| Some(object.last_modified) == newest)
    {
        found = found
            .into_iter()
            .chain(read_record(store, &object.location).await?)
            .max_by_key(|record| record.sequence);
    }
    Ok(found)
}

async fn head(store: &Store, path: &Path) -> Result<Option<ObjectMeta>> {
    match store.head(path).await {
        Ok(object) => Ok(Some(object)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(from_store(error)),
    }
}

pub(crate) async fn read_record(store: &Store, path: &Path) -> Result<Option<Record>> {
    match store.get(path).await {
        Ok(found) => {
            Record::decode(&found.bytes().await.map_err(from_store)?, path.as_ref()).map(Some)
        }
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(from_store(error)),
    }
}

/// The footer of an object, if it is a Parquet file.
async fn parquet(store: &Store, object: &ObjectMeta) -> Result<Option<ArrowReaderMetadata>> {
    if object.size < 12
        || store
            .get_range(&object.location, 0..4)
            .await
            .map_err(from_store)?
            .as_ref()
            != b"PAR1"
    {
        return Ok(None);
    }
    let mut reader = ParquetObjectReader::new(Arc::clone(store), object.location.clone())
        .with_file_size(object.size);
    let metadata = ArrowReaderMetadata::load_async(&mut reader, ArrowReaderOptions::new()).await;
    metadata.map(Some).map_err(|error| {
        let message = format!("the footer of `{}` could not be read", object.location);
        Error::new(ErrorKind::InvalidData, message).with_source(error)
    })
}

pub(crate) async fn find_load(store: &Store, path: &Path, load_id: &str) -> Result<LoadState> {
    if let Some(record) = read_record(store, &path.clone().join(record_name(load_id))).await? {
        let objects = list(store, path).await?;
        return Ok(LoadState::Committed {
            receipt: record.receipt(),
            complete: !objects
                .iter()
                .any(|object| is_of_another_run(object, &record)),
        });
    }
    let Some(object) = head(store, path).await? else {
        return Ok(LoadState::NotCommitted);
    };
    Ok(match parquet(store, &object).await? {
        Some(metadata) => {
            let rows = u64::try_from(metadata.metadata().file_metadata().num_rows()).ok();
            History::of(metadata.schema(), rows).find(load_id)
        }
        None => LoadState::Unknown,
    })
}

#[cfg(test)]
mod tests {
    use arrow_array::{Int64Array, RecordBatch, StringArray};
    use arrowload_core::{DataLoader, LoadSession, Mode, Receipt, Verify};

    use super::*;
    use crate::FileOptions;
    use crate::place::MEMORY;
    use crate::testing::{begin, load, loader, request};

    fn batch() -> RecordBatch {
        let columns: [(&str, arrow_array::ArrayRef); 2] = [
            ("id", Arc::new(Int64Array::from(vec![1, 2, 3]))),
            ("name", Arc::new(StringArray::from(vec!["a", "b", "c"]))),
        ];
        RecordBatch::try_from_iter(columns).expect("a batch")
    }

    fn in_memory(target: &str) -> String {
        format!("memory:///{target}")
    }

    async fn run(target: &str, load_id: &str, mode: Mode, options: FileOptions) -> Result<Receipt> {
        let request = request(load_id, &in_memory(target), mode, &batch(), options);
        load(request, &batch()).await
    }

    async fn objects(prefix: &str) -> Vec<String> {
        let listed: Vec<ObjectMeta> = MEMORY
            .list(Some(&prefix.into()))
            .try_collect()
            .await
            .expect("a list");
        let mut names: Vec<String> = listed
            .into_iter()
            .map(|object| object.location.to_string())
            .collect();
        names.sort();
        names
    }

    fn default() -> FileOptions {
        FileOptions::default()
    }

    #[tokio::test]
    async fn a_single_object_is_not_replaced_but_by_overwrite_and_known_again() {
        for name in ["single/a.parquet", "single/b.csv", "single/c.arrow"] {
            run(name, "one", Mode::Create, default())
                .await
                .expect("a load");
            assert_eq!(
                run(name, "two", Mode::Create, default())
                    .await
                    .expect_err("it is there")
                    .kind(),
                ErrorKind::TargetExists
            );
            assert_eq!(
                run(name, "two", Mode::Append, default())
                    .await
                    .expect_err("it is there")
                    .kind(),
                ErrorKind::Unsupported
            );
        }
        run("single/a.parquet", "two", Mode::Overwrite, default())
            .await
            .expect("a load");
        run("single/b.csv", "two", Mode::Overwrite, default())
            .await
            .expect("a load");
        for id in ["one", "two"] {
            assert!(
                run("single/a.parquet", id, Mode::Overwrite, default())
                    .await
                    .expect("a repeat")
                    .already_loaded
            );
            let state = find_load(&MEMORY, &"single/b.csv".into(), id)
                .await
                .expect("an answer");
            assert!(matches!(state, LoadState::Unknown));
        }
        assert_eq!(
            objects("single").await,
            ["single/a.parquet", "single/b.csv", "single/c.arrow"]
        );
    }

    /// Both have found nothing, and have every byte in place, before the first commits.
    #[tokio::test]
    async fn of_two_creates_under_way_the_second_to_commit_loses() {
        let folder = tempfile::tempdir().expect("a folder");
        let local = folder.path().display();
        for target in [
            "memory:///race/a.parquet".to_owned(),
            "memory:///race/b.csv".to_owned(),
            format!("{local}/a.parquet"),
            format!("{local}/d/"),
        ] {
            let mut sessions = Vec::new();
            for load_id in ["one", "two"] {
                let request = request(load_id, &target, Mode::Create, &batch(), default());
                let mut session = begin(request).await.expect("a session");
                session.write(&batch()).await.expect("written");
                session.prepare().await.expect("prepared");
                sessions.push(session);
            }
            let second = sessions.pop().expect("two");
            sessions
                .pop()
                .expect("one")
                .commit()
                .await
                .expect("the first");
            assert_eq!(
                second.commit().await.expect_err("the second").kind(),
                ErrorKind::TargetExists,
                "{target}"
            );
        }
        assert_eq!(objects("race").await, ["race/a.parquet", "race/b.csv"]);
    }

    #[tokio::test]
    async fn a_folder_takes_a_load_once_and_checks_its_columns() {
        for format in [Format::Parquet, Format::Csv, Format::Arrow] {
            let (folder, options) = (
                format!("folder-{}", format.name()),
                FileOptions {
                    format: Some(format),
                    ..default()
                },
            );
            let target = format!("{folder}/");
            run(&target, "one", Mode::Append, options.clone())
                .await
                .expect("a load");
            run(&folder, "two", Mode::Append, default())
                .await
                .expect("a folder is known without its slash");
            assert!(
                run(&target, "one", Mode::Append, default())
                    .await
                    .expect("a repeat")
                    .already_loaded
            );
            assert_eq!(objects(&folder).await.len(), 4);
            let refused = run(&target, "three", Mode::Overwrite, default())
                .await
                .expect_err("not at once");
            assert_eq!(refused.kind(), ErrorKind::Unsupported);
            let other =
                RecordBatch::try_from_iter([("id", Arc::new(StringArray::from(vec!["x"])) as _)])
                    .expect("a batch");
            let request = request("four", &in_memory(&target), Mode::Append, &other, default());
            let refused = loader().await.resolve(&request).await;
            assert_eq!(
                refused.expect_err("another type").kind(),
                ErrorKind::SchemaMismatch
            );
        }
    }

    #[tokio::test]
    async fn one_load_run_twice_at_once_arrives_once() {
        let runs = (0..4)
            .map(|_| tokio::spawn(run("twice/", "same", Mode::Append, FileOptions::default())));
        for task in futures::future::join_all(runs).await {
            assert_eq!(task.expect("no panic").expect("a load").rows, 3);
        }
        assert_eq!(objects("twice").await.len(), 2, "one file and its record");
    }

    #[tokio::test]
    async fn what_is_dropped_or_cannot_be_checked_leaves_nothing() {
        for (name, abort) in [
            ("gone/a.csv", true),
            ("gone/b.parquet", false),
            ("gone/c/", true),
        ] {
            let request = request("one", &in_memory(name), Mode::Append, &batch(), default());
            let mut session = begin(request).await.expect("a session");
            session.write(&batch()).await.expect("written");
            session.prepare().await.expect("prepared");
            if abort {
                session.abort().await.expect("aborted");
            }
        }
        let target = in_memory("gone/d.parquet");
        let mut request = request("one", &target, Mode::Append, &batch(), default());
        request.load.verify = Verify::Checksum;
        let refused = loader().await.resolve(&request).await;
        assert_eq!(
            refused.expect_err("not readable yet").kind(),
            ErrorKind::Unsupported
        );
        assert!(objects("gone").await.is_empty());
    }
}
