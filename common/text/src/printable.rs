//! Escapes the control characters in text, because a terminal would execute them.

use std::borrow::Cow;
use std::fmt::Write;

/// The text with its control characters escaped: `\n`, `\t`, `\r`, and others by their number, as JSON does it. So are the
/// characters that turn the direction of the text around them.
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, &[])
}

/// As [`printable`], but for the ends of lines and tabs, which stay.
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    escaped(text, &['\n', '\t'])
}

fn escaped<'a>(text: &'a str, kept: &[char]) -> Cow<'a, str> {
    let obeyed = |character: char| {
        let turns = matches!(character, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
        (character.is_control() || turns) && !kept.contains(&character)
    };
    if !text.contains(obeyed) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            _ if !obeyed(character) => safe.push(character),
            '\n' => safe.push_str("\\n"),
            '\t' => safe.push_str("\\t"),
            '\r' => safe.push_str("\\r"),
            _ => {
                // Writing to a `String` cannot fail.
                let _ = write!(safe, "\\u{:04x}", u32::from(character));
            }
        }
    }
    Cow::Owned(safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_escaped() {
        assert!(matches!(printable("Zürich 名 \u{1F600}"), Cow::Borrowed(_)));
        let text = "a\u{1b}[31mb\u{7f}\u{9b}2J\r\n\tc\u{202e}\0";
        assert_eq!(
            printable(text),
            "a\\u001b[31mb\\u007f\\u009b2J\\r\\n\\tc\\u202e\\u0000"
        );
        assert_eq!(
            printable_lines(text),
            "a\\u001b[31mb\\u007f\\u009b2J\\r\n\tc\\u202e\\u0000"
        );
    }
}
