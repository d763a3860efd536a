//! Inserts table names into a target template, quoted or encoded so that each name of a source gives its own target and cannot
//! point anywhere else.

use serde::Serialize;

use crate::{Error, ErrorKind, Result};

/// How a store's targets are made from names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TargetNames {
    /// A target is one name, whatever characters it has.
    #[default]
    Plain,
    /// Dots separate the parts of a target, and a part that contains a dot or a quote is in double quotes.
    Quoted,
    /// Dots separate the parts of a target, and no part can contain a dot.
    Dotted,
    /// A target is a path or a URL: names are percent-encoded where they would be more than one file's or folder's name.
    Path,
}

/// A piece of a template.
enum Piece<'a> {
    Text(&'a str),
    Name(&'a str),
}

impl TargetNames {
    /// Puts names into a template such as `{schema}.{table}`; `{{` and `}}` stand for braces. Different names never give the same
    /// part, and none becomes more than a part.
    ///
    /// ```
    /// use arrowload_core::TargetNames;
    /// # fn main() -> arrowload_core::Result<()> {
    /// let names = [("schema", "public"), ("table", "../a.b")];
    /// assert_eq!(TargetNames::Path.fill("out/{schema}/{table}.csv", &names)?, "out/public/%2E.%2Fa.b.csv");
    /// assert_eq!(TargetNames::Quoted.fill("{schema}.{table}", &names)?, "public.\"../a.b\"");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] for a template that names something else, for a name that is empty, and for one that the store
    /// cannot have.
    pub fn fill(self, template: &str, names: &[(&str, &str)]) -> Result<String> {
        let pieces = pieces(template, names)?;
        match self {
            Self::Plain => Ok(pieces.iter().map(Piece::text).collect()),
            Self::Quoted => quoted(&pieces),
            Self::Dotted => pieces.iter().map(Piece::without_dot).collect(),
            Self::Path => {
                let is_url = crate::url_scheme(template).is_some();
                Ok(pieces.iter().map(|piece| piece.in_path(is_url)).collect())
            }
        }
    }
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidOption, message)
}

/// Splits a template into pieces.
fn pieces<'a>(template: &'a str, names: &[(&str, &'a str)]) -> Result<Vec<Piece<'a>>> {
    let (mut pieces, mut rest) = (Vec::new(), template);
    while let Some(at) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at(at);
        pieces.push(Piece::Text(before));
        let brace = &from[..1];
        if from[1..].starts_with(brace) {
            pieces.push(Piece::Text(brace));
            rest = &from[2..];
            continue;
        }
        let inner = from[1..].split_once('}').filter(|_| brace == "{");
        let (name, behind) = inner.ok_or_else(|| {
            invalid(format!(
                "the target `{template}` has a single `{brace}`; write it twice if it is part of a name"
            ))
        })?;
        let Some((_, value)) = names.iter().find(|(known, _)| *known == name) else {
            let known: Vec<String> = names
                .iter()
                .map(|(name, _)| format!("{{{name}}}"))
                .collect();
            return Err(invalid(format!(
                "the target `{template}` has `{{{name}}}`; there is {}",
                known.join(", ")
            )));
        };
        if value.is_empty() {
            return Err(invalid(format!(
                "the source has no {name} of the table; leave `{{{name}}}` out of the target"
            )));
        }
        pieces.push(Piece::Name(value));
        rest = behind;
    }
    pieces.push(Piece::Text(rest));
    Ok(pieces)
}

impl Piece<'_> {
    fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Name(text) => text,
        }
    }

    fn without_dot(&self) -> Result<String> {
        match self {
            Self::Name(name) if name.contains('.') => Err(invalid(format!(
                "`{name}` contains a dot, which separates the names of a target there; exclude the table"
            ))),
            piece => Ok(piece.text().to_owned()),
        }
    }

    fn in_path(&self, is_url: bool) -> String {
        let Self::Name(name) = self else {
            return self.text().to_owned();
        };
        let encoded = file_name(name);
        // A URL is decoded before it names anything.
        match is_url {
            true => encoded.replace('%', "%25"),
            false => encoded,
        }
    }
}

