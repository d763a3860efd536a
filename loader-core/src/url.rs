//! Parses connection URLs, without ever showing a password.

use std::net::Ipv6Addr;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use crate::{Error, ErrorKind, Result, Secret};

/// A connection URL: `scheme://user:password@host:port,host:port/path?key=value`, with its escapes undone.
///
/// A character of the password that should have been escaped would end the password, and the rest of it would leak: to the
/// DNS as a host, or into a message as a database. So an `@`, `#`, `/`, `?` or `%` that may belong to a password is
/// refused.
///
/// ```
/// let url = arrowload_core::ConnectionUrl::parse("redis://ann:p%40ss@a:7000,[::1]/0?tls=true")?;
/// assert_eq!((url.user.as_str(), url.password.expose()), ("ann", "p@ss"));
/// assert_eq!(url.hosts, [("a".to_owned(), Some(7000)), ("::1".to_owned(), None)]);
/// assert_eq!((url.path, url.query), (vec!["0".to_owned()], vec![("tls".to_owned(), "true".to_owned())]));
///
/// let error = arrowload_core::ConnectionUrl::parse("redis://ann:p@ss@a").err();
/// assert!(error.is_some_and(|error| error.message().contains("percent-encode the password")));
/// # Ok::<(), arrowload_core::Error>(())
/// ```
pub struct ConnectionUrl {
    /// The text before `://`, in lower case.
    pub scheme: String,
    /// The user; empty if there is none.
    pub user: String,
    /// The password; empty if there is none.
    pub password: Secret,
    /// Hosts with their ports. A host is empty where only a port is given, as in `:5433`; an IPv6 address has no brackets.
    pub hosts: Vec<(String, Option<u16>)>,
    /// The parts between slashes after the hosts, without empty pieces at the end.
    pub path: Vec<String>,
    /// The parameters, in order. A `+` is a plus.
    pub query: Vec<(String, String)>,
}

const JDBC: &str = "jdbc:";

/// What the user has to do where a character may be of a password.
const UNESCAPED: &str = "percent-encode the password, and other parts as well: @ as %40, # as %23, / as %2F, ? as %3F, % as %25";

impl ConnectionUrl {
    /// Takes a URL apart. Space around it, such as the end of a line, is left out.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`]. The message shows nothing of the URL but its scheme, as it may hold a password.
    pub fn parse(url: &str) -> Result<Self> {
        let url = url.trim();
        let scheme = url_scheme(url).ok_or_else(|| malformed("scheme", "it has no ://"))?;
        let rest = &url[scheme.len() + "://".len()..];
        let failed = |why: &str| malformed(&scheme, why);
        if has_unescaped(rest) {
            return Err(failed(UNESCAPED));
        }
        let decode = |text: &str| decode(text).map_err(failed);
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = place.split_once('/').unwrap_or((place, ""));
        let (credentials, hosts) = authority.split_once('@').unwrap_or(("", authority));
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        let host = |text: &str| {
            let (host, port) = host_and_port(text).map_err(|why| match credentials {
                // What was taken for a port may be a password whose `@` is missing.
                "" => failed(&format!("{why}; {UNESCAPED}")),
                _ => failed(why),
            })?;
            Ok((decode(host)?, port))
        };
        let hosts = match hosts {
            "" => Vec::new(),
            hosts => hosts.split(',').map(host).collect::<Result<_>>()?,
        };
        let path = match path.trim_end_matches('/') {
            "" => Vec::new(),
            path => path.split('/').map(decode).collect::<Result<_>>()?,
        };
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let query = pairs.map(|pair| {
            let pair = pair.split_once('=');
            let (key, value) = pair.ok_or_else(|| failed("a parameter has no ="))?;
            Ok((decode(key)?, decode(value)?))
        });
        Ok(Self {
            user: decode(user)?,
            password: Secret::new(decode(password)?),
            hosts,
            path,
            query: query.collect::<Result<_>>()?,
            scheme,
        })
    }
}

/// Splits a list of hosts with commas between them, each `host`, `host:port`, `[::1]:port` or `::1`. A host may be empty.
///
/// ```
/// let hosts = arrowload_core::hosts("a:7000, ::1")?;
/// assert_eq!(hosts, [("a".to_owned(), Some(7000)), ("::1".to_owned(), None)]);
/// # Ok::<(), arrowload_core::Error>(())
/// ```
///
/// # Errors
/// [`ErrorKind::InvalidOption`]. The message does not show the list, as it may be a part of a URL.
pub fn hosts(list: &str) -> Result<Vec<(String, Option<u16>)>> {
    let one = |host: &str| match host.trim() {
        bare if is_ipv6(bare) => Ok((bare.to_owned(), None)),
        other => host_and_port(other).map(|(host, port)| (host.to_owned(), port)),
    };
    let all: Result<_, &str> = list.split(',').map(one).collect();
    all.map_err(|why| {
        let message = format!("{why}; write host or host:port, with commas between several");
        Error::new(ErrorKind::InvalidOption, message)
    })
}

