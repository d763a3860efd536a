//! A wire that fails when told to: a TCP proxy before the server that cuts, swallows, delays or falsifies what passes, at a
//! message or byte of either direction.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Which way something goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    Server,
    Client,
}

/// Where it happens, counted over all connections since the fault was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum At {
    /// The message of this number, from 0.
    Message(To, usize),
    /// The byte of this number, from 0.
    Byte(To, u64),
    /// The byte of this number among the rows in the first message of a COPY to the server.
    Row(usize),
    /// The message of this number, from 0, among those to the server that begin so.
    Start(&'static [u8], usize),
}

/// What messages of a load begin with: its first rows, the end of a COPY, and the commit.
pub(crate) const ROWS: &[u8] = b"d";
pub(crate) const COPY_DONE: &[u8] = b"c";
pub(crate) const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";

/// Letter and length of a message, and the head of a COPY.
const HEAD: usize = 5 + 19;

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Both sides lose the connection, before anything of the message has passed.
    Cut,
    /// The same, after half of the message.
    CutWithin,
    /// The same, after the message.
    CutAfter,
    /// Nothing passes this way any more, until the sender gives up.
    Swallow,
    /// The message passes, and no answer comes back any more.
    Mute,
    /// The message waits.
    Delay(Duration),
    /// One bit of the byte, or of the message's last byte, is turned.
    Flip,
}

#[derive(Debug, Default)]
struct Plan {
    fault: Option<(At, Fault)>,
    /// After the fault no connection is taken any more.
    then_dead: bool,
    dead: bool,
    fired: bool,
    messages: [usize; 2],
    /// Messages that began as the fault's does.
    started: usize,
    /// The number of the last COMMIT.
    commit: usize,
    /// How many bytes of rows the first message of a COPY had.
    rows: usize,
    bytes: [u64; 2],
}

/// A proxy before a server, for as long as it is kept.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    plan: Arc<Mutex<Plan>>,
    accepting: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn locked(plan: &Mutex<Plan>) -> MutexGuard<'_, Plan> {
    plan.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    pub(crate) async fn before(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let own = listener.local_addr().expect("an address").port();
        let plan = Arc::new(Mutex::new(Plan::default()));
        let shared = Arc::clone(&plan);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if locked(&shared).dead {
                    continue;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
                    continue;
                };
                tokio::spawn(join(client, server, Arc::clone(&shared)));
            }
        });
        Self {
            port: own,
            plan,
            accepting,
        }
    }

    /// Everything passes, and is counted from here.
    pub(crate) fn heal(&self) {
        *locked(&self.plan) = Plan::default();
    }

    /// Something happens once.
    pub(crate) fn fail(&self, at: At, fault: Fault) {
        *locked(&self.plan) = Plan {
            fault: Some((at, fault)),
            ..Plan::default()
        };
    }

    /// Something happens, and from then on nobody can connect.
    pub(crate) fn fail_for_good(&self, at: At, fault: Fault) {
        *locked(&self.plan) = Plan {
            fault: Some((at, fault)),
            then_dead: true,
            ..Plan::default()
        };
    }

    /// Whether it happened.
    pub(crate) fn fired(&self) -> bool {
        locked(&self.plan).fired
    }

    /// Messages that passed to the server, and to the client.
    pub(crate) fn messages(&self) -> (usize, usize) {
        let plan = locked(&self.plan);
        (plan.messages[0], plan.messages[1])
    }

    /// Bytes that passed to the client.
    pub(crate) fn bytes_to_client(&self) -> u64 {
        locked(&self.plan).bytes[1]
    }

    /// How many bytes of rows were in the first message of a COPY.
    pub(crate) fn row_bytes(&self) -> usize {
        locked(&self.plan).rows
    }

    /// The message by which the last transaction was committed.
    pub(crate) fn commit(&self) -> At {
        At::Message(To::Server, locked(&self.plan).commit)
    }
}

