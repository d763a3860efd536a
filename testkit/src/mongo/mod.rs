//! A server for tests of MongoDB: an emulator of our own that speaks the wire protocol, or a deployment that is named by its URL.
//!
//! The emulator keeps collections in memory as raw bytes, so that documents of every kind, broken ones too, pass through a real
//! socket; and it fails as a test says. It is not a database: what it does not know it refuses.

mod commands;
mod pipeline;
mod server;
mod store;
mod values;
mod wire;

use std::sync::{Arc, mpsc};

use bson::Document;
use server::{Emulator, lock};

/// The URL of a deployment to use in place of the emulator. Tests write to databases whose names begin with `arrowload_`.
pub const URL: &str = "MONGODB_TEST_URI";

/// What goes wrong with a command.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Fault {
    /// It is refused with this code and these error labels.
    Refuse {
        /// The server's number for the error.
        code: i32,
        /// Such as `RetryableWriteError`.
        labels: Vec<String>,
    },
    /// The connection is cut, and the command is not run.
    Cut,
    /// The command is run, and the connection is cut before its answer.
    LoseAnswer,
    /// All cursors are gone before it.
    KillCursors,
}

/// A fault, and the commands that meet it.
#[derive(Debug, Clone)]
pub struct MongoFault {
    command: String,
    skip: u32,
    times: u32,
    what: Fault,
}

impl MongoFault {
    /// The next command of this name meets it; `*` is any.
    pub fn new(command: impl Into<String>, what: Fault) -> Self {
        Self {
            command: command.into(),
            skip: 0,
            times: 1,
            what,
        }
    }

    /// Lets this many commands of the name pass first.
    #[must_use]
    pub fn after(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }

    /// This many commands meet it.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = times.max(1);
        self
    }
}

/// An emulator of a MongoDB server, in a thread of its own, on a free port of loopback. Dropped, it is gone with its data.
pub struct MongoEmulator {
    address: String,
    replica_set: bool,
    emulator: Arc<Emulator>,
    /// Dropped, it ends the thread.
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl std::fmt::Debug for MongoEmulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MongoEmulator")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl MongoEmulator {
    /// Starts one that is the primary of a replica set: with sessions, transactions, and writes that can be repeated.
    ///
    /// # Errors
    /// If there is no free port, or no thread.
    pub fn start() -> Result<Self, String> {
        Self::start_as(true)
    }

    /// Starts a standalone server: without transactions.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_standalone() -> Result<Self, String> {
        Self::start_as(false)
    }

    fn start_as(replica_set: bool) -> Result<Self, String> {
        let text = |error: std::io::Error| format!("the emulator does not start: {error}");
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let (say, hear) = mpsc::channel();
        std::thread::Builder::new()
            .name("mongo emulator".into())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                let runtime = match runtime {
                    Ok(runtime) => runtime,
                    Err(error) => return drop(say.send(Err(error))),
                };
                runtime.block_on(async move {
                    let listener = match tokio::net::TcpListener::bind("127.0.0.1:0").await {
                        Ok(listener) => listener,
                        Err(error) => return drop(say.send(Err(error))),
                    };
                    let address = listener.local_addr().map(|address| address.to_string());
                    let address = address.unwrap_or_default();
                    let emulator = Arc::new(Emulator::new(address.clone(), replica_set));
                    let _ = say.send(Ok((address, Arc::clone(&emulator))));
                    tokio::select! {
                        () = emulator.serve(listener) => {}
                        _ = stopped => {}
                    }
                });
            })
            .map_err(text)?;
        let started = hear.recv().map_err(|error| error.to_string())?;
        let (address, emulator) = started.map_err(text)?;
        Ok(Self {
            address,
            replica_set,
            emulator,
            _stop: stop,
        })
    }

    /// A URL of this database.
    pub fn url(&self, database: &str) -> String {
        let set = if self.replica_set {
            "?replicaSet=emulator"
        } else {
            "?directConnection=true"
        };
        format!("mongodb://{}/{database}{set}", self.address)
    }

    /// Puts bytes into a collection as they are, broken documents too.
    pub fn seed(
        &self,
        database: &str,
        collection: &str,
        documents: impl IntoIterator<Item = Vec<u8>>,
    ) {
        let namespace = format!("{database}.{collection}");
        lock(&self.emulator.store).write(&namespace).seed(documents);
    }

    /// The documents of a collection, in the order in which they came; `None` if there is none.
    pub fn documents(&self, database: &str, collection: &str) -> Option<Vec<Document>> {
        let store = lock(&self.emulator.store);
        let collection = store.collection(&format!("{database}.{collection}"))?;
        let documents = collection.documents();
        Some(
            documents
                .filter_map(|bytes| Document::from_reader(&**bytes).ok())
                .collect(),
        )
    }

    /// The names of the collections of a database.
    pub fn collections(&self, database: &str) -> Vec<String> {
        let prefix = format!("{database}.");
        let store = lock(&self.emulator.store);
        let names = store.collections.keys();
        names
            .filter_map(|name| Some(name.strip_prefix(&prefix)?.to_owned()))
            .collect()
    }

    /// Lets something go wrong.
    pub fn fail(&self, fault: MongoFault) {
        lock(&self.emulator.state).faults.push(fault);
    }

    /// Faults that were asked for and have not happened yet.
    pub fn faults_left(&self) -> usize {
        lock(&self.emulator.state).faults.len()
    }

    /// How many cursors are open.
    pub fn open_cursors(&self) -> usize {
        lock(&self.emulator.state).cursors.len()
    }

    /// The names of the commands that came, in their order.
    pub fn commands(&self) -> Vec<String> {
        lock(&self.emulator.state).commands.clone()
    }
}
