//! libpq's service file: connections by name, `[name]` with a `key=value` in each line below.

use std::path::{Path, PathBuf};

use arrowload_core::{Error, ErrorKind, Result};

/// Where a system keeps its services, if `PGSYSCONFDIR` does not say.
const SYSTEM: [&str; 2] = ["/etc/postgresql-common", "/etc"];

/// Reads the keys of a service. It is looked for in the given file, else in that of `PGSERVICEFILE`, else in the user's, and then
/// in the system's.
///
/// # Errors
/// [`ErrorKind::InvalidOption`] if no file has it, or the file has what libpq would not take.
pub(crate) fn read(service: &str, file: Option<&str>) -> Result<Vec<(String, String)>> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let users = file
        .map(PathBuf::from)
        .or_else(|| variable("PGSERVICEFILE").map(PathBuf::from))
        .or_else(|| variable("HOME").map(|home| Path::new(&home).join(".pg_service.conf")));
    let systems = match variable("PGSYSCONFDIR") {
        Some(folder) => vec![PathBuf::from(folder)],
        None => SYSTEM.map(PathBuf::from).to_vec(),
    };
    let systems = systems
        .into_iter()
        .map(|folder| folder.join("pg_service.conf"));
    let files: Vec<PathBuf> = users.into_iter().chain(systems).collect();
    for file in &files {
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                return Err(invalid(format!(
                    "the service file {} cannot be read: {error}",
                    file.display()
                )));
            }
        };
        if let Some(pairs) = find(&text, service, file)? {
            return Ok(pairs);
        }
    }
    let files: Vec<String> = files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    Err(invalid(format!(
        "no service file has the service `{service}`; looked in {}",
        files.join(", ")
    )))
}

fn find(text: &str, service: &str, file: &Path) -> Result<Option<Vec<(String, String)>>> {
    let mut found: Option<Vec<(String, String)>> = None;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix('[') {
            if found.is_some() {
                break;
            }
            if name.strip_suffix(']') == Some(service) {
                found = Some(Vec::new());
            }
            continue;
        }
        let Some(pairs) = &mut found else { continue };
        // The line may hold a password.
        let refused =
            |why: &str| invalid(format!("{}, line {}: {why}", file.display(), number + 1));
        let (key, value) = line
            .split_once('=')
            .ok_or_else(|| refused("it has no key=value"))?;
        if key.starts_with("ldap:") || key == "service" || key == "servicefile" {
            return Err(refused(
                "services that lead to other services or to LDAP are not supported",
            ));
        }
        pairs.push((key.trim().to_owned(), value.trim().to_owned()));
    }
    Ok(found)
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidOption, message).with("key", "service")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# ours\n[other]\nhost=elsewhere\n\n[prod]\nhost=db\n port=6000\npassword=a=b#c\n[last]\nservice=prod\n[odd]\nhunter2\n";

    #[test]
    fn a_service_is_its_lines() {
        let read = |name| find(FILE, name, Path::new("f"));
        let pairs = |pairs: &[(&str, &str)]| {
            let owned = pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            owned.collect::<Vec<_>>()
        };
        assert_eq!(
            read("prod").expect("read"),
            Some(pairs(&[
                ("host", "db"),
                ("port", "6000"),
                ("password", "a=b#c")
            ]))
        );
        assert_eq!(read("none").expect("read"), None);
        for name in ["last", "odd"] {
            let error = read(name).expect_err(name).to_string();
            assert!(
                error.contains("f, line ") && !error.contains("hunter2"),
                "{error}"
            );
        }
    }
}
