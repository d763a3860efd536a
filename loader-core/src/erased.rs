//! Type-erased versions of the traits for loaders and sources: the only place where generic types become
//! trait objects.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::{
    BatchStream, Begun, ColumnChecksum, DataLoader, DataSource, Listing, LoadRequest, LoadSession,
    LoadState, Plan, Prepared, Query, Receipt, Rejects, Result, Settings, TargetColumns,
};

/// A request whose options are not parsed yet.
pub(crate) type UntypedRequest = LoadRequest<Settings>;

pub(crate) trait DynLoader: Send + Sync {
    fn resolve(
        self: Arc<Self>,
        request: UntypedRequest,
    ) -> BoxFuture<'static, Result<Box<dyn DynResolved>>>;
    fn describe<'a>(&'a self, target: &'a str) -> BoxFuture<'a, Result<Option<TargetColumns>>>;
    fn find_load<'a>(
        &'a self,
        target: &'a str,
        load_id: &'a str,
    ) -> BoxFuture<'a, Result<LoadState>>;
    fn recover<'a>(&'a self, target: &'a str, load_id: &'a str) -> BoxFuture<'a, Result<()>>;
    fn ping(&self) -> BoxFuture<'_, Result<()>>;
}

/// A target that was resolved, its plan, and the next step: to begin the load.
pub(crate) trait DynResolved: Send {
    fn plan(&self) -> &Plan;
    fn begin(
        self: Box<Self>,
        rejects: Rejects,
    ) -> BoxFuture<'static, Result<Begun<Box<dyn DynSession>>>>;
}

pub(crate) trait DynSession: Send {
    fn write<'a>(&'a mut self, batch: &'a RecordBatch) -> BoxFuture<'a, Result<()>>;
    fn prepare(&mut self) -> BoxFuture<'_, Result<Prepared>>;
    fn checksums(&mut self) -> BoxFuture<'_, Result<Vec<ColumnChecksum>>>;
    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<Receipt>>;
    fn abort(self: Box<Self>) -> BoxFuture<'static, Result<()>>;
}

impl<L: DataLoader> DynLoader for L {
    fn resolve(
        self: Arc<Self>,
        request: UntypedRequest,
    ) -> BoxFuture<'static, Result<Box<dyn DynResolved>>> {
        async move {
            let options = request.options.parse(L::NAME)?;
            let request = request.with_options(options);
            let resolved = DataLoader::resolve(&*self, &request).await?;
            let plan = L::plan(&request, &resolved);
            Ok(Box::new(Resolved {
                loader: self,
                request,
                resolved,
                plan,
            }) as Box<dyn DynResolved>)
        }
        .boxed()
    }

    fn describe<'a>(&'a self, target: &'a str) -> BoxFuture<'a, Result<Option<TargetColumns>>> {
        DataLoader::describe(self, target).boxed()
    }

    fn find_load<'a>(
        &'a self,
        target: &'a str,
        load_id: &'a str,
    ) -> BoxFuture<'a, Result<LoadState>> {
        DataLoader::find_load(self, target, load_id).boxed()
    }

    fn recover<'a>(&'a self, target: &'a str, load_id: &'a str) -> BoxFuture<'a, Result<()>> {
        DataLoader::recover(self, target, load_id).boxed()
    }

    fn ping(&self) -> BoxFuture<'_, Result<()>> {
        DataLoader::ping(self).boxed()
    }
}

struct Resolved<L: DataLoader> {
    loader: Arc<L>,
    request: LoadRequest<L::Options>,
    resolved: L::Resolved,
    plan: Plan,
}

impl<L: DataLoader> DynResolved for Resolved<L> {
    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn begin(
        self: Box<Self>,
        rejects: Rejects,
    ) -> BoxFuture<'static, Result<Begun<Box<dyn DynSession>>>> {
        async move {
            let Self {
                loader,
                request,
                resolved,
                ..
            } = *self;
            match loader.begin(request, resolved, rejects).await? {
                Begun::Session(session) => {
                    Ok(Begun::Session(Box::new(session) as Box<dyn DynSession>))
                }
                Begun::AlreadyLoaded(receipt) => Ok(Begun::AlreadyLoaded(receipt)),
            }
        }
        .boxed()
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
