//! Loads, and servers to load into.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrowload_core::{
    BatchStream, Error, Input, LoadReport, LoadSpec, Loader, LoaderDescriptor, Mode, Settings, load,
};
use arrowload_redis::RedisLoader;
use arrowload_testkit::ThrowawayRedis;
use serde_json::Value;

pub(crate) fn descriptor() -> LoaderDescriptor {
    LoaderDescriptor::of::<RedisLoader>("arrowload-redis", env!("CARGO_PKG_VERSION"))
}

/// The number of a database of the shared server that no other test has.
static DATABASES: AtomicU32 = AtomicU32::new(1);

/// An empty database of one test's own.
pub(crate) struct Database {
    pub(crate) server: Arc<ThrowawayRedis>,
    pub(crate) number: u32,
}

impl Database {
    /// A database of the shared server, or `None` with the reason printed.
    pub(crate) fn new() -> Option<Self> {
        let server = ThrowawayRedis::available()?;
        let number = DATABASES.fetch_add(1, Ordering::Relaxed);
        let database = Self { server, number };
        database.cli(&["FLUSHDB"]);
        Some(database)
    }

    pub(crate) fn url(&self) -> String {
        format!("{}/{}", self.server.url(), self.number)
    }

    /// What `redis-cli` prints.
    pub(crate) fn cli(&self, words: &[&str]) -> String {
        let number = self.number.to_string();
        let words: Vec<&str> = ["-n", &number]
            .into_iter()
            .chain(words.iter().copied())
            .collect();
        self.server.cli(&words).expect("redis-cli")
    }

    /// The names of the keys that are no own ones of the loader, sorted.
    pub(crate) fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self
            .cli(&["KEYS", "*"])
            .lines()
            .filter(|key| !key.starts_with("arrowload:") && !key.is_empty())
            .map(str::to_owned)
            .collect();
        keys.sort();
        keys
    }

    /// Everything that is there, with the time at which it expires.
    pub(crate) fn dump(&self) -> String {
        let script = "local keys = redis.call('KEYS', '*') table.sort(keys) local all = '' \
            for _, key in ipairs(keys) do local held \
            if redis.call('TYPE', key)['ok'] ~= 'hash' then held = redis.call('DUMP', key) else \
                local pairs = {} local flat = redis.call('HGETALL', key) \
                for at = 1, #flat, 2 do pairs[#pairs + 1] = flat[at] .. '=' .. flat[at + 1] end \
                table.sort(pairs) held = table.concat(pairs, ' ') end \
            all = all .. key .. ' ' .. redis.sha1hex(held) .. ' ' .. redis.call('PEXPIRETIME', key) .. '\\n' \
            end return all";
        self.cli(&["EVAL_RO", script, "0"])
    }

    /// A hash, as `field=value` pairs, sorted.
    pub(crate) fn hash(&self, key: &str) -> Vec<String> {
        let printed = self.cli(&["HGETALL", key]);
        let mut lines: Vec<&str> = printed.lines().collect();
        // A value that is empty, at the end, is no line.
        lines.resize(lines.len().next_multiple_of(2), "");
        let mut pairs: Vec<String> = lines
            .chunks(2)
            .map(|pair| format!("{}={}", pair[0], pair[1]))
            .collect();
        pairs.sort();
        pairs
    }

    pub(crate) fn settings(&self) -> Settings {
        settings(&self.url())
    }

    pub(crate) async fn loader(&self) -> Loader {
        Loader::connect(&descriptor(), &self.settings(), 2)
            .await
            .expect("a connection")
    }

    pub(crate) async fn load(
        &self,
        target: &str,
        mode: Mode,
        options: Value,
        batch: &RecordBatch,
    ) -> Result<LoadReport, Error> {
        let spec = spec(target, mode, options);
        load(&self.loader().await, &spec, &once(batch)).await
    }
}

pub(crate) async fn connect(url: &str) -> Loader {
    Loader::connect(&descriptor(), &settings(url), 0)
        .await
        .expect("a connection")
}

