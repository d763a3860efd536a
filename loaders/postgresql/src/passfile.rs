//! The password file of libpq: lines of `host:port:database:user:password`, in which `*` stands for anything.

use std::path::{Path, PathBuf};

use arrowload_core::Secret;

/// The connection that a password is needed for.
pub(crate) struct Wanted<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) database: &'a str,
    pub(crate) user: &'a str,
}

/// The password for this connection, if the file has one. As with libpq, a file that others may read is not used.
pub(crate) fn find(file: Option<&Path>, wanted: &Wanted<'_>) -> Option<Secret> {
    let file = match file {
        Some(file) => file.to_owned(),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".pgpass"),
    };
    let text = std::fs::read_to_string(&file).ok()?;
    if is_open(&file) {
        tracing::warn!(file = %file.display(), "the password file is not used, as others may read it; run chmod 600");
        return None;
    }
    text.lines().find_map(|line| matching(line, wanted))
}

#[cfg(unix)]
fn is_open(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn is_open(_: &Path) -> bool {
    false
}

fn matching(line: &str, wanted: &Wanted<'_>) -> Option<Secret> {
    if line.starts_with('#') {
        return None;
    }
    let fields = fields(line);
    let [host, port, database, user, password] = fields.as_slice() else {
        return None;
    };
    // A socket in the usual place is written as localhost.
    let local = wanted.host.starts_with('/') && host == "localhost";
    let is = |field: &String, value: &str| field == "*" || field == value;
    let all = (is(host, wanted.host) || local)
        && is(port, &wanted.port.to_string())
        && is(database, wanted.database)
        && is(user, wanted.user);
    all.then(|| Secret::new(password.clone()))
}

/// Fields between colons; a backslash takes the meaning of the colon or backslash behind it.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        let letter = match letter {
            ':' if fields.len() < 5 => {
                fields.push(String::new());
                continue;
            }
            '\\' => letters.next().unwrap_or('\\'),
            letter => letter,
        };
        if let Some(field) = fields.last_mut() {
            field.push(letter);
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_matches_counts() {
        let wanted = Wanted {
            host: "h",
            port: 5432,
            database: "d",
            user: "u",
        };
        let find = |lines: &[&str]| {
            lines
                .iter()
                .find_map(|line| matching(line, &wanted))
                .map(|secret| secret.expose().to_owned())
        };
        assert_eq!(
            find(&[
                "# h:5432:d:u:no",
                "h:5433:*:*:no",
                "h:*:*:u:a\\:b\\\\c",
                "*:*:*:*:late"
            ])
            .as_deref(),
            Some("a:b\\c")
        );
        assert_eq!(find(&["h:5432:d", "x:*:*:*:no"]), None);
        assert_eq!(find(&["*:*:*:*:with:colon"]).as_deref(), Some("with:colon"));
    }
}
