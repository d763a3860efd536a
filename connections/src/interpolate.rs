//! References inside values: `${env:NAME}`, `${env:NAME:-default}`, `${file:/path}`; `$${` stands for `${` itself.

use serde_json::Value;

use crate::environment::Environment;

const OPENING: &str = "${";
const ESCAPED: &str = "$${";

/// A part of a text.
enum Piece<'t> {
    Text(&'t str),
    /// The text between `${` and `}`.
    Reference(&'t str),
}

/// A text or value after its references were replaced.
pub(crate) struct Replaced<T> {
    pub(crate) value: T,
    /// Whether a reference was followed, so that the value may be secret whatever its key.
    pub(crate) referred: bool,
}

/// Why a reference cannot be resolved: the keys and indices that lead to it, and the reason, without any value.
pub(crate) struct Problem {
    pub(crate) path: String,
    pub(crate) why: String,
}

/// Makes a text that [`in_text`] turns back into this one: for what comes from places where `${` means nothing.
pub(crate) fn escape(text: &str) -> String {
    text.replace(OPENING, ESCAPED)
}

/// Follows the references in all texts of a value.
pub(crate) fn in_value(
    value: &Value,
    environment: &Environment,
) -> Result<Replaced<Value>, Problem> {
    let mut referred = false;
    let mut inner = |name: String, value: &Value| {
        let replaced = in_value(value, environment).map_err(|problem| Problem {
            path: name + &problem.path,
            ..problem
        })?;
        referred |= replaced.referred;
        Ok(replaced.value)
    };
    let value = match value {
        Value::String(text) => {
            let replaced = in_text(text, environment).map_err(|why| Problem {
                path: String::new(),
                why,
            })?;
            return Ok(Replaced {
                value: Value::String(replaced.value),
                referred: replaced.referred,
            });
        }
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(index, item)| inner(format!("[{index}]"), item))
            .collect::<Result<_, _>>()?,
        Value::Object(map) => {
            let entry = |(key, value): (&String, &Value)| {
                Ok((key.clone(), inner(format!(".{key}"), value)?))
            };
            Value::Object(map.iter().map(entry).collect::<Result<_, _>>()?)
        }
        other => other.clone(),
    };
    Ok(Replaced { value, referred })
}

/// Follows the references in a text.
pub(crate) fn in_text(text: &str, environment: &Environment) -> Result<Replaced<String>, String> {
    replace(text, environment, |_, _| false)
}

/// Follows the references in a URL. What stands for a user or password may hold any character, and is percent-encoded.
pub(crate) fn in_url(url: &str, environment: &Environment) -> Result<Replaced<String>, String> {
    replace(url, environment, is_userinfo)
}

