//! The rules for reading values whose form options can change: numbers, booleans, dates and times.

use arrowload_common_text_files::number::NumberStyle;
use arrowload_common_text_files::time::Format;
use arrowload_common_text_files::{Rules, invalid};
use arrowload_core::Result;

use crate::options::Options;

/// The rules that some options make.
pub(crate) fn rules(options: &Options) -> Result<Rules> {
    let separator = |key: &'static str, given: Option<char>| match given {
        Some(character) if !character.is_ascii() || "+-0123456789eE".contains(character) => {
            let message =
                format!("`{key}` must be an ASCII character that numbers have no other use for");
            Err(invalid(key, message))
        }
        given => Ok(given.map(|character| character as u8)),
    };
    let point = separator("decimal_separator", options.decimal_separator)?.unwrap_or(b'.');
    let thousands = separator("thousands_separator", options.thousands_separator)?;
    if thousands == Some(point) {
        let message = "`thousands_separator` and `decimal_separator` must differ";
        return Err(invalid("thousands_separator", message));
    }
    let words = |words: &[String]| words.iter().map(|word| word.as_bytes().into()).collect();
    let rules = Rules {
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
        return Err(invalid("true_values", message));
    }
    Ok(rules)
}
