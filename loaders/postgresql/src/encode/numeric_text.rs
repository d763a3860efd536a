//! `numeric` from the digits as text, as such a column without a precision is read.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;

use super::bind::Frame;
use super::column::{Column, Reason};
use super::numeric::{INFINITY, NAN, NEGATIVE, NEGATIVE_INFINITY, put_special};
use super::staged::staged;

/// The most digits before and after the point that the server takes.
const MOST_BEFORE: usize = 131_072;
const MOST_BEHIND: usize = 16_383;

pub(super) fn column(
    array: &ArrayRef,
    frame: Frame,
    limit: Option<(i32, i32)>,
) -> Option<Box<dyn Column>> {
    if *array.data_type() != DataType::Utf8 {
        return None;
    }
    let values = array.as_string::<i32>().clone();
    Some(staged(frame, move |index, out| {
        put(values.value(index), limit, out)
    }))
}

#[cold]
fn malformed(text: &str) -> Reason {
    let excerpt: String = text.chars().take(60).collect();
    Reason::new(format!("`{excerpt}` is no number"))
}

fn put(text: &str, limit: Option<(i32, i32)>, out: &mut Vec<u8>) -> Result<(), Reason> {
    let special = match text {
        "NaN" => Some(NAN),
        "Infinity" => Some(INFINITY),
        "-Infinity" => Some(NEGATIVE_INFINITY),
        _ => None,
    };
    if let Some(sign) = special {
        put_special(sign, out);
        return Ok(());
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (before, behind) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if before.is_empty() || !is_number(before) || !is_number(behind) || text.ends_with('.') {
        return Err(malformed(text));
    }
    let before = before.trim_start_matches('0');
    if before.len() > MOST_BEFORE || behind.len() > MOST_BEHIND {
        return Err(Reason::new(
            "a number has more digits than numeric can hold",
        ));
    }
    if let Some((precision, scale)) = limit {
        check(before, behind, precision, scale).map_err(|why| {
            Reason::new(format!("`{text}` has {why} numeric({precision},{scale})"))
        })?;
    }
    let mut groups = groups(before, behind);
    let first = groups.iter().position(|group| *group != 0);
    let Some(first) = first else {
        return finish(&[], 0, 0, behind.len(), out);
    };
    while groups.last() == Some(&0) {
        groups.pop();
    }
    let weight = before.len().div_ceil(4) as i32 - 1 - first as i32;
    let sign = if text.starts_with('-') { NEGATIVE } else { 0 };
    finish(&groups[first..], weight, sign, behind.len(), out)
}

/// The server would round what has more decimal places than the column.
fn check(before: &str, behind: &str, precision: i32, scale: i32) -> Result<(), &'static str> {
    let places = behind.trim_end_matches('0').len() as i32;
    let zeros = before.len() - before.trim_end_matches('0').len();
    let finest = match places {
        0 => -(zeros as i32),
        places => places,
    };
    let is_zero = before.is_empty() && places == 0;
    if finest > scale && !is_zero {
        return Err("more decimal places than");
    }
    if before.len() as i32 > (precision - scale).max(0) {
        return Err("more digits than");
    }
    Ok(())
}

/// Groups of four digits on each side of the point.
fn groups(before: &str, behind: &str) -> Vec<u16> {
    let number = |digits: &[u8]| {
        digits.iter().fold(0, |number: u16, digit| {
            number * 10 + u16::from(digit - b'0')
        })
    };
    let (head, rest) = before.as_bytes().split_at(before.len() % 4);
    let mut groups = Vec::with_capacity((before.len() + behind.len()) / 4 + 2);
    if !head.is_empty() {
        groups.push(number(head));
    }
    groups.extend(rest.chunks(4).map(number));
    let padded = |digits: &[u8]| number(digits) * 10_u16.pow(4 - digits.len() as u32);
    groups.extend(behind.as_bytes().chunks(4).map(padded));
    groups
}

fn finish(
    groups: &[u16],
    weight: i32,
    sign: u16,
    display_scale: usize,
    out: &mut Vec<u8>,
) -> Result<(), Reason> {
    let too_large = |_| Reason::new("a number has more digits than numeric can hold");
    let count = u16::try_from(groups.len()).map_err(too_large)?;
    let weight = i16::try_from(weight).map_err(too_large)?;
    let display_scale = u16::try_from(display_scale).map_err(too_large)?;
    out.extend_from_slice(&count.to_be_bytes());
    out.extend_from_slice(&weight.to_be_bytes());
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&display_scale.to_be_bytes());
    for group in groups {
        out.extend_from_slice(&group.to_be_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str, limit: Option<(i32, i32)>) -> Result<Vec<i16>, String> {
        let mut out = Vec::new();
        put(text, limit, &mut out).map_err(|reason| reason.text().to_owned())?;
        let pairs = out.chunks(2);
        Ok(pairs
            .map(|pair| i16::from_be_bytes([pair[0], pair[1]]))
            .collect())
    }

    /// As PostgreSQL 15 sends the same numbers.
    #[test]
    fn digits_are_grouped_by_four_around_the_point() {
        for (text, expected) in [
            ("0", vec![0, 0, 0, 0]),
            ("0.00", vec![0, 0, 0, 2]),
            ("1", vec![1, 0, 0, 0, 1]),
            ("-12345.6780", vec![3, 1, 0x4000, 4, 1, 2345, 6780]),
            ("10000", vec![1, 1, 0, 0, 1]),
            ("0.0001", vec![1, -1, 0, 4, 1]),
            ("0.00001", vec![1, -2, 0, 5, 1000]),
            ("007.5", vec![2, 0, 0, 1, 7, 5000]),
        ] {
            assert_eq!(words(text, None), Ok(expected), "{text}");
        }
        assert_eq!(
            words("NaN", None),
            Ok(vec![0, 0, 0xC000_u16.cast_signed(), 0])
        );
        for wrong in ["", "-", ".", "1.", ".5", "1e5", "+1", " 1", "1,5", "١"] {
            assert!(words(wrong, None).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_the_server_would_round_is_refused() {
        for (text, limit, fits) in [
            ("1.50", (3, 1), true),
            ("1.55", (3, 1), false),
            ("99.9", (3, 1), true),
            ("100.0", (3, 1), false),
            ("1200", (2, -2), true),
            ("1250", (2, -2), false),
            ("0.0", (2, -2), true),
            ("0.001", (2, 3), true),
        ] {
            assert_eq!(words(text, Some(limit)).is_ok(), fits, "{text} {limit:?}");
        }
    }
}
