//! Where a target is: on the local disk, or in an object store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrowload_core::{Error, ErrorKind, Result, url_scheme};
use object_store::ObjectStore;
use object_store::path::Path as StorePath;
use url::Url;

use crate::config::FileConfig;

/// Stands for an object store in unit tests.
#[cfg(test)]
pub(crate) static MEMORY: std::sync::LazyLock<Arc<dyn ObjectStore>> =
    std::sync::LazyLock::new(|| Arc::new(object_store::memory::InMemory::new()));

/// A place that a target names.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Local(PathBuf),
    Store(Arc<dyn ObjectStore>, StorePath),
}

impl Place {
    /// Finds a target, below the configured root if it is relative.
    pub(crate) fn find(config: &FileConfig, target: &str) -> Result<Self> {
        let url = match (url_scheme(target), &config.root) {
            (Some(_), _) => parse(target)?,
            (None, Some(root)) if !Path::new(target).is_absolute() => match url_scheme(root) {
                Some(_) => below(parse(root)?, target)?,
                None => return Self::local(&Path::new(root).join(target)),
            },
            _ => return Self::local(Path::new(target)),
        };
        if url.query().is_some() || url.fragment().is_some() {
            return Err(invalid(
                "the URL has a `?` or `#`; write them as %3F and %23 if they are part of a name"
                    .into(),
            ));
        }
        match url.scheme() {
            "file" => {
                let path = url
                    .to_file_path()
                    .map_err(|()| invalid("the file:// URL names no local file".into()))?;
                Self::local(&path)
            }
            #[cfg(test)]
            "memory" => Ok(Self::Store(Arc::clone(&MEMORY), url.path().into())),
            scheme => Self::store(config, scheme, &url),
        }
    }

    /// A local path. A symbolic link stands for what it points to: a rename would put the data in the link's place.
    fn local(path: &Path) -> Result<Self> {
        // Without a slash at the end, which would hide that it is a link.
        let path: PathBuf = std::path::absolute(path)?.components().collect();
        Ok(Self::Local(if path.is_symlink() {
            path.canonicalize().unwrap_or(path)
        } else {
            path
        }))
    }

    fn store(config: &FileConfig, scheme: &str, url: &Url) -> Result<Self> {
        if scheme == "memory" {
            return Err(invalid(
                "files in `memory://` would be gone at once; load into the `memory` loader".into(),
            ));
        }
        let (store, path) = arrowload_common_object_store::open(url, &config.storage_options)?;
        Ok(Self::Store(store.into(), path))
    }
}

/// The message does not show the URL, as it may hold a password.
fn parse(url: &str) -> Result<Url> {
    Url::parse(url).map_err(|error| invalid(format!("the URL is malformed: {error}")))
}

/// A relative target below a URL, whatever characters it has.
fn below(mut root: Url, target: &str) -> Result<Url> {
    if target.split('/').any(|part| part == "." || part == "..") {
        return Err(invalid(format!(
            "`{target}` is below a URL, where `.` and `..` mean nothing"
        )));
    }
    let mut segments = root
        .path_segments_mut()
        .map_err(|()| invalid("the root is a URL that has no path".into()))?;
    segments.pop_if_empty().extend(target.split('/'));
    drop(segments);
    Ok(root)
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidOption, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(root: Option<&str>, target: &str) -> Result<PathBuf> {
        let config = FileConfig {
            root: root.map(Into::into),
            ..FileConfig::default()
        };
        match Place::find(&config, target)? {
            Place::Local(path) => Ok(path),
            Place::Store(..) => Err(invalid("a store".into())),
        }
    }

    #[test]
    fn targets_are_below_the_root_whatever_they_are_called() {
        assert_eq!(
            local(Some("/data"), "a#b?/c%20d.csv").expect("a path"),
            Path::new("/data/a#b?/c%20d.csv")
        );
        assert_eq!(
            local(Some("file:///data"), "a#b?/c%20d.csv").expect("a path"),
            Path::new("/data/a#b?/c%20d.csv")
        );
        assert_eq!(
            local(Some("file:///data/"), "x y/").expect("a path"),
            Path::new("/data/x y")
        );
        assert_eq!(
            local(Some("/data"), "/other/x.csv").expect("a path"),
            Path::new("/other/x.csv")
        );
        assert_eq!(
            local(None, "file:///x%20y.csv").expect("a path"),
            Path::new("/x y.csv")
        );
        assert!(local(Some("file:///data"), "../x.csv").is_err());
        assert!(local(None, "file:///x#y.csv").is_err());
    }

    #[test]
    fn a_missing_feature_is_named() {
        for (url, feature) in [
            ("s3://b/x.csv", "aws"),
            ("gs://b/x.csv", "gcp"),
            ("az://b/x.csv", "azure"),
            ("https://h/x.csv", "http"),
        ] {
            let Err(error) = local(None, url) else {
                panic!("no local path")
            };
            assert!(
                error.kind() != ErrorKind::Unsupported || error.message().contains(feature),
                "{error}"
            );
        }
        assert_eq!(
            local(None, "ftp://h/x.csv").expect_err("no store").kind(),
            ErrorKind::InvalidOption
        );
    }
}
