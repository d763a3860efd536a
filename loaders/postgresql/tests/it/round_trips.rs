//! How often a load waits for the server before its first row is on its way: counted by a proxy between the two, from the first
//! byte of the connection on.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrowload_core::{Loader, load};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::server::{Database, database};
use crate::support::{descriptor, input, people, with};

/// The most round trips of a load, connecting included.
const MOST: usize = 12;

/// Those that this server does not ask for: two for a password, and one for TLS.
const ELSEWHERE: usize = 3;

/// How long an answer is held back, so that all that is sent without waiting for it has passed before it.
const LATENCY: Duration = Duration::from_millis(15);

/// What the data of a binary COPY begins with.
const COPY: &[u8] = b"PGCOPY\n\xff\r\n\0";

#[derive(Debug, Default)]
struct Count {
    round_trips: usize,
    /// The last bytes that passed came from the server.
    answered: bool,
    /// The first rows have passed: what follows is not counted.
    rows_came: bool,
}

/// Listens, and joins each connection to the server at this port.
async fn counting_proxy(server: u16) -> (u16, Arc<Mutex<Count>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let count = Arc::new(Mutex::new(Count::default()));
    let shared = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else {
                continue;
            };
            for socket in [&client, &server] {
                let _ = socket.set_nodelay(true);
            }
            let ((from_client, to_client), (from_server, to_server)) =
                (client.into_split(), server.into_split());
            tokio::spawn(carry(from_client, to_server, false, Arc::clone(&shared)));
            tokio::spawn(carry(from_server, to_client, true, Arc::clone(&shared)));
        }
    });
    (port, count)
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    answers: bool,
    count: Arc<Mutex<Count>>,
) -> io::Result<()> {
    let mut bytes = vec![0; 1 << 16];
    loop {
        let length = from.read(&mut bytes).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        let passed = &bytes[..length];
        if answers {
            tokio::time::sleep(LATENCY).await;
        }
        {
            let mut count = count.lock().unwrap_or_else(PoisonError::into_inner);
            count.rows_came |= !answers && passed.windows(COPY.len()).any(|part| part == COPY);
            // What was sent last of all has waited for an answer too.
            if !count.rows_came && answers && !count.answered {
                count.round_trips += 1;
            }
            count.answered = answers;
        }
        to.write_all(passed).await?;
    }
}

impl Database {
    /// The round trips of a load before its first row, on connections of its own.
    async fn round_trips(&self, options: Value) -> usize {
        let (port, count) = counting_proxy(self.port()).await;
        let mut settings = self.settings();
        settings.set("port", port.to_string(), "the test");
        let loader = Loader::connect(&descriptor(), &settings, 0)
            .await
            .expect("connected");
        let rows = input(&[people(0..10, "new")]);
        load(&loader, &with("t", options), &rows)
            .await
            .expect("loaded");
        let count = count.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(count.rows_came, "no rows were seen to pass");
        count.round_trips
    }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the numbers are worth reading")]
async fn a_load_makes_few_round_trips_before_its_first_row() {
    let Some(database) = database("round_trips").await else {
        return;
    };
    let keyed = "CREATE TABLE t (id bigint PRIMARY KEY, name text)";
    let folder = tempfile::tempdir().expect("a folder");
    let cases = [
        ("the first load of a schema", "", json!({})),
        ("a new table", "", json!({})),
        (
            "a new table with keys",
            "",
            json!({ "keys": ["id"], "mode": "create" }),
        ),
        ("an append", keyed, json!({})),
        (
            "an append under an id",
            keyed,
            json!({ "load_id": "an append" }),
        ),
        ("an overwrite", keyed, json!({ "mode": "overwrite" })),
        (
            "an upsert",
            keyed,
            json!({ "mode": "upsert", "keys": ["id"] }),
        ),
        (
            "an evolution",
            "CREATE TABLE t (id bigint)",
            json!({ "schema_evolution": true }),
        ),
        (
            "types of the user's",
            "DROP DOMAIN IF EXISTS short CASCADE; CREATE DOMAIN short AS text; CREATE TABLE t (id bigint, name short)",
            json!({}),
        ),
        (
            "SQL of the user's",
            keyed,
            json!({ "pre_sql": "SELECT 1", "post_sql": "SELECT 1" }),
        ),
        (
            "an upsert under an id, with SQL of the user's",
            keyed,
            json!({ "mode": "upsert", "keys": ["id"], "load_id": "all", "pre_sql": "SELECT 1" }),
        ),
        (
            "rows that are set aside",
            keyed,
            json!({ "on_error": "skip", "dead_letters": folder.path(), "verify": "checksum" }),
        ),
    ];
    for (what, sql, options) in cases {
        database
            .run(&format!("DROP TABLE IF EXISTS t; {sql}"))
            .await;
        let round_trips = database.round_trips(options).await;
        println!("{what}: {round_trips} round trips");
        assert!(
            round_trips + ELSEWHERE <= MOST,
            "{what}: {round_trips} round trips"
        );
    }
}
