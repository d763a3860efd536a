//! The rows of an upsert on the local disk, until it is known which of them stay.

use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_buffer::NullBuffer;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, SchemaRef};
use arrowload_common_object_store::blocking;
use arrowload_core::{Error, ErrorKind, Result};
use futures::TryStreamExt;
use futures::stream::{self, Stream};

use crate::keys::{KeyHash, KeyHasher};

/// Bytes that are read and written at once.
const BUFFER: usize = 1 << 20;

/// Takes the rows of a load: batches and the hashes of their keys, in two files that have no names and vanish with the
/// process.
pub struct Spool {
    batches: StreamWriter<BufWriter<File>>,
    hashes: BufWriter<File>,
    hasher: KeyHasher,
    spooled: Facts,
}

/// The rows of a load, all of which have come.
pub struct Spooled {
    batches: File,
    hashes: File,
    facts: Facts,
}

/// What is known of the rows beside themselves.
struct Facts {
    schema: SchemaRef,
    keys: Vec<usize>,
    types: Vec<DataType>,
    seed: u64,
    rows: u64,
    null_keys: u64,
}

/// Says where the files without names are, and what to do where they do not fit.
fn in_folder(error: Error) -> Error {
    let folder = std::env::temp_dir();
    if error.kind() != ErrorKind::ResourceExhausted {
        return error.with("path", folder.display());
    }
    let message = format!(
        "the rows of the upsert do not fit into the folder of temporary files, `{}`: {}; set TMPDIR to one with more room",
        folder.display(),
        error.message()
    );
    Error::new(ErrorKind::ResourceExhausted, message)
        .with("path", folder.display())
        .with_source(error)
}

impl Spool {
    /// For batches of this schema, whose key columns are at these places.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for a type that keys cannot have;
    /// [`ErrorKind::ResourceExhausted`] if there is no room for temporary files.
    pub fn new(schema: &SchemaRef, keys: Vec<usize>) -> Result<Self> {
        // The standard library draws it at random.
        let seed = RandomState::new().build_hasher().finish();
        Self::with_seed(schema, keys, seed)
    }

    pub(crate) fn with_seed(schema: &SchemaRef, keys: Vec<usize>, seed: u64) -> Result<Self> {
        let key_types = keys
            .iter()
            .map(|key| schema.field(*key).data_type().clone());
        let types: Vec<DataType> = key_types.collect();
        let file = || -> Result<_> {
            let file = tempfile::tempfile().map_err(|error| in_folder(error.into()))?;
            Ok(BufWriter::with_capacity(BUFFER, file))
        };
        Ok(Self {
            batches: StreamWriter::try_new(file()?, schema)?,
            hashes: file()?,
            hasher: KeyHasher::new(&types, seed)?,
            spooled: Facts {
                schema: Arc::clone(schema),
                keys,
                types,
                seed,
                rows: 0,
                null_keys: 0,
            },
        })
    }

    /// Takes one batch. This blocks on the disk.
    ///
    /// # Errors
    /// If the disk cannot take it.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let keys: Vec<ArrayRef> = self
            .spooled
            .keys
            .iter()
            .map(|key| batch.column(*key).clone())
            .collect();
        let nulls = keys
            .iter()
            .map(|key| key.logical_nulls())
            .fold(None, |all, nulls| {
                NullBuffer::union(all.as_ref(), nulls.as_ref())
            });
        let written = self.batches.write(batch);
        written.map_err(|error| in_folder(error.into()))?;
        for hash in self.hasher.hash(&keys)? {
            let written = self.hashes.write_all(&hash.to_bytes());
            written.map_err(|error| in_folder(error.into()))?;
        }
        self.spooled.rows += batch.num_rows() as u64;
        self.spooled.null_keys += nulls.map_or(0, |nulls| nulls.null_count()) as u64;
        Ok(())
    }

    /// All rows have come. This blocks on the disk.
    ///
    /// # Errors
    /// If the disk cannot take what is left.
    pub fn finish(self) -> Result<Spooled> {
        let whole = |file: BufWriter<File>| {
            let whole = file.into_inner();
            whole.map_err(|error| in_folder(error.into_error().into()))
        };
        let batches = self.batches.into_inner();
        Ok(Spooled {
            batches: whole(batches.map_err(|error| in_folder(error.into()))?)?,
            hashes: whole(self.hashes)?,
            facts: self.spooled,
        })
    }
}

