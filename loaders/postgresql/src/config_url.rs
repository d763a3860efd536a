//! Parses connection strings of other tools: URLs of libpq, JDBC and SQLAlchemy, libpq's `key=value` strings, and the service
//! names of libpq.

use arrowload_core::{ConnectionUrl, Error, ErrorKind, Result, url_scheme};
use serde_json::{Map, Value};

use crate::config_service;

/// Schemes of URLs. Those of SQLAlchemy name the driver too, which says nothing of the server.
pub(crate) const URL_SCHEMES: &[&str] = &[
    "postgresql",
    "postgres",
    "jdbc:postgresql",
    "postgresql+psycopg2",
    "postgresql+psycopg",
    "postgresql+asyncpg",
    "postgresql+pg8000",
    "pgsql",
    "postgis",
];

/// Environment variables of libpq, and common variables for URLs.
pub(crate) const ENVIRONMENT: &[(&str, &str)] = &[
    ("DATABASE_URL", "url"),
    ("POSTGRES_URL", "url"),
    ("POSTGRESQL_URL", "url"),
    ("PGSERVICE", "url=postgresql:///?service="),
    // It is the address to connect to, whatever the host's name is.
    ("PGHOSTADDR", "host"),
    ("PGHOST", "host"),
    ("PGPORT", "port"),
    ("PGUSER", "user"),
    ("PGPASSWORD", "password"),
    ("PGPASSFILE", "passfile"),
    ("PGDATABASE", "database"),
    ("PGSSLMODE", "sslmode"),
    ("PGSSLROOTCERT", "sslrootcert"),
    ("PGSSLCERT", "sslcert"),
    ("PGSSLKEY", "sslkey"),
    ("PGSSLNEGOTIATION", "sslnegotiation"),
    ("PGCHANNELBINDING", "channel_binding"),
    ("PGGSSENCMODE", "gssencmode"),
    ("PGTARGETSESSIONATTRS", "target_session_attrs"),
    ("PGLOADBALANCEHOSTS", "load_balance_hosts"),
    ("PGAPPNAME", "application_name"),
    ("PGCONNECT_TIMEOUT", "connect_timeout"),
    ("PGOPTIONS", "options"),
];

const JDBC: &str = "jdbc:";

/// Splits a URL as libpq does: several `host:port` pairs, hosts that are escaped folders, `?host=`; a URL of JDBC's, or libpq's
/// `host=… dbname=…`. A `service` brings what it does not say itself.
///
/// # Errors
/// Those of [`ConnectionUrl::parse`], which do not show the URL, as it may hold a password; of the service file.
pub(crate) fn from_url(text: &str) -> Result<Map<String, Value>> {
    let text = text.trim();
    let scheme = url_scheme(text);
    let pairs = match &scheme {
        None if text.contains('=') => pairs_of_string(text)?,
        _ => pairs_of_url(text)?,
    };
    let is_jdbc = scheme.is_some_and(|scheme| scheme.starts_with(JDBC));
    let mut keys = Map::new();
    for (key, value) in pairs {
        keep(&mut keys, is_jdbc, &key, value);
    }
    let file = keys.remove("servicefile");
    if let Some(Value::String(service)) = keys.remove("service") {
        let file = file.as_ref().and_then(Value::as_str);
        let mut all = Map::new();
        for (key, value) in config_service::read(&service, file)? {
            keep(&mut all, false, &key, value);
        }
        all.append(&mut keys);
        keys = all;
    }
    let fallback = keys.remove("fallback_application_name");
    if let Some(name) = fallback {
        keys.entry("application_name").or_insert(name);
    }
    Ok(keys)
}

/// Keeps a parameter under the name of its key. One that changes nothing here is left out; what is unknown stays, to be refused by
/// its name.
fn keep(keys: &mut Map<String, Value>, is_jdbc: bool, key: &str, value: String) {
    let is_utf8 = || {
        ["utf8", "utf-8", "unicode", "auto"]
            .iter()
            .any(|name| value.eq_ignore_ascii_case(name))
    };
    let (key, value) = match (key, value.as_str()) {
        ("dbname", _) => ("database", value),
        // As libpq and JDBC translate it.
        ("ssl", "true") if is_jdbc => ("sslmode", "verify-full".to_owned()),
        ("ssl", "true") | ("requiressl", "1") => ("sslmode", "require".to_owned()),
        ("ApplicationName", _) if is_jdbc => ("application_name", value),
        ("currentSchema", name) if is_jdbc && !name.contains(',') => ("schema", value),
        ("client_encoding", _) if is_utf8() => return,
        ("sslcompression" | "replication" | "requiressl", "0")
        | ("sslsni", "1")
        | ("ssl" | "replication", "false") => return,
        _ => (key, value),
    };
    keys.insert(key.to_owned(), value.into());
}

