//! What a load that did not end well has said of its target is what is there; and repeated with its id, it ends right.
//!
//! Each kind of load is stopped at each point of its way, by a connection that breaks, by dropping it, and by killing its
//! process, which is this test's own program, started again.

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};

use arrow_array::RecordBatch;
use arrowload_core::{
    AfterFailure, Aftermath, ErrorKind, LoadReport, LoadSpec, LoadState, Loader, Mode, Phase, load,
    plan_load,
};
use serde_json::{Value, json};

use crate::proxy::{Proxy, Stop};
use crate::support::{Database, connect, integers, repeatable, spec, table, texts};

/// The rows of the load: it is sent in many pieces.
pub(crate) const ROWS: i64 = 3_000;

/// A kind of load.
#[derive(Clone)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) mode: Mode,
    pub(crate) options: Value,
    /// What it leaves if it fails before its commit.
    leaves: AfterFailure,
    /// What it sends once it is recorded, to put its rows in place, if that is more than the record.
    finishes: Option<&'static str>,
}

pub(crate) fn kinds() -> Vec<Kind> {
    let unchanged = AfterFailure::UNCHANGED;
    let kind = |name, mode, options, leaves, finishes| Kind {
        name,
        mode,
        options,
        leaves,
        finishes,
    };
    let (added, replaced) = (
        unchanged.with_new_rows(),
        unchanged.with_new_rows().with_old_rows_gone(),
    );
    let hash = json!({ "key_pattern": "{table}:{id}" });
    let generation =
        json!({ "key_pattern": "{table}:{generation}:{id}", "overwrite": "generation" });
    let list = json!({ "data_structure": "list", "encoding": "raw", "value_columns": ["v"] });
    let lists = json!({ "data_structure": "list", "encoding": "raw", "value_columns": ["v"], "key_pattern": "{table}:{g}" });
    let stream = json!({ "data_structure": "stream", "value_columns": ["v"] });
    let scores =
        json!({ "data_structure": "sorted_set", "score_column": "id", "member_column": "v" });
    let mut hash_upsert = hash.clone();
    hash_upsert["keys"] = json!(["id"]);
    let (eval, unlink) = (Some("\r\nlocal "), Some("$6\r\nUNLINK\r\n"));
    vec![
        kind("hash_create", Mode::Create, hash.clone(), added, None),
        kind("hash_append", Mode::Append, hash.clone(), replaced, None),
        kind("uuid_append", Mode::Append, json!({}), added, None),
        kind("hash_upsert", Mode::Upsert, hash_upsert, replaced, None),
        kind("hash_overwrite", Mode::Overwrite, hash, replaced, None),
        kind("generation", Mode::Overwrite, generation, unchanged, unlink),
        kind("list_create", Mode::Create, list.clone(), unchanged, eval),
        kind("list_append", Mode::Append, list.clone(), unchanged, eval),
        kind("list_overwrite", Mode::Overwrite, list, unchanged, eval),
        kind("lists_append", Mode::Append, lists.clone(), unchanged, eval),
        kind(
            "lists_overwrite",
            Mode::Overwrite,
            lists,
            unchanged,
            Some("\r\n{target}:1\r\n"),
        ),
        kind("stream_append", Mode::Append, stream, unchanged, eval),
        kind(
            "scores_append",
            Mode::Append,
            scores.clone(),
            replaced,
            None,
        ),
        kind("scores_overwrite", Mode::Overwrite, scores, unchanged, eval),
    ]
}

pub(crate) fn rows(ids: std::ops::Range<i64>, word: &str) -> RecordBatch {
    let values: Vec<String> = ids.clone().map(|id| format!("{word}-{id}")).collect();
    // The old rows have a group that the new ones have not.
    let groups = if word == "old" { 4 } else { 3 };
    table(vec![
        ("id", integers(ids.clone())),
        ("g", integers(ids.map(|id| id % groups))),
        ("v", texts(values.iter().map(|value| Some(value.as_str())))),
    ])
}

fn new_rows() -> Vec<RecordBatch> {
    let batch = rows(3..3 + ROWS, "new");
    (0..ROWS as usize / 100)
        .map(|index| batch.slice(index * 100, 100))
        .collect()
}

