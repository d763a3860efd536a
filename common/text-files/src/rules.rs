//! The rules for reading values whose form options can change: numbers, booleans, dates and times.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::number::NumberStyle;
use crate::text::Text;
use crate::time::{self, Format, Stamp};

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
pub struct Rules {
    /// How numbers are written.
    pub numbers: NumberStyle,
    /// What numbers with a point become.
    pub prefer: Numbers,
    /// How dates are written, if not as the grammar has them.
    pub date_format: Option<Format>,
    /// How timestamps are written, if not as the grammar has them.
    pub timestamp_format: Option<Format>,
    /// Words for true, in place of the usual ones.
    pub true_values: Vec<Box<[u8]>>,
    /// Words for false.
    pub false_values: Vec<Box<[u8]>>,
}

impl Rules {
    /// A date, as days from 1970-01-01.
    #[inline(always)]
    pub fn date(&self, text: Text<'_>) -> Option<i32> {
        match &self.date_format {
            None => time::date(text),
            Some(format) => format.date(text),
        }
    }

    /// A timestamp.
    #[inline]
    pub fn stamp(&self, text: Text<'_>) -> Option<Stamp> {
        match &self.timestamp_format {
            None => time::stamp(text),
            Some(format) => format.stamp(text),
        }
    }

    /// A boolean by its words: those that were declared, else `true` and `false`, all small, all capital or capitalised;
    /// in a column that is declared boolean also those that PostgreSQL knows.
    pub fn boolean(&self, text: &[u8], strict: bool) -> Option<bool> {
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
