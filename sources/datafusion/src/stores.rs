//! Object stores behind URLs, set up from the environment and the connection when a query first names one.

use std::collections::BTreeMap;

use arrowload_core::{Error, ErrorKind, Secret};
use datafusion::datasource::listing::ListingTableUrl;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionState;
use datafusion::object_store::ObjectStoreExt;
use futures::TryStreamExt;
use url::Url;

use crate::format::Format;

/// Makes the store of a URL known to the session, unless it is.
pub(crate) fn register(
    state: &SessionState,
    url: &ListingTableUrl,
    given: &BTreeMap<String, Secret>,
) -> Result<()> {
    let runtime = state.runtime_env();
    if runtime.object_store(url.object_store()).is_ok() {
        return Ok(());
    }
    let (store, _) = arrowload_common_object_store::open(url.as_ref(), given)
        .map_err(|error| DataFusionError::External(Box::new(error)))?;
    runtime.register_object_store(url.object_store().as_ref(), store);
    Ok(())
}

/// The URL of a file, folder or pattern, on the disk or in a store. DataFusion itself takes patterns of paths only.
pub(crate) fn parse(place: &str) -> Result<ListingTableUrl> {
    let pattern_at = place.find('*').filter(|_| place.contains("://"));
    let Some((folder, pattern)) =
        pattern_at.and_then(|at| Some(place.split_at(place[..at].rfind('/')? + 1)))
    else {
        return ListingTableUrl::parse(place);
    };
    let external =
        |error: Box<dyn std::error::Error + Send + Sync>| DataFusionError::External(error);
    let url = Url::parse(folder).map_err(|error| external(Box::new(error)))?;
    let pattern = glob::Pattern::new(pattern).map_err(|error| external(Box::new(error)))?;
    ListingTableUrl::try_new(url, Some(pattern))
}

/// Checks that a file is there: DataFusion takes one that is missing for a table without columns.
pub(crate) async fn file(state: &SessionState, url: &ListingTableUrl) -> Result<()> {
    let store = state.runtime_env().object_store(url.object_store())?;
    match store.head(url.prefix()).await {
        Err(datafusion::object_store::Error::NotFound { .. }) => {
            let error = Error::new(ErrorKind::NotFound, format!("there is no file {url}"));
            Err(DataFusionError::External(Box::new(error)))
        }
        other => Ok(other.map(|_| ())?),
    }
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
    Err(DataFusionError::External(Box::new(Error::new(
        ErrorKind::NotFound,
        message,
    ))))
}
