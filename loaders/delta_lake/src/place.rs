//! Where a table is: on the local disk, or in an object store.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use arrowload_common_parquet::Destination;
use arrowload_core::{Error, ErrorKind, Result, url_scheme};
use deltalake::DeltaTableBuilder;
use deltalake::logstore::LogStoreRef;
use url::Url;

use crate::config::DeltaLakeConfig;
use crate::error::from_delta;

/// Variables of these ecosystems configure their stores.
const ECOSYSTEMS: [&str; 3] = ["AWS_", "GOOGLE_", "AZURE_"];

/// The place that a target names, and its log.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) log_store: LogStoreRef,
    /// The table's folder, on the local disk.
    local: Option<PathBuf>,
}

impl Place {
    /// Finds a target, below the configured path if it is relative.
    pub(crate) fn find(config: &DeltaLakeConfig, target: &str) -> Result<Self> {
        let url = match (url_scheme(target), &config.table_path) {
            (Some(_), _) => parse(target)?,
            (None, Some(root)) if !Path::new(target).is_absolute() => match url_scheme(root) {
                Some(_) => below(parse(root)?, target)?,
                None => return Self::local(config, &Path::new(root).join(relative(target)?)),
            },
            _ => return Self::local(config, Path::new(target)),
        };
        if url.query().is_some() || url.fragment().is_some() {
            return Err(invalid(
                "the URL has a `?` or `#`; write them as %3F and %23 if they are part of a name"
                    .into(),
            ));
        }
        if url.scheme() == "file" {
            let path = url
                .to_file_path()
                .map_err(|()| invalid("the file:// URL names no local folder".into()))?;
            return Self::local(config, &path);
        }
        #[cfg(test)]
        if url.scheme() == "faulty" {
            return Ok(Self {
                log_store: crate::faults::log_store(url.host_str().unwrap_or_default()),
                local: None,
            });
        }
        check_feature(url.scheme())?;
        Ok(Self {
            log_store: log_store(config, url)?,
            local: None,
        })
    }

    fn local(config: &DeltaLakeConfig, path: &Path) -> Result<Self> {
        let path: PathBuf = std::path::absolute(path)?.components().collect();
        let url = Url::from_directory_path(&path)
            .map_err(|()| invalid(format!("`{}` is no folder's name", path.display())))?;
        Ok(Self {
            log_store: log_store(config, url)?,
            local: Some(path),
        })
    }

    /// Where data files go.
    pub(crate) fn destination(&self) -> Destination {
        match &self.local {
            Some(folder) => Destination::local_in_place(folder),
            None => Destination::store(
                self.log_store.object_store(None),
                object_store::path::Path::default(),
            ),
        }
    }
}

fn log_store(config: &DeltaLakeConfig, url: Url) -> Result<LogStoreRef> {
    register_stores();
    let variables = std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
    let known =
        |(key, _): &(String, String)| ECOSYSTEMS.iter().any(|prefix| key.starts_with(prefix));
    let mut options: HashMap<String, String> = if url.scheme() == "file" {
        HashMap::new()
    } else {
        variables.filter(known).collect()
    };
    for (key, value) in &config.storage_options {
        // Whatever its case, an option stands over the variable of its name.
        options.retain(|known, _| !known.eq_ignore_ascii_case(key));
        options.insert(key.clone(), value.expose().to_owned());
    }
    let builder = DeltaTableBuilder::from_url(url).map_err(from_delta)?;
    builder
        .with_storage_options(options)
        .build_storage()
        .map_err(from_delta)
}

/// Makes the object stores known to the library. It does so by itself where the linker keeps its constructors.
fn register_stores() {
    #[cfg(feature = "aws")]
    deltalake::aws::register_handlers(None);
    #[cfg(feature = "azure")]
    deltalake::azure::register_handlers(None);
    #[cfg(feature = "gcp")]
    deltalake::gcp::register_handlers(None);
}

/// The message does not show the URL, as it may hold a password.
fn parse(url: &str) -> Result<Url> {
    Url::parse(url).map_err(|error| invalid(format!("the URL is malformed: {error}")))
}

/// A target that stays below its root.
fn relative(target: &str) -> Result<&str> {
    if target.split(['/', '\\']).any(|part| part == "..") {
        return Err(invalid(format!(
            "`{target}` leaves the connection's table_path; name the table by its whole path"
        )));
    }
    Ok(target)
}

/// A relative target below a URL, whatever characters it has.
fn below(mut root: Url, target: &str) -> Result<Url> {
    if target == "." {
        return Ok(root);
    }
    let mut segments = root
        .path_segments_mut()
        .map_err(|()| invalid("table_path is a URL that has no path".into()))?;
    segments.pop_if_empty().extend(
        relative(target)?
            .split('/')
            .filter(|part| !part.is_empty() && *part != "."),
    );
    drop(segments);
    Ok(root)
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
        other => {
            return Err(invalid(format!(
                "`{other}://` is no place for tables; write a path, or a URL of file, s3, gs, az or abfss"
            )));
        }
    };
    if is_on {
        return Ok(());
    }
    let message = format!("URLs of {scheme}:// need the cargo feature `{feature}`; switch it on");
    Err(Error::new(ErrorKind::Unsupported, message))
}
