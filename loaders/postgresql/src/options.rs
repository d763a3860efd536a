//! How rows are loaded: the loader's own options.

use std::collections::BTreeMap;

use arrowload_core::{Error, ErrorKind, Mode, Result};
use schemars::JsonSchema;
use serde::Deserialize;

/// How names of columns become names in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Case {
    /// As they are.
    #[default]
    Preserve,
    /// In lower case, as unquoted names are folded.
    Lower,
}

/// What an upsert does with a row whose keys are in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnConflict {
    /// The row of the table gets the values of the load.
    #[default]
    Update,
    /// The row of the table stays.
    Ignore,
}

/// How to load into PostgreSQL.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct PostgresqlOptions {
    /// Columns of the load and the names that they have in the table, where those differ.
    pub column_map: BTreeMap<String, String>,
    /// The case of the other names: `preserve` (default) or `lower`.
    pub case: Case,
    /// For `upsert`: what happens to a row whose keys are in the table; `update` (default) or `ignore`.
    pub on_conflict: OnConflict,
    /// For `upsert`: the columns of the load that replace those of the table; by default all that are no keys.
    pub update_columns: Option<Vec<String>>,
    /// A table that is created is unlogged: faster, and empty after a crash of the server.
    pub unlogged: bool,
    /// The rows of a table that is created are frozen: no later vacuum rewrites them.
    #[schemars(extend("x-tuning" = true))]
    pub freeze: bool,
    /// Round numbers to the scale of a `numeric(p, s)` column, half away from zero, in place of refusing them.
    pub round_decimals: bool,
    /// Cut off what is finer than the column's precision, a microsecond at best, in place of refusing it.
    pub truncate_times: bool,
    /// What stands in the place of a NUL byte, which PostgreSQL's text cannot hold; by default such text is refused.
    pub replace_nul: Option<String>,
    /// A new column of fixed-size lists of floats is of pgvector's type `vector(n)`, in place of an array. The extension must
    /// be there. Columns that are there decide for themselves.
    pub vectors: bool,
    /// SQL that runs first, in the load's transaction.
    pub pre_sql: Option<String>,
    /// SQL that runs last, in the load's transaction.
    pub post_sql: Option<String>,
}

impl PostgresqlOptions {
    /// Refuses options that the mode has no use for.
    pub(crate) fn check(&self, mode: Mode) -> Result<()> {
        let of_upsert = [
            ("on_conflict", self.on_conflict != OnConflict::Update),
            ("update_columns", self.update_columns.is_some()),
        ];
        let refused = |key: &'static str, message: String| {
            Err(Error::new(ErrorKind::InvalidOption, message).with("key", key))
        };
        if let Some((key, _)) = of_upsert
            .into_iter()
            .find(|(_, set)| *set && mode != Mode::Upsert)
        {
            return refused(
                key,
                format!("`{key}` is an option of mode upsert, and this load has mode {mode}"),
            );
        }
        if of_upsert.iter().all(|(_, set)| *set) {
            return refused(
                "update_columns",
                "`update_columns` replaces what `on_conflict = ignore` keeps; set one of them"
                    .into(),
            );
        }
        Ok(())
    }

    /// What a column of the load is called in the table.
    pub(crate) fn column_name(&self, name: &str) -> String {
        match (self.column_map.get(name), self.case) {
            (Some(mapped), _) => mapped.clone(),
            (None, Case::Preserve) => name.to_owned(),
            (None, Case::Lower) => name.to_lowercase(),
        }
    }
}
