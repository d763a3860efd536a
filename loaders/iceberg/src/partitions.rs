//! Which rows go to which partition: the values of partition fields, and names of folders for them.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, DictionaryArray, Int32Array, RecordBatch, StringArray, StructArray};
use arrow_row::{OwnedRow, RowConverter, SortField};
use arrow_schema::{DataType, Field, FieldRef, Schema as ArrowSchema, SchemaRef};
use arrowload_core::{Error, ErrorKind, Result};
use iceberg::arrow::{PartitionValueCalculator, arrow_struct_to_literal};
use iceberg::spec::{Literal, PartitionSpecRef, Schema, Struct, StructType};

use crate::columns::build;
use crate::error::from_iceberg;

/// Adds the partition of each row as text columns, by which the writer partitions the rows.
pub(crate) struct Partitioner {
    spec: PartitionSpecRef,
    calculator: PartitionValueCalculator,
    values: StructType,
    converter: RowConverter,
    /// The columns with those of the partition behind them.
    schema: SchemaRef,
    names: Vec<String>,
    known: HashMap<OwnedRow, i32>,
    partitions: Vec<Struct>,
    /// For each partition field, its text in each partition.
    texts: Vec<Vec<String>>,
    by_text: HashMap<Vec<String>, usize>,
}

impl Partitioner {
    /// For files of these columns; `None` if the table is not partitioned, or by void fields alone.
    pub(crate) fn new(
        spec: &PartitionSpecRef,
        schema: &Schema,
        columns: &SchemaRef,
    ) -> Result<Option<Self>> {
        if spec.is_unpartitioned() {
            return Ok(None);
        }
        let calculator = PartitionValueCalculator::try_new(spec, schema).map_err(from_iceberg)?;
        let DataType::Struct(fields) = calculator.partition_arrow_type().clone() else {
            let message = "the partition of a table is no struct";
            return Err(Error::new(ErrorKind::Unexpected, message));
        };
        let sort = fields
            .iter()
            .map(|field| SortField::new(field.data_type().clone()));
        let converter = RowConverter::new(sort.collect())?;
        // No column of a table has such a name; the folders are called as the partition fields are.
        let names: Vec<String> = spec
            .fields()
            .iter()
            .map(|field| folder_text(&field.name))
            .map(|name| match columns.column_with_name(&name) {
                Some(_) => format!("{name}~"),
                None => name,
            })
            .collect();
        let text = |name: &String| -> FieldRef {
            let values = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
            Arc::new(Field::new(name, values, false))
        };
        let all = columns
            .fields()
            .iter()
            .cloned()
            .chain(names.iter().map(text));
        let values = spec.partition_type(schema).map_err(from_iceberg)?;
        Ok(Some(Self {
            spec: Arc::clone(spec),
            calculator,
            values,
            converter,
            schema: Arc::new(ArrowSchema::new(all.collect::<Vec<_>>())),
            texts: vec![Vec::new(); names.len()],
            names,
            known: HashMap::new(),
            partitions: Vec::new(),
            by_text: HashMap::new(),
        }))
    }

    /// The columns that part the rows.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// The columns of batches with them.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// A batch with the partition of each row.
    pub(crate) fn add(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let values = self.calculator.calculate(batch).map_err(from_iceberg)?;
        let fields = values.as_struct();
        let rows = self.converter.convert_columns(fields.columns())?;
        let mut places = Vec::with_capacity(batch.num_rows());
        let mut last: Option<(arrow_row::Row<'_>, i32)> = None;
        for (index, row) in rows.iter().enumerate() {
            let place = match last {
                // Rows of one partition mostly follow each other.
                Some((same, place)) if same == row => place,
                _ => match self.known.get(&row.owned()) {
                    Some(place) => *place,
                    None => self.learn(row.owned(), fields, index)?,
                },
            };
            last = Some((row, place));
            places.push(place);
        }
        let places = Int32Array::from(places);
        let mut columns: Vec<ArrayRef> = batch.columns().to_vec();
        for texts in &self.texts {
            let values = Arc::new(StringArray::from_iter_values(texts));
            let column = DictionaryArray::<Int32Type>::try_new(places.clone(), values)?;
            columns.push(Arc::new(column));
        }
        build(&self.schema, columns, batch.num_rows())
    }

    /// A partition that no row was in before.
    fn learn(&mut self, key: OwnedRow, values: &StructArray, row: usize) -> Result<i32> {
        let one: ArrayRef = Arc::new(values.slice(row, 1));
        let literals = arrow_struct_to_literal(&one, &self.values).map_err(from_iceberg)?;
        let Some(Some(Literal::Struct(partition))) = literals.into_iter().next() else {
            let message = "the partition of a row could not be computed";
            return Err(Error::new(ErrorKind::Unexpected, message));
        };
        let place = self.partitions.len();
        let fields = self.spec.fields().iter().zip(self.values.fields());
        let mut texts: Vec<String> = fields
            .zip(partition.iter())
            .map(|((field, value), literal)| {
                folder_text(&field.transform.to_human_string(&value.field_type, literal))
            })
            .collect();
        // Two values may have one text, such as a null and the text `null`.
        if self.by_text.contains_key(&texts)
            && let Some(text) = texts.last_mut()
        {
            text.push_str(&format!("~{place}"));
        }
        for (known, text) in self.texts.iter_mut().zip(&texts) {
            known.push(text.clone());
        }
        self.by_text.insert(texts, place);
        self.partitions.push(partition);
        let place = i32::try_from(place).map_err(|_| {
            let message = "the load has rows in too many partitions";
            Error::new(ErrorKind::ResourceExhausted, message)
        })?;
        self.known.insert(key, place);
        Ok(place)
    }

    /// The partition that a file is of, by the texts that its writer has noted.
    pub(crate) fn partition(&self, noted: &[(String, Option<String>)]) -> Result<Struct> {
        let texts: Vec<String> = noted
            .iter()
            .map(|(_, text)| text.clone().unwrap_or_default())
            .collect();
        let place = self.by_text.get(&texts).copied();
        let partition = place.and_then(|place| self.partitions.get(place));
        partition.cloned().ok_or_else(|| {
            let message = "a data file is of no partition that the load has rows in";
            Error::new(ErrorKind::Unexpected, message)
        })
    }
}

/// A text that can be a folder's name in any store, without escapes that readers undo: letters, digits and `_.-` stand for
/// themselves, all else for `~` and two digits. No two texts have one name.
fn folder_text(text: &str) -> String {
    let mut name = String::new();
    for (index, byte) in text.bytes().enumerate() {
        let is_plain = byte.is_ascii_alphanumeric()
            || byte == b'-'
            // Readers skip what begins with these.
            || (index > 0 && matches!(byte, b'_' | b'.'));
        match is_plain {
            true => name.push(char::from(byte)),
            false => name.push_str(&format!("~{byte:02X}")),
        }
    }
    if name.is_empty() {
        name.push('~');
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_have_names_without_escapes() {
        for (text, name) in [
            ("2024-01-01", "2024-01-01"),
            ("a_b.c", "a_b.c"),
            ("", "~"),
            ("_x", "~5Fx"),
            ("a b/c", "a~20b~2Fc"),
            ("~", "~7E"),
            ("é", "~C3~A9"),
        ] {
            assert_eq!(folder_text(text), name);
        }
    }
}