pub(crate) fn spec_of(kind: &Kind, target: &str) -> LoadSpec {
    let mut spec = spec(target, kind.mode, kind.options.clone());
    spec.load.load_id = Some("one".into());
    spec.load.max_retries = 0;
    spec.options.set("pipeline_bytes", 1024, "the test");
    spec
}

/// How a load ends before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The connection breaks.
    Breaks,
    /// The load's future is dropped, as at Ctrl-C.
    Dropped,
    /// Its process is killed.
    Killed,
}

/// Where it is then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Writing,
    Preparing,
    /// Before the record.
    Committing,
    /// The record is made, and nobody has said so.
    Recorded,
    /// The record is there, and the rows are not in place.
    Finishing,
}

impl At {
    /// What is sent at this point.
    fn marker(self, kind: &Kind, target: &str) -> Option<Vec<u8>> {
        let word =
            |verb: &str, key: String| format!("{verb}\r\n${}\r\n{key}\r\n", key.len()).into_bytes();
        Some(match self {
            Self::Writing => b"new-1500\r\n".to_vec(),
            Self::Preparing => format!("new-{}\r\n", ROWS + 2).into_bytes(),
            Self::Committing => word("WATCH", format!("arrowload:{{{target}}}:target")),
            Self::Recorded => word("SET", format!("arrowload:{{{target}}}:load:one")),
            Self::Finishing => kind.finishes?.replace("{target}", target).into_bytes(),
        })
    }
}

/// What a load sends, step by step, once it is recorded, and how often; then its last word, that all is in place.
fn steps(kind: &Kind, target: &str) -> Option<(Vec<u8>, usize)> {
    // What the scripts that move begin with.
    let eval = || b"\r\nlocal ".to_vec();
    Some(match kind.name {
        // A thousand items at a time.
        "list_append" | "stream_append" => (eval(), 3),
        // A key at a time; a removed one, too.
        "lists_append" => (eval(), 3),
        "lists_overwrite" => (eval(), 4),
        "list_create" | "list_overwrite" | "scores_overwrite" => (eval(), 1),
        "generation" => (format!("\r\n{target}:").into_bytes(), 0),
        _ => return None,
    })
}

/// Whether what readers see is as a move leaves it that has come so far: of lists a part of the new items, in their order, or
/// all of a key's old or new ones.
fn assert_moved(
    place: &str,
    kind: &Kind,
    (before, after): (&BTreeSet<String>, &BTreeSet<String>),
    done: usize,
) {
    let new = after.difference(before).count();
    let gone = before.difference(after).count();
    let (all, old) = (ROWS as usize, before.len());
    match kind.name {
        "list_append" | "stream_append" | "lists_append" => {
            assert_eq!((new, gone), (1_000 * done, 0), "{place}");
        }
        // The old rows have four keys, the last of which the new ones have not.
        "lists_overwrite" => {
            let gone_by_then = [0, 2, 4, 5, 6][done];
            assert_eq!((new, gone), (1_000 * done.min(3), gone_by_then), "{place}");
        }
        _ => assert_eq!(
            (new, gone),
            if done == 0 { (0, 0) } else { (all, old) },
            "{place}"
        ),
    }
}

