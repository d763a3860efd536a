//! What a load would do, column by column, before it does it.

use std::collections::HashSet;
use std::fmt;

use arrow_schema::{DataType, Field, Schema};
use serde::Serialize;

use crate::{
    Capabilities, ConnectionKey, DataLoader, Error, ErrorKind, Guarantees, LoadRequest, Mode,
    OnError, Result, TypeSupport, Verify,
};

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
    /// Whether every value arrives equal.
    #[serde(flatten)]
    pub support: TypeSupport,
    /// Why `verify = checksum` cannot prove the column: the store keeps its values in another form. Such a column has no
    /// checksum, and the report lists it.
    pub unproved: Option<String>,
}

impl ColumnPlan {
    fn of(field: &Field, support: TypeSupport) -> Self {
        Self {
            name: field.name().clone(),
            arrow_type: field.data_type().to_string(),
            nullable: field.is_nullable(),
            target_type: field.data_type().to_string(),
            support,
            unproved: None,
        }
    }
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
    /// Whether the target exists already.
    pub target_exists: bool,
    /// What distinguishes the target from all others, however it was named: two destinations of one run that have the same are
    /// refused. `None` where the loader cannot tell.
    pub identity: Option<String>,
    /// The columns of the load, in their order.
    pub columns: Vec<ColumnPlan>,
    /// The statements that would run.
    pub ddl: Vec<String>,
    /// Those among them, or in words, that change the columns or indexes of an existing target.
    pub schema_changes: Vec<String>,
    /// The connections, files or folders that would be used.
    pub resources: Vec<String>,
    /// What holds for this load.
    pub guarantees: Guarantees,
    /// How the target's store is reached, as far as is known: where to, and which layer says so.
    pub connection: Vec<ConnectionKey>,
    /// A load with this `load_id` has committed, of this many rows: nothing would be written, and nothing else was looked at.
    pub already_loaded: Option<u64>,
    /// That load was cut off before all of its rows were in place: the load would put them there, and write nothing else.
    pub incomplete: bool,
    /// What the source has found out about its input: formats, dialects, where types come from.
    pub input: Vec<String>,
}

impl Plan {
    /// A plan in which every column arrives as [`DataLoader::supports_type`] says, and everything that the loader declares holds,
    /// with one connection. Narrow it to what is true of the target.
    pub fn of<L: DataLoader>(request: &LoadRequest<L::Options>) -> Self {
        Self::with_types::<L>(request, L::supports_type)
    }

    /// As [`of`](Self::of), with types that depend on the options or the target.
    pub fn with_types<L: DataLoader>(
        request: &LoadRequest<L::Options>,
        supports_type: impl Fn(&DataType) -> TypeSupport,
    ) -> Self {
        let fields = request.schema.fields().iter();
        let columns = fields
            .map(|field| ColumnPlan::of(field, supports_type(field.data_type())))
            .collect();
        Self {
            loader: L::NAME.into(),
            target: request.target.clone(),
            mode: request.load.mode,
            target_exists: false,
            identity: None,
            columns,
            ddl: Vec::new(),
            schema_changes: Vec::new(),
            resources: Vec::new(),
            guarantees: Guarantees::of(&L::CAPABILITIES),
            connection: Vec::new(),
            already_loaded: None,
            incomplete: false,
            input: Vec::new(),
        }
    }

    /// The plan of a load that is there already.
    pub(crate) fn of_nothing(
        (loader, capabilities): (&str, &Capabilities),
        target: &str,
        mode: Mode,
        (rows, incomplete): (u64, bool),
    ) -> Self {
        Self {
            loader: loader.into(),
            target: target.into(),
            mode,
            target_exists: true,
            identity: None,
            columns: Vec::new(),
            ddl: Vec::new(),
            schema_changes: Vec::new(),
            resources: Vec::new(),
            guarantees: Guarantees::of(capabilities),
            connection: Vec::new(),
            already_loaded: Some(rows),
            incomplete,
            input: Vec::new(),
        }
    }

    /// Refuses a plan with a column that cannot be held, naming all such columns. The load itself runs the same check.
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

