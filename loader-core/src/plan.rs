//! What a load would do, column by column, before it does it.

use std::fmt;

use arrow_schema::{DataType, Schema};
use serde::Serialize;

use crate::{Atomicity, Error, ErrorKind, Mode, Result, TypeSupport};

/// How one column of the load arrives in the target.
#[derive(Debug, Clone, Serialize)]
pub struct ColumnPlan {
    /// The column's name.
    pub name: String,
    /// Its Arrow type, as Arrow writes it.
    pub arrow_type: String,
    /// Whether the load may bring nulls.
    pub nullable: bool,
    /// The type of the column in the target: its real one if it exists, else the one that would be created.
    pub target_type: String,
    /// Whether every value arrives equal. `Lossy` here means that an option asked for it.
    #[serde(flatten)]
    pub support: TypeSupport,
}

/// What a load would do. Making one connects and reads; it changes nothing.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Plan {
    /// The loader.
    pub loader: String,
    /// The target as it was named.
    pub target: String,
    /// The mode.
    pub mode: Mode,
    /// Whether the target is there already.
    pub target_exists: bool,
    /// The columns of the load.
    pub columns: Vec<ColumnPlan>,
    /// The statements that would run.
    pub ddl: Vec<String>,
    /// The connections, files or folders that would be used.
    pub resources: Vec<String>,
    /// What readers see of an unfinished load; where a loader leaves it open, what it declares for all its loads.
    pub atomicity: Option<Atomicity>,
    /// Whether repeating the load with its `load_id` is harmless; where a loader leaves it open, what it declares.
    pub exactly_once: Option<bool>,
    /// A load with this `load_id` has committed, of this many rows: nothing would be written, and nothing else was looked at.
    pub already_loaded: Option<u64>,
}

impl Plan {
    /// A plan for a target, in which every column arrives as `supports_type` says.
    pub fn from_types(schema: &Schema, supports_type: impl Fn(&DataType) -> TypeSupport) -> Self {
        let column = |field: &arrow_schema::FieldRef| ColumnPlan {
            name: field.name().clone(),
            arrow_type: field.data_type().to_string(),
            nullable: field.is_nullable(),
            target_type: field.data_type().to_string(),
            support: match supports_type(field.data_type()) {
                TypeSupport::Lossy(how) => TypeSupport::Unsupported(how),
                support => support,
            },
        };
        Self {
            loader: String::new(),
            target: String::new(),
            mode: Mode::Append,
            target_exists: false,
            columns: schema.fields().iter().map(column).collect(),
            ddl: Vec::new(),
            resources: Vec::new(),
            atomicity: None,
            exactly_once: None,
            already_loaded: None,
        }
    }

    /// The plan of a load that is there already.
    pub(crate) fn of_nothing(loader: &str, target: &str, mode: Mode, rows: u64) -> Self {
        let nothing = Self::from_types(&Schema::empty(), |_| TypeSupport::Exact);
        Self {
            loader: loader.into(),
            target: target.into(),
            mode,
            target_exists: true,
            already_loaded: Some(rows),
            ..nothing
        }
    }

    /// Refuses a plan with a column that cannot be held, naming all such columns.
    ///
    /// # Errors
    /// [`ErrorKind::UnsupportedType`].
    pub fn check(&self) -> Result<()> {
        let refused = self
            .columns
            .iter()
            .filter_map(|column| match &column.support {
                TypeSupport::Unsupported(why) => Some((column, why)),
                _ => None,
            });
        let texts: Vec<String> = refused
            .clone()
            .map(|(column, why)| format!("`{}` ({}): {why}", column.name, column.arrow_type))
            .collect();
        let Some((first, _)) = refused.clone().next() else {
            return Ok(());
        };
        let message = format!(
            "{} cannot hold column {}; cast it in the query or leave it out",
            self.loader,
            texts.join("; column ")
        );
        Err(Error::new(ErrorKind::UnsupportedType, message)
            .with("column", &first.name)
            .with("target", &self.target))
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = if self.target_exists {
            "exists"
        } else {
            "would be created"
        };
        writeln!(
            f,
            "{} into {} `{}` ({found})",
            self.mode, self.loader, self.target
        )?;
        if let Some(rows) = self.already_loaded {
            return write!(
                f,
                "  a load with this load_id is there already, {rows} rows: nothing would be written"
            );
        }
        let width = |get: fn(&ColumnPlan) -> usize| self.columns.iter().map(get).max().unwrap_or(0);
        let (names, types) = (
            width(|column| column.name.len()),
            width(|column| column.arrow_type.len()),
        );
        for column in &self.columns {
            write!(
                f,
                "  {:names$}  {:types$}  -> {}  {}",
                column.name, column.arrow_type, column.target_type, column.support
            )?;
            f.write_str(if column.nullable {
                "\n"
            } else {
                ", not null\n"
            })?;
        }
        for statement in &self.ddl {
            writeln!(f, "  would run: {statement}")?;
        }
        for resource in &self.resources {
            writeln!(f, "  would use: {resource}")?;
        }
        let readers = match self.atomicity.unwrap_or(Atomicity::Row) {
            Atomicity::Load => "readers see all of the load or nothing",
            Atomicity::Part => "readers see whole files, one after the other",
            Atomicity::Row => "readers see rows as they are written",
        };
        let again = if self.exactly_once == Some(true) {
            "is harmless"
        } else {
            "writes the rows again"
        };
        write!(
            f,
            "  promises: {readers}; repeating it with the same load_id {again}"
        )
    }
}
