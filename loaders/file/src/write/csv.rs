//! CSV files.

use std::io::Write;
use std::path::PathBuf;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use arrowload_common_object_store::from_io;
use arrowload_common_text::{Csv, CsvStyle};
use arrowload_core::Result;

use super::Encoder;
use super::output::Compressor;
use crate::options::FileOptions;

pub(super) struct CsvEncoder {
    output: Compressor,
    shown: PathBuf,
    csv: Csv,
    header: bool,
    buffer: Vec<u8>,
}

/// The style that the options ask for, unless they contradict each other.
pub(super) fn style(options: &FileOptions) -> Result<CsvStyle> {
    CsvStyle::new(
        options.delimiter,
        options.quote,
        options.null_text.as_deref(),
    )
}

impl CsvEncoder {
    pub(super) fn new(
        output: Compressor,
        shown: PathBuf,
        schema: &SchemaRef,
        options: &FileOptions,
    ) -> Result<Self> {
        let csv = Csv::new(schema, style(options)?);
        Ok(Self {
            output,
            shown,
            csv,
            header: options.header.unwrap_or(true),
            buffer: Vec::new(),
        })
    }

    fn put_header(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.header) {
            return Ok(());
        }
        let mut line = Vec::new();
        self.csv.header(&mut line);
        self.output
            .write_all(&line)
            .map_err(|error| from_io(&self.shown, error))
    }
}

impl Encoder for CsvEncoder {
    fn write(&mut self, batch: &RecordBatch, first_row: u64) -> Result<()> {
        self.put_header()?;
        self.buffer.clear();
        self.csv.lines(batch, first_row, &mut self.buffer)?;
        self.output
            .write_all(&self.buffer)
            .map_err(|error| from_io(&self.shown, error))
    }

    fn finish(&mut self) -> Result<()> {
        self.put_header()?;
        self.output
            .finish()
            .map_err(|error| from_io(&self.shown, error))
    }
}