    /// Refuses options that are not guaranteed for this target. The loader itself should refuse them before, with a reason; this
    /// is a safety net.
    pub(crate) fn check_request<O>(
        &self,
        request: &LoadRequest<O>,
        capabilities: &Capabilities,
    ) -> Result<()> {
        let held = &self.guarantees;
        held.check_within(&self.loader, capabilities)?;
        if !self.target_exists && !capabilities.create_target {
            let message = format!(
                "`{}` does not exist, and {} cannot create it; create it in the store",
                self.target, self.loader
            );
            return Err(Error::new(ErrorKind::TargetNotFound, message).with("target", &self.target));
        }
        let load = &request.load;
        let wishes = [
            (
                "on_error = skip",
                load.on_error == OnError::Skip,
                held.skip_rows,
            ),
            (
                "verify = checksum",
                load.verify == Verify::Checksum,
                held.checksum,
            ),
            (
                "max_updates and max_deletes",
                !load.limits().is_empty(),
                held.change_limits,
            ),
        ];
        match wishes
            .into_iter()
            .find(|(_, wanted, able)| *wanted && !able)
        {
            None => Ok(()),
            Some((option, ..)) => {
                let message = format!(
                    "{} does not support {option} for this target, mode and options; leave it out",
                    self.loader
                );
                Err(Error::new(ErrorKind::Unsupported, message).with("target", &self.target))
            }
        }
    }

    /// Refuses the plans of one run if two of them have the same target.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`], naming the target.
    pub fn check_distinct<'a>(plans: impl IntoIterator<Item = &'a Self>) -> Result<()> {
        let mut known = HashSet::new();
        for plan in plans {
            let Some(identity) = &plan.identity else {
                continue;
            };
            if !known.insert((&plan.loader, identity)) {
                return Err(named_twice(&plan.loader, &plan.target));
            }
        }
        Ok(())
    }

    /// The columns that have no checksum.
    pub(crate) fn unproved(&self) -> Vec<String> {
        let unproved = |column: &&ColumnPlan| column.unproved.is_some();
        let columns = self.columns.iter().filter(unproved);
        columns.map(|column| column.name.clone()).collect()
    }
}

/// The error for a target that two destinations of one run have.
pub(crate) fn named_twice(loader: &str, target: &str) -> Error {
    let message = format!("the target `{target}` of {loader} is named twice; name it once");
    Error::new(ErrorKind::InvalidOption, message)
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
            let then = match self.incomplete {
                true => {
                    "not all of them in place yet: they would be put there, and nothing else written"
                }
                false => "nothing would be written",
            };
            return write!(
                f,
                "  a load with this load_id is there already, {rows} rows: {then}"
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
            f.write_str(if column.nullable { "" } else { ", not null" })?;
            if let Some(why) = &column.unproved {
                write!(f, ", without a checksum: {why}")?;
            }
            f.write_str("\n")?;
        }
        for remark in &self.input {
            writeln!(f, "  reads: {remark}")?;
        }
        for statement in &self.ddl {
            writeln!(f, "  would run: {statement}")?;
        }
        for resource in &self.resources {
            writeln!(f, "  would use: {resource}")?;
        }
        for key in &self.connection {
            writeln!(f, "  connects by: {key}")?;
        }
        write!(f, "  promises: {}", self.guarantees)
    }
}

/// A column of an existing target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TargetColumn {
    /// Its name.
    pub name: String,
    /// Its type in the store's words.
    pub target_type: String,
    /// The Arrow type that has exactly the same values as the column's type; `None` if there is none.
    #[serde(skip)]
    pub data_type: Option<DataType>,
    /// Whether it may be null.
    pub nullable: bool,
}

impl TargetColumn {
    /// A nullable column of an Arrow type.
    pub fn new(
        name: impl Into<String>,
        target_type: impl Into<String>,
        data_type: Option<DataType>,
        nullable: bool,
    ) -> Self {
        Self {
            name: name.into(),
            target_type: target_type.into(),
            data_type,
            nullable,
        }
    }
}

/// The columns of an existing target, as [`DataLoader::describe`] answers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct TargetColumns {
    /// In the target's order.
    pub columns: Vec<TargetColumn>,
}

impl TargetColumns {
    /// These columns.
    pub fn new(columns: Vec<TargetColumn>) -> Self {
        Self { columns }
    }

    /// Of a store whose columns have Arrow types.
    pub fn of_schema(schema: &Schema) -> Self {
        let column = |field: &arrow_schema::FieldRef| {
            let data_type = field.data_type().clone();
            TargetColumn::new(
                field.name(),
                data_type.to_string(),
                Some(data_type),
                field.is_nullable(),
            )
        };
        Self::new(schema.fields().iter().map(column).collect())
    }
}
