//! Values as extended JSON (version 2), straight from their bytes: canonical, which keeps every type, or relaxed.

use std::fmt::Write as _;

use super::element::{self, Kind, fixed};
use super::{Fault, Walked};

/// The deepest nesting: deeper documents do not occur in practice, and could be an attack on the stack.
pub(crate) const MOST_DEPTH: usize = 200;

/// Which of the two forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Canonical,
    Relaxed,
}

/// Appends a text in quotes.
fn quoted(out: &mut String, text: &str) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            letter if letter < ' ' => {
                let _ = write!(out, "\\u{:04x}", letter as u32);
            }
            letter => out.push(letter),
        }
    }
    out.push('"');
}

fn hex(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
}

fn base64(out: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for three in bytes.chunks(3) {
        let part = |index: usize| u32::from(three.get(index).copied().unwrap_or(0));
        let bits = part(0) << 16 | part(1) << 8 | part(2);
        for place in 0..4 {
            if place <= three.len() {
                out.push(char::from(DIGITS[(bits >> (18 - 6 * place)) as usize & 63]));
            } else {
                out.push('=');
            }
        }
    }
}

fn double(out: &mut String, value: f64, form: Form) {
    let text = if value.is_nan() {
        "NaN".into()
    } else if value.is_infinite() {
        (if value > 0.0 { "Infinity" } else { "-Infinity" }).into()
    } else {
        format!("{value:?}")
    };
    if form == Form::Relaxed && value.is_finite() {
        out.push_str(&text);
    } else {
        let _ = write!(out, "{{\"$numberDouble\":\"{text}\"}}");
    }
}

fn date(out: &mut String, milliseconds: i64, form: Form) {
    // The years that ISO 8601 has with four digits, and JSON's readers know: 1970 to 9999.
    if form == Form::Relaxed && (0..=253_402_300_799_999).contains(&milliseconds) {
        let (days, rest) = (
            milliseconds.div_euclid(86_400_000),
            milliseconds.rem_euclid(86_400_000),
        );
        let (year, month, day) = civil(days);
        let (hour, minute) = (rest / 3_600_000, rest / 60_000 % 60);
        let (second, milli) = (rest / 1000 % 60, rest % 1000);
        let _ = write!(
            out,
            "{{\"$date\":\"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
        );
        if milli != 0 {
            let _ = write!(out, ".{milli:03}");
        }
        out.push_str("Z\"}");
    } else {
        let _ = write!(out, "{{\"$date\":{{\"$numberLong\":\"{milliseconds}\"}}}}");
    }
}

