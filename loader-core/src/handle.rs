//! Handles of connected loaders and sources, which the client keeps.

use std::fmt;
use std::sync::Arc;

use arrow_schema::SchemaRef;

use crate::erased::{DynLoader, DynSource};
use crate::pipeline::retry::with_retries;
use crate::{
    BatchStream, Listing, LoadOptions, LoadState, LoaderDescriptor, Query, Result, Settings,
    SourceDescriptor, TargetColumns,
};

/// A connected loader. Clones share the connection.
#[derive(Clone)]
pub struct Loader {
    pub(crate) descriptor: LoaderDescriptor,
    pub(crate) inner: Arc<dyn DynLoader>,
}

impl Loader {
    /// Connects with these connection keys, trying again after transient errors.
    ///
    /// # Errors
    /// Any error of the loader.
    pub async fn connect(
        descriptor: &LoaderDescriptor,
        config: &Settings,
        max_retries: u32,
    ) -> Result<Self> {
        let inner = with_retries(max_retries, None, &|_| (), || {
            (descriptor.connect)(config.clone())
        })
        .await;
        let inner = inner.map_err(|error| error.with("loader", descriptor.name()))?;
        Ok(Self {
            descriptor: *descriptor,
            inner,
        })
    }

    /// What it is.
    pub fn descriptor(&self) -> &LoaderDescriptor {
        &self.descriptor
    }

    /// Whether another handle shares this connection.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Checks that the store answers.
    ///
    /// # Errors
    /// Any error of the loader.
    pub async fn ping(&self) -> Result<()> {
        self.inner.ping().await
    }

    /// Whether a load committed, asked again after transient errors.
    ///
    /// # Errors
    /// Any error of the loader.
    pub async fn find_load(&self, target: &str, load_id: &str) -> Result<LoadState> {
        with_retries(LoadOptions::default().max_retries, None, &|_| (), || {
            self.inner.find_load(target, load_id)
        })
        .await
    }

    /// The columns of an existing target, asked again after transient errors.
    ///
    /// # Errors
    /// Any error of the loader.
    pub async fn describe(&self, target: &str) -> Result<Option<TargetColumns>> {
        with_retries(LoadOptions::default().max_retries, None, &|_| (), || {
            self.inner.describe(target)
        })
        .await
    }
}

impl fmt::Debug for Loader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connected {:?}", self.descriptor)
    }
}

/// A connected source. Clones share the connection.
#[derive(Clone)]
pub struct Source {
    descriptor: SourceDescriptor,
    inner: Arc<dyn DynSource>,
}

impl Source {
    /// Connects with these connection keys, trying again after transient errors.
    ///
    /// # Errors
    /// Any error of the source.
    pub async fn connect(
        descriptor: &SourceDescriptor,
        config: &Settings,
        max_retries: u32,
    ) -> Result<Self> {
        let inner = with_retries(max_retries, None, &|_| (), || {
            (descriptor.connect)(config.clone())
        })
        .await;
        let inner = inner.map_err(|error| error.with("source", descriptor.name()))?;
        Ok(Self {
            descriptor: *descriptor,
            inner,
        })
    }

    /// What it is.
    pub fn descriptor(&self) -> &SourceDescriptor {
        &self.descriptor
    }

    /// Runs a query.
    ///
    /// # Errors
    /// Any error of the source, before the first batch or in the stream.
    pub async fn query(&self, query: &Query) -> Result<BatchStream> {
        self.inner
            .query(query)
            .await
            .map_err(|error| error.with("source", self.descriptor.name()))
    }

    /// The schema that a query would return.
    ///
    /// # Errors
    /// Any error of the source.
    pub async fn schema(&self, query: &Query) -> Result<SchemaRef> {
        self.inner
            .schema(query)
            .await
            .map_err(|error| error.with("source", self.descriptor.name()))
    }

    /// Runs a statement for its effect, and returns how many rows it changed, if the engine knows.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) if the source cannot; any error of the engine.
    pub async fn execute(&self, query: &Query) -> Result<Option<u64>> {
        self.inner
            .execute(query)
            .await
            .map_err(|error| error.with("source", self.descriptor.name()))
    }

    /// Lists what the engine has.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) if the source cannot; any error of the engine.
    pub async fn list(&self, listing: &Listing) -> Result<BatchStream> {
        self.inner
            .list(listing)
            .await
            .map_err(|error| error.with("source", self.descriptor.name()))
    }

    /// Checks that the engine answers.
    ///
    /// # Errors
    /// Any error of the source.
    pub async fn ping(&self) -> Result<()> {
        self.inner.ping().await
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connected {:?}", self.descriptor)
    }
}
