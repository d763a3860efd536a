//! A proxy before a server, which stops at a point of a load: held there, cut off, or with the answer lost.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

/// What happens where a client sends what the proxy waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It does not arrive, and nothing more is answered.
    Hold,
    /// It does not arrive, and the connection breaks.
    Cut,
    /// It arrives, and its answer does not come back; then the connection breaks.
    Lose,
    /// It arrives, and its answer does not come back, and the connection stays.
    LoseAndHold,
}

/// What the proxy waits for, only once, and how often it lets that pass before.
type Point = Arc<Mutex<Option<(Vec<u8>, Stop, usize)>>>;

pub(crate) struct Proxy {
    pub(crate) port: u16,
    point: Point,
    reached: mpsc::UnboundedReceiver<()>,
}

impl Proxy {
    pub(crate) async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (to_test, reached) = mpsc::unbounded_channel();
        let point = Point::default();
        let shared = Arc::clone(&point);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(upstream) = TcpStream::connect(("127.0.0.1", server)).await else {
                    continue;
                };
                let pair = (client.into_split(), upstream.into_split());
                tokio::spawn(serve(pair, Arc::clone(&shared), to_test.clone()));
            }
        });
        Self {
            port,
            point,
            reached,
        }
    }

    /// Stops the first connection that sends these bytes.
    pub(crate) fn stop_at(&mut self, marker: impl Into<Vec<u8>>, stop: Stop) {
        self.stop_at_later(marker, stop, 0);
    }

    /// The same, once they have been sent so often before, each time to be answered before the next.
    pub(crate) fn stop_at_later(&mut self, marker: impl Into<Vec<u8>>, stop: Stop, before: usize) {
        while self.reached.try_recv().is_ok() {}
        *self.point.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((marker.into(), stop, before));
    }

    /// Waits until the point is reached.
    pub(crate) async fn reached(&mut self) {
        self.reached.recv().await.expect("a proxy");
    }

    /// Whether the point was reached since it was set.
    pub(crate) fn was_reached(&mut self) -> bool {
        self.reached.try_recv().is_ok()
    }
}

type Halves = (OwnedReadHalf, OwnedWriteHalf);

async fn serve(
    (client, server): (Halves, Halves),
    point: Point,
    to_test: mpsc::UnboundedSender<()>,
) {
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) = (client, server);
    let (stop, stopped) = watch::channel(None::<Stop>);
    let told = to_test.clone();
    let back = tokio::spawn(async move {
        let mut bytes = vec![0; 4 << 10];
        while let Ok(read @ 1..) = from_server.read(&mut bytes).await {
            let stop = *stopped.borrow();
            match stop {
                None => {
                    if to_client.write_all(&bytes[..read]).await.is_err() {
                        return;
                    }
                }
                Some(Stop::Lose) => {
                    let _ = told.send(());
                    return;
                }
                Some(_) => {
                    let _ = told.send(());
                    std::future::pending::<()>().await;
                }
            }
        }
    });
    let mut bytes = vec![0; 4 << 10];
    let mut tail: Vec<u8> = Vec::new();
    while let Ok(read @ 1..) = from_client.read(&mut bytes).await {
        tail.extend_from_slice(&bytes[..read]);
        let found = {
            let mut point = point.lock().unwrap_or_else(PoisonError::into_inner);
            match point.as_mut() {
                Some((marker, _, before)) if contains(&tail, marker) => {
                    tail.clear();
                    if *before == 0 {
                        point.take()
                    } else {
                        *before -= 1;
                        None
                    }
                }
                _ => None,
            }
        };
        if let Some((_, found, _)) = found {
            match found {
                Stop::Hold => {
                    let _ = to_test.send(());
                    // Until the client goes.
                    while let Ok(1..) = from_client.read(&mut bytes).await {}
                    break;
                }
                Stop::Cut => {
                    let _ = to_test.send(());
                    break;
                }
                Stop::Lose | Stop::LoseAndHold => {
                    let _ = stop.send(Some(found));
                }
            }
        }
        if to_server.write_all(&bytes[..read]).await.is_err() {
            break;
        }
        let keep = tail.len().saturating_sub(1 << 10);
        tail.drain(..keep);
    }
    back.abort();
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    text.windows(wanted.len()).any(|window| window == wanted)
}
