//! Folders named `key=value`: columns that the files below them have.

use arrow_array::RecordBatch;
use arrowload_common_csv::Types;
use arrowload_core::{Error, ErrorKind, Result};
use datafusion::arrow::datatypes::Schema;
use std::sync::Arc;

use crate::csv::proved_table;
use crate::file::DataFile;
use crate::how::FileOptions;

/// The text for null in the name of a folder, which all writers of such folders use.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// The keys and values of a file's folders; `None` for null.
fn pairs(file: &DataFile) -> Result<Vec<(String, Option<String>)>> {
    let mut pairs: Vec<(String, Option<String>)> = Vec::new();
    for folder in &file.folders {
        let Some((key, value)) = folder.split_once('=') else {
            continue;
        };
        let decode = |text: &str| {
            percent_encoding::percent_decode_str(text)
                .decode_utf8()
                .map(|text| text.into_owned())
                .map_err(|_| {
                    let message = format!(
                        "the folder `{folder}` is no text after its percent signs are decoded"
                    );
                    Error::new(ErrorKind::InvalidData, message).with("file", file.shown())
                })
        };
        let (key, value) = (decode(key)?, decode(value)?);
        if let Some((_, known)) = pairs.iter().find(|(known, _)| *known == key) {
            let message = format!(
                "two folders of `{}` say what `{key}` is: `{}` and `{value}`",
                file.shown(),
                known.as_deref().unwrap_or(NULL)
            );
            return Err(Error::new(ErrorKind::InvalidData, message));
        }
        let value = (value != NULL).then_some(value);
        pairs.push((key, value));
    }
    Ok(pairs)
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// The columns of the folders: a row for each file. Types are declared, or proved on all values as those of a CSV file are.
pub(crate) fn columns(files: &[&DataFile], options: &FileOptions) -> Result<RecordBatch> {
    let mut keys: Vec<String> = Vec::new();
    let mut rows = Vec::with_capacity(files.len());
    if options.hive_partitioning != Some(false) {
        for file in files {
            let pairs = pairs(file)?;
            for (key, _) in &pairs {
                if !keys.contains(key) {
                    keys.push(key.clone());
                }
            }
            rows.push(pairs);
        }
    }
    for key in options.hive_types.keys() {
        if !keys.contains(key) {
            let message = format!(
                "`hive_types` names `{key}`, and no folder does; the folders have {}",
                if keys.is_empty() {
                    "no keys".into()
                } else {
                    keys.join(", ")
                }
            );
            return Err(Error::new(ErrorKind::InvalidOption, message).with("key", "hive_types"));
        }
    }
    if keys.is_empty() {
        let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(files.len()));
        let schema = Arc::new(Schema::empty());
        return Ok(RecordBatch::try_new_with_options(
            schema,
            Vec::new(),
            &options,
        )?);
    }
    // A first column of numbers, so that no row is empty.
    let mut text = String::from("n");
    for key in &keys {
        text.push(',');
        text.push_str(&quoted(key));
    }
    text.push('\n');
    for (number, pairs) in rows.iter().enumerate() {
        text.push_str(&number.to_string());
        for key in &keys {
            text.push(',');
            let value = pairs.iter().find(|(known, _)| known == key);
            if let Some((_, Some(value))) = value {
                text.push_str(&quoted(value));
            }
        }
        text.push('\n');
    }
    let types = Types::Columns(options.hive_types.clone());
    let table = proved_table("the names of folders", text, types)?;
    if table.num_rows() != files.len() {
        let message = format!(
            "{} files have {} rows of folders: a defect of the reader",
            files.len(),
            table.num_rows()
        );
        return Err(Error::new(ErrorKind::Unexpected, message));
    }
    let wanted: Vec<usize> = (1..table.num_columns()).collect();
    Ok(table.project(&wanted)?)
}
