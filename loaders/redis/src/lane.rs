//! Sends pipelines to one node: a task writes the next pipeline while it reads replies, so that neither side waits for
//! the other. The number of pipelines is fixed and they are reused, so that the bytes in flight are bounded.

use std::collections::VecDeque;
use std::time::Duration;

use arrowload_core::{Error, ErrorKind, Result};
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::error::{broken, silent};
use crate::lease::lapsed;
use crate::net::{Connection, Transport};
use crate::nodes::Beat;
use crate::pipeline::{Pipeline, Role};
use crate::resp::{Reply, Skimmed, parse, skim};

/// Pipelines that go round.
const DEPTH: usize = 8;

/// The sending end of a lane. It is connected when there is something to send.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    /// What is being filled.
    pub(crate) filling: Pipeline,
    /// Pipelines that wait to be filled.
    free: Vec<Pipeline>,
    /// Pipelines on their way, by the first row of each.
    on_the_way: VecDeque<u64>,
    link: Option<Link>,
}

/// The connection's task, and the channels to it.
#[derive(Debug)]
struct Link {
    to_send: mpsc::Sender<Pipeline>,
    answered: mpsc::Receiver<Result<Pipeline>>,
    task: JoinHandle<()>,
    given_back: oneshot::Receiver<Connection>,
}

impl Drop for Lane {
    fn drop(&mut self) {
        if let Some(link) = &self.link {
            link.task.abort();
        }
    }
}

fn ended() -> Error {
    Error::new(
        ErrorKind::Connection,
        "the connection to Redis ended with an error before",
    )
    .transient()
}

impl Lane {
    pub(crate) fn is_connected(&self) -> bool {
        self.link.is_some()
    }

    /// Takes a connection over, and renews the lease of the load on it.
    pub(crate) fn connect(&mut self, connection: Connection, beat: Option<Beat>) {
        let (to_send, inbox) = mpsc::channel(DEPTH);
        let (outbox, answered) = mpsc::channel(DEPTH + 1);
        let (back, given_back) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut way = Way::new(connection, beat);
            match way.run(inbox, &outbox).await {
                Ok(()) => {
                    let _ = back.send(way.into_connection());
                }
                Err(error) => {
                    let _ = outbox.send(Err(error)).await;
                }
            }
        });
        let missing = DEPTH - self.free.len();
        self.free.extend((0..missing).map(|_| Pipeline::default()));
        self.link = Some(Link {
            to_send,
            answered,
            task,
            given_back,
        });
    }

    fn link(&mut self) -> Result<&mut Link> {
        self.link.as_mut().ok_or_else(ended)
    }

    /// Sends what was filled. Returns a pipeline that has its replies, if all others are on their way.
    pub(crate) async fn send(&mut self) -> Result<Option<Pipeline>> {
        if self.filling.is_empty() {
            return Ok(None);
        }
        self.filling.close();
        let (back, next) = match self.free.pop() {
            Some(free) => (None, free),
            None => (Some(self.receive().await?), Pipeline::default()),
        };
        let full = std::mem::replace(&mut self.filling, next);
        self.on_the_way.push_back(full.first_row);
        let link = self.link()?;
        if link.to_send.send(full).await.is_err() {
            // The reason is among the answers, after all others.
            while let Some(answer) = link.answered.recv().await {
                answer?;
            }
            return Err(ended());
        }
        Ok(back)
    }

    /// The next pipeline that has its replies.
    pub(crate) async fn receive(&mut self) -> Result<Pipeline> {
        let pipeline = self.link()?.answered.recv().await.ok_or_else(ended)??;
        self.on_the_way.pop_front();
        Ok(pipeline)
    }

    /// Takes a pipeline back whose replies have been looked at.
    pub(crate) fn recycle(&mut self, mut pipeline: Pipeline) {
        pipeline.clear();
        if self.filling.bytes.capacity() == 0 && self.filling.is_empty() {
            self.filling = pipeline;
        } else if self.free.len() < DEPTH {
            self.free.push(pipeline);
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.on_the_way.is_empty()
    }

    /// The first row that has no reply yet.
    pub(crate) fn first_open_row(&self) -> Option<u64> {
        let filling = (!self.filling.is_empty()).then_some(self.filling.first_row);
        self.on_the_way.front().copied().or(filling)
    }

    /// Ends the task, when nothing is on its way, and gives the connection back, if there is one.
    pub(crate) async fn disconnect(&mut self) -> Result<Option<Connection>> {
        let Some(link) = self.link.take() else {
            return Ok(None);
        };
        let Link {
            to_send,
            mut answered,
            given_back,
            ..
        } = link;
        // Closing the channel ends the task.
        drop(to_send);
        while let Some(answer) = answered.recv().await {
            answer?;
        }
        given_back.await.map(Some).map_err(|_| ended())
    }
}

/// The task's side.
struct Way {
    reader: ReadHalf<Box<dyn Transport>>,
    writer: WriteHalf<Box<dyn Transport>>,
    inbox: BytesMut,
    place: String,
    patience: u64,
    queue: VecDeque<Pipeline>,
    /// Which pipeline of the queue is written, and how far.
    writing: usize,
    written: usize,
    beat: Option<Beat>,
    last_beat: Instant,
}

enum Event {
    Beat,
    Given(Option<Pipeline>),
    Wrote(std::io::Result<usize>),
    Read(std::io::Result<usize>),
}

impl Way {
    fn new(connection: Connection, beat: Option<Beat>) -> Self {
        let (reader, writer) = tokio::io::split(connection.transport);
        Self {
            reader,
            writer,
            inbox: connection.inbox,
            place: connection.place,
            patience: connection.patience,
            queue: VecDeque::new(),
            writing: 0,
            written: 0,
            beat,
            last_beat: Instant::now(),
        }
    }

