//! Keys as hashes, and the keys of one pass: which row of the load is the last with its key, and which keys the target has.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_array::ArrayRef;
use arrow_row::{RowConverter, SortField};
use arrow_schema::DataType;
use arrowload_core::{Error, ErrorKind, Result};
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// About what a key takes in memory: 16 bytes of hash and 4 of place in a table that is half full, and a row and a flag.
pub(crate) const KEY_BYTES: usize = 64;

/// The 128-bit hash of a row's keys, in two halves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyHash {
    /// Distinguishes places in the table of a pass.
    low: u64,
    /// Distinguishes passes.
    high: u64,
}

impl KeyHash {
    fn of(key: &[u8], seed: u64) -> Self {
        Self::from_bytes(xxh3_128_with_seed(key, seed).to_le_bytes())
    }

    /// Which of so many passes it belongs to.
    pub(crate) fn pass(self, passes: u64) -> u64 {
        self.high % passes
    }

    pub(crate) fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.high) << 64 | u128::from(self.low)).to_le_bytes()
    }

    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Self {
        let both = u128::from_le_bytes(bytes);
        Self {
            low: both as u64,
            high: (both >> 64) as u64,
        }
    }
}

impl Hash for KeyHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.low);
    }
}

/// Hashes the keys of rows.
pub(crate) struct KeyHasher {
    converter: RowConverter,
    seed: u64,
}

impl KeyHasher {
    /// For key columns of these types.
    pub(crate) fn new(types: &[DataType], seed: u64) -> Result<Self> {
        let sort = types.iter().cloned().map(SortField::new).collect();
        let converter = RowConverter::new(sort).map_err(|error| {
            let message = format!("a key column has a type that keys cannot have: {error}");
            Error::new(ErrorKind::Unsupported, message).with_source(error)
        })?;
        Ok(Self { converter, seed })
    }

    /// One hash for each row.
    pub(crate) fn hash(&self, columns: &[ArrayRef]) -> Result<Vec<KeyHash>> {
        let rows = self.converter.convert_columns(columns)?;
        let hash = |row: arrow_row::Row<'_>| KeyHash::of(row.as_ref(), self.seed);
        Ok(rows.iter().map(hash).collect())
    }
}

/// A hasher that takes a part of an existing hash.
#[derive(Default)]
pub(crate) struct Same(u64);

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Of no use here: a hash of a key is written as one number.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// A map by keys.
pub(crate) type KeyMap<T> = HashMap<KeyHash, T, BuildHasherDefault<Same>>;

/// Some of the keys of a load: each with the last row that has it.
pub(crate) struct Keys {
    places: KeyMap<u32>,
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

    /// Adds a row, and returns the earlier row of the same key, which it replaces.
    pub(crate) fn insert(&mut self, key: KeyHash, row: u64) -> Option<u64> {
        match self.places.entry(key) {
            Entry::Vacant(place) => {
                place.insert(self.rows.len() as u32);
                self.rows.push(row);
                self.matched.push(AtomicBool::new(false));
                None
            }
            Entry::Occupied(place) => Some(std::mem::replace(
                &mut self.rows[*place.get() as usize],
                row,
            )),
        }
    }

    /// Whether a row of the target has one of the keys. The key is matched then.
    pub(crate) fn meet(&self, key: KeyHash) -> bool {
        let Some(place) = self.places.get(&key) else {
            return false;
        };
        self.matched[*place as usize].store(true, Ordering::Relaxed);
        true
    }

    /// The last row of each key, and whether the target has the key.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (u64, bool)> + '_ {
        let matched = self.matched.iter();
        let matched = matched.map(|matched| matched.load(Ordering::Relaxed));
        self.rows.iter().copied().zip(matched)
    }
}
