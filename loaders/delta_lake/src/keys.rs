//! The keys of an upsert: which row of the load is the last with its key, and which rows of the table have one of them.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_array::{ArrayRef, RecordBatch};
use arrow_row::{RowConverter, SortField};
use arrow_schema::Schema;
use arrowload_core::{Error, ErrorKind, Result};
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// About what a key takes in memory.
pub(crate) const KEY_BYTES: usize = 64;

/// The 128-bit hash of a row's keys, in two halves. No two keys share one: by chance it would take 2^64 keys, and the seed is
/// new for each load, so that nobody can make such keys.
pub(crate) type KeyHash = [u64; 2];

/// Hashes the keys of batches.
pub(crate) struct KeyHasher {
    columns: Vec<usize>,
    converter: RowConverter,
    seed: u64,
}

impl KeyHasher {
    /// For batches that have these columns at these places.
    pub(crate) fn new(schema: &Schema, columns: Vec<usize>, seed: u64) -> Result<Self> {
        let sort = columns
            .iter()
            .map(|index| SortField::new(schema.field(*index).data_type().clone()))
            .collect();
        let converter = RowConverter::new(sort).map_err(|error| {
            Error::new(
                ErrorKind::Unsupported,
                format!("a key column has a type that keys cannot have: {error}"),
            )
            .with_source(error)
        })?;
        Ok(Self {
            columns,
            converter,
            seed,
        })
    }

    pub(crate) fn hash(&self, batch: &RecordBatch) -> Result<Vec<KeyHash>> {
        let keys: Vec<ArrayRef> = self
            .columns
            .iter()
            .map(|index| batch.column(*index).clone())
            .collect();
        let rows = self.converter.convert_columns(&keys)?;
        let hash = |row: arrow_row::Row<'_>| {
            let hash = xxh3_128_with_seed(row.as_ref(), self.seed);
            [hash as u64, (hash >> 64) as u64]
        };
        Ok(rows.iter().map(hash).collect())
    }
}

/// Takes a part of what is a hash already.
#[derive(Default)]
struct Same(u64);

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 ^= value;
    }

    fn write_usize(&mut self, _: usize) {}
}

/// Some of the keys of a load: each with the last row that has it.
pub(crate) struct Keys {
    places: HashMap<KeyHash, u32, BuildHasherDefault<Same>>,
    rows: Vec<u64>,
    matched: Vec<AtomicBool>,
}

impl Keys {
    pub(crate) fn with_capacity(keys: usize) -> Self {
        Self {
            places: HashMap::with_capacity_and_hasher(keys, BuildHasherDefault::default()),
            rows: Vec::with_capacity(keys),
            matched: Vec::new(),
        }
    }

    /// Adds a row, and answers with the earlier row of the same key, which it replaces.
    pub(crate) fn insert(&mut self, key: KeyHash, row: u64) -> Option<u64> {
        let next = self.rows.len() as u32;
        let place = *self.places.entry(key).or_insert(next);
        if place == next {
            self.rows.push(row);
            self.matched.push(AtomicBool::new(false));
            return None;
        }
        Some(std::mem::replace(&mut self.rows[place as usize], row))
    }

    /// Whether a row of the table has one of the keys.
    pub(crate) fn meet(&self, key: KeyHash) -> bool {
        let Some(place) = self.places.get(&key) else {
            return false;
        };
        self.matched[*place as usize].store(true, Ordering::Relaxed);
        true
    }

    /// The last row of each key, and whether the table has the key.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (u64, bool)> + '_ {
        self.rows.iter().copied().zip(
            self.matched
                .iter()
                .map(|matched| matched.load(Ordering::Relaxed)),
        )
    }
}