fn host_and_port(text: &str) -> Result<(&str, Option<u16>), &'static str> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, "")) if is_ipv6(address) => return Ok((address, None)),
            Some((address, port)) if is_ipv6(address) && port.starts_with(':') => {
                (address, &port[1..])
            }
            _ => return Err("invalid IPv6 address in brackets"),
        },
        None => text.split_once(':').unwrap_or((text, "")),
    };
    match port.parse() {
        _ if port.is_empty() => Ok((host, None)),
        Ok(1..) if port.starts_with('+') => Err("invalid port"),
        Ok(port @ 1..) => Ok((host, Some(port))),
        _ if port.contains(':') => Err("an IPv6 address stands in brackets, as in [::1]:port"),
        _ => Err("invalid port"),
    }
}

/// Whether it is an IPv6 address, which may have a zone.
fn is_ipv6(text: &str) -> bool {
    let (address, _) = text.split_once('%').unwrap_or((text, ""));
    address.parse::<Ipv6Addr>().is_ok()
}

/// Whether a character is where it may belong to a password.
fn has_unescaped(rest: &str) -> bool {
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = match place.split_once('/') {
        Some((authority, path)) => (authority, Some(path)),
        None => (place, None),
    };
    // An `@` in the value of a parameter belongs to a user or an address, if the URL has a path before it. If it is a
    // password after all, it is read as a parameter that no store knows, and refused before anything is sent.
    let is_value = |pair: &str| match pair.split_once('=') {
        Some((key, _)) => key
            .bytes()
            .all(|byte| byte == b'_' || byte.is_ascii_lowercase()),
        None => !pair.contains('@'),
    };
    let in_query = query.contains('@') && (path.is_none() || !query.split('&').all(is_value));
    let in_path = path.is_some_and(|path| path.contains('@'));
    rest.contains('#')
        || authority.matches('@').count() > 1
        || (!authority.is_empty() && (in_path || in_query))
}

fn decode(text: &str) -> Result<String, &'static str> {
    let is_escape = |after: &str| {
        let digits = after.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !text.split('%').skip(1).all(is_escape) {
        return Err(UNESCAPED);
    }
    let decoded = percent_decode_str(text).decode_utf8();
    decoded
        .map(Into::into)
        .map_err(|_| "an escape is not UTF-8")
}

fn malformed(scheme: &str, why: &str) -> Error {
    let message = format!(
        "the connection URL is malformed: {why}; write {scheme}://user:password@host:port/…"
    );
    Error::new(ErrorKind::InvalidOption, message)
}

/// Splits `scheme://user:password@host:port/database?key=value` into the keys `user`, `password`, `host`, `port`,
/// `database` and one for each query parameter. What is absent is left out.
///
/// # Errors
/// Those of [`ConnectionUrl::parse`]; [`ErrorKind::InvalidOption`] for several hosts, or a key that is given twice.
pub fn url_to_config(url: &str) -> Result<Map<String, Value>> {
    let url = ConnectionUrl::parse(url)?;
    let mut hosts = url.hosts.into_iter();
    let (host, port) = hosts.next().unwrap_or_default();
    if hosts.next().is_some() {
        return Err(malformed(&url.scheme, "it names several hosts"));
    }
    let parts = [
        ("user", url.user),
        ("password", url.password.expose().to_owned()),
        ("host", host),
        ("database", url.path.join("/")),
    ];
    let given = |(_, value): &(&str, String)| !value.is_empty();
    let mut keys: Map<String, Value> = parts
        .into_iter()
        .filter(given)
        .map(|(key, value)| (key.to_owned(), value.into()))
        .collect();
    if let Some(port) = port {
        keys.insert("port".into(), port.into());
    }
    for (key, value) in url.query.into_iter().filter(|(_, value)| !value.is_empty()) {
        if keys.contains_key(&key) {
            let why = format!("it gives `{key}` twice");
            return Err(malformed(&url.scheme, &why));
        }
        keys.insert(key, value.into());
    }
    Ok(keys)
}

