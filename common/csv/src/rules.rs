//! How values are read that options say something about: numbers, booleans, dates and times.

use arrowload_core::{Error, ErrorKind, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::number::NumberStyle;
use crate::options::Options;
use crate::time::Format;

/// What numbers with a point become where no type is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Numbers {
    /// Decimals; floats where exponents, `NaN` or infinities are written, or where values are printed floats.
    #[default]
    Auto,
    /// Decimals, else text.
    Decimal,
    /// Floats if each value reads back equal, else text.
    Float,
}

/// How values are read.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Rules {
    pub(crate) numbers: NumberStyle,
    pub(crate) prefer: Numbers,
    pub(crate) date_format: Option<Format>,
    pub(crate) timestamp_format: Option<Format>,
    pub(crate) true_values: Vec<Box<[u8]>>,
    pub(crate) false_values: Vec<Box<[u8]>>,
}

impl Rules {
    pub(crate) fn new(options: &Options) -> Result<Self> {
        let separator = |key: &'static str, given: Option<char>| match given {
            Some(character) if !character.is_ascii() || "+-0123456789eE".contains(character) => {
                let message = format!(
                    "`{key}` must be an ASCII character that numbers have no other use for"
                );
                Err(Error::new(ErrorKind::InvalidOption, message).with("key", key))
            }
            given => Ok(given.map(|character| character as u8)),
        };
        let point = separator("decimal_separator", options.decimal_separator)?.unwrap_or(b'.');
        let thousands = separator("thousands_separator", options.thousands_separator)?;
        if thousands == Some(point) {
            let message = "`thousands_separator` and `decimal_separator` must differ";
            return Err(
                Error::new(ErrorKind::InvalidOption, message).with("key", "thousands_separator")
            );
        }
        let words = |words: &[String]| words.iter().map(|word| word.as_bytes().into()).collect();
        let rules = Self {
            numbers: NumberStyle { point, thousands },
            prefer: options.numbers,
            date_format: match &options.date_format {
                Some(format) => Some(Format::new("date_format", format)?),
                None => None,
            },
            timestamp_format: match &options.timestamp_format {
                Some(format) => Some(Format::new("timestamp_format", format)?),
                None => None,
            },
            true_values: words(&options.true_values),
            false_values: words(&options.false_values),
        };
        if let Some(word) = rules
            .true_values
            .iter()
            .find(|word| rules.false_values.contains(word))
        {
            let message = format!(
                "`{}` stands in `true_values` and in `false_values`",
                String::from_utf8_lossy(word)
            );
            return Err(Error::new(ErrorKind::InvalidOption, message).with("key", "true_values"));
        }
        Ok(rules)
    }

    /// A boolean by its words: those that were declared, else `true` and `false`, all small, all capital or capitalised;
    /// in a column that is declared boolean also those that PostgreSQL knows.
    pub(crate) fn boolean(&self, text: &[u8], strict: bool) -> Option<bool> {
        if !self.true_values.is_empty() || !self.false_values.is_empty() {
            let is = |words: &[Box<[u8]>]| words.iter().any(|word| **word == *text);
            return match (is(&self.true_values), is(&self.false_values)) {
                (true, _) => Some(true),
                (_, true) => Some(false),
                _ => None,
            };
        }
        match text {
            b"true" | b"True" | b"TRUE" => return Some(true),
            b"false" | b"False" | b"FALSE" => return Some(false),
            _ if strict => return None,
            _ => {}
        }
        let one_of = |words: &[&str]| {
            words
                .iter()
                .any(|word| word.as_bytes().eq_ignore_ascii_case(text))
        };
        if one_of(&["true", "t", "yes", "y", "on", "1"]) {
            Some(true)
        } else if one_of(&["false", "f", "no", "n", "off", "0"]) {
            Some(false)
        } else {
            None
        }
    }
}
