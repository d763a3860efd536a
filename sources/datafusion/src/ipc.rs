//! Arrow files and streams, by the reader that checks them.

use std::fs::File;
use std::io::BufReader;
use std::sync::Arc;

use arrow_schema::DataType;
use arrowload_common_ipc::{IpcOptions, IpcReader, refuse_twins};
use arrowload_common_object_store::from_io;
use arrowload_core::{Error, Result};

use crate::file::DataFile;
use crate::how::How;
use crate::kind::Kind;
use crate::look::{Ask, Batches, Column, Layout, Looked};

#[derive(Debug)]
struct IpcLayout;

/// A file on the disk is read by its footer; what comes from a store is read forward.
fn open(file: &DataFile, options: &IpcOptions) -> Result<IpcReader> {
    match &file.local {
        Some(path) => {
            let open = File::open(path).map_err(|error| from_io(path, error))?;
            IpcReader::open(file.shown(), BufReader::new(open), options)
        }
        None => IpcReader::forward(file.shown(), file.open()?, options),
    }
}

/// Finds out what a file is, from its schema.
pub(crate) fn look(file: &DataFile, how: &How) -> Result<Looked> {
    how.files(Kind::Arrow)?;
    let reader = open(file, &IpcOptions::default())?;
    refuse_twins(reader.schema()).map_err(|error| error.with("file", file.shown()))?;
    let found = match reader.batches() {
        Some(batches) => format!("a file of {batches} batches"),
        None => "a stream".into(),
    };
    let columns = reader.schema().fields().iter().map(Column::typed);
    Ok(Looked {
        file: file.clone(),
        kind: Kind::Arrow,
        columns: columns.collect(),
        rows: None,
        header: None,
        found,
        notes: Vec::new(),
        left_out: Vec::new(),
        layout: Some(Arc::new(IpcLayout)),
        engine: None,
    })
}

impl Layout for IpcLayout {
    fn with_types(&self, _: &[(usize, DataType)]) -> Result<Option<Arc<dyn Layout>>> {
        Ok(None)
    }

    fn read(&self, file: &DataFile, ask: &Ask) -> Result<Batches> {
        let mut options = IpcOptions::default();
        options.projection = Some(ask.projection.clone());
        Ok(Box::new(open(file, &options)?))
    }

    fn misfits(&self, _: &Error) -> Option<(Vec<String>, bool)> {
        None
    }
}
