//! Values from the command line: parameters of queries, and keys with values.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BinaryArray, StringArray};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, TimeUnit};
use arrowload::core::{Settings, nearest};
use arrowload::{Param, Params};

use crate::exit::Failure;

/// `KEY=VALUE`.
pub(crate) fn pair<'a>(flag: &str, text: &'a str) -> Result<(&'a str, &'a str), Failure> {
    let wrong = || Failure::usage(format!("{flag} takes KEY=VALUE, and `{text}` has no `=`"));
    let (key, value) = text.split_once('=').ok_or_else(wrong)?;
    if key.trim().is_empty() {
        return Err(Failure::usage(format!(
            "{flag} takes KEY=VALUE, and `{text}` has no key"
        )));
    }
    Ok((key.trim(), value))
}

/// Refuses a key that is given twice with different values: one of them would win silently. Values are not shown, as they may be
/// secrets.
pub(crate) fn once<'a>(
    flag: &str,
    pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<(), Failure> {
    let mut known = BTreeMap::new();
    for (key, value) in pairs {
        let other = known.insert(key, value);
        if other.is_some_and(|other| other != value) {
            return Err(Failure::usage(format!(
                "{flag} {key}=… is given twice, with different values; leave one of them out"
            )));
        }
    }
    Ok(())
}

/// Settings that say which flag they come from.
pub(crate) fn settings(flag: &str, pairs: &[String]) -> Result<Settings, Failure> {
    let pairs: Result<Vec<_>, _> = pairs.iter().map(|text| pair(flag, text)).collect();
    let pairs = pairs?;
    once(flag, pairs.iter().copied())?;
    let mut settings = Settings::new();
    for (key, value) in pairs {
        settings.set(key, value, &format!("{flag} {key}=…"));
    }
    Ok(settings)
}

/// The parameters of a query: all by name, or all by number.
pub(crate) fn params(texts: &[String]) -> Result<Params, Failure> {
    let mut named = Vec::new();
    for text in texts {
        let (name, value) = pair("--param", text)?;
        let (name, kind) = name
            .split_once(':')
            .map_or((name, None), |(name, kind)| (name, Some(kind)));
        let name = name.trim_start_matches('$');
        if named.iter().any(|(known, _)| known == name) {
            return Err(Failure::usage(format!("--param {name} is given twice")));
        }
        named.push((name.to_owned(), param(name, kind, value)?));
    }
    let numbers: Option<Vec<usize>> = named.iter().map(|(name, _)| name.parse().ok()).collect();
    match numbers {
        _ if named.is_empty() => Ok(Params::None),
        None if named.iter().any(|(name, _)| name.parse::<usize>().is_ok()) => Err(Failure::usage(
            "--param: a query's parameters are all named ($name) or all numbered ($1)",
        )),
        None => Ok(Params::Named(named)),
        Some(mut numbers) => {
            named.sort_by_key(|(name, _)| name.parse::<usize>().unwrap_or(0));
            numbers.sort_unstable();
            if numbers
                .iter()
                .enumerate()
                .any(|(index, number)| *number != index + 1)
            {
                return Err(Failure::usage(
                    "--param: numbered parameters begin at 1 and leave none out: --param 1=a --param 2=b",
                ));
            }
            Ok(Params::Positional(
                named.into_iter().map(|(_, value)| value).collect(),
            ))
        }
    }
}

fn param(name: &str, kind: Option<&str>, value: &str) -> Result<Param, Failure> {
    let Some(kind) = kind else {
        return Ok(guessed(value));
    };
    let array =
        typed(&kind.trim().to_ascii_lowercase(), value).ok_or_else(|| unknown_type(name, kind))?;
    match array {
        Some(array) => Param::new(array).map_err(Failure::Load),
        None => Err(Failure::usage(format!(
            "--param {name}: `{value}` is no {kind}"
        ))),
    }
}

fn unknown_type(name: &str, kind: &str) -> Failure {
    const KINDS: [&str; 9] = [
        "int",
        "float",
        "bool",
        "text",
        "date",
        "timestamp",
        "timestamptz",
        "decimal(p,s)",
        "binary",
    ];
    let hint = nearest(kind, KINDS)
        .map(|near| format!("; did you mean `{near}`?"))
        .unwrap_or_default();
    Failure::usage(format!(
        "--param {name}: `{kind}` is no type{hint} Known: {}",
        KINDS.join(", ")
    ))
}

/// A whole number, a number, true, false, null, or text.
fn guessed(value: &str) -> Param {
    match value {
        "null" => Param::null(),
        "true" => Param::from(true),
        "false" => Param::from(false),
        // A number that begins with a zero is a code, and stays one.
        text if text.len() > 1 && text.starts_with('0') && !text.starts_with("0.") => {
            Param::from(text)
        }
        text => match (text.parse::<i64>(), text.parse::<f64>()) {
            (Ok(whole), _) => Param::from(whole),
            (_, Ok(number)) if number.is_finite() => {
                long_number(text).unwrap_or_else(|| Param::from(number))
            }
            _ => Param::from(text),
        },
    }
}