impl Plan {
    /// Counts a message, and says what happens to it, and at which of its bytes.
    fn meet(&mut self, to: To, message: &[u8]) -> Option<(Fault, usize)> {
        let (number, first) = (self.messages[to as usize], self.bytes[to as usize]);
        self.messages[to as usize] += 1;
        if to == To::Server && message == COMMIT {
            self.commit = number;
        }
        self.bytes[to as usize] += message.len() as u64;
        let copied = to == To::Server && message[0] == b'd' && self.rows == 0;
        if copied {
            self.rows = message.len() - HEAD;
        }
        let (at, fault) = self.fault.clone().filter(|_| !self.fired)?;
        let byte = match at {
            At::Message(way, wanted) => (way == to && wanted == number).then(|| message.len() - 1),
            At::Start(start, wanted) => {
                let begins = to == To::Server && message.starts_with(start);
                self.started += usize::from(begins);
                (begins && self.started > wanted).then(|| message.len() - 1)
            }
            At::Row(wanted) => (copied && wanted < message.len() - HEAD).then_some(HEAD + wanted),
            At::Byte(way, wanted) => {
                let inside = wanted
                    .checked_sub(first)
                    .filter(|place| way == to && *place < message.len() as u64);
                inside.map(|place| place as usize)
            }
        }?;
        self.fired = true;
        self.dead = self.then_dead;
        Some((fault, byte))
    }
}

/// Carries one connection until either side ends it, or the fault does.
async fn join(client: TcpStream, server: TcpStream, plan: Arc<Mutex<Plan>>) {
    for socket in [&client, &server] {
        let _ = socket.set_nodelay(true);
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mute = AtomicBool::new(false);
    let up = pump(from_client, to_server, To::Server, &plan, &mute);
    let down = pump(from_server, to_client, To::Client, &plan, &mute);
    tokio::select! {
        _ = up => {}
        _ = down => {}
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    way: To,
    plan: &Mutex<Plan>,
    mute: &AtomicBool,
) -> io::Result<()> {
    // The first message of a client has no letter.
    let mut startup = way == To::Server;
    loop {
        let mut message = read_message(&mut from, startup).await?;
        startup = false;
        let met = locked(plan).meet(way, &message);
        match met {
            None => {}
            Some((Fault::Cut, _)) => return Ok(()),
            Some((Fault::CutWithin, _)) => {
                return to.write_all(&message[..message.len() / 2]).await;
            }
            Some((Fault::CutAfter, _)) => {
                // No answer comes back any more.
                mute.store(true, Ordering::Relaxed);
                to.write_all(&message).await?;
                // So that the other side has it before it finds the connection gone.
                to.flush().await?;
                tokio::time::sleep(Duration::from_millis(5)).await;
                return Ok(());
            }
            Some((Fault::Swallow, _)) => {
                return tokio::io::copy(&mut from, &mut tokio::io::sink())
                    .await
                    .map(drop);
            }
            Some((Fault::Mute, _)) => mute.store(true, Ordering::Relaxed),
            Some((Fault::Delay(pause), _)) => tokio::time::sleep(pause).await,
            Some((Fault::Flip, byte)) => message[byte] ^= 1,
        }
        if mute.load(Ordering::Relaxed) && way == To::Client {
            std::future::pending::<()>().await;
        }
        to.write_all(&message).await?;
    }
}

/// A letter, but for the first message of a connection, and a length that counts itself and what follows.
async fn read_message(from: &mut (impl AsyncRead + Unpin), startup: bool) -> io::Result<Vec<u8>> {
    let head = if startup { 4 } else { 5 };
    let mut message = vec![0; head];
    from.read_exact(&mut message).await?;
    let length = u32::from_be_bytes([
        message[head - 4],
        message[head - 3],
        message[head - 2],
        message[head - 1],
    ]) as usize;
    message.resize(head + length.saturating_sub(4), 0);
    from.read_exact(&mut message[head..]).await?;
    Ok(message)
}