    fn into_connection(self) -> Connection {
        Connection {
            transport: self.reader.unsplit(self.writer),
            inbox: self.inbox,
            place: self.place,
            patience: self.patience,
        }
    }

    async fn run(
        &mut self,
        mut given: mpsc::Receiver<Pipeline>,
        outbox: &mpsc::Sender<Result<Pipeline>>,
    ) -> Result<()> {
        let mut open = true;
        while open || !self.queue.is_empty() {
            match self.next_event(&mut given, open).await? {
                Event::Given(Some(pipeline)) => self.queue.push_back(pipeline),
                Event::Given(None) => open = false,
                Event::Beat => {
                    let beat = self.show_life();
                    self.queue.extend(beat);
                }
                Event::Wrote(written) => self.wrote(written).await?,
                Event::Read(Ok(0)) => {
                    return Err(broken(
                        &self.place,
                        std::io::ErrorKind::UnexpectedEof.into(),
                    ));
                }
                Event::Read(Err(error)) => return Err(broken(&self.place, error)),
                Event::Read(Ok(_)) => {
                    self.take_replies()?;
                    while self.queue.front().is_some_and(Pipeline::is_answered) && self.writing > 0
                    {
                        let Some(done) = self.queue.pop_front() else {
                            break;
                        };
                        self.writing -= 1;
                        if done.is_beat {
                            if done.idle > 0 {
                                return Err(lapsed());
                            }
                            continue;
                        }
                        if outbox.send(Ok(done)).await.is_err() {
                            return Ok(());
                        }
                    }
                }
            }
        }
        Ok(())
    }

    async fn next_event(
        &mut self,
        given: &mut mpsc::Receiver<Pipeline>,
        open: bool,
    ) -> Result<Event> {
        let patience = Duration::from_secs(self.patience);
        self.inbox.reserve(16 << 10);
        let (writer, reader, inbox) = (&mut self.writer, &mut self.reader, &mut self.inbox);
        let to_write = self
            .queue
            .get(self.writing)
            .map(|pipeline| &pipeline.bytes[self.written..]);
        let waits = !self.queue.is_empty();
        let due = self
            .beat
            .as_ref()
            .filter(|_| open && !self.queue.iter().any(|pipeline| pipeline.is_beat))
            .map(|beat| self.last_beat + beat.every);
        let beat = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        let next = async {
            tokio::select! {
                biased;
                () = beat => Event::Beat,
                read = reader.read_buf(inbox), if waits => Event::Read(read),
                written = async { writer.write(to_write.unwrap_or_default()).await }, if to_write.is_some() => Event::Wrote(written),
                pipeline = given.recv(), if open => Event::Given(pipeline),
            }
        };
        if waits {
            timeout(patience, next)
                .await
                .map_err(|_| silent(&self.place, self.patience))
        } else {
            Ok(next.await)
        }
    }

    /// The pipeline that renews the lease.
    fn show_life(&mut self) -> Option<Pipeline> {
        self.last_beat = Instant::now();
        let mut pipeline = Pipeline::default();
        pipeline.is_beat = true;
        pipeline.begin_command(Role::Write, 0);
        pipeline.bytes.extend_from_slice(&self.beat.as_ref()?.bytes);
        Some(pipeline)
    }

    async fn wrote(&mut self, written: std::io::Result<usize>) -> Result<()> {
        let written = written.map_err(|error| broken(&self.place, error))?;
        if written == 0 {
            return Err(broken(&self.place, std::io::ErrorKind::WriteZero.into()));
        }
        self.written += written;
        if self
            .queue
            .get(self.writing)
            .is_some_and(|pipeline| self.written == pipeline.bytes.len())
        {
            self.writing += 1;
            self.written = 0;
            if self.writing == self.queue.len() {
                self.writer
                    .flush()
                    .await
                    .map_err(|error| broken(&self.place, error))?;
            }
        }
        Ok(())
    }

    /// Reads every whole reply that has come.
    fn take_replies(&mut self) -> Result<()> {
        let mut at = 0;
        let mut index = 0;
        loop {
            let rest = &self.inbox[at..];
            while self.queue.get(index).is_some_and(Pipeline::is_answered) {
                index += 1;
            }
            if rest.is_empty() {
                break;
            }
            let Some(pipeline) = self.queue.get_mut(index) else {
                return Err(Error::new(
                    ErrorKind::Connection,
                    format!("Redis at {} sent a reply to no command", self.place),
                ));
            };
            let Some((reply, length)) = skim(rest)? else {
                break;
            };
            let length = match reply {
                Skimmed::Other => {
                    let Some((reply, length)) = parse(rest)? else {
                        break;
                    };
                    take(pipeline, reply);
                    length
                }
                Skimmed::Error(text) => {
                    pipeline.fail(String::from_utf8_lossy(text).into_owned());
                    length
                }
                Skimmed::Int(0) | Skimmed::Nil => {
                    pipeline.idle += u64::from(pipeline.awaited() == Some(Role::Write));
                    length
                }
                Skimmed::Int(_) | Skimmed::Fine => length,
            };
            pipeline.answered += 1;
            at += length;
        }
        self.inbox.advance(at);
        Ok(())
    }
}

/// Understands a reply that is not of the usual ones.
fn take(pipeline: &mut Pipeline, reply: Reply) {
    match reply {
        Reply::Error(text) => pipeline.fail(text),
        Reply::Nil | Reply::Int(0) => {
            pipeline.idle += u64::from(pipeline.awaited() == Some(Role::Write))
        }
        Reply::Array(items) if pipeline.awaited() == Some(Role::Exec) => pipeline.executed(items),
        _ => {}
    }
}
