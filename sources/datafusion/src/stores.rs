//! Object stores behind URLs, set up from the environment when a query first names one.

use std::sync::Arc;

use arrowload_core::{Error, ErrorKind};
use datafusion::datasource::listing::ListingTableUrl;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionState;
use futures::TryStreamExt;
use url::Url;

use crate::format::Format;

/// Variables of these ecosystems configure their stores.
const ECOSYSTEMS: [&str; 3] = ["AWS_", "GOOGLE_", "AZURE_"];

/// Makes the store of a URL known to the session, unless it is.
pub(crate) fn register(state: &SessionState, url: &ListingTableUrl) -> Result<()> {
    let runtime = state.runtime_env();
    if runtime.object_store(url.object_store()).is_ok() {
        return Ok(());
    }
    let whole: &Url = url.as_ref();
    check_feature(whole.scheme()).map_err(|error| DataFusionError::External(Box::new(error)))?;
    let variables = std::env::vars_os().filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
    let known = |(key, _): &(String, String)| ECOSYSTEMS.iter().any(|prefix| key.starts_with(prefix));
    let options = variables.filter(known).map(|(key, value)| (key.to_ascii_lowercase(), value));
    let (store, _) = object_store::parse_url_opts(whole, options).map_err(|error| DataFusionError::ObjectStore(Box::new(error)))?;
    runtime.register_object_store(url.object_store().as_ref(), Arc::from(store));
    Ok(())
}

/// Refuses URLs of stores that this build leaves out, naming the cargo feature.
fn check_feature(scheme: &str) -> Result<(), Error> {
    let (feature, is_on) = match scheme {
        "s3" | "s3a" => ("aws", cfg!(feature = "aws")),
        "gs" => ("gcp", cfg!(feature = "gcp")),
        "az" | "adl" | "azure" | "abfs" | "abfss" => ("azure", cfg!(feature = "azure")),
        "http" | "https" => ("http", cfg!(feature = "http")),
        other => {
            let message = format!("`{other}://` is no place for files; write a path, or a URL of file, s3, gs, az or https");
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
    };
    if is_on {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Unsupported, format!("URLs of {scheme}:// need the cargo feature `{feature}`; switch it on")))
}

/// The name of one data file of a folder or pattern.
pub(crate) async fn first_file(state: &SessionState, url: &ListingTableUrl) -> Result<String> {
    let store = state.runtime_env().object_store(url.object_store())?;
    let mut files = url.list_all_files(state, store.as_ref(), "").await?;
    while let Some(file) = files.try_next().await? {
        let name = file.location.filename().unwrap_or_default();
        if !name.starts_with(['.', '_']) && Format::of_name(name).is_some() {
            return Ok(name.to_owned());
        }
    }
    let message = format!("no data file is at {url}; check the folder or pattern");
    Err(DataFusionError::External(Box::new(Error::new(ErrorKind::NotFound, message))))
}
