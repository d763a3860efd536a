//! Converts big-endian numbers to little-endian.

use std::ops::Range;

use arrow_schema::{DataType, IntervalUnit};
use arrowload_core::Result;

use crate::error::malformed;

/// The longest value that lies in its view.
const INLINE_BYTES: i32 = 12;

/// What a buffer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Numbers of this many bytes.
    Bytes(usize),
    /// Two numbers of 4 bytes, and one of 8.
    MonthDayNano,
    /// Views: a length, then the value, or its first four bytes and two numbers.
    Views,
}

impl Unit {
    pub(crate) fn of(of: &DataType, width: usize) -> Self {
        match of {
            DataType::Interval(IntervalUnit::DayTime) => Self::Bytes(4),
            DataType::Interval(IntervalUnit::MonthDayNano) => Self::MonthDayNano,
            _ => Self::Bytes(width),
        }
    }

    /// Bytes of one of them.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::Bytes(width) => width,
            Self::MonthDayNano | Self::Views => 16,
        }
    }
}

/// A buffer of numbers.
#[derive(Debug)]
pub(crate) struct Swap {
    pub(crate) range: Range<usize>,
    pub(crate) unit: Unit,
}

/// Turns the numbers of a body round.
pub(crate) fn swap(body: &mut [u8], swaps: &[Swap]) -> Result<()> {
    let mut end = 0;
    for Swap { range, unit } in swaps {
        if range.is_empty() {
            continue;
        }
        // Bytes that two buffers share must not be swapped twice.
        if range.start < end {
            return Err(malformed("buffers that overlap"));
        }
        end = range.end;
        let Some(bytes) = body.get_mut(range.clone()) else {
            return Err(malformed("a buffer that lies outside of its body"));
        };
        match unit {
            Unit::Bytes(width) => turn(bytes, *width),
            Unit::MonthDayNano => {
                for interval in bytes.chunks_exact_mut(16) {
                    let (days, nanoseconds) = interval.split_at_mut(8);
                    turn(days, 4);
                    turn(nanoseconds, 8);
                }
            }
            Unit::Views => bytes.chunks_exact_mut(16).for_each(turn_view),
        }
    }
    Ok(())
}

fn turn(bytes: &mut [u8], width: usize) {
    if width > 1 {
        bytes.chunks_exact_mut(width).for_each(<[u8]>::reverse);
    }
}

fn turn_view(view: &mut [u8]) {
    let (length, rest) = view.split_at_mut(4);
    turn(length, 4);
    let length = length
        .first_chunk::<4>()
        .map_or(0, |length| i32::from_le_bytes(*length));
    if length > INLINE_BYTES {
        turn(&mut rest[4..], 4);
    }
}
