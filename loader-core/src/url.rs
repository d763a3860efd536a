//! Connection URLs as connection keys, for stores whose URLs look like everybody's.

use serde_json::{Map, Value};
use url::Url;

use crate::{Error, ErrorKind, Result};

/// Splits `scheme://user:password@host:port/database?key=value` into the keys `user`, `password`, `host`, `port`,
/// `database` and one for each query parameter. What is absent is left out.
///
/// # Errors
/// [`ErrorKind::InvalidOption`] if it is no URL. The message does not show it, as it may hold a password.
pub fn url_to_config(url: &str) -> Result<Map<String, Value>> {
    let malformed = |why: String| {
        Error::new(
            ErrorKind::InvalidOption,
            format!("the connection URL is malformed: {why}"),
        )
    };
    let url = Url::parse(url).map_err(|error| malformed(error.to_string()))?;
    let decode = |text: &str| {
        let pair = format!("x={}", text.replace('+', "%2B"));
        let decoded = url::form_urlencoded::parse(pair.as_bytes()).next();
        decoded
            .map(|(_, value)| value.into_owned())
            .unwrap_or_default()
    };
    let mut keys = Map::new();
    let mut set = |key: &str, value: String| {
        if !value.is_empty() {
            keys.insert(key.into(), Value::String(value));
        }
    };
    set("user", decode(url.username()));
    set("password", url.password().map(decode).unwrap_or_default());
    set(
        "host",
        url.host_str()
            .map(decode)
            .unwrap_or_default()
            .trim_matches(['[', ']'])
            .to_owned(),
    );
    set("database", decode(url.path().trim_matches('/')));
    if let Some(port) = url.port() {
        keys.insert("port".into(), port.into());
    }
    for (key, value) in url.query_pairs().filter(|(_, value)| !value.is_empty()) {
        if keys.contains_key(key.as_ref()) {
            return Err(malformed(format!("it gives `{key}` twice")));
        }
        keys.insert(key.into_owned(), Value::String(value.into_owned()));
    }
    Ok(keys)
}

/// The scheme of a connection URL, in lower case: what stands before `://`.
pub fn url_scheme(url: &str) -> Option<String> {
    let (scheme, _) = url.split_once("://")?;
    let mut letters = scheme.chars();
    let well_formed = letters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic())
        && letters
            .all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '+' | '-' | '.'));
    well_formed.then(|| scheme.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_becomes_a_key_and_escapes_are_undone() {
        let keys = url_to_config("postgresql://u%40x:p%2B%20+w@[::1]:5433/my%20db?sslmode=require")
            .expect("a URL");
        let expected = serde_json::json!({
            "user": "u@x", "password": "p+ +w", "host": "::1", "port": 5433, "database": "my db", "sslmode": "require"
        });
        assert_eq!(Value::Object(keys), expected);
    }

    #[test]
    fn a_malformed_url_is_not_shown() {
        let error = url_to_config("postgresql://u:hunter2@h:port/").expect_err("no port");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn schemes() {
        assert_eq!(url_scheme("GRPC+tls://x").as_deref(), Some("grpc+tls"));
        assert_eq!(url_scheme("my_pg"), None);
        assert_eq!(url_scheme("://x"), None);
    }
}
