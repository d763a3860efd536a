//! Names: quoted always, so that no text becomes SQL, and refused where PostgreSQL would cut them off.

use arrowload_core::{Error, ErrorKind, Result};

/// The longest name, in bytes; PostgreSQL cuts longer ones off, so that two could become one.
const LONGEST: usize = 63;

/// A name as SQL.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Names with commas between them.
pub(crate) fn quote_all<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(quote).collect::<Vec<_>>().join(", ")
}

/// Text as an SQL literal, whatever `standard_conforming_strings` says.
pub(crate) fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// Refuses a name that PostgreSQL cannot have.
pub(crate) fn check(what: &str, name: &str) -> Result<()> {
    let why = match name {
        "" => "is empty".to_owned(),
        name if name.contains('\0') => "holds a NUL byte".to_owned(),
        name if name.len() > LONGEST => format!(
            "has {} bytes, and PostgreSQL's names have {LONGEST} at most",
            name.len()
        ),
        _ => return Ok(()),
    };
    Err(Error::new(
        ErrorKind::InvalidOption,
        format!(
            "the name of {what} {why}: `{}`; choose another",
            name.replace('\0', "␀")
        ),
    ))
}

/// A table as the target names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableName {
    pub(crate) schema: Option<String>,
    pub(crate) table: String,
}

impl TableName {
    /// Reads `table` or `schema.table`; names that hold a dot are in double quotes. Upper case stays.
    pub(crate) fn parse(target: &str) -> Result<Self> {
        let mut parts = if target.starts_with('"') {
            quoted_parts(target)
        } else {
            plain_parts(target)
        };
        let invalid = || {
            let message = format!(
                "`{target}` is no table; write table or schema.table, and names that hold a dot as \"a.b\""
            );
            Error::new(ErrorKind::InvalidOption, message).with("target", target)
        };
        let table = parts.pop().ok_or_else(invalid)?;
        let schema = parts.pop();
        if !parts.is_empty() {
            return Err(invalid());
        }
        check("a table", &table)?;
        schema
            .as_deref()
            .map_or(Ok(()), |schema| check("a schema", schema))?;
        Ok(Self { schema, table })
    }
}

/// A quote within a plain name is a letter like others, unless it begins the second part.
fn plain_parts(target: &str) -> Vec<String> {
    match target.split_once('.') {
        Some((schema, table)) if table.starts_with('"') => {
            [vec![schema.to_owned()], quoted_parts(table)].concat()
        }
        _ => target.split('.').map(str::to_owned).collect(),
    }
}

/// Parts in double quotes, in which two quotes stand for one; nothing if malformed.
fn quoted_parts(target: &str) -> Vec<String> {
    let (mut parts, mut rest) = (Vec::new(), target);
    while let Some(inner) = rest.strip_prefix('"') {
        let (mut part, mut letters) = (String::new(), inner.char_indices().peekable());
        let end = loop {
            match letters.next() {
                Some((_, '"')) if letters.peek().is_some_and(|(_, next)| *next == '"') => {
                    part.push('"');
                    letters.next();
                }
                Some((at, '"')) => break at + 1,
                Some((_, letter)) => part.push(letter),
                None => return Vec::new(),
            }
        };
        parts.push(part);
        rest = &inner[end..];
        match rest.strip_prefix('.') {
            Some(next) if next.starts_with('"') => rest = next,
            Some(next) => {
                parts.push(next.to_owned());
                return parts;
            }
            None if rest.is_empty() => return parts,
            None => return Vec::new(),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(target: &str) -> Option<(Option<String>, String)> {
        TableName::parse(target)
            .ok()
            .map(|name| (name.schema, name.table))
    }

    #[test]
    fn targets() {
        let table =
            |schema: Option<&str>, table: &str| Some((schema.map(str::to_owned), table.to_owned()));
        assert_eq!(parse("Events"), table(None, "Events"));
        assert_eq!(parse("s.t"), table(Some("s"), "t"));
        assert_eq!(parse("\"a.b\""), table(None, "a.b"));
        assert_eq!(parse("\"a.b\".\"c\"\"d\""), table(Some("a.b"), "c\"d"));
        assert_eq!(parse("\"s\".t"), table(Some("s"), "t"));
        assert_eq!(parse("s.\"t.u\""), table(Some("s"), "t.u"));
        assert_eq!(parse("quote\"d"), table(None, "quote\"d"));
        assert_eq!(parse("DROP TABLE x; --"), table(None, "DROP TABLE x; --"));
        for wrong in [
            "a.b.c",
            "",
            "a.",
            ".a",
            "\"a",
            "\"a\"b",
            "x\0",
            &"x".repeat(64),
        ] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn quoting_leaves_no_way_out() {
        assert_eq!(
            quote("a\"; DROP TABLE b; --"),
            "\"a\"\"; DROP TABLE b; --\""
        );
        assert_eq!(literal("it's \\"), "E'it''s \\\\'");
    }
}
