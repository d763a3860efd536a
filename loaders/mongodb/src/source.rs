//! The source: replies of raw documents come from the driver, and leave as Arrow batches.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::RecordBatch;
use arrowload_core::{
    BatchStream, DataSource, Error, ErrorKind, Params, Query, Reading, Result, Retry, UnparsedRow,
};
use futures::stream::StreamExt;
use mongodb::raw_batch_cursor::RawBatch;
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use crate::config::{self, Connected, MongoConfig};
use crate::error::from_native;
use crate::query::{Infer, Spec};
use crate::walk::column::Walker;
use crate::walk::observe::{Observed, Observer};
use crate::walk::shape::{Mixed, Shape, Shaper};
use crate::walk::{Fault, What, element, json};

/// Bytes that a sample has at most.
const SAMPLE_BYTES: usize = 32 << 20;
/// Queries whose types are remembered at most.
const MOST_REMEMBERED: usize = 64;

/// Queries MongoDB: `find` and `aggregate`, as JSON.
#[derive(Debug)]
pub struct MongoSource {
    connected: Connected,
    /// Types that earlier runs of a query have found, and that their sample had not shown.
    remembered: Arc<Mutex<HashMap<String, Observed>>>,
}

impl DataSource for MongoSource {
    const NAME: &'static str = "mongodb";
    const URL_SCHEMES: &'static [&'static str] = config::URL_SCHEMES;
    const ENVIRONMENT: &'static [(&'static str, &'static str)] = config::ENVIRONMENT;

    type Config = MongoConfig;

    async fn connect(config: MongoConfig) -> Result<Self> {
        Ok(Self {
            connected: config.connect().await?,
            remembered: Arc::default(),
        })
    }

    async fn query(&self, query: &Query) -> Result<BatchStream> {
        if !matches!(query.params, Params::None) {
            let message = "a MongoDB query has no parameters; write the values into its JSON";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let spec = Spec::parse(&query.sql)?;
        let database = match &spec.database {
            Some(name) => self.connected.client.database(name),
            None => self.connected.database(),
        };
        let mut replies = Replies::open(&spec, &database).await?;
        let (columns, closed) = match &spec.columns {
            Some(columns) => (columns.clone(), true),
            None => (
                self.find_types(query, &spec, &mut replies, &database)
                    .await?,
                false,
            ),
        };
        let walker = Walker::new(&columns, closed);
        let schema = Arc::clone(walker.schema());
        let context = Arc::new(Context {
            place: format!("{}.{}", database.name(), spec.collection),
            sql: query.sql.clone(),
            reading: query.reading.clone(),
            observer: observer(&spec),
            mixed: spec.mixed,
            whole: spec.whole.clone(),
            columns,
            closed,
            remembered: Arc::clone(&self.remembered),
        });
        Ok(BatchStream::new(schema, batches(context, replies)))
    }

    async fn ping(&self) -> Result<()> {
        self.connected.ping().await
    }

    fn config_from_url(url: &str) -> Result<Map<String, Value>> {
        config::from_url(url)
    }
}

fn observer(spec: &Spec) -> Observer {
    Observer {
        maps: spec.maps.clone(),
        whole: spec.whole.keys().cloned().collect(),
        ..Observer::default()
    }
}

/// Replies of the server: those that were read already, and those to come.
struct Replies {
    waiting: std::collections::VecDeque<RawBatch>,
    cursor: mongodb::raw_batch_cursor::RawBatchCursor,
}

impl Replies {
    async fn open(spec: &Spec, database: &mongodb::Database) -> Result<Self> {
        Ok(Self {
            waiting: std::collections::VecDeque::new(),
            cursor: spec.open(database).await.map_err(from_native)?,
        })
    }

    async fn next(&mut self) -> Option<Result<RawBatch>> {
        self.cursor
            .next()
            .await
            .map(|reply| reply.map_err(from_native))
    }
}

/// The documents of a reply, as slices of its bytes.
fn documents(reply: &RawBatch) -> Result<Vec<&[u8]>> {
    let array = reply.doc_slices().map_err(from_native)?;
    let broken = |fault: Box<Fault>| {
        let What::Broken(why) = fault.what else {
            return Error::new(ErrorKind::Unexpected, "a reply cannot be read");
        };
        Error::new(
            ErrorKind::InvalidData,
            format!("a reply of the server is broken: {why}"),
        )
    };
    let mut rest = element::body(array.as_bytes()).map_err(broken)?;
    let mut found = Vec::new();
    while let Some(item) = element::next(&mut rest).map_err(broken)? {
        if item.code != 0x03 {
            return Err(broken(Fault::broken(
                "it contains something that is not a document",
            )));
        }
        found.push(item.value);
    }
    Ok(found)
}

