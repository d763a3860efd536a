//! Partitions by their values, whatever text an engine writes for them.

use std::collections::{HashMap, HashSet};

use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{DataType, Schema};
use arrowload_core::Result;

use crate::scan::constant;

/// A set of partitions.
#[derive(Debug, Clone)]
pub(crate) struct Partitions {
    columns: Vec<(String, DataType)>,
    values: HashSet<Vec<Option<String>>>,
}

/// The values of a partition as the log has them.
pub(crate) type Values = HashMap<String, Option<String>>;

impl Partitions {
    /// No partitions of a table with these partition columns.
    pub(crate) fn new(schema: &Schema, partition_by: &[String]) -> Result<Self> {
        let column = |name: &String| {
            Ok((
                name.clone(),
                schema.field_with_name(name)?.data_type().clone(),
            ))
        };
        Ok(Self {
            columns: partition_by.iter().map(column).collect::<Result<_>>()?,
            values: HashSet::new(),
        })
    }

    pub(crate) fn insert(&mut self, values: &Values) -> Result<()> {
        let canonical = self.canonical(values)?;
        self.values.insert(canonical);
        Ok(())
    }

    pub(crate) fn contains(&self, values: &Values) -> Result<bool> {
        Ok(self.values.contains(&self.canonical(values)?))
    }

    /// One text for each value: engines differ in how they write times and decimals.
    fn canonical(&self, values: &Values) -> Result<Vec<Option<String>>> {
        let text = |(name, data_type): &(String, DataType)| {
            let value = constant(values.get(name).cloned().flatten(), data_type)?;
            let format = FormatOptions::new().with_display_error(false);
            let formatter = ArrayFormatter::try_new(value.as_ref(), &format)?;
            Ok((!value.is_null(0)).then(|| formatter.value(0).to_string()))
        };
        self.columns.iter().map(text).collect()
    }
}
