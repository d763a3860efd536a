//! The emulator's loop: connections, sessions, transactions, and what goes wrong on request.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bson::{Bson, Document, doc};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::commands::Call;
use super::store::{Bytes, Refused, Store};
use super::wire::{self, Reply, Request};
use super::{Fault, MongoFault};

/// What is left of the answer to a query.
pub(super) struct Cursor {
    pub(super) namespace: String,
    pub(super) documents: VecDeque<Bytes>,
}

impl Cursor {
    pub(super) fn take(&mut self, most: usize, bytes: usize) -> Vec<Bytes> {
        let (mut batch, mut size) = (Vec::new(), 0);
        while batch.len() < most
            && let Some(next) = self.documents.front()
        {
            size += next.len();
            if size > bytes && !batch.is_empty() {
                break;
            }
            batch.extend(self.documents.pop_front());
        }
        batch
    }
}

/// What sessions share.
pub(super) struct State {
    pub(super) address: String,
    pub(super) replica_set: bool,
    pub(super) cursors: HashMap<i64, Cursor>,
    next_cursor: i64,
    /// The store as it was when a transaction began, and its copy; by session.
    transactions: HashMap<Vec<u8>, Transaction>,
    /// Answers to writes that a client may ask for again, by session.
    answered: HashMap<Vec<u8>, (i64, Document)>,
    pub(super) faults: Vec<MongoFault>,
    pub(super) commands: Vec<String>,
}

struct Transaction {
    number: i64,
    began: Store,
    copy: Store,
}

impl State {
    pub(super) fn keep(&mut self, cursor: Cursor) -> i64 {
        if cursor.documents.is_empty() {
            return 0;
        }
        self.next_cursor += 1;
        self.cursors.insert(self.next_cursor, cursor);
        self.next_cursor
    }

    /// The fault that this command meets, if any.
    fn fault(&mut self, command: &str) -> Option<Fault> {
        let place = self
            .faults
            .iter()
            .position(|fault| fault.command == command || fault.command == "*")?;
        let fault = &mut self.faults[place];
        if fault.skip > 0 {
            fault.skip -= 1;
            return None;
        }
        fault.times -= 1;
        let what = fault.what.clone();
        if fault.times == 0 {
            self.faults.remove(place);
        }
        Some(what)
    }
}

/// The emulator: its collections and sessions.
pub(super) struct Emulator {
    pub(super) store: Mutex<Store>,
    pub(super) state: Mutex<State>,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Emulator {
    pub(super) fn new(address: String, replica_set: bool) -> Self {
        Self {
            store: Mutex::default(),
            state: Mutex::new(State {
                address,
                replica_set,
                cursors: HashMap::new(),
                next_cursor: 1000,
                transactions: HashMap::new(),
                answered: HashMap::new(),
                faults: Vec::new(),
                commands: Vec::new(),
            }),
        }
    }

    pub(super) async fn serve(self: Arc<Self>, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let emulator = Arc::clone(&self);
            tokio::spawn(async move { emulator.connection(stream).await });
        }
    }

    async fn connection(&self, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let (reading, mut writing) = stream.into_split();
        let mut reading = BufReader::with_capacity(1 << 16, reading);
        while let Some(request) = wire::read(&mut reading).await {
            let Some(reply) = self.answer(&request) else {
                return;
            };
            if !request.answered {
                continue;
            }
            if writing
                .write_all(&wire::write(&request, &reply))
                .await
                .is_err()
            {
                return;
            }
        }
    }

    /// `None` cuts the connection.
    fn answer(&self, request: &Request) -> Option<Reply> {
        let (mut store, mut state) = (lock(&self.store), lock(&self.state));
        let name = request.body.keys().next()?.clone();
        if state.commands.len() < 100_000 {
            state.commands.push(name.clone());
        }
        match state.fault(&name) {
            None => Some(finished(run(request, &name, &mut store, &mut state))),
            Some(Fault::Refuse { code, labels }) => {
                let mut refused = Refused::new(code, "Injected", "a fault of the test");
                refused.labels = labels;
                Some(finished(Err(refused)))
            }
            Some(Fault::Cut) => None,
            Some(Fault::LoseAnswer) => {
                let _ = run(request, &name, &mut store, &mut state);
                None
            }
            Some(Fault::KillCursors) => {
                state.cursors.clear();
                Some(finished(run(request, &name, &mut store, &mut state)))
            }
        }
    }
}

fn finished(answer: Result<Reply, Refused>) -> Reply {
    match answer {
        Ok(mut reply) => {
            reply.fields.insert("ok", 1.0);
            reply
        }
        Err(refused) => {
            let mut fields = doc! {
                "ok": 0.0, "errmsg": refused.message, "code": refused.code, "codeName": refused.name,
            };
            fields.extend(refused.info.map(|info| *info).unwrap_or_default());
            if !refused.labels.is_empty() {
                fields.insert("errorLabels", refused.labels);
            }
            fields.into()
        }
    }
}

/// The session and the number of a write or transaction.
fn session(body: &Document) -> Option<(Vec<u8>, i64)> {
    let id = body.get_document("lsid").ok()?.get("id")?;
    let Bson::Binary(id) = id else { return None };
    Some((id.bytes.clone(), body.get_i64("txnNumber").ok()?))
}

fn run(
    request: &Request,
    name: &str,
    store: &mut Store,
    state: &mut State,
) -> Result<Reply, Refused> {
    let body = &request.body;
    let mut call = Call {
        request,
        database: body.get_str("$db").unwrap_or("admin").to_owned(),
        in_transaction: false,
    };
    let Some((session, number)) = session(body) else {
        return call.run(name, store, state);
    };
    if body.get_bool("autocommit").unwrap_or(true) {
        // A write that may come twice: the second time, the first answer.
        if let Some((known, answer)) = state.answered.get(&session)
            && *known == number
        {
            return Ok(answer.clone().into());
        }
        let reply = call.run(name, store, state)?;
        state
            .answered
            .insert(session, (number, reply.fields.clone()));
        return Ok(reply);
    }
    let lost = || {
        let mut refused = Refused::new(251, "NoSuchTransaction", "the transaction is not known");
        refused.labels.push("TransientTransactionError".into());
        refused
    };
    match name {
        "commitTransaction" => {
            if state
                .answered
                .get(&session)
                .is_some_and(|(known, _)| *known == number)
            {
                return Ok(doc! {}.into());
            }
            let ended = state.transactions.remove(&session).ok_or_else(lost)?;
            store.merge(&ended.began, ended.copy)?;
            state.answered.insert(session, (number, doc! {}));
            return Ok(doc! {}.into());
        }
        "abortTransaction" => {
            state.transactions.remove(&session).ok_or_else(lost)?;
            return Ok(doc! {}.into());
        }
        _ => {}
    }
    if body.get_bool("startTransaction").unwrap_or(false) {
        let begun = Transaction {
            number,
            began: store.clone(),
            copy: store.clone(),
        };
        state.transactions.insert(session.clone(), begun);
    }
    let mut open = state.transactions.remove(&session).ok_or_else(lost)?;
    if open.number != number {
        return Err(lost());
    }
    call.in_transaction = true;
    let reply = call.run(name, &mut open.copy, state)?;
    state.transactions.insert(session, open);
    Ok(reply)
}