/// The date of a day since 1970: Howard Hinnant's `civil_from_days`.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Appends one value.
pub(crate) fn write(
    out: &mut String,
    code: u8,
    value: &[u8],
    form: Form,
    depth: usize,
) -> Walked<()> {
    if depth > MOST_DEPTH {
        return Err(Fault::broken(format!(
            "it is more than {MOST_DEPTH} levels deep"
        )));
    }
    match element::kind(code, value) {
        Kind::Double => double(out, f64::from_le_bytes(fixed(value)?), form),
        Kind::String => quoted(out, element::utf8(element::text(value)?)?),
        Kind::Document => document(out, value, form, depth)?,
        Kind::Array => {
            let mut rest = element::body(value)?;
            out.push('[');
            let mut first = true;
            while let Some(item) = element::next(&mut rest)? {
                if !std::mem::take(&mut first) {
                    out.push(',');
                }
                write(out, item.code, item.value, form, depth + 1)
                    .map_err(|fault| fault.within(item.name))?;
            }
            out.push(']');
        }
        Kind::Binary(_) | Kind::Uuid => {
            let (subtype, bytes) = element::binary(value)?;
            out.push_str("{\"$binary\":{\"base64\":\"");
            base64(out, bytes);
            let _ = write!(out, "\",\"subType\":\"{subtype:02x}\"}}}}");
        }
        Kind::Undefined => out.push_str("{\"$undefined\":true}"),
        Kind::ObjectId => {
            out.push_str("{\"$oid\":\"");
            hex(out, value);
            out.push_str("\"}");
        }
        Kind::Bool => out.push_str(if element::boolean(value)? {
            "true"
        } else {
            "false"
        }),
        Kind::Date => date(out, i64::from_le_bytes(fixed(value)?), form),
        Kind::Null => out.push_str("null"),
        Kind::Regex => {
            let (pattern, options) = element::regex(value)?;
            out.push_str("{\"$regularExpression\":{\"pattern\":");
            quoted(out, element::utf8(pattern)?);
            out.push_str(",\"options\":");
            quoted(out, element::utf8(options)?);
            out.push_str("}}");
        }
        Kind::DbPointer => {
            let (namespace, id) = element::pointer(value)?;
            out.push_str("{\"$dbPointer\":{\"$ref\":");
            quoted(out, element::utf8(namespace)?);
            out.push_str(",\"$id\":{\"$oid\":\"");
            hex(out, id);
            out.push_str("\"}}}");
        }
        Kind::Code => {
            out.push_str("{\"$code\":");
            quoted(out, element::utf8(element::text(value)?)?);
            out.push('}');
        }
        Kind::Symbol => {
            out.push_str("{\"$symbol\":");
            quoted(out, element::utf8(element::text(value)?)?);
            out.push('}');
        }
        Kind::CodeWithScope => {
            let (code, scope) = element::code_with_scope(value)?;
            out.push_str("{\"$code\":");
            quoted(out, element::utf8(code)?);
            out.push_str(",\"$scope\":");
            document(out, scope, form, depth + 1)?;
            out.push('}');
        }
        Kind::Int32 => {
            let number = i32::from_le_bytes(fixed(value)?);
            let _ = match form {
                Form::Relaxed => write!(out, "{number}"),
                Form::Canonical => write!(out, "{{\"$numberInt\":\"{number}\"}}"),
            };
        }
        Kind::Timestamp => {
            let bits = u64::from_le_bytes(fixed(value)?);
            let (time, increment) = (bits >> 32, bits & u64::from(u32::MAX));
            let _ = write!(out, "{{\"$timestamp\":{{\"t\":{time},\"i\":{increment}}}}}");
        }
        Kind::Int64 => {
            let number = i64::from_le_bytes(fixed(value)?);
            let _ = match form {
                Form::Relaxed => write!(out, "{number}"),
                Form::Canonical => write!(out, "{{\"$numberLong\":\"{number}\"}}"),
            };
        }
        Kind::Decimal128 => {
            let decimal = bson::Decimal128::from_bytes(fixed(value)?);
            let _ = write!(out, "{{\"$numberDecimal\":\"{decimal}\"}}");
        }
        Kind::MinKey => out.push_str("{\"$minKey\":1}"),
        Kind::MaxKey => out.push_str("{\"$maxKey\":1}"),
    }
    Ok(())
}

/// Appends a document. A name that comes twice is an error: a reader of the text would lose one of the values.
pub(crate) fn document(out: &mut String, bytes: &[u8], form: Form, depth: usize) -> Walked<()> {
    let mut rest = element::body(bytes)?;
    let mut names = std::collections::HashSet::new();
    out.push('{');
    while let Some(field) = element::next(&mut rest)? {
        if !names.insert(field.name) {
            return Err(Fault::broken("the name comes twice").within(field.name));
        }
        if names.len() > 1 {
            out.push(',');
        }
        quoted(out, element::utf8(field.name)?);
        out.push(':');
        write(out, field.code, field.value, form, depth + 1)
            .map_err(|fault| fault.within(field.name))?;
    }
    out.push('}');
    Ok(())
}

/// The `_id` of a document as text, for messages; broken documents have none.
pub(crate) fn id(bytes: &[u8]) -> String {
    let found = || -> Walked<Option<String>> {
        let mut rest = element::body(bytes)?;
        while let Some(field) = element::next(&mut rest)? {
            if field.name == b"_id" {
                let mut text = String::new();
                write(&mut text, field.code, field.value, Form::Relaxed, 0)?;
                return Ok(Some(text));
            }
        }
        Ok(None)
    };
    found().ok().flatten().unwrap_or_else(|| "(no _id)".into())
}
