//! Where a target is: on the local disk, or in an object store.

use std::path::PathBuf;
use std::sync::Arc;

use arrowload_core::{Error, ErrorKind, Result, url_scheme};
use object_store::ObjectStore;
use object_store::path::Path as StorePath;
use url::Url;

use crate::config::FileConfig;
use crate::error::from_store;

/// Variables of these ecosystems configure their stores.
const ECOSYSTEMS: [&str; 3] = ["AWS_", "GOOGLE_", "AZURE_"];

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
        let is_absolute = url_scheme(target).is_some() || std::path::Path::new(target).is_absolute();
        let whole = match &config.root {
            Some(root) if !is_absolute => format!("{}/{target}", root.trim_end_matches('/')),
            _ => target.to_owned(),
        };
        match url_scheme(&whole).as_deref() {
            None => Ok(Self::Local(followed(std::path::absolute(&whole)?))),
            Some("file") => {
                let url = parse(&whole)?;
                let path = url.to_file_path().map_err(|()| invalid(format!("`{whole}` names no local file")))?;
                Ok(Self::Local(followed(path)))
            }
            #[cfg(test)]
            Some("memory") => Ok(Self::Store(Arc::clone(&MEMORY), parse(&whole)?.path().into())),
            Some(scheme) => Self::store(config, scheme, &parse(&whole)?),
        }
    }

    fn store(config: &FileConfig, scheme: &str, url: &Url) -> Result<Self> {
        check_feature(scheme)?;
        let from_environment = std::env::vars_os().filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
        let known = |(key, _): &(String, String)| ECOSYSTEMS.iter().any(|prefix| key.starts_with(prefix));
        let given = config.storage_options.iter().map(|(key, value)| (key.clone(), value.expose().to_owned()));
        // S3 copies without replacing only if it is told how; the other stores do.
        let default = [("AWS_COPY_IF_NOT_EXISTS".to_owned(), "multipart".to_owned())];
        // Later options stand over earlier ones.
        let all = default.into_iter().chain(from_environment.filter(known)).chain(given);
        let options = all.map(|(key, value)| (key.to_ascii_lowercase(), value));
        let (store, path) = object_store::parse_url_opts(url, options).map_err(from_store)?;
        Ok(Self::Store(store.into(), path))
    }
}

/// A target that is a symbolic link stands for what it points to: a rename would put the data in the link's place.
fn followed(path: PathBuf) -> PathBuf {
    if path.is_symlink() { path.canonicalize().unwrap_or(path) } else { path }
}

fn parse(url: &str) -> Result<Url> {
    Url::parse(url).map_err(|error| invalid(format!("`{url}` is no URL: {error}")))
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidOption, message)
}

/// Refuses URLs of stores that this build leaves out, naming the cargo feature.
fn check_feature(scheme: &str) -> Result<()> {
    let (feature, is_on) = match scheme {
        "s3" | "s3a" => ("aws", cfg!(feature = "aws")),
        "gs" => ("gcp", cfg!(feature = "gcp")),
        "az" | "adl" | "azure" | "abfs" | "abfss" => ("azure", cfg!(feature = "azure")),
        "http" | "https" => ("http", cfg!(feature = "http")),
        "memory" => return Err(invalid("files in `memory://` would be gone at once; load into the `memory` loader".into())),
        other => return Err(invalid(format!("`{other}://` is no place for files; write a path, or a URL of file, s3, gs, az or https"))),
    };
    if is_on {
        return Ok(());
    }
    let message = format!("URLs of {scheme}:// need the cargo feature `{feature}`; switch it on");
    Err(Error::new(ErrorKind::Unsupported, message))
}