/// The scheme of a connection URL, in lower case: what is before `://`. That of a URL of JDBC's has two parts, as in
/// `jdbc:postgresql`.
pub fn url_scheme(url: &str) -> Option<String> {
    let (scheme, _) = url.split_once("://")?;
    let is_jdbc = scheme
        .get(..JDBC.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(JDBC));
    let mut letters = scheme[if is_jdbc { JDBC.len() } else { 0 }..].chars();
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

    fn refusal(url: &str) -> Error {
        let error = ConnectionUrl::parse(url)
            .err()
            .unwrap_or_else(|| panic!("{url} is taken"));
        assert_eq!(error.kind(), ErrorKind::InvalidOption, "{url}: {error}");
        error
    }

    fn pairs(hosts: &[(&str, Option<u16>)]) -> Vec<(String, Option<u16>)> {
        let owned = hosts.iter().map(|(host, port)| ((*host).to_owned(), *port));
        owned.collect()
    }

    #[test]
    fn every_part_becomes_a_key_and_escapes_are_undone() {
        let keys = url_to_config(
            "postgresql://u%40x:p%2B%20+w@[::1]:5433/my%20db?sslmode=require&a=b+c\n",
        )
        .expect("a URL");
        let expected = serde_json::json!({
            "user": "u@x", "password": "p+ +w", "host": "::1", "port": 5433, "database": "my db",
            "sslmode": "require", "a": "b+c"
        });
        assert_eq!(Value::Object(keys), expected);
    }

    #[test]
    fn several_hosts() {
        for (list, expected) in [
            ("h", pairs(&[("h", None)])),
            (
                "h:1,[::1]:2,b",
                pairs(&[("h", Some(1)), ("::1", Some(2)), ("b", None)]),
            ),
            (
                "[fe80::1%25eth0]:65535",
                pairs(&[("fe80::1%eth0", Some(65_535))]),
            ),
            ("%2Frun%2Fpg,h:", pairs(&[("/run/pg", None), ("h", None)])),
            (":5433", pairs(&[("", Some(5433))])),
            ("a,,b", pairs(&[("a", None), ("", None), ("b", None)])),
            ("", pairs(&[])),
        ] {
            for url in [format!("x://{list}/d"), format!("x://u:p@{list}?k=v")] {
                let parsed = ConnectionUrl::parse(&url).expect("a URL");
                assert_eq!(parsed.hosts, expected, "{url}");
            }
        }
        for list in [
            "h:0",
            "h:65536",
            "h:+1",
            "h:-1",
            "h:hunter2",
            "::1",
            "::1:5432",
            "[::1",
            "[::1]1",
            "[hunter2]",
            "[]:1",
        ] {
            for url in [format!("x://{list}/d"), format!("x://u:hunter3@a:1,{list}")] {
                let error = refusal(&url).to_string();
                assert!(!error.contains("hunter"), "{error}");
            }
        }
        assert_eq!(
            hosts("::1, a:2").expect("hosts"),
            pairs(&[("::1", None), ("a", Some(2))])
        );
        let error = hosts("a:hunter2").expect_err("no port").to_string();
        assert!(
            error.contains("invalid port") && !error.contains("hunter2"),
            "{error}"
        );
    }

    #[test]
    fn a_password_that_is_not_escaped_is_refused_and_not_shown() {
        for password in ["@", "#", "/", "?", "%", "%4", "%zz", "@#/?%", "?k=v", "#/@"] {
            // Digits before the character read as a port, and letters after it as a host.
            for (before, after) in [("hun", "ter"), ("12", "-34"), ("12", "ter"), ("", "")] {
                for place in ["127.0.0.1:5432/db", "h", "h?k=v", "a:1,b:2/x/y"] {
                    let url = format!("x://user:{before}{password}{after}@{place}");
                    let error = refusal(&url);
                    assert!(
                        error.message().contains("percent-encode the password"),
                        "{url}: {error}"
                    );
                    let text = format!("{error} {error:?}");
                    for part in ["hun", "ter", "12", "34", "zz"] {
                        assert!(!text.contains(part), "{url}: {text}");
                    }
                }
            }
        }
        // An address in a parameter is none of a password.
        for url in [
            "x://h:1/d?user=me@corp",
            "x://u:p@h/d?application_name=a@b",
            "x:///d?user=a@b",
            "x://?user=a@b",
        ] {
            let parsed = ConnectionUrl::parse(url).expect("a URL");
            assert!(parsed.query[0].1.contains('@'));
        }
        // Nor is a socket's path.
        let socket = ConnectionUrl::parse("redis+unix:///run/a@b").expect("a URL");
        assert_eq!(socket.path, ["run", "a@b"]);
    }

    #[test]
    fn what_else_is_malformed() {
        for (url, words) in [
            ("hunter2", "://"),
            ("x://u:hunter2@h/d?hunter2", "no ="),
            ("x://u:hunter2%FF@h", "UTF-8"),
            ("x://u:hunter2@h:port/", "invalid port"),
        ] {
            let error = refusal(url).to_string();
            assert!(
                error.contains(words) && !error.contains("hunter2"),
                "{error}"
            );
        }
        for (url, words) in [
            ("x://a,b", "several hosts"),
            ("x://u@h?user=v", "`user` twice"),
        ] {
            let error = url_to_config(url).expect_err(words).to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn schemes() {
        assert_eq!(url_scheme("GRPC+tls://x").as_deref(), Some("grpc+tls"));
        assert_eq!(
            url_scheme("jdbc:PostgreSQL://x").as_deref(),
            Some("jdbc:postgresql")
        );
        assert_eq!(url_scheme("a:b://x"), None);
        assert_eq!(url_scheme("my_pg"), None);
        assert_eq!(url_scheme("://x"), None);
    }
}
