//! RedisJSON and RedisTimeSeries, which no package has: tried against fakeredis, an emulator in Python. What these tests show
//! is that the commands are well formed and mean what they should, not that a real module takes them at speed.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, RecordBatch, TimestampMicrosecondArray};
use arrowload_core::{LoadReport, Loader, Mode, load};
use serde_json::{Value, json};

use crate::support::{descriptor, integers, once, python, settings, spec, table, texts};

const SERVER: &str = r#"
import sys, fakeredis
server = fakeredis.TcpFakeServer(("127.0.0.1", int(sys.argv[1])), server_type="redis", server_version=(8,))
print("ready", flush=True)
server.serve_forever()
"#;

/// The emulator; it ends with the test.
struct Emulator {
    child: Child,
    port: u16,
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Emulator {
    fn start() -> Option<Self> {
        python("", &[])?;
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|socket| socket.local_addr())
            .expect("a port")
            .port();
        let interpreter = std::env::var("ARROWLOAD_PYTHON").unwrap_or_else(|_| "python3".into());
        let mut command = Command::new(interpreter);
        command
            .arg("-c")
            .arg(SERVER)
            .arg(port.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().expect("python");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its output"))
            .read_line(&mut line)
            .expect("a line");
        assert_eq!(line.trim(), "ready");
        Some(Self { child, port })
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    async fn load(&self, target: &str, options: Value, batch: &RecordBatch) -> LoadReport {
        let loader = Loader::connect(&descriptor(), &settings(&self.url()), 2)
            .await
            .expect("a connection");
        load(&loader, &spec(target, Mode::Append, options), &once(batch))
            .await
            .expect("loaded")
    }

    /// What a Python expression of the client `r` is.
    fn ask(&self, expression: &str) -> String {
        let program = format!(
            "import sys, redis\nr = redis.Redis.from_url(sys.argv[1], decode_responses=True)\nprint({expression})"
        );
        python(&program, &[&self.url()]).expect("python")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn emulator_json_documents() {
    let Some(server) = Emulator::start() else {
        return;
    };
    let batch = table(vec![
        ("id", integers([1, 2])),
        ("name", texts([Some("A\"da"), None])),
    ]);
    let options = json!({ "data_structure": "json", "key_pattern": "{table}:{id}", "ttl": 50, "load_id": "one" });
    let report = server.load("docs", options.clone(), &batch).await;
    assert_eq!(report.rows, 2);
    assert!(server.load("docs", options, &batch).await.already_loaded);
    assert_eq!(
        server.ask("r.json().get('docs:1'), r.json().get('docs:2'), 20 < r.ttl('docs:1') <= 50"),
        "{'id': 1, 'name': 'A\"da'} {'id': 2, 'name': None} True"
    );
    let other = table(vec![
        ("id", integers([1, 3])),
        ("name", texts([Some("other"), Some("new")])),
    ]);
    let options =
        json!({ "data_structure": "json", "key_pattern": "{table}:{id}", "if_not_exists": true });
    let report = server.load("docs", options, &other).await;
    assert_eq!(
        report.details.get("rows_there_already").map(String::as_str),
        Some("1")
    );
    assert_eq!(
        server.ask("[r.json().get(k, '$.name') for k in ('docs:1', 'docs:3')]"),
        "[['A\"da'], ['new']]"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn emulator_time_series() {
    let Some(server) = Emulator::start() else {
        return;
    };
    let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![
        1_000_000, 2_000_000, 1_000_000, 2_000_000,
    ]));
    let values: ArrayRef = Arc::new(Float64Array::from(vec![1.5, 9.5, -1.0, 2.5]));
    let batch = table(vec![
        ("at", times),
        ("value", values),
        (
            "sensor",
            texts([Some("a"), Some("a"), Some("b"), Some("a")]),
        ),
    ]);
    let options = json!({
        "data_structure": "timeseries", "key_pattern": "{table}:{sensor}", "time_column": "at", "value_column": "value",
        "labels": { "sensor": "sensor" }, "retention": 0, "load_id": "one"
    });
    // The last sample of a time wins, so that a run that is repeated changes nothing. That itself cannot be tried here: the
    // emulator closes a connection behind any error, as that a series is there already.
    assert_eq!(server.load("heat", options.clone(), &batch).await.rows, 4);
    assert!(server.load("heat", options, &batch).await.already_loaded);
    assert_eq!(
        server.ask("*[[list(s) for s in r.ts().range(k, '-', '+')] for k in ('heat:a', 'heat:b')]"),
        "[[1000, 1.5], [2000, 2.5]] [[1000, -1.0]]"
    );
    assert_eq!(
        server.ask("r.ts().info('heat:b')['labels']"),
        "{'sensor': 'b'}"
    );
}
