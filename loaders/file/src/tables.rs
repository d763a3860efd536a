//! Refuses the folders of tables of other formats: a file that is put there is never read or damages the table, and an overwrite
//! removes rows that the table's log still counts.

use std::path::Path;

use arrowload_common_object_store::{blocking, from_store, real_path};
use arrowload_core::{Error, ErrorKind, Result};
use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;
use object_store::path::Path as StorePath;

use crate::place::Place;
use crate::remote::Store;

/// A format of tables, by what its tables have in their folder.
struct Format {
    name: &'static str,
    /// The folder that says which files are part of the table.
    log: &'static str,
    /// The ending of a file that the folder has to hold, if its name alone does not say enough.
    ending: &'static str,
    /// What to do instead.
    instead: &'static str,
}

static FORMATS: [Format; 3] = [
    Format {
        name: "Delta Lake",
        log: "_delta_log",
        ending: "",
        instead: "load into the table with the loader delta_lake, or name another folder",
    },
    Format {
        name: "Iceberg",
        log: "metadata",
        ending: ".metadata.json",
        instead: "load into the table with the loader iceberg, or name another folder",
    },
    Format {
        name: "Hudi",
        log: ".hoodie",
        ending: "",
        instead: "name another folder",
    },
];

/// How many objects of a folder are looked at. The metadata of Iceberg are among the first or the last ones, by their names.
const LOOKED_AT: usize = 1_000;

/// Refuses a target that is the folder of a table, or is in one.
pub(crate) async fn refuse(place: &Place) -> Result<()> {
    match place {
        Place::Local(path) => {
            let path = path.clone();
            blocking(move || refuse_local(&path)).await
        }
        Place::Store(store, path) => refuse_remote(store, path).await,
    }
}

fn is_table(format: &Format, shown: &str) -> Error {
    let Format { name, instead, .. } = format;
    let message = format!(
        "`{shown}` is a table of {name}, which does not know of files that are added or replaced in its folder: {instead}"
    );
    Error::new(ErrorKind::Unsupported, message)
}

fn refuse_local(path: &Path) -> Result<()> {
    for folder in real_path(path).ancestors() {
        if let Some(format) = FORMATS.iter().find(|format| format.is_in(folder)) {
            return Err(is_table(format, &folder.display().to_string()));
        }
    }
    Ok(())
}

impl Format {
    /// Whether a local folder is one of its tables. One that cannot be looked at is none, as far as anybody knows.
    fn is_in(&self, folder: &Path) -> bool {
        let log = folder.join(self.log);
        if self.ending.is_empty() {
            return log.is_dir();
        }
        let mut names = std::fs::read_dir(log).into_iter().flatten().flatten();
        names.any(|entry| {
            let name = entry.file_name();
            name.to_string_lossy().ends_with(self.ending)
        })
    }

    async fn is_at(&self, store: &Store, folder: &StorePath) -> Result<bool> {
        let log = folder.clone().join(self.log);
        if self.ending.is_empty() {
            return has(store, &log, None, self.ending).await;
        }
        // `00001-….metadata.json` comes before the manifests, and `v1.metadata.json` after them.
        Ok(has(store, &log, None, self.ending).await?
            || has(store, &log, Some(log.clone().join("v")), self.ending).await?)
    }
}

async fn refuse_remote(store: &Store, path: &StorePath) -> Result<()> {
    let parts: Vec<_> = path.parts().collect();
    let folders = (0..=parts.len()).rev();
    let folders = folders.map(|depth| parts.iter().take(depth).cloned().collect::<StorePath>());
    let found = try_join_all(folders.map(|folder| async move {
        let looked = FORMATS.iter().map(|format| format.is_at(store, &folder));
        let are = try_join_all(looked).await?;
        let format = FORMATS.iter().zip(are).find(|(_, is)| *is);
        let shown = match folder.as_ref() {
            "" => "/",
            shown => shown,
        };
        Ok::<_, Error>(format.map(|(format, _)| is_table(format, shown)))
    }));
    match found.await?.into_iter().flatten().next() {
        Some(refusal) => Err(refusal),
        None => Ok(()),
    }
}