impl Spooled {
    /// How many rows there are.
    pub fn rows(&self) -> u64 {
        self.facts.rows
    }

    /// How many of them have a null in a key column.
    pub fn null_keys(&self) -> u64 {
        self.facts.null_keys
    }

    /// The batches, in their order; one stream at a time.
    ///
    /// # Errors
    /// If the disk does not give them back.
    pub fn batches(&self) -> Result<impl Stream<Item = Result<RecordBatch>> + Send + 'static> {
        let mut file = self.batches.try_clone()?;
        file.rewind()?;
        let reader = StreamReader::try_new(BufReader::with_capacity(BUFFER, file), None)?;
        Ok(stream::try_unfold(reader, async |mut reader| {
            blocking(move || Ok(reader.next().transpose()?.map(|batch| (batch, reader)))).await
        }))
    }

    /// The batches with the hashes of their keys.
    pub(crate) fn hashed_batches(
        &self,
    ) -> Result<impl Stream<Item = Result<(RecordBatch, Vec<KeyHash>)>> + Send + 'static> {
        let mut hashes = self.hashes.try_clone()?;
        hashes.rewind()?;
        let hashes = BufReader::with_capacity(BUFFER, hashes);
        let batches = Box::pin(self.batches()?);
        Ok(stream::try_unfold(
            (batches, hashes),
            async |(mut batches, mut hashes)| {
                let Some(batch) = batches.try_next().await? else {
                    return Ok(None);
                };
                let rows = batch.num_rows();
                let read = move || {
                    let read = (0..rows).map(|_| read_hash(&mut hashes));
                    Ok((read.collect::<Result<Vec<_>>>()?, hashes))
                };
                let (read, hashes) = blocking(read).await?;
                Ok(Some(((batch, read), (batches, hashes))))
            },
        ))
    }

    /// The hashes of the keys, in the order of the rows. This blocks on the disk.
    pub(crate) fn hashes(&self, mut each: impl FnMut(u64, KeyHash)) -> Result<()> {
        let mut file = &self.hashes;
        file.rewind()?;
        let mut reader = BufReader::with_capacity(BUFFER, file);
        for row in 0..self.facts.rows {
            each(row, read_hash(&mut reader)?);
        }
        Ok(())
    }

    /// How many bytes the rows take on the disk.
    pub(crate) fn bytes(&self) -> Result<u64> {
        Ok(self.batches.metadata()?.len())
    }

    /// A spool for other rows with the same keys, whose hashes are the same.
    pub(crate) fn sibling(&self, schema: &SchemaRef, keys: Vec<usize>) -> Result<Spool> {
        Spool::with_seed(schema, keys, self.facts.seed)
    }

    /// What hashes keys as those of the load were.
    pub(crate) fn hasher(&self) -> Result<KeyHasher> {
        KeyHasher::new(&self.facts.types, self.facts.seed)
    }

    /// The schema of the batches.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.facts.schema
    }

    /// The places of the key columns.
    pub(crate) fn keys(&self) -> &[usize] {
        &self.facts.keys
    }

    /// The types of the key columns.
    pub(crate) fn key_types(&self) -> &[DataType] {
        &self.facts.types
    }
}

fn read_hash(reader: &mut impl Read) -> Result<KeyHash> {
    let mut bytes = [0; 16];
    reader.read_exact(&mut bytes)?;
    Ok(KeyHash::from_bytes(bytes))
}