fn replace(
    text: &str,
    environment: &Environment,
    encode: fn(&[Piece<'_>], usize) -> bool,
) -> Result<Replaced<String>, String> {
    let pieces = pieces(text)?;
    let mut out = Replaced {
        value: String::new(),
        referred: false,
    };
    for (index, piece) in pieces.iter().enumerate() {
        match piece {
            Piece::Text(text) => out.value.push_str(text),
            Piece::Reference(reference) => {
                let value = look_up(reference, environment)?;
                out.value.push_str(&if encode(&pieces, index) {
                    percent_encode(&value)
                } else {
                    value
                });
                out.referred = true;
            }
        }
    }
    Ok(out)
}

fn pieces(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(OPENING) {
        let (before, opened) = rest.split_at(start);
        if let Some(before) = before.strip_suffix('$') {
            pieces.extend([Piece::Text(before), Piece::Text(OPENING)]);
            rest = &opened[OPENING.len()..];
            continue;
        }
        let unclosed =
            || "a `${` is not closed by `}`; write `$${` for the characters themselves".to_owned();
        let (reference, after) = opened[OPENING.len()..]
            .split_once('}')
            .ok_or_else(unclosed)?;
        pieces.extend([Piece::Text(before), Piece::Reference(reference)]);
        rest = after;
    }
    pieces.push(Piece::Text(rest));
    Ok(pieces)
}

fn look_up(reference: &str, environment: &Environment) -> Result<String, String> {
    match reference.split_once(':') {
        Some(("env", name)) => variable(name, environment),
        Some(("file", path)) if !path.is_empty() => {
            let text = std::fs::read_to_string(path).map_err(|error| format!("the file {path} cannot be read: {error}"))?;
            let text = text.strip_suffix('\n').unwrap_or(&text);
            Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
        }
        // The text is not shown, as it may be part of a password that happens to hold `${`.
        _ => Err("it holds a `${…}` that is none of ${env:NAME}, ${env:NAME:-default} and ${file:/path}; write `$${` for the characters \
                  themselves"
            .into()),
    }
}

/// `NAME` or `NAME:-default`; the default also stands in for a variable that is empty, as in a shell.
fn variable(reference: &str, environment: &Environment) -> Result<String, String> {
    if let Some((name, default)) = reference.split_once(":-") {
        return Ok(environment.non_empty(name).unwrap_or(default).to_owned());
    }
    let missing = || {
        format!(
            "the environment variable {reference} is not set; set it, or write ${{env:{reference}:-default}}"
        )
    };
    environment
        .get(reference)
        .map(str::to_owned)
        .ok_or_else(missing)
}

/// Whether a piece of a URL is between `scheme://` and `@`.
fn is_userinfo(pieces: &[Piece<'_>], index: usize) -> bool {
    const ENDS: [char; 3] = ['/', '?', '#'];
    let written = |pieces: &[Piece<'_>]| {
        pieces
            .iter()
            .filter_map(|piece| {
                if let Piece::Text(text) = piece {
                    Some(*text)
                } else {
                    None
                }
            })
            .collect::<String>()
    };
    let (before, after) = (written(&pieces[..index]), written(&pieces[index + 1..]));
    let in_authority = before
        .split_once("://")
        .is_some_and(|(_, rest)| !rest.contains(ENDS));
    let rest_of_authority = after.split(ENDS).next().unwrap_or_default();
    in_authority && rest_of_authority.contains('@')
}

pub(crate) fn percent_encode(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    text.bytes()
        .map(|byte| {
            if plain(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Environment {
        [
            ("A", "one"),
            ("EMPTY", ""),
            ("ODD", "p@/:%"),
            ("WHOLE", "x://u:p@h/d"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into_iter()
        .collect()
    }

    fn text(text: &str) -> Result<String, String> {
        in_text(text, &environment()).map(|replaced| replaced.value)
    }

    #[test]
    fn references_stand_anywhere_and_escapes_are_undone() {
        assert_eq!(
            text("<${env:A}-${env:NONE:-two}${env:EMPTY:-three}>${env:EMPTY}").as_deref(),
            Ok("<one-twothree>")
        );
        assert_eq!(
            text("$${env:A} $ } $x $$").as_deref(),
            Ok("${env:A} $ } $x $$")
        );
    }

    #[test]
    fn what_is_escaped_comes_back() {
        for odd in ["${", "$${x}", "$$${env:A}", "a$", "${env:A}$${"] {
            assert_eq!(text(&escape(odd)).as_deref(), Ok(odd));
        }
    }

    #[test]
    fn only_users_and_passwords_in_urls_are_encoded() {
        let url = |url| in_url(url, &environment()).map(|replaced| replaced.value);
        assert_eq!(
            url("pg://u:${env:ODD}@h/${env:A}").as_deref(),
            Ok("pg://u:p%40%2F%3A%25@h/one")
        );
        assert_eq!(
            url("pg://${env:A}:x${env:ODD}@h/d").as_deref(),
            Ok("pg://one:xp%40%2F%3A%25@h/d")
        );
        assert_eq!(
            url("pg://${env:A}/d@e?x=${env:ODD}").as_deref(),
            Ok("pg://one/d@e?x=p@/:%")
        );
        assert_eq!(url("${env:WHOLE}").as_deref(), Ok("x://u:p@h/d"));
    }

    #[test]
    fn malformed_references_show_nothing_but_names() {
        let error = text("hunter2${oops}").expect_err("no such kind");
        assert!(
            !error.contains("hunter2") && !error.contains("oops") && error.contains("$${"),
            "{error}"
        );
        assert!(text("${env:A").expect_err("open").contains("not closed"));
        assert!(
            text("${env:NONE}")
                .expect_err("unset")
                .contains("variable NONE is not set")
        );
        assert!(
            text("${file:/no/such/file}")
                .expect_err("no file")
                .contains("/no/such/file")
        );
    }

    #[test]
    fn a_problem_says_where_in_the_value_it_is() {
        let value = serde_json::json!({"options": {"list": ["x", "${env:NONE}"]}});
        let problem = in_value(&value, &environment()).err().expect("unset");
        assert_eq!(problem.path, ".options.list[1]");
    }
}