/// The connection keys of a URL.
pub(crate) fn settings(url: &str) -> Settings {
    use arrowload_core::DataLoader;
    Settings::from_map(
        RedisLoader::config_from_url(url).expect("a URL"),
        "the test",
    )
}

/// A load with the loader's options as JSON; `keys`, `load_id` and `batch_size` are those of every load.
pub(crate) fn spec(target: &str, mode: Mode, options: Value) -> LoadSpec {
    let mut spec = LoadSpec::new(target);
    spec.load.mode = mode;
    let Value::Object(options) = options else {
        panic!("the options are no object")
    };
    for (key, value) in options {
        match (key.as_str(), &value) {
            ("keys", Value::Array(keys)) => {
                spec.load.keys = keys
                    .iter()
                    .filter_map(Value::as_str)
                    .map(str::to_owned)
                    .collect()
            }
            ("load_id", Value::String(id)) => spec.load.load_id = Some(id.clone()),
            ("batch_size", Value::Number(rows)) => {
                spec.load.batch_size = rows.as_u64().map(|rows| rows as usize)
            }
            _ => spec.options.set(&key, value, "the test"),
        }
    }
    spec
}

pub(crate) fn once(batch: &RecordBatch) -> Input {
    Input::stream(BatchStream::from_batches(
        batch.schema(),
        vec![batch.clone()],
    ))
}

/// A query that can be run again.
pub(crate) fn repeatable(batches: Vec<RecordBatch>) -> Input {
    Input::table(batches[0].schema(), batches)
}

/// Rows that stop, once, after some batches, until they are let go on.
pub(crate) struct Paused {
    reached: tokio::sync::mpsc::UnboundedReceiver<()>,
    go_on: tokio::sync::watch::Sender<bool>,
}

impl Paused {
    pub(crate) fn input(batches: Vec<RecordBatch>, after: usize) -> (Self, Input) {
        let (to_test, reached) = tokio::sync::mpsc::unbounded_channel();
        let (go_on, resume) = tokio::sync::watch::channel(false);
        let first = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let input = Input::repeatable(move |_| {
            let is_first = first.swap(false, Ordering::Relaxed);
            let (to_test, resume) = (to_test.clone(), resume.clone());
            let schema = batches[0].schema();
            let numbered = futures::stream::iter(batches.clone().into_iter().enumerate());
            let stream = futures::StreamExt::then(numbered, move |(index, batch)| {
                let (to_test, mut resume) = (to_test.clone(), resume.clone());
                async move {
                    if is_first && index == after {
                        let _ = to_test.send(());
                        let _ = resume.wait_for(|go| *go).await;
                    }
                    Ok(batch)
                }
            });
            Box::pin(async move { Ok(BatchStream::new(schema, stream)) })
        });
        (Self { reached, go_on }, input)
    }

    /// Waits until it stops.
    pub(crate) async fn reached(&mut self) {
        self.reached.recv().await.expect("the middle");
    }

    pub(crate) fn go_on(&self) {
        self.go_on.send(true).expect("a load");
    }
}

/// A batch of nullable columns.
pub(crate) fn table(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
    .expect("columns of one length")
}

pub(crate) fn integers(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

pub(crate) fn texts<'a>(values: impl IntoIterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<StringArray>())
}

/// Runs a Python program, and answers with what it prints; `None` with the reason printed if there is no Python with redis.
pub(crate) fn python(program: &str, arguments: &[&str]) -> Option<String> {
    let python = std::env::var("ARROWLOAD_PYTHON").unwrap_or_else(|_| "python3".into());
    let has = |what: &str| {
        std::process::Command::new(&python)
            .args(["-c", what])
            .output()
            .is_ok_and(|output| output.status.success())
    };
    if !has("import redis, fakeredis, pyarrow") {
        arrowload_testkit::skip(
            "python",
            &format!("{python} has no redis, fakeredis and pyarrow; run `cargo xtask test`"),
        );
        return None;
    }
    let output = std::process::Command::new(&python)
        .arg("-c")
        .arg(program)
        .args(arguments)
        .output()
        .expect("python");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(
        String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned(),
    )
}
