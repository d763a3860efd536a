//! Timestamps of 96 bits: a day and nanoseconds of it, which Arrow's reader converts with a silent wrap.

use std::sync::Arc;

use arrowload_core::{Error, ErrorKind, Result};
use bytes::{Buf, Bytes};
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::basic::Type as PhysicalType;
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::Int96Type;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;

use crate::error::malformed;
use crate::options::Int96;

/// The Julian day of 1970-01-01.
const EPOCH: i128 = 2_440_588;

const NANOSECONDS_OF_A_DAY: i128 = 86_400_000_000_000;

/// Values that are looked at at once.
const BATCH: usize = 8192;

/// Refuses values that the unit cannot hold, or holds only rounded, in the columns below some roots.
pub(crate) async fn check(
    reader: &mut dyn AsyncFileReader,
    group: &RowGroupMetaData,
    is_wanted: impl Fn(&str) -> bool,
    unit: Int96,
) -> Result<()> {
    let is_wanted = |column: &&ColumnChunkMetaData| {
        column.column_type() == PhysicalType::INT96
            && column
                .column_path()
                .parts()
                .first()
                .is_some_and(|root| is_wanted(root))
    };
    let rows = usize::try_from(group.num_rows()).map_err(malformed)?;
    for column in group.columns().iter().filter(is_wanted) {
        let (start, length) = column.byte_range();
        let bytes = reader.get_bytes(start..start.saturating_add(length)).await;
        let bytes = bytes.map_err(malformed)?;
        check_chunk(Chunk { start, bytes }, column, rows, unit)
            .map_err(|error| error.with("column", column.column_path().string()))?;
    }
    Ok(())
}

fn check_chunk(chunk: Chunk, column: &ColumnChunkMetaData, rows: usize, unit: Int96) -> Result<()> {
    let pages =
        SerializedPageReader::new(Arc::new(chunk), column, rows, None).map_err(malformed)?;
    let mut reader = ColumnReaderImpl::<Int96Type>::new(column.column_descr_ptr(), Box::new(pages));
    let (mut definitions, mut repetitions, mut values) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        definitions.clear();
        repetitions.clear();
        values.clear();
        let read = reader.read_records(
            BATCH,
            Some(&mut definitions),
            Some(&mut repetitions),
            &mut values,
        );
        let (records, _, levels) = read.map_err(malformed)?;
        for value in &values {
            if let &[low, high, day] = value.data() {
                // Days before the year -4712 are negative.
                let day = day.cast_signed();
                let nanoseconds = (u64::from(high) << 32 | u64::from(low)).cast_signed();
                check_value(day.into(), nanoseconds.into(), unit)?;
            }
        }
        if records == 0 && levels == 0 {
            return Ok(());
        }
    }
}

fn check_value(day: i128, nanoseconds: i128, unit: Int96) -> Result<()> {
    let since_epoch = (day - EPOCH) * NANOSECONDS_OF_A_DAY + nanoseconds;
    let held = match unit {
        Int96::Nanoseconds => since_epoch,
        Int96::Microseconds if since_epoch % 1000 == 0 => since_epoch / 1000,
        Int96::Microseconds => {
            let message = "a timestamp of 96 bits has nanoseconds, which microseconds cannot hold; int96 = \"ns\" reads them, for \
                           dates from 1677 to 2262";
            return Err(Error::new(ErrorKind::InvalidData, message));
        }
    };
    i64::try_from(held)
        .map(|_| ())
        .map_err(|_| out_of_range(unit))
}

fn out_of_range(unit: Int96) -> Error {
    let message = match unit {
        Int96::Nanoseconds => {
            "a timestamp of 96 bits lies outside of the years 1677 to 2262, which nanoseconds can hold; int96 = \"us\" reads it"
        }
        Int96::Microseconds => "a timestamp of 96 bits is further off than 290,000 years",
    };
    Error::new(ErrorKind::InvalidData, message)
}

/// The bytes of a column chunk, at their place in the file.
struct Chunk {
    start: u64,
    bytes: Bytes,
}

impl Chunk {
    fn from(&self, at: u64) -> parquet::errors::Result<Bytes> {
        let from = at
            .checked_sub(self.start)
            .and_then(|from| usize::try_from(from).ok());
        let from = from.filter(|from| *from <= self.bytes.len());
        let from = from.ok_or_else(|| ParquetError::EOF(format!("a page at {at}")))?;
        Ok(self.bytes.slice(from..))
    }
}

impl Length for Chunk {
    fn len(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

impl ChunkReader for Chunk {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(self.from(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let bytes = self.from(start)?;
        if length > bytes.len() {
            return Err(ParquetError::EOF(format!(
                "a page of {length} bytes at {start}"
            )));
        }
        Ok(bytes.slice(..length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_held_or_refused() {
        let day = NANOSECONDS_OF_A_DAY;
        let cases = [
            // 9999-12-31 and the first day of the year 1.
            (5_373_484, 0, Int96::Microseconds, true),
            (1_721_426, day - 1000, Int96::Microseconds, true),
            (5_373_484, 0, Int96::Nanoseconds, false),
            (2_440_588, 1, Int96::Microseconds, false),
            (2_440_588, 1, Int96::Nanoseconds, true),
            (i128::from(i32::MAX), 0, Int96::Microseconds, false),
            (0, 0, Int96::Microseconds, true),
            (2_440_588, i128::from(i64::MIN), Int96::Nanoseconds, true),
        ];
        for (day, nanoseconds, unit, held) in cases {
            let outcome = check_value(day, nanoseconds, unit);
            assert_eq!(
                outcome.is_ok(),
                held,
                "{day} {nanoseconds} {unit:?}: {outcome:?}"
            );
        }
    }
}
