//! Joins small batches and splits large ones, by rows and bytes, copying only what it must.

use std::collections::VecDeque;

use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;

use crate::BatchSize;

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
        Self { size, pending: Vec::new(), pending_rows: 0, pending_bytes: 0, ready: VecDeque::new() }
    }

    /// Takes a batch. Empty ones vanish.
    pub(crate) fn push(&mut self, batch: RecordBatch) {
        let bytes = batch_bytes(&batch);
        let bytes_a_row = (bytes / batch.num_rows().max(1)).max(1);
        let mut start = 0;
        while start < batch.num_rows() {
            let left = batch.num_rows() - start;
            let room = self.size.max_bytes.saturating_sub(self.pending_bytes) / bytes_a_row;
            let rows = left.min(self.size.max_rows - self.pending_rows).min(room);
            if rows == 0 && self.pending_rows > 0 {
                self.flush();
                continue;
            }
            let rows = rows.max(1);
            let piece = if rows == batch.num_rows() { batch.clone() } else { batch.slice(start, rows) };
            self.pending.push(piece);
            self.pending_rows += rows;
            self.pending_bytes += rows * bytes_a_row;
            start += rows;
            if self.pending_rows >= self.size.min_rows || self.pending_bytes >= self.size.max_bytes {
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
        self.ready.extend(pending.into_iter().map(share).map(|(bytes, batch)| (batch, bytes)));
    }

    /// The next batch of the wanted size, and its bytes, about.
    pub(crate) fn next(&mut self) -> Option<(RecordBatch, usize)> {
        self.ready.pop_front()
    }
}

/// The bytes that the rows of a batch take, not those of the buffers they are a slice of.
fn batch_bytes(batch: &RecordBatch) -> usize {
    let column = |array: &arrow_array::ArrayRef| {
        let data = arrow_array::Array::to_data(array);
        data.get_slice_memory_size().unwrap_or_else(|_| array.get_array_memory_size())
    };
    batch.columns().iter().map(column).sum()
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
    fn a_batch_that_fits_is_passed_on_without_a_copy() {
        let input = batch(0..100);
        let mut rebatcher = Rebatcher::new(BatchSize { min_rows: 10, max_rows: 1000, max_bytes: 1 << 20 });
        rebatcher.push(input.clone());
        let (output, _) = rebatcher.next().expect("a batch");
        assert!(Arc::ptr_eq(input.column(0), output.column(0)));
    }
}