/// A number of more digits than a float holds, as a decimal; text if it is too long for that too.
fn long_number(text: &str) -> Option<Param> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, behind) = digits.split_once('.').unwrap_or((digits, ""));
    let is_plain = !whole.is_empty()
        && whole
            .bytes()
            .chain(behind.bytes())
            .all(|byte| byte.is_ascii_digit());
    let length = whole.len() + behind.len();
    if !is_plain || length <= 15 {
        return None;
    }
    let decimal = typed(&format!("decimal({length},{})", behind.len()), text).flatten();
    Some(
        decimal
            .and_then(|array| Param::new(array).ok())
            .unwrap_or_else(|| Param::from(text)),
    )
}

/// Whether a text becomes a value of the type as it is, and is not rounded, cut or moved to another zone.
fn is_exact(to: &DataType, value: &str) -> bool {
    let fraction = |text: &str| {
        text.rsplit_once('.')
            .map_or(0, |(_, behind)| behind.trim_end_matches('0').len())
    };
    match to {
        DataType::Decimal128(_, scale) => {
            value.contains(['e', 'E']) || fraction(value) <= usize::try_from(*scale).unwrap_or(0)
        }
        DataType::Float64 => value.parse::<f64>().is_ok_and(|number| {
            number.is_finite() || value.to_ascii_lowercase().contains("inf") || number.is_nan()
        }),
        DataType::Timestamp(_, zone) => {
            let time = value.get(10..).unwrap_or_default();
            let zoned = time.find(['Z', 'z', '+', '-']);
            let seconds = zoned.map_or(time, |at| &time[..at]).trim_end();
            (zone.is_some() || zoned.is_none()) && fraction(seconds) <= 6
        }
        _ => true,
    }
}

/// The type of a name.
pub(crate) fn type_of(name: &str) -> Option<DataType> {
    let name = name.trim().to_ascii_lowercase();
    Some(match name.as_str() {
        "text" | "string" | "utf8" | "varchar" => DataType::Utf8,
        "binary" | "bytea" => DataType::Binary,
        "int" | "int64" | "bigint" | "integer" => DataType::Int64,
        "float" | "float64" | "double" => DataType::Float64,
        "bool" | "boolean" => DataType::Boolean,
        "date" => DataType::Date32,
        "timestamp" => DataType::Timestamp(TimeUnit::Microsecond, None),
        "timestamptz" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        other => {
            let digits = other
                .strip_prefix("decimal(")
                .or_else(|| other.strip_prefix("numeric("))?
                .strip_suffix(')')?;
            let (precision, scale) = digits.split_once(',').unwrap_or((digits, "0"));
            let (precision, scale): (u8, i8) =
                (precision.trim().parse().ok()?, scale.trim().parse().ok()?);
            if !(1..=38).contains(&precision) || !(0..=precision.cast_signed()).contains(&scale) {
                return None;
            }
            DataType::Decimal128(precision, scale)
        }
    })
}

/// `None` if there is no such type; `Some(None)` if the text is not a value of it.
fn typed(kind: &str, value: &str) -> Option<Option<ArrayRef>> {
    let to = type_of(kind)?;
    if to == DataType::Binary {
        let bytes = BinaryArray::from_vec(vec![value.as_bytes()]);
        return Some(Some(Arc::new(bytes)));
    }
    if !is_exact(&to, value.trim()) {
        return Some(None);
    }
    let text: ArrayRef = Arc::new(StringArray::from(vec![value]));
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    Some(
        cast_with_options(&text, &to, &strict)
            .ok()
            .filter(|array| array.null_count() == 0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types(texts: &[&str]) -> Vec<String> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        match params(&texts).expect("parameters") {
            Params::Positional(values) => values
                .iter()
                .map(|value| value.data_type().to_string())
                .collect(),
            Params::Named(values) => values
                .iter()
                .map(|(name, value)| format!("{name} {}", value.data_type()))
                .collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn values_are_what_they_look_like() {
        let found = types(&[
            "a=1",
            "b=1.5",
            "c=true",
            "d=null",
            "e=x=y",
            "f=007",
            "g:date=2024-01-01",
            "h:decimal(5,2)=1.25",
        ]);
        assert_eq!(
            found,
            [
                "a Int64",
                "b Float64",
                "c Boolean",
                "d Null",
                "e Utf8",
                "f Utf8",
                "g Date32",
                "h Decimal128(5, 2)"
            ]
        );
        assert_eq!(types(&["2=b", "1=1"]), ["Int64", "Utf8"]);
        for wrong in [
            &["a"][..],
            &["=1"],
            &["1=a", "b=c"],
            &["2=a"],
            &["a=1", "a=2"],
            &["a:dat=2024-01-01"],
            &["a:date=tomorrow"],
        ] {
            let texts: Vec<String> = wrong.iter().map(|text| (*text).to_owned()).collect();
            assert!(
                matches!(params(&texts), Err(Failure::Usage(_))),
                "{wrong:?}"
            );
        }
    }
}
