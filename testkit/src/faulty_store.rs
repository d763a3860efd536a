//! An object store that fails when and how a test says: calls that are refused, whose answers are lost, that are sent twice,
//! or that take their time.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
    UploadPart,
};

/// What a store is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreStep {
    /// To write an object in one piece.
    Put,
    /// To begin an upload in parts.
    BeginUpload,
    /// To take a part.
    PutPart,
    /// To make an object of the parts.
    CompleteUpload,
    /// To give the parts up.
    AbortUpload,
    /// To read an object, or its size.
    Get,
    /// To remove an object.
    Delete,
    /// To list objects.
    List,
    /// To copy an object.
    Copy,
}

/// One call of a store.
#[derive(Debug)]
pub struct StoreCall<'a> {
    /// What it asks for.
    pub step: StoreStep,
    /// The object or prefix that it is about.
    pub path: &'a Path,
    /// How many calls of this step came before it.
    pub earlier: u64,
}

/// What happens to a call.
#[derive(Debug)]
pub enum Fate {
    /// It is done.
    Done,
    /// It is refused, and nothing happens.
    Fails(Error),
    /// It is done, and its answer is lost.
    Unanswered(Error),
    /// It is done, its answer is lost, and it is sent and done again.
    Twice,
    /// It is delayed by this long, and then gets this fate.
    Late(Duration, Box<Fate>),
}

impl Fate {
    /// The connection broke before the call arrived.
    pub fn lost() -> Self {
        Self::Fails(Self::reset())
    }

    /// The connection broke before the answer arrived.
    pub fn unanswered() -> Self {
        Self::Unanswered(Self::reset())
    }

    /// The store does not allow it.
    pub fn denied(path: &Path) -> Self {
        Self::Fails(Error::PermissionDenied {
            path: path.to_string(),
            source: "the test says so".into(),
        })
    }

    fn reset() -> Error {
        Error::Generic {
            store: "faulty",
            source: "the connection was reset".into(),
        }
    }
}

type Rule = Box<dyn Fn(&StoreCall<'_>) -> Fate + Send + Sync>;

/// A store over another one, which decides for each call what happens to it. Clones are the same store.
#[derive(Clone)]
pub struct FaultyStore(Arc<Shared>);

struct Shared {
    inner: Arc<dyn ObjectStore>,
    rule: Rule,
    calls: Mutex<HashMap<StoreStep, u64>>,
}

impl FaultyStore {
    /// A store that does what the other one does, unless the rule says otherwise.
    pub fn new(
        inner: Arc<dyn ObjectStore>,
        rule: impl Fn(&StoreCall<'_>) -> Fate + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Shared {
            inner,
            rule: Box::new(rule),
            calls: Mutex::default(),
        }))
    }

    /// How many calls of this step there were.
    pub fn calls(&self, step: StoreStep) -> u64 {
        let calls = self.0.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.get(&step).copied().unwrap_or_default()
    }

    fn fate(&self, step: StoreStep, path: &Path) -> Fate {
        let earlier = {
            let mut calls = self.0.calls.lock().unwrap_or_else(PoisonError::into_inner);
            let count = calls.entry(step).or_default();
            *count += 1;
            *count - 1
        };
        (self.0.rule)(&StoreCall {
            step,
            path,
            earlier,
        })
    }

    async fn fate_in_time(&self, step: StoreStep, path: &Path) -> Fate {
        settle(self.fate(step, path)).await
    }
}

/// Waits as long as a fate says, and gives what comes then.
async fn settle(mut fate: Fate) -> Fate {
    while let Fate::Late(pause, then) = fate {
        tokio::time::sleep(pause).await;
        fate = *then;
    }
    fate
}

/// Lets a fate happen to a call, which is an expression that is evaluated as often as the call is done.
macro_rules! under {
    ($fate:expr, $call:expr) => {
        match $fate {
            Fate::Fails(error) => Err(error),
            Fate::Unanswered(error) => $call.and(Err(error)),
            Fate::Twice => match $call {
                Ok(_) => $call,
                refused => refused,
            },
            Fate::Done | Fate::Late(..) => $call,
        }
    };
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyStore({:?})", self.0.inner)
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyStore({})", self.0.inner)
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let fate = self.fate_in_time(StoreStep::Put, path).await;
        let put = || {
            self.0
                .inner
                .put_opts(path, payload.clone(), options.clone())
        };
        under!(fate, put().await)
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let fate = self.fate_in_time(StoreStep::BeginUpload, path).await;
        let begin = || self.0.inner.put_multipart_opts(path, options.clone());
        let inner = under!(fate, begin().await)?;
        Ok(Box::new(FaultyUpload {
            inner,
            path: path.clone(),
            store: self.clone(),
        }))
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let fate = self.fate_in_time(StoreStep::Get, path).await;
        let get = || self.0.inner.get_opts(path, options.clone());
        under!(fate, get().await)
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let delete = move |path: Result<Path>| {
            let store = store.clone();
            async move {
                let path = path?;
                let fate = store.fate_in_time(StoreStep::Delete, &path).await;
                under!(fate, store.0.inner.delete(&path).await).map(|()| path)
            }
        };
        paths.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let fate = self.fate(StoreStep::List, prefix.unwrap_or(&Path::default()));
        listed(fate, self.0.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let fate = self.fate(StoreStep::List, prefix.unwrap_or(&Path::default()));
        listed(fate, self.0.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let root = Path::default();
        let fate = self
            .fate_in_time(StoreStep::List, prefix.unwrap_or(&root))
            .await;
        under!(fate, self.0.inner.list_with_delimiter(prefix).await)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let fate = self.fate_in_time(StoreStep::Copy, to).await;
        let copy = || self.0.inner.copy_opts(from, to, options.clone());
        under!(fate, copy().await)
    }
}

fn listed(
    fate: Fate,
    objects: BoxStream<'static, Result<ObjectMeta>>,
) -> BoxStream<'static, Result<ObjectMeta>> {
    let begin = async move {
        match settle(fate).await {
            Fate::Fails(error) | Fate::Unanswered(error) => stream::iter([Err(error)]).boxed(),
            _ => objects,
        }
    };
    begin.flatten_stream().boxed()
}

#[derive(Debug)]
struct FaultyUpload {
    inner: Box<dyn MultipartUpload>,
    path: Path,
    store: FaultyStore,
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        match self.store.fate(StoreStep::PutPart, &self.path) {
            Fate::Done => self.inner.put_part(data),
            fate => {
                let part = self.inner.put_part(data);
                let late = async move {
                    match settle(fate).await {
                        Fate::Fails(error) => Err(error),
                        Fate::Unanswered(error) => part.await.and(Err(error)),
                        _ => part.await,
                    }
                };
                late.boxed()
            }
        }
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let fate = self
            .store
            .fate_in_time(StoreStep::CompleteUpload, &self.path)
            .await;
        under!(fate, self.inner.complete().await)
    }

    async fn abort(&mut self) -> Result<()> {
        let fate = self
            .store
            .fate_in_time(StoreStep::AbortUpload, &self.path)
            .await;
        under!(fate, self.inner.abort().await)
    }
}
