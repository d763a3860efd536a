//! The SQL catalog: tables of a database, as PyIceberg's SQL catalog and Java's JDBC catalog have them. A commit is one
//! `UPDATE` that names the metadata file which it replaces.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use arrowload_common_object_store::{from_io, real_path};
use arrowload_core::{Error, ErrorKind, Result, Secret};
use iceberg::spec::TableMetadata;
use iceberg::{MetadataLocation, TableIdent};
use sqlx::any::{AnyPoolOptions, install_default_drivers};
use sqlx::{AnyPool, Row};

use super::{Answer, Change, Known};
use crate::config::{IcebergConfig, invalid};
use crate::error::{from_iceberg, from_sql};
use crate::storage::{Stores, local_path};

/// Connections to the database, at most.
const CONNECTIONS: u32 = 4;

/// A catalog in a database.
#[derive(Debug)]
pub(crate) struct SqlCatalog {
    pool: AnyPool,
    name: String,
    stores: Stores,
    /// The file of the database, if it is SQLite's.
    file: Option<PathBuf>,
}

impl SqlCatalog {
    pub(crate) async fn connect(config: &IcebergConfig, stores: &Stores) -> Result<Self> {
        install_default_drivers();
        let (url, file) = match &config.catalog_uri {
            Some(uri) => address(uri)?,
            None => in_warehouse(config)?,
        };
        let pool = AnyPoolOptions::new().max_connections(CONNECTIONS);
        let pool = match file {
            // A plan makes no file.
            Some(_) => pool.connect_lazy(url.expose()),
            None => pool.connect(url.expose()).await,
        };
        let pool = pool.map_err(from_sql)?;
        Ok(Self {
            pool,
            name: config.catalog_name.clone(),
            stores: stores.clone(),
            file,
        })
    }

    pub(crate) async fn load(&self, table: &TableIdent) -> Result<Option<Known>> {
        let Some(location) = self.metadata_location(table).await? else {
            return Ok(None);
        };
        let file_io = self.stores.file_io();
        let metadata = TableMetadata::read_from(&file_io, &location).await;
        Ok(Some(Known {
            metadata: metadata.map_err(from_iceberg)?.into(),
            location,
            vended: BTreeMap::new(),
        }))
    }

    pub(crate) async fn commit(&self, change: &Change<'_>) -> Result<Answer> {
        let next = match change.base {
            None => {
                self.make_folder()?;
                MetadataLocation::new_with_metadata(change.metadata.location(), change.metadata)
            }
            Some(base) => next_location(&base.location, change.metadata)?,
        };
        let file_io = self.stores.file_io();
        let written = change.metadata.write_to(&file_io, &next).await;
        written.map_err(from_iceberg)?;
        let next = next.to_string();
        let swapped = match change.base {
            None => self.insert(change.table, &next).await,
            Some(base) => self.swap(change.table, &base.location, &next).await,
        };
        match swapped {
            Ok(true) => Ok(Answer::Committed),
            Ok(false) => {
                self.forget(&next).await;
                Ok(Answer::Outrun)
            }
            Err(error) if is_refusal(&error) => {
                self.forget(&next).await;
                Err(from_sql(error))
            }
            Err(error) => {
                let message = "the catalog's database did not answer whether the commit is there";
                Err(Error::new(ErrorKind::CommitUnknown, message).with_source(error))
            }
        }
    }

    pub(crate) fn identity(&self, table: &TableIdent) -> Option<String> {
        let file = real_path(self.file.as_deref()?);
        Some(format!("{} {} {table}", file.display(), self.name))
    }

    pub(crate) fn describe(&self) -> String {
        match &self.file {
            Some(file) => format!("the catalog `{}` in {}", self.name, file.display()),
            None => format!("the catalog `{}` in a PostgreSQL database", self.name),
        }
    }

