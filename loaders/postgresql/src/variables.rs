//! Variables that tighten every connection of libpq's, whatever its URL says: each is honoured, or refused by its name.

use arrowload_core::{Error, ErrorKind, Result};

use crate::config::{PostgresqlConfig, SslMode};

/// When a variable counts.
#[derive(Clone, Copy, PartialEq)]
enum For {
    Any,
    Socket,
    Tls,
}

/// Variables that have no key here: when they count, the values that ask for nothing beyond what a connection does anyway, and what
/// they ask for.
const UNSUPPORTED: [(&str, For, &[&str], &str); 8] = [
    (
        "PGREQUIREAUTH",
        For::Any,
        &[],
        "to choose the way of authentication",
    ),
    (
        "PGREQUIREPEER",
        For::Socket,
        &[],
        "to check which user runs the server behind a socket",
    ),
    (
        "PGSSLCRL",
        For::Tls,
        &[],
        "to check lists of revoked certificates",
    ),
    (
        "PGSSLCRLDIR",
        For::Tls,
        &[],
        "to check lists of revoked certificates",
    ),
    // The TLS library speaks 1.2 and 1.3.
    (
        "PGSSLMINPROTOCOLVERSION",
        For::Tls,
        &["TLSv1", "TLSv1.1", "TLSv1.2"],
        "to choose the version of TLS",
    ),
    (
        "PGSSLMAXPROTOCOLVERSION",
        For::Tls,
        &["TLSv1.3"],
        "to choose the version of TLS",
    ),
    (
        "PGSSLCERTMODE",
        For::Tls,
        &["allow"],
        "to say whether the client's certificate is sent",
    ),
    (
        "PGMINPROTOCOLVERSION",
        For::Any,
        &["3.0"],
        "to choose the version of the protocol",
    ),
];

/// The variable of this process, unless it is empty.
pub(crate) fn of_process(name: &str) -> Option<String> {
    let value = std::env::var_os(name)?.to_string_lossy().into_owned();
    (!value.is_empty()).then_some(value)
}

/// The configuration with what these variables ask for.
///
/// # Errors
/// [`ErrorKind::InvalidOption`] for a variable that would be ignored.
pub(crate) fn tightened(
    config: &PostgresqlConfig,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<PostgresqlConfig> {
    let mut config = config.clone();
    if config.sslmode == SslMode::Prefer
        && variable("PGREQUIRESSL").is_some_and(|value| value.starts_with('1'))
    {
        config.sslmode = SslMode::Require;
    }
    let is_socket = |host: &str| host.trim().starts_with(['/', '@']);
    let by_address = config.hostaddr.is_some();
    let by_socket = !by_address && config.host.split(',').any(is_socket);
    let by_tls = config.sslmode != SslMode::Disable
        && (by_address || !config.host.split(',').all(is_socket));
    for (name, when, harmless, purpose) in UNSUPPORTED {
        let counts = match when {
            For::Any => true,
            For::Socket => by_socket,
            For::Tls => by_tls,
        };
        let Some(value) = variable(name).filter(|_| counts) else {
            continue;
        };
        if !harmless.iter().any(|word| value.eq_ignore_ascii_case(word)) {
            return Err(refused(
                name,
                &format!("{name} is set {purpose}, which is not supported; unset {name}"),
            ));
        }
    }
    if let Some(address) = variable("PGHOSTADDR")
        && !by_address
        && config.host != address
    {
        let message = format!(
            "PGHOSTADDR is set to `{address}`, and the connection names the host `{}`; unset PGHOSTADDR, or, to connect to that address, \
             set hostaddr of the connection to it",
            config.host
        );
        return Err(refused("PGHOSTADDR", &message));
    }
    Ok(config)
}

fn refused(variable: &str, message: &str) -> Error {
    Error::new(ErrorKind::InvalidOption, message).with("variable", variable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(config: &PostgresqlConfig, name: &str, value: &str) -> Result<PostgresqlConfig> {
        tightened(config, |asked| (asked == name).then(|| value.to_owned()))
    }

    fn config(host: &str, sslmode: SslMode) -> PostgresqlConfig {
        PostgresqlConfig {
            host: host.into(),
            sslmode,
            ..PostgresqlConfig::default()
        }
    }

    #[test]
    fn no_variable_that_would_count_is_ignored() {
        let (tcp, socket) = (
            config("db", SslMode::Prefer),
            config("/run/pg", SslMode::Prefer),
        );
        let plain = config("db", SslMode::Disable);
        for (name, value, on_tcp, on_socket, on_plain) in [
            ("PGREQUIREAUTH", "scram-sha-256", false, false, false),
            ("PGREQUIREPEER", "postgres", true, false, true),
            ("PGSSLCRL", "x.pem", false, true, true),
            ("PGSSLCRLDIR", "x", false, true, true),
            ("PGSSLMINPROTOCOLVERSION", "TLSv1.3", false, true, true),
            ("PGSSLMINPROTOCOLVERSION", "TLSv1.2", true, true, true),
            ("PGSSLMAXPROTOCOLVERSION", "TLSv1.2", false, true, true),
            ("PGSSLMAXPROTOCOLVERSION", "TLSv1.3", true, true, true),
            ("PGSSLCERTMODE", "require", false, true, true),
            ("PGMINPROTOCOLVERSION", "3.2", false, false, false),
            ("PGHOSTADDR", "10.0.0.1", false, false, false),
            ("PGHOSTADDR", "db", true, false, true),
        ] {
            for (config, is_taken) in [(&tcp, on_tcp), (&socket, on_socket), (&plain, on_plain)] {
                let read = with(config, name, value);
                assert_eq!(read.is_ok(), is_taken, "{name}={value}, {}", config.host);
                if let Err(error) = read {
                    let message = error.to_string();
                    assert!(message.contains(&format!("unset {name}")), "{message}");
                }
            }
        }
        let mixed = config("db,/run/pg", SslMode::Prefer);
        assert!(with(&mixed, "PGREQUIREPEER", "postgres").is_err());
        assert!(with(&mixed, "PGSSLCRL", "x").is_err());
        let addressed = PostgresqlConfig {
            hostaddr: Some("10.0.0.2".into()),
            ..tcp
        };
        assert!(with(&addressed, "PGHOSTADDR", "10.0.0.1").is_ok());
    }

    #[test]
    fn encryption_can_be_required() {
        let mode = |sslmode, value| {
            let read = with(&config("db", sslmode), "PGREQUIRESSL", value);
            read.expect("honoured").sslmode
        };
        assert_eq!(mode(SslMode::Prefer, "1"), SslMode::Require);
        assert_eq!(mode(SslMode::Prefer, "0"), SslMode::Prefer);
        // Not where the connection itself says something else.
        assert_eq!(mode(SslMode::Disable, "1"), SslMode::Disable);
        assert_eq!(mode(SslMode::VerifyFull, "1"), SslMode::VerifyFull);
    }
}
