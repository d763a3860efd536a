//! Catalogs: which metadata file a table has now, and the one call that replaces it by another.
//!
//! The catalog crates of `iceberg` commit only what its own transactions make, which can append and nothing more
//! (docs/adr/0024-iceberg.md). A load needs only two things from a catalog: the table's metadata, and an atomic swap of it.

mod rest;
mod sql;

use std::collections::BTreeMap;

use arrowload_core::{Error, ErrorKind, Result, Secret};
use iceberg::spec::{TableMetadata, TableMetadataRef};
use iceberg::{TableIdent, TableUpdate};

use crate::config::{CatalogType, IcebergConfig};
use crate::storage::Stores;
use rest::RestCatalog;
use sql::SqlCatalog;

/// A table as a catalog knows it.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    /// The metadata file.
    pub(crate) location: String,
    pub(crate) metadata: TableMetadataRef,
    /// What the catalog gives to reach the table's files.
    pub(crate) vended: BTreeMap<String, Secret>,
}

/// The change of a table by a commit.
pub(crate) struct Change<'a> {
    pub(crate) table: &'a TableIdent,
    /// The table that the change was made for; `None` to make the table.
    pub(crate) base: Option<&'a Known>,
    /// All of the table's metadata after it.
    pub(crate) metadata: &'a TableMetadata,
    /// The same as steps from the base.
    pub(crate) updates: &'a [TableUpdate],
}

/// How a commit was answered.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It is there.
    Committed,
    /// Another writer was faster. Nothing was changed.
    Outrun,
}

/// Whether the answer to the next commit of any catalog is lost.
#[cfg(test)]
pub(crate) static LOSES_ANSWERS: std::sync::atomic::AtomicBool =
    std::sync::atomic::AtomicBool::new(false);

/// A catalog that is connected.
#[derive(Debug)]
pub(crate) enum Catalog {
    Sql(SqlCatalog),
    Rest(RestCatalog),
}

impl Catalog {
    pub(crate) async fn connect(config: &IcebergConfig, stores: &Stores) -> Result<Self> {
        match config.catalog_type {
            CatalogType::Sql => SqlCatalog::connect(config, stores).await.map(Self::Sql),
            CatalogType::Rest => RestCatalog::connect(config).await.map(Self::Rest),
        }
    }

    /// The table, if there is one.
    pub(crate) async fn load(&self, table: &TableIdent) -> Result<Option<Known>> {
        match self {
            Self::Sql(catalog) => catalog.load(table).await,
            Self::Rest(catalog) => catalog.load(table).await,
        }
    }

    /// Commits, in one step.
    ///
    /// # Errors
    /// [`ErrorKind::CommitUnknown`] if the answer was lost; with any other nothing was changed.
    pub(crate) async fn commit(&self, change: &Change<'_>) -> Result<Answer> {
        let answer = match self {
            Self::Sql(catalog) => catalog.commit(change).await,
            Self::Rest(catalog) => catalog.commit(change).await,
        };
        #[cfg(test)]
        if LOSES_ANSWERS.swap(false, std::sync::atomic::Ordering::SeqCst) {
            return Err(Error::new(
                ErrorKind::CommitUnknown,
                "the test lost the answer",
            ));
        }
        answer
    }

    /// Where a new table is put.
    pub(crate) async fn location(
        &self,
        config: &IcebergConfig,
        table: &TableIdent,
    ) -> Result<String> {
        if let Self::Rest(catalog) = self {
            return catalog.location(table).await;
        }
        let Some(warehouse) = &config.warehouse else {
            let message = "no `warehouse` is set, and the table has to be put somewhere; set it, or the option `location`";
            return Err(Error::new(ErrorKind::InvalidOption, message).with("key", "warehouse"));
        };
        let mut location = as_location(warehouse)?;
        for part in table.namespace().iter().chain([&table.name]) {
            location.push('/');
            location.push_str(&folder(part));
        }
        Ok(location)
    }

    /// What distinguishes a table of this catalog from all others, however the catalog was named.
    pub(crate) fn identity(&self, table: &TableIdent) -> Option<String> {
        match self {
            Self::Sql(catalog) => catalog.identity(table),
            Self::Rest(catalog) => Some(format!("{} {table}", catalog.describe())),
        }
    }

    /// How it is called in plans, without passwords.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Sql(catalog) => catalog.describe(),
            Self::Rest(catalog) => catalog.describe(),
        }
    }
}

/// A folder or URL as a location, which is a URL without a slash at its end.
pub(crate) fn as_location(place: &str) -> Result<String> {
    let trimmed = place.trim_end_matches('/');
    if arrowload_core::url_scheme(place).is_some() {
        return Ok(trimmed.to_owned());
    }
    let path = std::path::absolute(if trimmed.is_empty() { "/" } else { trimmed });
    let path = path.map_err(|error| {
        arrowload_common_object_store::from_io(std::path::Path::new(place), error)
    })?;
    match path.to_str() {
        Some(path) => Ok(format!("file://{path}")),
        None => {
            let message = format!("`{}` is not UTF-8", path.display());
            Err(Error::new(ErrorKind::InvalidOption, message))
        }
    }
}

/// The folder of a table or namespace. Readers do not agree on which characters of locations are escaped: a name with other
/// characters than these gets a folder name without them.
fn folder(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if name.chars().all(is_plain) {
        return name.to_owned();
    }
    let plain: String = name.chars().filter(|c| is_plain(*c)).take(64).collect();
    let id = uuid::Uuid::now_v7().simple().to_string();
    match plain.is_empty() {
        true => id,
        false => format!("{plain}-{id}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_have_plain_names() {
        assert_eq!(folder("events_2-x"), "events_2-x");
        for name in ["a b", "o'clock", "ünï", "..", "a%20b", "a/b"] {
            let folder = folder(name);
            assert!(
                folder
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || c == '-'),
                "{folder}"
            );
        }
        assert_ne!(folder("a b"), folder("a b"));
    }

    #[test]
    fn places_are_locations() {
        assert_eq!(as_location("/data/").expect("a path"), "file:///data");
        assert_eq!(as_location("s3://b/x/").expect("a URL"), "s3://b/x");
    }
}
