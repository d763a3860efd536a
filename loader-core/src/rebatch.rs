//! Joins small batches and splits large ones, by rows and bytes, copying only what it must.

use std::collections::VecDeque;

use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;

use crate::{BatchSize, batch_bytes};

/// Takes batches as they come and gives batches of the wanted size. The schema never changes.
#[derive(Debug)]
pub(crate) struct Rebatcher {
    size: BatchSize,
    pending: Vec<RecordBatch>,
    pending_rows: usize,
    pending_bytes: usize,
    ready: VecDeque<(RecordBatch, usize)>,
}

impl Rebatcher {
    pub(crate) fn new(size: BatchSize) -> Self {
        Self {
            size,
            pending: Vec::new(),
            pending_rows: 0,
            pending_bytes: 0,
            ready: VecDeque::new(),
        }
    }

    /// Takes a batch. Empty ones vanish.
    pub(crate) fn push(&mut self, batch: RecordBatch) {
        let batch_rows = batch.num_rows();
        let whole = batch_bytes(&batch);
        let bytes_a_row = (whole / batch_rows.max(1)).max(1);
        let mut start = 0;
        while start < batch_rows {
            let room = self.size.max_bytes.saturating_sub(self.pending_bytes);
            let rows = (batch_rows - start)
                .min(self.size.max_rows - self.pending_rows)
                .min(room / bytes_a_row);
            if rows == 0 && self.pending_rows > 0 {
                self.flush();
                continue;
            }
            let (piece, bytes) = match rows {
                all if all == batch_rows => (batch.clone(), whole),
                _ => slice(&batch, start, rows.max(1), room),
            };
            start += piece.num_rows();
            self.pending_rows += piece.num_rows();
            self.pending_bytes += bytes;
            self.pending.push(piece);
            if self.pending_rows >= self.size.min_rows || self.pending_bytes >= self.size.max_bytes
            {
                self.flush();
            }
        }
    }

    /// Makes the last, possibly small, batch ready.
    pub(crate) fn flush(&mut self) {
        let mut pending = std::mem::take(&mut self.pending);
        let bytes = std::mem::take(&mut self.pending_bytes);
        let rows = std::mem::take(&mut self.pending_rows);
        let Some(first) = pending.first() else { return };
        if pending.len() > 1 {
            // Dictionaries of different batches may have too many values together: those go on one by one.
            if let Ok(joined) = concat_batches(&first.schema(), &pending) {
                pending = vec![joined];
            }
        }
        let share = |batch: RecordBatch| (bytes * batch.num_rows() / rows.max(1), batch);
        self.ready.extend(
            pending
                .into_iter()
                .map(share)
                .map(|(bytes, batch)| (batch, bytes)),
        );
    }

    /// The next batch of the wanted size, and its bytes, about.
    pub(crate) fn next(&mut self) -> Option<(RecordBatch, usize)> {
        self.ready.pop_front()
    }
}

/// Rows of a batch, fewer than `rows` where these are much larger than the batch's others, and their bytes.
fn slice(batch: &RecordBatch, start: usize, mut rows: usize, room: usize) -> (RecordBatch, usize) {
    loop {
        let piece = batch.slice(start, rows);
        let bytes = batch_bytes(&piece);
        if rows == 1 || bytes <= room.saturating_add(room / 4) {
            return (piece, bytes);
        }
        rows = rows.div_ceil(2);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;
    use arrow_array::{ArrayRef, Int64Array};
    use proptest::prelude::*;

    use super::*;

    fn batch(values: std::ops::Range<i64>) -> RecordBatch {
        let column = Arc::new(Int64Array::from_iter_values(values)) as ArrayRef;
        RecordBatch::try_from_iter([("a", column)]).expect("a batch")
    }

    fn run(sizes: &[i64], size: BatchSize) -> Vec<RecordBatch> {
        let mut rebatcher = Rebatcher::new(size);
        let (mut next, mut out) = (0, Vec::new());
        for rows in sizes {
            rebatcher.push(batch(next..next + rows));
            next += rows;
            out.extend(std::iter::from_fn(|| rebatcher.next()).map(|(batch, _)| batch));
        }
        rebatcher.flush();
        out.extend(std::iter::from_fn(|| rebatcher.next()).map(|(batch, _)| batch));
        out
    }

    proptest! {
        #[test]
        fn no_row_is_lost_or_moved_and_sizes_hold(
            sizes in prop::collection::vec(0i64..300, 0..20), min in 0usize..200, more in 1usize..200, max_bytes in 1usize..5000,
        ) {
            let size = BatchSize { min_rows: min, max_rows: min + more, max_bytes };
            let out = run(&sizes, size);
            let total: i64 = sizes.iter().sum();
            let rows: Vec<i64> = out.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
            prop_assert_eq!(rows, (0..total).collect::<Vec<_>>());
            for (index, batch) in out.iter().enumerate() {
                prop_assert!(batch.num_rows() <= size.max_rows && batch.num_rows() > 0);
                prop_assert!(batch.num_rows() == 1 || batch.num_rows() * 8 <= max_bytes);
                let small = batch.num_rows() < min && (batch.num_rows() + 1) * 8 <= max_bytes;
                prop_assert!(!small || index + 1 == out.len());
            }
        }
    }

    #[test]
    fn a_few_large_rows_do_not_hide_behind_many_small_ones() {
        let long = "x".repeat(1 << 16);
        let text = (0..1000).map(|row| if row < 10 { long.as_str() } else { "" });
        let column = Arc::new(arrow_array::StringViewArray::from_iter_values(text)) as ArrayRef;
        let mut rebatcher = Rebatcher::new(BatchSize {
            min_rows: 10_000,
            max_rows: 10_000,
            max_bytes: 1 << 17,
        });
        rebatcher.push(RecordBatch::try_from_iter([("a", column)]).expect("a batch"));
        rebatcher.flush();
        let out: Vec<(usize, usize)> = std::iter::from_fn(|| rebatcher.next())
            .map(|(batch, bytes)| (batch.num_rows(), bytes))
            .collect();
        assert_eq!(out.iter().map(|(rows, _)| rows).sum::<usize>(), 1000);
        assert!(
            out.iter().all(|(_, bytes)| *bytes <= (1 << 17) + (1 << 15)),
            "{out:?}"
        );
    }

    #[test]
    fn a_batch_that_fits_is_passed_on_without_a_copy() {
        let input = batch(0..100);
        let mut rebatcher = Rebatcher::new(BatchSize {
            min_rows: 10,
            max_rows: 1000,
            max_bytes: 1 << 20,
        });
        rebatcher.push(input.clone());
        let (output, _) = rebatcher.next().expect("a batch");
        assert!(Arc::ptr_eq(input.column(0), output.column(0)));
    }
}
