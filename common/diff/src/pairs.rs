//! Two sorted sides side by side: rows of one key are compared, others are on one side only.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BinaryArray, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_ord::ord::make_comparator;
use arrow_schema::{SchemaRef, SortOptions};
use arrowload_core::{BatchStream, Error, ErrorKind, Result};

use crate::Side;
use crate::block::{Block, Layout};
use crate::comparison::Comparison;
use crate::sort::{Limits, Sorted, context, looked_at};

/// How many rows there are, and what happened to them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows of each side.
    pub rows: [u64; 2],
    /// Rows of both sides whose values are equal.
    pub equal: u64,
    /// Rows of the second side only.
    pub added: u64,
    /// Rows of the first side only.
    pub removed: u64,
    /// Rows of both sides with a value that differs.
    pub changed: u64,
    /// Each column beside the keys, and how many rows differ in it.
    pub columns: Vec<(String, u64)>,
}

impl Counts {
    /// Whether every row is on both sides, with the same values.
    pub fn is_equal(&self) -> bool {
        self.added == 0 && self.removed == 0 && self.changed == 0
    }
}

/// The differing rows of two streams, in the order of their keys.
pub struct Differences {
    comparison: Arc<Comparison>,
    layout: Layout,
    sides: [Half; 2],
    counts: Counts,
}

/// One side: its sorted rows, and how far they are read.
struct Half {
    side: Side,
    sorted: Sorted,
    current: Option<Current>,
    /// The key of the last row of the batch before, to find the same key again.
    last: Option<Vec<u8>>,
}

struct Current {
    batch: RecordBatch,
    keys: BinaryArray,
    at: usize,
}

impl Half {
    /// Makes sure that the next row is read, unless the side has ended.
    async fn fill(&mut self) -> Result<u64> {
        let mut read = 0;
        while self
            .current
            .as_ref()
            .is_none_or(|current| current.at == current.keys.len())
        {
            if let Some(current) = self.current.take()
                && !current.keys.is_empty()
            {
                self.last = Some(current.keys.value(current.keys.len() - 1).to_vec());
            }
            let Some(batch) = self.sorted.next().await? else {
                break;
            };
            read += batch.num_rows() as u64;
            self.current = Some(Current {
                keys: batch.column(0).as_binary().clone(),
                batch,
                at: 0,
            });
        }
        Ok(read)
    }

    fn key(&self) -> Option<&[u8]> {
        let current = self.current.as_ref()?;
        (current.at < current.keys.len()).then(|| current.keys.value(current.at))
    }

    /// Goes on to the next row, and returns the position of this one.
    fn step(&mut self, comparison: &Comparison) -> Result<Option<u32>> {
        let Some(current) = &mut self.current else {
            return Ok(None);
        };
        let at = current.at;
        let before = match at {
            0 => self.last.as_deref(),
            at => Some(current.keys.value(at - 1)),
        };
        match before.map(|before| before.cmp(current.keys.value(at))) {
            Some(Ordering::Equal) => return Err(twice(comparison, &current.batch, at, self.side)),
            Some(Ordering::Greater) => return Err(disordered("left rows in disorder")),
            _ => {}
        }
        current.at += 1;
        Ok(Some(at as u32))
    }
}

/// The error for a sort that did not do what it is there for.
fn disordered(what: &str) -> Error {
    let message = format!("the sort of the query engine has {what}, which is a defect of it");
    Error::new(ErrorKind::Unexpected, message)
}

/// The error for a key that two rows of a side have.
fn twice(comparison: &Comparison, batch: &RecordBatch, row: usize, side: Side) -> Error {
    let shown = comparison.keys.iter().enumerate().map(|(index, key)| {
        let array = batch.column(1 + index);
        let options = FormatOptions::default().with_display_error(true);
        let value = ArrayFormatter::try_new(array, &options)
            .map_or_else(|error| error.to_string(), |all| all.value(row).to_string());
        format!("{} = {value}", key.name)
    });
    let shown = shown.collect::<Vec<_>>().join(", ");
    let message = format!(
        "{side} has more than one row with the key {shown}; rows are compared by keys that are unique: name more columns, or compare \
         without keys"
    );
    Error::new(ErrorKind::InvalidData, message)
}