/// Whether a folder of a store has an object with this ending, among the first ones after an offset.
async fn has(
    store: &Store,
    folder: &StorePath,
    offset: Option<StorePath>,
    ending: &str,
) -> Result<bool> {
    let listed = match &offset {
        Some(offset) => store.list_with_offset(Some(folder), offset),
        None => store.list(Some(folder)),
    };
    let found = listed.take(LOOKED_AT).try_any(|object| {
        let name = object.location.filename().unwrap_or_default();
        std::future::ready(name.ends_with(ending))
    });
    match found.await.map_err(from_store) {
        // Some accounts may see only a part of a bucket, and some stores cannot list.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::PermissionDenied | ErrorKind::NotFound | ErrorKind::Unsupported
            ) =>
        {
            Ok(false)
        }
        answered => answered,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Int64Array, RecordBatch};
    use arrowload_core::{DataLoader, Mode};
    use object_store::ObjectStoreExt;

    use super::*;
    use crate::FileOptions;
    use crate::place::MEMORY;
    use crate::testing::{load, loader, request};

    fn ids() -> RecordBatch {
        let ids = Arc::new(Int64Array::from_iter_values(0..3));
        RecordBatch::try_from_iter([("id", ids as _)]).expect("a batch")
    }

    /// A file that makes a folder a table, the format, and what is said to do.
    const TABLES: [(&str, &str, &str); 4] = [
        ("_delta_log/0.json", "Delta Lake", "loader delta_lake"),
        ("metadata/v1.metadata.json", "Iceberg", "loader iceberg"),
        (
            "metadata/00000-a.metadata.json",
            "Iceberg",
            "loader iceberg",
        ),
        (".hoodie/hoodie.properties", "Hudi", "another folder"),
    ];

    /// Both a plan and a load begin with this.
    async fn refused(target: &str, mode: Mode) -> Error {
        let request = request("one", target, mode, &ids(), FileOptions::default());
        let error = loader().await.resolve(&request).await.expect_err(target);
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{target}: {error}");
        error
    }

    #[tokio::test]
    async fn no_file_is_put_into_the_folder_of_a_table() {
        let root = tempfile::tempdir().expect("a folder");
        for (index, (file, name, instead)) in TABLES.into_iter().enumerate() {
            let table = root.path().join(format!("w{index}/t"));
            let old = table.join("data/old.parquet");
            std::fs::create_dir_all(table.join("data")).expect("a folder");
            let written = request(
                "old",
                &old.display().to_string(),
                Mode::Create,
                &ids(),
                FileOptions::default(),
            );
            load(written, &ids()).await.expect("no table yet");
            let mark = table.join(file);
            std::fs::create_dir(mark.parent().expect("a folder")).expect("a folder");
            std::fs::write(&mark, "{}").expect("a table");
            let in_store = format!("memory:///tables/w{index}/t");
            let object = format!("tables/w{index}/t/{file}");
            MEMORY
                .put(&object.as_str().into(), "{}".into())
                .await
                .expect("a table");
            for base in [table.display().to_string(), in_store] {
                for (below, mode) in [
                    ("", Mode::Append),
                    ("/", Mode::Overwrite),
                    ("/x.parquet", Mode::Create),
                    ("/data/", Mode::Overwrite),
                    ("/data/old.parquet", Mode::Overwrite),
                    ("/data/new/x.csv", Mode::Append),
                ] {
                    let said = refused(&format!("{base}{below}"), mode).await.to_string();
                    assert!(said.contains(name) && said.contains(instead), "{said}");
                    assert!(said.contains(&format!("w{index}/t`")), "{said}");
                }
            }
            assert!(old.is_file());
        }
    }

    #[tokio::test]
    async fn beside_tables_and_in_folders_with_other_metadata_files_are_written() {
        let root = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(root.path().join("table/_delta_log")).expect("a table");
        std::fs::create_dir(root.path().join("metadata")).expect("a folder");
        std::fs::write(root.path().join("metadata/notes.json"), "{}").expect("a file");
        for object in [
            "beside/table/_delta_log/0.json",
            "beside/metadata/notes.json",
        ] {
            MEMORY
                .put(&object.into(), "{}".into())
                .await
                .expect("an object");
        }
        for base in [root.path().display().to_string(), "memory:///beside".into()] {
            for target in ["x.parquet", "new/"] {
                let target = format!("{base}/{target}");
                let request = request("one", &target, Mode::Create, &ids(), FileOptions::default());
                load(request, &ids()).await.expect("no table");
            }
        }
    }
}