    async fn metadata_location(&self, table: &TableIdent) -> Result<Option<String>> {
        if self.file.as_ref().is_some_and(|file| !file.exists()) {
            return Ok(None);
        }
        let found = sqlx::query(
            "SELECT * FROM iceberg_tables WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3",
        )
        .bind(&self.name)
        .bind(table.namespace().join("."))
        .bind(table.name())
        .fetch_optional(&self.pool)
        .await;
        let row = match found {
            Ok(Some(row)) => row,
            Ok(None) => return Ok(None),
            Err(error) if has_no_tables(&error) => return Ok(None),
            Err(error) => return Err(from_sql(error)),
        };
        // Catalogs of an older form lack the column.
        if let Ok(Some(kind)) = row.try_get::<Option<String>, _>("iceberg_type")
            && kind == "VIEW"
        {
            let message = format!("`{table}` is a view, and rows can be loaded into tables only");
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        row.try_get("metadata_location").map_err(from_sql)
    }

    /// Adds the table, with its namespace. Returns whether it was added.
    async fn insert(&self, table: &TableIdent, location: &str) -> Result<bool, sqlx::Error> {
        self.make_tables().await?;
        let namespace = table.namespace().join(".");
        let mut transaction = self.pool.begin().await?;
        sqlx::query(
            "INSERT INTO iceberg_namespace_properties (catalog_name, namespace, property_key, property_value) \
             SELECT $1, $2, 'exists', 'true' WHERE NOT EXISTS (SELECT 1 FROM iceberg_namespace_properties \
             WHERE catalog_name = $3 AND namespace = $4) ON CONFLICT DO NOTHING",
        )
        .bind(&self.name)
        .bind(&namespace)
        .bind(&self.name)
        .bind(&namespace)
        .execute(&mut *transaction)
        .await?;
        let added = sqlx::query(
            "INSERT INTO iceberg_tables (catalog_name, table_namespace, table_name, metadata_location) \
             VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        )
        .bind(&self.name)
        .bind(&namespace)
        .bind(table.name())
        .bind(location)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(added.rows_affected() == 1)
    }

    /// Gives the table another metadata file, if it has this one. Returns whether it had.
    async fn swap(&self, table: &TableIdent, from: &str, to: &str) -> Result<bool, sqlx::Error> {
        let swapped = sqlx::query(
            "UPDATE iceberg_tables SET metadata_location = $1, previous_metadata_location = $2 \
             WHERE catalog_name = $3 AND table_namespace = $4 AND table_name = $5 AND metadata_location = $6",
        )
        .bind(to)
        .bind(from)
        .bind(&self.name)
        .bind(table.namespace().join("."))
        .bind(table.name())
        .bind(from)
        .execute(&self.pool)
        .await?;
        Ok(swapped.rows_affected() == 1)
    }

    /// The tables of a new catalog.
    async fn make_tables(&self) -> Result<(), sqlx::Error> {
        for table in [
            "iceberg_tables (catalog_name VARCHAR(255) NOT NULL, table_namespace VARCHAR(255) NOT NULL, \
             table_name VARCHAR(255) NOT NULL, metadata_location VARCHAR(1000), \
             previous_metadata_location VARCHAR(1000), iceberg_type VARCHAR(5), \
             PRIMARY KEY (catalog_name, table_namespace, table_name))",
            "iceberg_namespace_properties (catalog_name VARCHAR(255) NOT NULL, namespace VARCHAR(255) NOT NULL, \
             property_key VARCHAR(255) NOT NULL, property_value VARCHAR(1000), \
             PRIMARY KEY (catalog_name, namespace, property_key))",
        ] {
            let statement = format!("CREATE TABLE IF NOT EXISTS {table}");
            sqlx::query(&statement).execute(&self.pool).await?;
        }
        Ok(())
    }

    /// The folder of a new catalog's file.
    fn make_folder(&self) -> Result<()> {
        let Some(folder) = self.file.as_deref().and_then(Path::parent) else {
            return Ok(());
        };
        std::fs::create_dir_all(folder).map_err(|error| from_io(folder, error))
    }

    /// Removes a metadata file that no table has.
    async fn forget(&self, location: &str) {
        if let Err(error) = self.stores.file_io().delete(location).await {
            tracing::debug!(%error, location, "a metadata file that no table has is left");
        }
    }
}

/// Whether an error of the commit's statement means that nothing was changed.
fn is_refusal(error: &sqlx::Error) -> bool {
    matches!(
        error,
        sqlx::Error::Database(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed
    )
}

/// Whether the database is not a catalog yet.
fn has_no_tables(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else {
        return false;
    };
    // SQLite has one code for all errors of statements, and this statement has no other.
    matches!(error.code().as_deref(), Some("42P01" | "1"))
}

/// The metadata file after this one, whatever the writer before has called its own.
fn next_location(now: &str, metadata: &TableMetadata) -> Result<MetadataLocation> {
    if let Ok(now) = MetadataLocation::from_str(now) {
        return Ok(now.with_next_version().with_new_metadata(metadata));
    }
    Ok(MetadataLocation::new_with_metadata(
        metadata.location(),
        metadata,
    ))
}

/// The database of a URI, and its file if it is SQLite's.
fn address(uri: &Secret) -> Result<(Secret, Option<PathBuf>)> {
    let text = uri.expose();
    if let Some(rest) = text.strip_prefix("sqlite:") {
        let path = rest.strip_prefix("//").unwrap_or(rest);
        // SQLAlchemy writes an absolute path with one slash more.
        let path = match path.starts_with("//") {
            true => &path[1..],
            false => path,
        };
        return sqlite(Path::new(path));
    }
    // As SQLAlchemy writes it, with its driver.
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    match scheme.split_once('+').map_or(scheme, |(scheme, _)| scheme) {
        "postgresql" | "postgres" => Ok((Secret::new(format!("postgresql://{rest}")), None)),
        _ => Err(invalid(
            "catalog_uri",
            "`catalog_uri` names no database; write sqlite:///folder/catalog.db or postgresql://host/database",
        )),
    }
}

/// The catalog that is in the warehouse itself.
fn in_warehouse(config: &IcebergConfig) -> Result<(Secret, Option<PathBuf>)> {
    let Some(warehouse) = &config.warehouse else {
        let message = "set `catalog_uri`, or a local folder as `warehouse`";
        return Err(invalid("catalog_uri", message));
    };
    let location = super::as_location(warehouse)?;
    match local_path(&location) {
        Some(folder) => sqlite(&folder.join("catalog.db")),
        None => Err(invalid(
            "catalog_uri",
            "the warehouse is no local folder; set `catalog_uri` to the database of the catalog",
        )),
    }
}

fn sqlite(path: &Path) -> Result<(Secret, Option<PathBuf>)> {
    let path = std::path::absolute(path).map_err(|error| from_io(path, error))?;
    let Ok(mut url) = url::Url::from_file_path(&path) else {
        let message = format!("`{}` is no file's name", path.display());
        return Err(invalid("catalog_uri", message));
    };
    url.set_query(Some("mode=rwc"));
    let rest = url.as_str().strip_prefix("file:").unwrap_or_default();
    Ok((Secret::new(format!("sqlite:{rest}")), Some(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_have_the_names_that_others_write() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a b.db");
        for slashes in ["//", "///", ""] {
            let uri = Secret::new(format!("sqlite:{slashes}{}", path.display()));
            let (url, file) = address(&uri).expect(slashes);
            assert_eq!(file.as_deref(), Some(path.as_path()), "{slashes}");
            assert!(
                url.expose().ends_with("a%20b.db?mode=rwc"),
                "{}",
                url.expose()
            );
        }
        for uri in ["postgresql+psycopg2://u:p@h/d", "postgres://u:p@h/d"] {
            let (url, _) = address(&Secret::new(uri)).expect(uri);
            assert_eq!(url.expose(), "postgresql://u:p@h/d");
        }
        assert!(address(&Secret::new("mysql://h/d")).is_err());
    }
}