impl MongoSource {
    /// The columns, from a sample or from all documents, and from what earlier readings remember.
    async fn find_types(
        &self,
        query: &Query,
        spec: &Spec,
        replies: &mut Replies,
        database: &mongodb::Database,
    ) -> Result<Vec<(String, Shape)>> {
        let (mut observer, mut observed) = (observer(spec), Observed::default());
        let most = match spec.infer {
            _ if query.reading.prove => u64::MAX,
            Infer::All => u64::MAX,
            Infer::Sample(size) => size as u64,
        };
        let accepts = query.reading.unparsed.accepts();
        let (mut count, mut bytes, mut ended) = (0_u64, 0, false);
        while count < most && (most == u64::MAX || bytes < SAMPLE_BYTES) {
            let Some(reply) = replies.next().await else {
                ended = true;
                break;
            };
            let reply = reply?;
            for document in documents(&reply)? {
                count += 1;
                if let Err(fault) = observer.add(&mut observed, document)
                    && !accepts
                {
                    return Err(failed(&fault, document, count));
                }
            }
            bytes += reply.as_raw_document().as_bytes().len();
            if most != u64::MAX {
                replies.waiting.push_back(reply);
            }
        }
        if most == u64::MAX {
            *replies = Replies::open(spec, database).await?;
        } else if !ended {
            query.reading.found.say_sampled();
        }
        {
            let remembered = self.remembered.lock();
            let remembered = remembered.unwrap_or_else(PoisonError::into_inner);
            if let Some(earlier) = remembered.get(&query.sql) {
                observed.join(earlier);
            }
        }
        let mut shaper = Shaper {
            mixed: spec.mixed,
            whole: spec.whole.clone(),
            ..Shaper::default()
        };
        let columns = shaper.columns(&observed)?;
        for widened in &shaper.widened {
            query.reading.found.remark(widened.sentence.clone());
        }
        Ok(columns)
    }
}

/// An error in a document, with its path and `_id`.
pub(crate) fn failed(fault: &Fault, document: &[u8], number: u64) -> Error {
    let path = fault.path();
    let place = if path.is_empty() {
        "the document".to_owned()
    } else {
        format!("`{path}`")
    };
    let id = json::id(document);
    let message = match &fault.what {
        What::Broken(why) => format!("{place} of the document with _id {id} is broken: {why}"),
        What::Unfit(kind) => format!(
            "{place} of the document with _id {id} holds {kind}, which the column's type does not hold"
        ),
        What::NewField => {
            format!("{place} of the document with _id {id} is a field that no earlier document has")
        }
    };
    Error::new(ErrorKind::InvalidData, message)
        .with("path", path)
        .with("_id", id)
        .with("document", number)
}

/// What is needed to decode every reply.
struct Context {
    /// `database.collection`
    place: String,
    sql: String,
    reading: Reading,
    observer: Observer,
    mixed: Mixed,
    whole: HashMap<String, Mixed>,
    columns: Vec<(String, Shape)>,
    closed: bool,
    remembered: Arc<Mutex<HashMap<String, Observed>>>,
}