impl Differences {
    pub(crate) async fn new(
        comparison: Arc<Comparison>,
        a: BatchStream,
        b: BatchStream,
        limits: &Limits,
    ) -> Result<Self> {
        if comparison.keys.is_empty() {
            let message = "rows are found by keys, and there are none";
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        let layout = Layout::of(&comparison)?;
        let ((a, bytes_a), (b, bytes_b)) = futures::try_join!(looked_at(a), looked_at(b))?;
        let context = context(limits, bytes_a.max(bytes_b))?;
        let half = |side, stream| {
            let context = Arc::clone(&context);
            Sorted::new(
                Arc::clone(&comparison),
                side,
                stream,
                context,
                limits.memory,
            )
            .map(|sorted| Half {
                side,
                sorted,
                current: None,
                last: None,
            })
        };
        let sides = [half(Side::A, a)?, half(Side::B, b)?];
        let columns = comparison.values.iter();
        let counts = Counts {
            columns: columns.map(|column| (column.name.clone(), 0)).collect(),
            ..Counts::default()
        };
        Ok(Self {
            comparison,
            layout,
            sides,
            counts,
        })
    }

    /// The schema of the batches of all blocks.
    pub fn schema(&self) -> &SchemaRef {
        &self.layout.schema
    }

    /// What is counted so far; all of it after the last block.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The next rows that differ; `None` after the last.
    ///
    /// # Errors
    /// What the streams say; [`ErrorKind::NullKey`] for a key that is null, [`ErrorKind::InvalidData`] for one that a side has twice
    /// and for a value that does not fit its own type; [`ErrorKind::ResourceExhausted`] where memory or disk do not suffice.
    pub async fn next(&mut self) -> Result<Option<Block>> {
        loop {
            let [a, b] = &mut self.sides;
            let (rows_a, rows_b) = futures::try_join!(a.fill(), b.fill())?;
            self.counts.rows[0] += rows_a;
            self.counts.rows[1] += rows_b;
            if a.key().is_none() && b.key().is_none() {
                let read = [a.sorted.rows_read(), b.sorted.rows_read()];
                return match read == self.counts.rows {
                    true => Ok(None),
                    false => Err(disordered("lost rows")),
                };
            }
            let rows = self.meet()?;
            if let Some(block) = self.compare(rows)? {
                return Ok(Some(block));
            }
        }
    }

    /// Pairs the rows of both sides by their keys, as far as both batches reach.
    fn meet(&mut self) -> Result<Vec<(Option<u32>, Option<u32>)>> {
        let comparison = &self.comparison;
        let [a, b] = &mut self.sides;
        // A side that has ended has nothing to wait for.
        let (ended_a, ended_b) = (a.key().is_none(), b.key().is_none());
        let mut rows = Vec::new();
        loop {
            let order = match (a.key(), b.key()) {
                (Some(a), Some(b)) => a.cmp(b),
                (Some(_), None) if ended_b => Ordering::Less,
                (None, Some(_)) if ended_a => Ordering::Greater,
                _ => return Ok(rows),
            };
            rows.push(match order {
                Ordering::Less => (a.step(comparison)?, None),
                Ordering::Greater => (None, b.step(comparison)?),
                Ordering::Equal => (a.step(comparison)?, b.step(comparison)?),
            });
        }
    }

    /// Keeps only the rows that differ.
    fn compare(&mut self, rows: Vec<(Option<u32>, Option<u32>)>) -> Result<Option<Block>> {
        let batches = self
            .sides
            .each_ref()
            .map(|half| half.current.as_ref().map(|current| &current.batch));
        let mut differing: Vec<Vec<usize>> = vec![Vec::new(); rows.len()];
        if let [Some(a), Some(b)] = batches {
            let a = self.comparison.compared(a, Side::A)?;
            let b = self.comparison.compared(b, Side::B)?;
            for (index, (a, b)) in a.iter().zip(&b).enumerate() {
                let is_equal = equality(a, b)?;
                for (row, differing) in rows.iter().zip(&mut differing) {
                    if let (Some(a), Some(b)) = row
                        && !is_equal(*a as usize, *b as usize)
                    {
                        differing.push(index);
                        self.counts.columns[index].1 += 1;
                    }
                }
            }
        }
        let (mut kept, mut columns) = (Vec::new(), Vec::new());
        for (row, differing) in rows.into_iter().zip(differing) {
            let counter = match row {
                (None, _) => &mut self.counts.added,
                (_, None) => &mut self.counts.removed,
                _ if differing.is_empty() => {
                    self.counts.equal += 1;
                    continue;
                }
                _ => &mut self.counts.changed,
            };
            *counter += 1;
            kept.push(row);
            columns.push(differing);
        }
        match kept.is_empty() {
            true => Ok(None),
            false => self.layout.block(batches, &kept, columns).map(Some),
        }
    }
}

/// Whether a value of one array equals one of another, in one form. Nulls are equal to each other.
fn equality(a: &ArrayRef, b: &ArrayRef) -> Result<impl Fn(usize, usize) -> bool> {
    let order = make_comparator(a.as_ref(), b.as_ref(), SortOptions::default())?;
    Ok(move |row_a, row_b| order(row_a, row_b) == Ordering::Equal)
}
