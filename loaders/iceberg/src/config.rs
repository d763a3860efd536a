//! How a catalog is reached, and where new tables go: the keys of a connection.

use std::collections::BTreeMap;
use std::fmt;

use arrowload_core::{Error, ErrorKind, Result, Secret};
use iceberg::{NamespaceIdent, TableIdent};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which kind of catalog knows the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CatalogType {
    /// Tables of a database, SQLite or PostgreSQL, as PyIceberg's and Java's JDBC catalogs have them.
    #[default]
    Sql,
    /// A server of the Iceberg REST protocol.
    Rest,
}

/// How a catalog is reached.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IcebergConfig {
    /// `sql` (default) or `rest`.
    pub catalog_type: CatalogType,
    /// For `sql`: `sqlite:///folder/catalog.db` or `postgresql://user:password@host/database`; by default the file `catalog.db` in
    /// the warehouse, if that is a local folder. For `rest`: the server, such as `https://host/api/catalog`.
    pub catalog_uri: Option<Secret>,
    /// The name of the catalog, as the tables of a database know it; `default` if nothing is said.
    pub catalog_name: String,
    /// The folder or URL below which new tables are put; for `rest` the name of the warehouse that the server is asked for.
    pub warehouse: Option<String>,
    /// The namespace of targets that name none; `default` if nothing is said. Levels are parted by dots.
    pub namespace: String,
    /// The table that the target `.` means.
    pub table_name: Option<String>,
    /// Properties of tables that are created, such as `write.target-file-size-bytes`.
    pub properties: BTreeMap<String, String>,
    /// Keys and values for the object store, such as `AWS_REGION`, over those from the environment.
    pub storage_options: BTreeMap<String, Secret>,
    /// For `rest`: a bearer token.
    pub token: Option<Secret>,
    /// For `rest`: `id:secret` of OAuth 2's client credentials, for which a token is asked.
    pub credential: Option<Secret>,
    /// For `rest`: where tokens are given; `v1/oauth/tokens` of the server by default.
    pub oauth2_server_uri: Option<String>,
    /// For `rest`: the scope that is asked for; `catalog` by default.
    pub scope: Option<String>,
}

impl Default for IcebergConfig {
    fn default() -> Self {
        Self {
            catalog_type: CatalogType::default(),
            catalog_uri: None,
            catalog_name: "default".into(),
            warehouse: None,
            namespace: "default".into(),
            table_name: None,
            properties: BTreeMap::new(),
            storage_options: BTreeMap::new(),
            token: None,
            credential: None,
            oauth2_server_uri: None,
            scope: None,
        }
    }
}

/// Shows which options are set, not what the secret ones are.
impl fmt::Debug for IcebergConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&String> = self.storage_options.keys().collect();
        f.debug_struct("IcebergConfig")
            .field("catalog_type", &self.catalog_type)
            .field("warehouse", &self.warehouse)
            .field("namespace", &self.namespace)
            .field("storage_options", &keys)
            .finish_non_exhaustive()
    }
}

impl IcebergConfig {
    /// The table that a target names: `namespace.table`, a table of the connection's namespace, or `.` for its `table_name`.
    pub(crate) fn table(&self, target: &str) -> Result<TableIdent> {
        let target = match (target, &self.table_name) {
            (".", Some(name)) => name,
            (".", None) => {
                let message = "the target `.` is the connection's `table_name`, which is not set";
                return Err(invalid("table_name", message));
            }
            (target, _) => target,
        };
        let (namespace, name) = match target.rsplit_once('.') {
            Some((namespace, name)) => (namespace, name),
            None => (self.namespace.as_str(), target),
        };
        let levels: Vec<String> = namespace.split('.').map(str::to_owned).collect();
        if name.is_empty() || levels.iter().any(String::is_empty) {
            let message = format!("`{target}` names no table; write `namespace.table`");
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        let namespace = NamespaceIdent::from_vec(levels).map_err(crate::error::from_iceberg)?;
        Ok(TableIdent::new(namespace, name.to_owned()))
    }
}

/// An error about one key.
pub(crate) fn invalid(key: &'static str, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOption, message).with("key", key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_name_tables() {
        let config = IcebergConfig {
            table_name: Some("events".into()),
            ..IcebergConfig::default()
        };
        for (target, namespace, name) in [
            ("a", "default", "a"),
            ("ns.a", "ns", "a"),
            ("x.y.a", "x.y", "a"),
            (".", "default", "events"),
        ] {
            let table = config.table(target).expect(target);
            assert_eq!(table.namespace().join("."), namespace, "{target}");
            assert_eq!(table.name(), name, "{target}");
        }
        for target in ["", "a.", ".a", "a..b"] {
            assert!(config.table(target).is_err(), "{target}");
        }
        assert!(IcebergConfig::default().table(".").is_err());
    }
}