/// A name as that of one file or folder, on every system.
fn file_name(name: &str) -> String {
    let last = name.chars().count() - 1;
    let mut safe = String::with_capacity(name.len());
    for (index, letter) in name.chars().enumerate() {
        let is_refused = letter.is_control()
            || "/\\:*?\"<>|%#".contains(letter)
            // `.` and `..` lead elsewhere, what begins with a dot is hidden, and Windows drops dots and spaces at the end.
            || (index == 0 && letter == '.')
            || (index == last && matches!(letter, '.' | ' '));
        if is_refused {
            let mut bytes = [0; 4];
            for byte in letter.encode_utf8(&mut bytes).bytes() {
                safe.push_str(&format!("%{byte:02X}"));
            }
        } else {
            safe.push(letter);
        }
    }
    safe
}

/// Parts between the dots of the template, each in quotes where it needs them.
fn quoted(pieces: &[Piece<'_>]) -> Result<String> {
    let mut parts = vec![String::new()];
    for piece in pieces {
        match piece {
            Piece::Text(text) if text.contains('"') => {
                return Err(invalid(
                    "write the target without quotes; names get them where they need them".into(),
                ));
            }
            Piece::Text(text) => {
                let mut split = text.split('.');
                let own = parts.last_mut().zip(split.next());
                if let Some((part, text)) = own {
                    part.push_str(text);
                }
                parts.extend(split.map(str::to_owned));
            }
            Piece::Name(name) => {
                if let Some(part) = parts.last_mut() {
                    part.push_str(name);
                }
            }
        }
    }
    let quoted = parts.iter().map(|part| match part.contains(['.', '"']) {
        true => format!("\"{}\"", part.replace('"', "\"\"")),
        false => part.clone(),
    });
    Ok(quoted.collect::<Vec<_>>().join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(names: TargetNames, template: &str, schema: &str, table: &str) -> Result<String> {
        names.fill(template, &[("schema", schema), ("table", table)])
    }

    #[test]
    fn names_stay_within_their_part() {
        use TargetNames::{Dotted, Path, Plain, Quoted};
        for (names, template, table, expected) in [
            (Plain, "{schema}.{table}", "a.b", "s.a.b"),
            (Quoted, "{schema}.{table}", "a", "s.a"),
            (Quoted, "{schema}.copy_{table}", "a.b", "s.\"copy_a.b\""),
            (Quoted, "{table}", "a\"b", "\"a\"\"b\""),
            (Quoted, "{table}", "My Table", "My Table"),
            (Dotted, "raw.{table}", "a b", "raw.a b"),
            (Path, "{schema}/{table}.parquet", "a b", "s/a b.parquet"),
            (Path, "{table}", "..", "%2E%2E"),
            (Path, "{table}/", "../x", "%2E.%2Fx/"),
            (Path, "{table}", "50%", "50%25"),
            (Path, "{table}", "C:\\x", "C%3A%5Cx"),
            (Path, "{table}", "end ", "end%20"),
            (Path, "{table}", "été", "été"),
            (Path, "{{{table}}}", "a", "{a}"),
            (Path, "s3://bucket/{table}", "a/b", "s3://bucket/a%252Fb"),
        ] {
            let filled = fill(names, template, "s", table).expect(template);
            assert_eq!(filled, expected, "{names:?} {template} {table}");
        }
    }

    #[test]
    fn what_cannot_be_a_target_is_refused() {
        use TargetNames::{Dotted, Path, Quoted};
        for (names, template, schema, words) in [
            (Dotted, "{schema}.{table}", "a.b", "contains a dot"),
            (Quoted, "\"x\".{table}", "s", "without quotes"),
            (Path, "{tabel}", "s", "there is {schema}, {table}"),
            (Path, "{table", "s", "single `{`"),
            (Path, "table}", "s", "single `}`"),
            (Path, "{schema}/{table}", "", "no schema of the table"),
        ] {
            let error = fill(names, template, schema, "t").expect_err(template);
            assert!(error.message().contains(words), "{template}: {error}");
        }
    }
}
