//! Text, binary, and what PostgreSQL takes as text in other forms: documents, uuids, network addresses.

use std::net::IpAddr;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;

use super::bind::Frame;
use super::bytes::{ByteValues, Check, bytes, check_value};
use super::column::{Column, Reason};
use super::conversion::TextTarget;
use super::fixed::fixed;
use super::staged::staged;

/// Calls with the typed array of text, whatever its offsets.
macro_rules! with_text {
    ($array:ident, $values:ident => $body:expr) => {
        match $array.data_type() {
            DataType::Utf8 => {
                let $values = $array.as_string::<i32>().clone();
                Some($body)
            }
            DataType::LargeUtf8 => {
                let $values = $array.as_string::<i64>().clone();
                Some($body)
            }
            DataType::Utf8View => {
                let $values = $array.as_string_view().clone();
                Some($body)
            }
            _ => None,
        }
    };
}

pub(super) fn text(array: &ArrayRef, frame: Frame, target: &TextTarget) -> Option<Box<dyn Column>> {
    let check = Check::Text {
        max_chars: target.max_chars,
        padded: target.padded,
    };
    let replacement = target.replace_nul.clone();
    with_text!(array, values => match replacement {
        None => bytes(frame, values, check),
        Some(replacement) => replaced(frame, values, check, replacement),
    })
}

/// Text in which something stands for each NUL byte.
fn replaced<V: ByteValues>(
    frame: Frame,
    values: V,
    check: Check,
    replacement: Arc<str>,
) -> Box<dyn Column> {
    staged(frame, move |index, out| {
        let start = out.len();
        replace_nul(values.get(index), &replacement, out);
        check_value(check, &out[start..])
    })
}

/// Appends text, with something in place of each NUL byte.
pub(super) fn replace_nul(text: &[u8], replacement: &str, out: &mut Vec<u8>) {
    let mut parts = text.split(|byte| *byte == 0);
    out.extend_from_slice(parts.next().unwrap_or_default());
    for part in parts {
        out.extend_from_slice(replacement.as_bytes());
        out.extend_from_slice(part);
    }
}

pub(super) fn bytea(array: &ArrayRef, frame: Frame) -> Option<Box<dyn Column>> {
    Some(match array.data_type() {
        DataType::Binary => bytes(frame, array.as_binary::<i32>().clone(), Check::None),
        DataType::LargeBinary => bytes(frame, array.as_binary::<i64>().clone(), Check::None),
        DataType::BinaryView => bytes(frame, array.as_binary_view().clone(), Check::None),
        DataType::FixedSizeBinary(_) => {
            bytes(frame, array.as_fixed_size_binary().clone(), Check::None)
        }
        _ => return None,
    })
}

/// The version that `jsonb_recv` asks for before the text.
pub(super) const JSONB_VERSION: u8 = 1;

/// A document that is text already; the server reads it.
pub(super) fn json(array: &ArrayRef, frame: Frame, binary: bool) -> Option<Box<dyn Column>> {
    let check = Check::Text {
        max_chars: None,
        padded: false,
    };
    with_text!(array, values => if binary {
        staged(frame, move |index, out| {
            let value = ByteValues::get(&values, index);
            check_value(check, value)?;
            out.push(JSONB_VERSION);
            out.extend_from_slice(value);
            Ok(())
        })
    } else {
        bytes(frame, values, check)
    })
}

pub(super) fn uuid(array: &ArrayRef, frame: Frame) -> Option<Box<dyn Column>> {
    if let DataType::FixedSizeBinary(16) = array.data_type() {
        let values = array.as_fixed_size_binary().clone();
        let malformed = |_| Reason::new("a uuid has 16 bytes");
        return Some(fixed::<16, _>(frame, move |index| {
            values.value(index).try_into().map_err(malformed)
        }));
    }
    with_text!(array, values => fixed::<16, _>(frame, move |index| parse_uuid(values.value(index))))
}

/// The standard form, with or without its hyphens.
fn parse_uuid(text: &str) -> Result<[u8; 16], Reason> {
    let malformed = || Reason::new(format!("`{}` is no uuid", excerpt(text)));
    let hyphens = matches!(text.len(), 36)
        && [8, 13, 18, 23]
            .iter()
            .all(|place| text.as_bytes()[*place] == b'-');
    if !hyphens && text.len() != 32 {
        return Err(malformed());
    }
    let mut digits = text
        .bytes()
        .enumerate()
        .filter(|(place, _)| !(hyphens && [8, 13, 18, 23].contains(place)));
    let mut digit = || {
        digits
            .next()
            .and_then(|(_, byte)| char::from(byte).to_digit(16))
    };
    let mut bytes = [0; 16];
    for byte in &mut bytes {
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(malformed());
        };
        *byte = (high << 4 | low) as u8;
    }
    Ok(bytes)
}

/// The beginning of a value, for messages.
fn excerpt(text: &str) -> String {
    text.chars().take(60).collect()
}

pub(super) fn inet(array: &ArrayRef, frame: Frame, cidr: bool) -> Option<Box<dyn Column>> {
    with_text!(array, values => staged(frame, move |index, out| put_inet(values.value(index), cidr, out)))
}

/// `inet_recv`: family, bits of the mask, whether it is a `cidr`, length, address.
fn put_inet(text: &str, cidr: bool, out: &mut Vec<u8>) -> Result<(), Reason> {
    let malformed = || Reason::new(format!("`{}` is no network address", excerpt(text)));
    let (address, mask) = match text.split_once('/') {
        Some((address, mask)) => (address, Some(mask.parse::<u8>().map_err(|_| malformed())?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| malformed())?;
    let (family, octets) = match address {
        IpAddr::V4(address) => (2, address.octets().to_vec()),
        IpAddr::V6(address) => (3, address.octets().to_vec()),
    };
    let most = octets.len() as u8 * 8;
    let bits = mask.unwrap_or(most);
    if bits > most {
        return Err(malformed());
    }
    out.extend_from_slice(&[family, bits, u8::from(cidr), octets.len() as u8]);
    out.extend_from_slice(&octets);
    Ok(())
}