/// What readers see, each row as its text.
fn seen(database: &Database, kind: &Kind, target: &str) -> BTreeSet<String> {
    let lines = |words: &[&str]| -> Vec<String> {
        let printed = database.cli(words);
        printed
            .lines()
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let script = "local rows = {} for _, key in ipairs(redis.call('KEYS', ARGV[1])) do \
        local kind = redis.call('TYPE', key)['ok'] \
        local some = kind == 'hash' and redis.call('HMGET', key, 'v') or redis.call('LRANGE', key, 0, -1) \
        for _, row in ipairs(some) do rows[#rows + 1] = row end end return rows";
    let found = match kind.options["data_structure"].as_str() {
        Some("stream") => {
            let entries = lines(&["XRANGE", target, "-", "+"]);
            entries.into_iter().skip(2).step_by(3).collect()
        }
        Some("sorted_set") => lines(&["ZRANGE", target, "0", "-1"]),
        Some("list") if kind.options["key_pattern"].is_null() => {
            lines(&["LRANGE", target, "0", "-1"])
        }
        _ => {
            let generation = database.cli(&["GET", &format!("arrowload:{{{target}}}:generation")]);
            let pattern = match generation.is_empty() {
                true => format!("{target}:*"),
                false => format!("{target}:{generation}:*"),
            };
            lines(&["EVAL_RO", script, "0", &pattern])
        }
    };
    let count = found.len();
    let rows: BTreeSet<String> = found.into_iter().collect();
    assert_eq!(rows.len(), count, "{}: a row is there twice", kind.name);
    rows
}

/// What is there once the load has committed.
fn expected(kind: &Kind, before: &BTreeSet<String>) -> BTreeSet<String> {
    let new = (3..3 + ROWS).map(|id| format!("new-{id}"));
    let replaces = kind.options["key_pattern"] == json!("{table}:{id}");
    let kept = before.iter().filter(|old| match kind.mode {
        Mode::Overwrite => false,
        _ if replaces => ["old-0", "old-1", "old-2"].contains(&old.as_str()),
        _ => true,
    });
    kept.cloned().chain(new).collect()
}

fn assert_said(at: &str, said: Aftermath, before: &BTreeSet<String>, after: &BTreeSet<String>) {
    let left = match said {
        Aftermath::Unchanged => AfterFailure::UNCHANGED,
        Aftermath::Changed(left) => left,
        other => panic!("{at}: it says `{other}`"),
    };
    let gone: Vec<_> = before.difference(after).take(3).collect();
    let new: Vec<_> = after.difference(before).take(3).collect();
    assert!(
        left.old_rows_gone || gone.is_empty(),
        "{at}: {said}, and {gone:?} are gone"
    );
    assert!(
        left.new_rows || new.is_empty(),
        "{at}: {said}, and {new:?} are there"
    );
}

/// Loads, and stops at a point; answers with what was said, or `None` if the load went well.
async fn stopped(
    proxy: &mut Proxy,
    (url, direct): (&str, &str),
    (kind, target): (&Kind, &str),
    (at, end): (At, End),
) -> Option<Aftermath> {
    let stop = match (at, end) {
        (At::Recorded, End::Breaks) => Stop::Lose,
        (At::Recorded, _) => Stop::LoseAndHold,
        (_, End::Breaks) => Stop::Cut,
        _ => Stop::Hold,
    };
    let spec = spec_of(kind, target);
    let loader = connect(url).await;
    proxy.stop_at(at.marker(kind, target)?, stop);
    let input = repeatable(new_rows());
    match end {
        End::Breaks => match load(&loader, &spec, &input).await {
            Ok(report) => {
                assert!(proxy.was_reached() && report.rows == ROWS as u64);
                None
            }
            Err(error) => {
                assert!(proxy.was_reached(), "{}, {at:?}: {error}", kind.name);
                assert_eq!(error.kind(), ErrorKind::Connection, "{error}");
                Some(error.aftermath().expect("it says what it has left"))
            }
        },
        End::Dropped => {
            tokio::select! {
                outcome = load(&loader, &spec, &input) => panic!("{}, {at:?}: it ended: {outcome:?}", kind.name),
                () = proxy.reached() => {}
            }
            let phases: &[Phase] = match at {
                At::Writing => &[Phase::Writing],
                // The last row may be on its way before the end of the rows is known.
                At::Preparing => &[Phase::Writing, Phase::Preparing],
                _ => &[Phase::Committing],
            };
            assert!(phases.contains(&spec.status.phase()), "{}", kind.name);
            Some(spec.status.aftermath())
        }
        End::Killed => {
            killed(proxy, url, kind.name, target).await;
            // It has said nothing; what the next one says:
            let next = connect(direct).await;
            match next.find_load(target, "one").await.expect("an answer") {
                LoadState::NotCommitted => Some(Aftermath::from(kind.leaves)),
                LoadState::Committed { complete: true, .. } => Some(Aftermath::Committed),
                LoadState::Committed { .. } => Some(Aftermath::Incomplete),
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Names the load that a process is to do.
const CHILD: &str = "ARROWLOAD_REDIS_CHILD";

/// Has another process load.
pub(crate) fn spawned(url: &str, kind: &str, target: &str) -> Child {
    Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "promises::a_process_to_kill", "--nocapture"])
        .env(CHILD, json!([url, kind, target]).to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a process")
}

/// Has another process load, and kills it where the proxy stops it.
pub(crate) async fn killed(proxy: &mut Proxy, url: &str, kind: &str, target: &str) {
    let mut child = spawned(url, kind, target);
    proxy.reached().await;
    child.kill().expect("killed");
    child.wait().expect("ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_to_kill() {
    let Ok(text) = std::env::var(CHILD) else {
        return;
    };
    let [url, name, target]: [String; 3] = serde_json::from_str(&text).expect("what to load");
    let mut kinds = kinds().into_iter();
    let kind = kinds.find(|kind| kind.name == name).expect("a kind");
    let spec = spec_of(&kind, &target);
    let outcome = load(&connect(&url).await, &spec, &repeatable(new_rows())).await;
    panic!("it was not killed: {outcome:?}");
}

pub(crate) async fn repeated(loader: &Loader, kind: &Kind, target: &str) -> LoadReport {
    let mut spec = spec_of(kind, target);
    spec.load.max_retries = 3;
    let report = load(loader, &spec, &repeatable(new_rows())).await;
    report.unwrap_or_else(|error| panic!("{} into {target}, repeated: {error:#}", kind.name))
}

async fn ends(at: At) {
    let Some(database) = Database::new() else {
        return;
    };
    let loader = database.loader().await;
    let port = database.server.port().expect("a server of our own");
    for kind in kinds() {
        for end in [End::Breaks, End::Dropped, End::Killed] {
            let mut proxy = Proxy::start(port).await;
            let target = format!("{}_{end:?}", kind.name);
            if at.marker(&kind, &target).is_none() {
                continue;
            }
            if kind.mode != Mode::Create {
                let old = rows(0..6, "old");
                let before = spec(&target, Mode::Append, kind.options.clone());
                load(&loader, &before, &repeatable(vec![old]))
                    .await
                    .expect("loaded");
            }
            let before = seen(&database, &kind, &target);
            let (spec, input) = (spec_of(&kind, &target), repeatable(new_rows()));
            let plan = plan_load(&loader, &spec, &input).await.expect("a plan");
            assert_eq!(plan.guarantees.after_failure, kind.leaves, "{}", kind.name);
            let number = database.number;
            let url = format!("redis://127.0.0.1:{}/{number}", proxy.port);
            let said = stopped(
                &mut proxy,
                (&url, &database.url()),
                (&kind, &target),
                (at, end),
            )
            .await;
            let after = seen(&database, &kind, &target);
            let place = format!("{}, {at:?}, {end:?}", kind.name);
            let whole = expected(&kind, &before);
            if (at, end) == (At::Finishing, End::Dropped) {
                assert_eq!(said, Some(Aftermath::Incomplete), "{place}");
            }
            match said {
                None | Some(Aftermath::Committed) => assert_eq!(after, whole, "{place}"),
                Some(Aftermath::Incomplete | Aftermath::Unknown) => {
                    assert!(
                        matches!(at, At::Recorded | At::Finishing | At::Committing),
                        "{place}"
                    );
                }
                Some(said) => assert_said(&place, said, &before, &after),
            }
            let report = repeated(&loader, &kind, &target).await;
            let recorded = matches!(at, At::Recorded | At::Finishing);
            assert_eq!(report.already_loaded, recorded, "{place}");
            assert_eq!(seen(&database, &kind, &target), whole, "{place}");
            let attempts = format!("arrowload:{{{target}}}:attempts");
            let left = [
                "arrowload:stage:*",
                attempts.as_str(),
                "arrowload:*:lease:*",
            ];
            let left = left.map(|pattern| database.cli(&["KEYS", pattern]));
            assert_eq!(left, ["", "", ""], "{place}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_stopped_while_it_writes() {
    ends(At::Writing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_stopped_while_it_prepares() {
    ends(At::Preparing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_stopped_before_its_record() {
    ends(At::Committing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_stopped_when_it_is_recorded() {
    ends(At::Recorded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_stopped_before_its_rows_are_in_place() {
    ends(At::Finishing).await;
}

/// A load that is recorded is killed before and after each step of its move. Whoever asks hears that it is recorded and not yet
/// complete; the next load of the target completes it, whichever that is; and each row is there once.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_killed_at_each_step_of_its_move() {
    let Some(database) = Database::new() else {
        return;
    };
    let port = database.server.port().expect("a server of our own");
    let loader = database.loader().await;
    for kind in kinds() {
        let Some((marker, steps)) = steps(&kind, "t") else {
            continue;
        };
        let points = (0..steps).flat_map(|step| {
            [(step, Stop::Hold), (step, Stop::LoseAndHold)]
                .map(|(step, stop)| (marker.clone(), step, stop))
        });
        // The last word takes the load's entry away.
        let last = b"HDEL\r\n$22\r\narrowload:{t}:attempts\r\n$32\r\n".to_vec();
        let ends = [Stop::Hold, Stop::LoseAndHold].map(|stop| (last.clone(), 0, stop));
        for (index, (marker, step, stop)) in points.chain(ends).enumerate() {
            database.cli(&["FLUSHDB"]);
            let place = format!("{}, step {step} of {steps}, {stop:?}", kind.name);
            if kind.mode != Mode::Create {
                let before = spec("t", Mode::Append, kind.options.clone());
                let old = repeatable(vec![rows(0..6, "old")]);
                load(&loader, &before, &old).await.expect("loaded");
            }
            let before = seen(&database, &kind, "t");
            let mut proxy = Proxy::start(port).await;
            let url = format!("redis://127.0.0.1:{}/{}", proxy.port, database.number);
            proxy.stop_at_later(marker.clone(), stop, step);
            killed(&mut proxy, &url, kind.name, "t").await;

            let is_last = marker == last;
            let complete = is_last && stop == Stop::LoseAndHold;
            let (after, whole) = (seen(&database, &kind, "t"), expected(&kind, &before));
            match is_last {
                true => assert_eq!(after, whole, "{place}"),
                false => {
                    let done = step + usize::from(stop == Stop::LoseAndHold);
                    assert_moved(&place, &kind, (&before, &after), done);
                }
            }
            let there = database.dump();
            match loader.find_load("t", "one").await.expect("an answer") {
                LoadState::Committed { complete: is, .. } => assert_eq!(is, complete, "{place}"),
                other => panic!("{place}: {other:?}"),
            }
            let input = repeatable(new_rows());
            let plan = plan_load(&loader, &spec_of(&kind, "t"), &input).await;
            let plan = plan.expect("a plan");
            assert_eq!(plan.already_loaded, Some(ROWS as u64), "{place}");
            assert_eq!(plan.incomplete, !complete, "{place}");
            let says = plan.to_string().contains("nothing would be written");
            assert_eq!(says, complete, "{place}: {plan}");
            assert_eq!(database.dump(), there, "{place}: a question has changed it");

            // By turns the load itself comes next, and another one of its target.
            if index % 2 == 0 {
                let report = repeated(&loader, &kind, "t").await;
                assert!(report.already_loaded, "{place}");
                let said = report.details.contains_key("completed");
                assert_eq!(said, !complete, "{place}: {:?}", report.details);
                assert_eq!(seen(&database, &kind, "t"), whole, "{place}");
            } else {
                let mut next = spec("t", Mode::Append, kind.options.clone());
                next.load.load_id = Some("next".into());
                let more = rows(9_000..9_003, "more");
                let report = load(&loader, &next, &repeatable(vec![more])).await;
                assert_eq!(report.expect(&place).rows, 3);
                let added = (9_000..9_003).map(|id| format!("more-{id}"));
                let all: BTreeSet<String> = whole.iter().cloned().chain(added).collect();
                assert_eq!(seen(&database, &kind, "t"), all, "{place}");
                assert!(
                    repeated(&loader, &kind, "t").await.already_loaded,
                    "{place}"
                );
                assert_eq!(seen(&database, &kind, "t"), all, "{place}");
            }
            let left = [
                "arrowload:stage:*",
                "arrowload:{t}:attempts",
                "arrowload:*:lease:*",
            ];
            let left = left.map(|pattern| database.cli(&["KEYS", pattern]));
            assert_eq!(left, ["", "", ""], "{place}");
        }
    }
}
