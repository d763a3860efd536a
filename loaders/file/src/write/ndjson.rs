//! NDJSON files: an object on each line, with every column, null or not.

use std::io::Write;
use std::path::PathBuf;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use arrowload_common_object_store::from_io;
use arrowload_common_text::{Format, Json};
use arrowload_core::Result;

use super::Encoder;
use super::output::Compressor;

pub(super) struct NdjsonEncoder {
    output: Compressor,
    shown: PathBuf,
    json: Json,
    buffer: Vec<u8>,
}

impl NdjsonEncoder {
    pub(super) fn new(output: Compressor, shown: PathBuf, schema: &SchemaRef) -> Self {
        Self {
            output,
            shown,
            json: Json::new(schema, Format::NDJSON),
            buffer: Vec::new(),
        }
    }
}

impl Encoder for NdjsonEncoder {
    fn write(&mut self, batch: &RecordBatch, first_row: u64) -> Result<()> {
        self.buffer.clear();
        self.json.lines(batch, first_row, &mut self.buffer)?;
        self.output
            .write_all(&self.buffer)
            .map_err(|error| from_io(&self.shown, error))
    }

    fn finish(&mut self) -> Result<()> {
        self.output
            .finish()
            .map_err(|error| from_io(&self.shown, error))
    }
}