/// Reads ahead by one reply, and walks each in a thread that may take its time.
fn batches(
    context: Arc<Context>,
    mut replies: Replies,
) -> impl futures::Stream<Item = Result<RecordBatch>> + Send + 'static {
    let (send, receive) = mpsc::channel::<Result<RawBatch>>(1);
    tokio::spawn(async move {
        while let Some(reply) = replies.waiting.pop_front() {
            if send.send(Ok(reply)).await.is_err() {
                return;
            }
        }
        loop {
            // If the stream is dropped, the cursor is closed at once, even if the server is slow.
            let reply = tokio::select! {
                reply = replies.next() => reply,
                () = send.closed() => return,
            };
            let Some(reply) = reply else { return };
            let last = reply.is_err();
            if send.send(reply).await.is_err() || last {
                return;
            }
        }
    });
    let state = (context, receive, 0_u64, false);
    futures::stream::unfold(state, async |(context, mut receive, before, ended)| {
        if ended {
            return None;
        }
        loop {
            let reply = match receive.recv().await? {
                Ok(reply) => reply,
                Err(error) => return Some((Err(error), (context, receive, before, true))),
            };
            let walking = Arc::clone(&context);
            let walked = tokio::task::spawn_blocking(move || walking.walk(&reply, before)).await;
            match walked {
                Ok(Ok((_, 0))) => {}
                Ok(Ok((batch, count))) => {
                    let next = (context, receive, before + count, false);
                    return Some((Ok(batch), next));
                }
                Ok(Err(error)) => return Some((Err(error), (context, receive, before, true))),
                Err(panic) => {
                    let error = Error::new(ErrorKind::Unexpected, "the walk of a reply panicked");
                    let error = error.with_source(panic);
                    return Some((Err(error), (context, receive, before, true)));
                }
            }
        }
    })
}

impl Context {
    /// The batch of a reply, and how many documents it has.
    fn walk(&self, reply: &RawBatch, before: u64) -> Result<(RecordBatch, u64)> {
        let documents = documents(reply)?;
        let count = documents.len() as u64;
        let all: Vec<usize> = (0..documents.len()).collect();
        let (place, fault) = match self.append(&documents, &all) {
            Ok(batch) => return Ok((batch, count)),
            Err(failed) => failed,
        };
        let kept = self.set_aside(&documents, before)?;
        if kept.len() < documents.len() {
            let batch = self
                .append(&documents, &kept)
                .map_err(|(place, fault)| self.misfit(&documents, place, before, &fault))?;
            return Ok((batch, count));
        }
        Err(self.misfit(&documents, place, before, &fault))
    }

    fn append(
        &self,
        documents: &[&[u8]],
        places: &[usize],
    ) -> Result<RecordBatch, (usize, Box<Fault>)> {
        let mut walker = Walker::new(&self.columns, self.closed);
        for place in places {
            walker
                .append(documents[*place])
                .map_err(|fault| (*place, fault))?;
        }
        walker.finish().map_err(|fault| (0, fault))
    }

    /// Takes a second, slower look at a reply that could not be walked, and sets all broken documents aside; answers which are left.
    fn set_aside(&self, documents: &[&[u8]], before: u64) -> Result<Vec<usize>> {
        let (mut observer, mut observed) = (self.observer.clone(), Observed::default());
        let mut kept = Vec::new();
        for (place, document) in documents.iter().enumerate() {
            let number = before + place as u64 + 1;
            let Err(fault) = observer.add(&mut observed, document) else {
                kept.push(place);
                continue;
            };
            let error = failed(&fault, document, number);
            if !self.reading.unparsed.accepts() {
                return Err(error);
            }
            self.reading.unparsed.set_aside(&UnparsedRow {
                file: &self.place,
                line: number,
                bytes: document,
                reason: error.message(),
                options: &self.sql,
            })?;
        }
        Ok(kept)
    }

    /// The error for a value that no column holds: where types were found, the wider ones are remembered, and the query is to be
    /// opened again.
    fn misfit(&self, documents: &[&[u8]], place: usize, before: u64, fault: &Fault) -> Error {
        let error = failed(fault, documents[place], before + place as u64 + 1);
        if self.closed || matches!(fault.what, What::Broken(_)) {
            return error;
        }
        let hint = "run the query again, which now knows the type, or set infer = \"all\"";
        let error = error.with("hint", hint);
        let (mut observer, mut observed) = (self.observer.clone(), Observed::default());
        for document in documents {
            // Broken documents are reported when they are decoded.
            let _ = observer.add(&mut observed, document);
        }
        let mut shaper = Shaper {
            mixed: self.mixed,
            whole: self.whole.clone(),
            ..Shaper::default()
        };
        let remembered = self.remembered.lock();
        let mut remembered = remembered.unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= MOST_REMEMBERED && !remembered.contains_key(&self.sql) {
            remembered.clear();
        }
        let known = remembered.entry(self.sql.clone()).or_default();
        known.join(&observed);
        match shaper.columns(known) {
            Ok(_) => error.with_retry(Retry::Reopen),
            Err(mixed) => mixed.with("_id", json::id(documents[place])),
        }
    }
}
