//! The boxed twins of the typed contract: the only place where generic loaders and sources become objects.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::{
    BatchStream, ColumnChecksum, DataLoader, DataSource, Listing, LoadRequest, LoadSession,
    LoadState, Plan, Prepared, Query, Receipt, Result, Settings,
};

/// A request whose options are not parsed yet.
pub(crate) type UntypedRequest = LoadRequest<Settings>;

pub(crate) trait DynLoader: Send + Sync {
    fn begin(&self, request: UntypedRequest) -> BoxFuture<'_, Result<Box<dyn DynSession>>>;
    fn plan(&self, request: UntypedRequest) -> BoxFuture<'_, Result<Plan>>;
    fn find_load<'a>(
        &'a self,
        target: &'a str,
        load_id: &'a str,
    ) -> BoxFuture<'a, Result<LoadState>>;
    fn ping(&self) -> BoxFuture<'_, Result<()>>;
    fn close(&self) -> BoxFuture<'_, Result<()>>;
}

pub(crate) trait DynSession: Send {
    fn write<'a>(&'a mut self, batch: &'a RecordBatch) -> BoxFuture<'a, Result<()>>;
    fn prepare(&mut self) -> BoxFuture<'_, Result<Prepared>>;
    fn checksums(&mut self) -> BoxFuture<'_, Result<Vec<ColumnChecksum>>>;
    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<Receipt>>;
    fn abort(self: Box<Self>) -> BoxFuture<'static, Result<()>>;
}

impl<L: DataLoader> DynLoader for L {
    fn begin(&self, request: UntypedRequest) -> BoxFuture<'_, Result<Box<dyn DynSession>>> {
        async move {
            let options = request.options.parse(L::NAME)?;
            let session = DataLoader::begin(self, request.with_options(options)).await?;
            Ok(Box::new(session) as Box<dyn DynSession>)
        }
        .boxed()
    }

    fn plan(&self, request: UntypedRequest) -> BoxFuture<'_, Result<Plan>> {
        async move {
            let options = request.options.parse(L::NAME)?;
            let request = request.with_options(options);
            let mut plan = DataLoader::plan(self, &request).await?;
            plan.loader = L::NAME.into();
            plan.target.clone_from(&request.target);
            plan.mode = request.mode;
            plan.atomicity.get_or_insert(L::CAPABILITIES.atomicity);
            plan.exactly_once.get_or_insert(L::CAPABILITIES.load_ids);
            Ok(plan)
        }
        .boxed()
    }

    fn find_load<'a>(
        &'a self,
        target: &'a str,
        load_id: &'a str,
    ) -> BoxFuture<'a, Result<LoadState>> {
        DataLoader::find_load(self, target, load_id).boxed()
    }

    fn ping(&self) -> BoxFuture<'_, Result<()>> {
        DataLoader::ping(self).boxed()
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        DataLoader::close(self).boxed()
    }
}

impl<S: LoadSession> DynSession for S {
    fn write<'a>(&'a mut self, batch: &'a RecordBatch) -> BoxFuture<'a, Result<()>> {
        LoadSession::write(self, batch).boxed()
    }

    fn prepare(&mut self) -> BoxFuture<'_, Result<Prepared>> {
        LoadSession::prepare(self).boxed()
    }

    fn checksums(&mut self) -> BoxFuture<'_, Result<Vec<ColumnChecksum>>> {
        LoadSession::checksums(self).boxed()
    }

    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<Receipt>> {
        LoadSession::commit(*self).boxed()
    }

    fn abort(self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        LoadSession::abort(*self).boxed()
    }
}

pub(crate) trait DynSource: Send + Sync {
    fn query<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<BatchStream>>;
    fn schema<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<SchemaRef>>;
    fn execute<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Option<u64>>>;
    fn list<'a>(&'a self, listing: &'a Listing) -> BoxFuture<'a, Result<BatchStream>>;
    fn ping(&self) -> BoxFuture<'_, Result<()>>;
}

impl<S: DataSource> DynSource for S {
    fn query<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<BatchStream>> {
        DataSource::query(self, query).boxed()
    }

    fn schema<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<SchemaRef>> {
        DataSource::schema(self, query).boxed()
    }

    fn execute<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Option<u64>>> {
        DataSource::execute(self, query).boxed()
    }

    fn list<'a>(&'a self, listing: &'a Listing) -> BoxFuture<'a, Result<BatchStream>> {
        DataSource::list(self, listing).boxed()
    }

    fn ping(&self) -> BoxFuture<'_, Result<()>> {
        DataSource::ping(self).boxed()
    }
}

pub(crate) type Connecting<T> = BoxFuture<'static, Result<Arc<T>>>;

pub(crate) fn connect_loader<L: DataLoader>(config: Settings) -> Connecting<dyn DynLoader> {
    async move { Ok(Arc::new(L::connect(config.parse(L::NAME)?).await?) as Arc<dyn DynLoader>) }
        .boxed()
}

pub(crate) fn connect_source<S: DataSource>(config: Settings) -> Connecting<dyn DynSource> {
    async move { Ok(Arc::new(S::connect(config.parse(S::NAME)?).await?) as Arc<dyn DynSource>) }
        .boxed()
}
