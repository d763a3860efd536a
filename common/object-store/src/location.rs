//! What a target names: a path on the local disk, or a URL of an object store.

use std::path::{Path, PathBuf};

use arrowload_core::{Error, ErrorKind, Result, url_scheme};
use url::Url;

/// A place that a target names. Nothing is looked up, and nothing opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// On the local disk: an absolute path.
    Local(PathBuf),
    /// In an object store.
    Store(Url),
}

impl Location {
    /// Finds the place of a target: a path, a URL, or a name below `root`, which is a folder or a URL itself, and the value
    /// of the key `root_key`. The target `.` is the root.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] for a URL that is malformed or names no file, and for a relative target that leaves its
    /// root. The message does not show the URL, as it may hold a password.
    pub fn find(root: Option<&str>, root_key: &str, target: &str) -> Result<Self> {
        let url = match (url_scheme(target), root) {
            (Some(_), _) => parse(target)?,
            (None, Some(root)) if !Path::new(target).is_absolute() => {
                if target.split(['/', '\\']).any(|part| part == "..") {
                    return Err(invalid(format!(
                        "`{target}` leaves the connection's {root_key}; write the whole path or URL"
                    )));
                }
                match url_scheme(root) {
                    Some(_) => below(parse(root)?, root_key, target)?,
                    None => return local(&Path::new(root).join(target)),
                }
            }
            _ => return local(Path::new(target)),
        };
        if url.query().is_some() || url.fragment().is_some() {
            return Err(invalid(
                "the URL has a `?` or `#`; write them as %3F and %23 if they are part of a name",
            ));
        }
        if url.scheme() != "file" {
            return Ok(Self::Store(url));
        }
        let path = url
            .to_file_path()
            .map_err(|()| invalid("the file:// URL names no local path"))?;
        local(&path)
    }
}

/// A path as the disk has it, so that two names of one place are equal: links are followed as far as there is something.
pub fn real_path(path: &Path) -> PathBuf {
    let known = path
        .ancestors()
        .find_map(|known| Some((known, known.canonicalize().ok()?)));
    match known {
        Some((known, real)) => match path.strip_prefix(known) {
            Ok(rest) if rest.as_os_str().is_empty() => real,
            Ok(rest) => real.join(rest),
            Err(_) => path.to_owned(),
        },
        None => path.to_owned(),
    }
}

/// Without a slash at the end, which would hide that it is a link.
fn local(path: &Path) -> Result<Location> {
    let path = std::path::absolute(path).map_err(|error| crate::from_io(path, error))?;
    Ok(Location::Local(path.components().collect()))
}

fn parse(url: &str) -> Result<Url> {
    Url::parse(url).map_err(|error| invalid(format!("the URL is malformed: {error}")))
}

/// A relative target below a URL, whatever characters it has.
fn below(mut root: Url, root_key: &str, target: &str) -> Result<Url> {
    let parts = target
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".");
    let mut segments = root
        .path_segments_mut()
        .map_err(|()| invalid(format!("{root_key} is a URL without a path")))?;
    segments.pop_if_empty().extend(parts);
    drop(segments);
    Ok(root)
}

/// Refuses a URL whose store this build leaves out, naming the cargo feature, or that no store has.
///
/// # Errors
/// [`ErrorKind::Unsupported`] and [`ErrorKind::InvalidOption`].
pub fn check_scheme(scheme: &str) -> Result<()> {
    let (feature, is_on) = match scheme {
        "s3" | "s3a" => ("aws", cfg!(feature = "aws")),
        "gs" => ("gcp", cfg!(feature = "gcp")),
        "az" | "adl" | "azure" | "abfs" | "abfss" => ("azure", cfg!(feature = "azure")),
        "http" | "https" => ("http", cfg!(feature = "http")),
        other => {
            return Err(invalid(format!(
                "`{other}://` names no object store; write a path, or a URL of file, s3, gs, az, abfss or https"
            )));
        }
    };
    if is_on {
        return Ok(());
    }
    let message = format!("URLs of {scheme}:// need the cargo feature `{feature}`; switch it on");
    Err(Error::new(ErrorKind::Unsupported, message))
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOption, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(root: Option<&str>, target: &str) -> Result<Location> {
        Location::find(root, "root", target)
    }

    #[test]
    fn targets_are_below_the_root_whatever_they_are_called() {
        for (root, target, path) in [
            (Some("/data"), "a#b?/c%20d.csv", "/data/a#b?/c%20d.csv"),
            (
                Some("file:///data"),
                "a#b?/c%20d.csv",
                "/data/a#b?/c%20d.csv",
            ),
            (Some("file:///data/"), "x y/", "/data/x y"),
            (Some("file:///data/"), ".", "/data"),
            (Some("/data"), ".", "/data"),
            (Some("/data"), "/other/x.csv", "/other/x.csv"),
            (None, "file:///x%20y.csv", "/x y.csv"),
        ] {
            let found = find(root, target).expect(target);
            assert_eq!(found, Location::Local(path.into()), "{root:?} {target}");
        }
        let url = Url::parse("s3://bucket/data/a%23b/c").expect("a URL");
        for target in ["a#b/c", "./a#b//c/"] {
            let found = find(Some("s3://bucket/data/"), target).expect(target);
            assert_eq!(found, Location::Store(url.clone()), "{target}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn two_names_of_a_place_are_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        std::fs::create_dir(&real).expect("a folder");
        std::os::unix::fs::symlink(&real, &link).expect("a link");
        for name in ["", "new/table"] {
            assert_eq!(real_path(&link.join(name)), real_path(&real.join(name)));
        }
        assert_ne!(real_path(&link.join("a")), real_path(&real.join("b")));
    }

    #[test]
    fn what_names_no_place_is_refused() {
        for (root, target) in [
            (Some("/data"), "../x.csv"),
            (Some("file:///data"), "a/../../x.csv"),
            (Some("s3://bucket/data"), "..\\x.csv"),
            (None, "file:///x#y.csv"),
            (None, "s3://bucket/x?y.csv"),
            (None, "s3://[/x.csv"),
        ] {
            let error = find(root, target).expect_err(target);
            assert_eq!(error.kind(), ErrorKind::InvalidOption, "{error}");
        }
    }

    #[test]
    fn stores_that_are_left_out_name_their_feature() {
        for (scheme, feature, is_on) in [
            ("s3", "aws", cfg!(feature = "aws")),
            ("gs", "gcp", cfg!(feature = "gcp")),
            ("abfss", "azure", cfg!(feature = "azure")),
            ("https", "http", cfg!(feature = "http")),
        ] {
            let checked = check_scheme(scheme);
            assert_eq!(checked.is_ok(), is_on, "{scheme}");
            if let Err(error) = checked {
                assert_eq!(error.kind(), ErrorKind::Unsupported);
                assert!(error.to_string().contains(&format!("`{feature}`")));
            }
        }
        let error = check_scheme("ftp").expect_err("no store");
        assert_eq!(error.kind(), ErrorKind::InvalidOption);
    }
}