fn pairs_of_url(url: &str) -> Result<Vec<(String, String)>> {
    let url = ConnectionUrl::parse(url)?;
    let (hosts, ports): (Vec<String>, Vec<String>) = url
        .hosts
        .into_iter()
        .map(|(host, port)| (host, port.map(|port| port.to_string()).unwrap_or_default()))
        .unzip();
    let joined = |texts: Vec<String>| match texts.iter().any(|text| !text.is_empty()) {
        true => texts.join(","),
        false => String::new(),
    };
    let parts = [
        ("host", joined(hosts)),
        ("port", joined(ports)),
        ("user", url.user),
        ("password", url.password.expose().to_owned()),
        ("database", url.path.join("/")),
    ];
    let given = parts.into_iter().filter(|(_, value)| !value.is_empty());
    let given = given.map(|(key, value)| (key.to_owned(), value));
    Ok(given.chain(url.query).collect())
}

/// Parses `host=db user='a b'`: a value within quotes may hold spaces, and a backslash keeps the character behind it.
fn pairs_of_string(text: &str) -> Result<Vec<(String, String)>> {
    let malformed = |why: &str| {
        let message = format!(
            "the connection string is malformed: {why}; write key=value with spaces between, and values that hold spaces as 'a b'"
        );
        Error::new(ErrorKind::InvalidOption, message)
    };
    let (mut pairs, mut rest) = (Vec::new(), text.trim_start());
    while !rest.is_empty() {
        let (key, behind) = rest
            .split_once('=')
            .ok_or_else(|| malformed("a key has no ="))?;
        let key = key.trim_end();
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        if key.is_empty() || !key.chars().all(is_name) {
            return Err(malformed("a key before = is invalid"));
        }
        let behind = behind.trim_start();
        let (value, behind) = value_of_string(behind).map_err(malformed)?;
        pairs.push((key.to_owned(), value));
        rest = behind.trim_start();
    }
    Ok(pairs)
}

/// A value, and what is behind it.
fn value_of_string(text: &str) -> Result<(String, &str), &'static str> {
    let quoted = text.strip_prefix('\'');
    let (mut value, mut letters) = (String::new(), quoted.unwrap_or(text).chars());
    loop {
        let before = letters.as_str();
        match letters.next() {
            None if quoted.is_some() => return Err("a quote is not closed"),
            None => return Ok((value, "")),
            Some('\\') => value.extend(letters.next()),
            Some('\'') if quoted.is_some() => return Ok((value, letters.as_str())),
            Some(letter) if quoted.is_none() && letter.is_whitespace() => {
                return Ok((value, before));
            }
            Some(letter) => value.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Value {
        Value::Object(from_url(text).unwrap_or_else(|error| panic!("{text}: {error}")))
    }

    #[test]
    fn urls_are_read_as_libpq_does() {
        let keys = from_url(
            "postgresql://u%40x:p%3Aw@h1:1,[::1]:2/my%20db?sslmode=require&application_name=a%20b",
        )
        .expect("a URL");
        let expected = serde_json::json!({
            "user": "u@x", "password": "p:w", "host": "h1,::1", "port": "1,2", "database": "my db",
            "sslmode": "require", "application_name": "a b"
        });
        assert_eq!(Value::Object(keys), expected);
        let keys = from_url("postgres://%2Frun%2Fpg/db").expect("a URL");
        assert_eq!(
            Value::Object(keys),
            serde_json::json!({ "host": "/run/pg", "database": "db" })
        );
        let keys = from_url("postgresql:///db?host=/tmp&dbname=other").expect("a URL");
        assert_eq!(
            Value::Object(keys),
            serde_json::json!({ "host": "/tmp", "database": "other" })
        );
    }

    #[test]
    fn a_malformed_url_is_not_shown() {
        for url in [
            "postgresql://u:hunter2@h:port/",
            "postgresql://u:1#hunter2@h/d",
        ] {
            let error = from_url(url).expect_err("malformed");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn the_words_of_other_tools_are_understood() {
        for (text, expected) in [
            (
                "host=db.internal port=6000 user='we ird' password='it\\'s # @' dbname = d",
                serde_json::json!({ "host": "db.internal", "port": "6000", "user": "we ird", "password": "it's # @", "database": "d" }),
            ),
            (
                "postgresql+psycopg2://u@h/d",
                serde_json::json!({ "host": "h", "user": "u", "database": "d" }),
            ),
            (
                "jdbc:postgresql://h:1/d?user=u&password=p&ssl=true&currentSchema=s",
                serde_json::json!({ "host": "h", "port": "1", "database": "d", "user": "u", "password": "p", "sslmode": "verify-full",
                    "schema": "s" }),
            ),
            (
                "postgresql://h/d?ssl=true&client_encoding=UTF8&fallback_application_name=x&sslcompression=0",
                serde_json::json!({ "host": "h", "database": "d", "sslmode": "require", "application_name": "x" }),
            ),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
        for text in ["host='hunter2", "host=h hunter2", "hunter 2=x", "=hunter2"] {
            let error = from_url(text).expect_err(text).to_string();
            assert!(
                error.contains("malformed") && !error.contains("hunter"),
                "{error}"
            );
        }
        // What is unknown stays, so that it is refused by its name.
        assert_eq!(read("postgresql://h?sslcrl=x")["sslcrl"], "x");
    }
}
