//! What a load that did not end well says of its target, compared with what is there: in each mode, whatever ends it, and wherever.
//! And a question of such a target changes nothing.

use std::process::Child;
use std::time::Duration;

use arrowload_core::{
    Aftermath, BatchStream, ErrorKind, Input, LoadReport, LoadSpec, LoadState, Loader, Mode, Phase,
    Result, load, plan_load,
};
use futures::StreamExt;
use serde_json::json;

use crate::crash::{ROWS, child, settled, spec_of};
use crate::proxy::{At, COMMIT, COPY_DONE, Fault, Proxy, ROWS as FIRST_ROWS};
use crate::server::{Database, database};
use crate::support::{descriptor, input, people, with};

/// Where a load is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Point {
    Writing,
    Preparing,
    /// The COMMIT has not arrived.
    Committing,
    /// The COMMIT has arrived, and its answer has not.
    Committed,
}

/// What ends it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The server ends the connection; or the connection breaks, once the COMMIT has arrived.
    Error,
    /// The future is dropped, as Ctrl-C does.
    Dropped,
    /// The process is killed.
    Killed,
}

impl Point {
    fn place(self, parallelism: usize) -> At {
        // The question for the load ends a transaction too; and connections that share a load commit their own part, which nobody
        // sees, before the one that leads commits the load.
        let before = 1 + if parallelism > 1 { parallelism } else { 0 };
        match self {
            Self::Writing => At::Start(FIRST_ROWS, 0),
            Self::Preparing => At::Start(COPY_DONE, 0),
            Self::Committing | Self::Committed => At::Start(COMMIT, before),
        }
    }

    fn fault(self, end: End) -> Fault {
        match (self, end) {
            (Self::Committed, End::Error) => Fault::CutAfter,
            (Self::Committed, _) => Fault::Mute,
            _ => Fault::Swallow,
        }
    }
}

struct Trial {
    database: Database,
    /// The same by way of the proxy.
    held: Database,
    proxy: Proxy,
}

impl Trial {
    async fn of(name: &str) -> Option<Self> {
        let database = database(name).await?;
        let proxy = Proxy::before(database.port()).await;
        let (own, other) = (
            format!(":{}/", database.port()),
            format!(":{}/", proxy.port),
        );
        let url = format!("{}?sslmode=disable", database.url.replace(&own, &other));
        assert!(url.contains(&other), "{url}");
        Some(Self {
            held: Database { url },
            database,
            proxy,
        })
    }

    async fn until_held(&self, what: &str) {
        for _ in 0..2_000 {
            if self.proxy.fired() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{what}: it was never held");
    }

    /// A load in this process that is ended so, and what is said of its target.
    async fn end_here(
        &self,
        spec: &LoadSpec,
        (point, end): (Point, End),
        what: &str,
    ) -> (Option<Result<LoadReport>>, Option<Aftermath>) {
        let loader = self.held.loader().await;
        let loading = {
            let spec = spec.clone();
            tokio::spawn(
                async move { load(&loader, &spec, &input(&[people(0..ROWS, "new")])).await },
            )
        };
        self.until_held(what).await;
        let phases = match point {
            // What one connection is to write is written by others.
            Point::Writing => [Phase::Writing, Phase::Preparing],
            Point::Preparing => [Phase::Preparing; 2],
            Point::Committing | Point::Committed => [Phase::Committing; 2],
        };
        let phase = spec.status.phase();
        assert!(phases.contains(&phase), "{what}: held while {phase}");
        if end == End::Dropped {
            loading.abort();
            assert!(
                loading.await.is_err_and(|ended| ended.is_cancelled()),
                "{what}"
            );
            return (None, Some(spec.status.aftermath()));
        }
        if point != Point::Committed {
            // Those that are in a transaction; who asks afterwards is not.
            let busy = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                WHERE application_name = 'arrowload' AND datname = current_database() AND state <> 'idle'";
            self.database.rows(busy).await;
        }
        let ended = tokio::time::timeout(Duration::from_secs(20), loading).await;
        let outcome = ended
            .unwrap_or_else(|_| panic!("{what}: it hangs"))
            .expect("no panic");
        let said = outcome.as_ref().err().map(|error| error.aftermath());
        (Some(outcome), said.flatten())
    }

    async fn kill_child(&self, mode: Mode, load_id: &str, parallelism: usize, what: &str) {
        let mut process: Child = child(&self.held, mode, load_id, parallelism)
            .spawn()
            .expect("started");
        self.until_held(what).await;
        process.kill().expect("killed");
        process.wait().expect("ended");
    }

    /// Ends a load so, and compares.
    async fn end(&self, mode: Mode, parallelism: usize, point: Point, end: End) {
        let what = format!("{mode} by {parallelism}, {point:?}, {end:?}");
        let spec = {
            self.database.stage(mode, &what).await;
            spec_of(mode, &what, parallelism)
        };
        let before = self.database.seen().await;
        self.proxy.fail(point.place(parallelism), point.fault(end));
        let (outcome, said) = if end == End::Killed {
            self.kill_child(mode, &what, parallelism, &what).await;
            (None, None)
        } else {
            self.end_here(&spec, (point, end), &what).await
        };
        self.proxy.heal();
        settled(&self.database).await;
        let seen = self.database.seen().await;
        let committed = point == Point::Committed;
        if !committed {
            assert_eq!(seen, before, "{what}: {outcome:?}");
        }
        match (end, point) {
            // The store is asked, and knows.
            (End::Error, Point::Committed) => {
                assert!(outcome.is_some_and(|outcome| outcome.is_ok()), "{what}");
            }
            (End::Error, _) => {
                let outcome = outcome.expect("an outcome");
                let error = outcome.expect_err("the server ended it");
                assert_eq!(error.kind(), ErrorKind::Connection, "{what}: {error:?}");
                assert_eq!(said, Some(Aftermath::Unchanged), "{what}: {error:?}");
            }
            (End::Dropped, Point::Committing | Point::Committed) => {
                assert_eq!(said, Some(Aftermath::Unknown), "{what}");
            }
            (End::Dropped, _) => assert_eq!(said, Some(Aftermath::Unchanged), "{what}"),
            (End::Killed, _) => {}
        }
        // What the next run says.
        let loader = self.database.loader().await;
        let found = loader.find_load("t", &what).await.expect("asked");
        match found {
            LoadState::Committed { receipt, complete } => {
                assert!(committed && complete, "{what}");
                assert_eq!(receipt.rows, ROWS as u64, "{what}");
            }
            state => assert!(
                matches!(state, LoadState::NotCommitted) && !committed,
                "{what}"
            ),
        }
        let report = self.database.load(&spec, &people(0..ROWS, "new")).await;
        assert_eq!(report.already_loaded, committed, "{what}, repeated");
        let after = self.database.seen().await;
        if committed {
            assert_eq!(seen, after, "{what}");
        }
        assert_ne!(after, before, "{what}");
        self.database.assert_clean().await;
    }
}

async fn compare(mode: Mode, parallelism: usize) {
    let name = format!("said_{}_{parallelism}", mode.name());
    let Some(trial) = Trial::of(&name).await else {
        return;
    };
    // The first load makes the ledger.
    let spec = trial.database.stage(mode, "first").await;
    let rows = people(0..ROWS, "new");
    let plan = plan_load(
        &trial.database.loader().await,
        &spec,
        &input(std::slice::from_ref(&rows)),
    )
    .await;
    let guarantees = plan.expect("planned").guarantees;
    assert_eq!(
        Aftermath::from(guarantees.after_failure),
        Aftermath::Unchanged
    );
    trial.database.load(&spec, &rows).await;
    for point in [
        Point::Writing,
        Point::Preparing,
        Point::Committing,
        Point::Committed,
    ] {
        for end in [End::Error, End::Dropped, End::Killed] {
            trial.end(mode, parallelism, point, end).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_create_says_is_what_is_there() {
    compare(Mode::Create, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_append_says_is_what_is_there() {
    compare(Mode::Append, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_overwrite_says_is_what_is_there() {
    compare(Mode::Overwrite, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_upsert_says_is_what_is_there() {
    compare(Mode::Upsert, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_shared_load_says_is_what_is_there() {
    compare(Mode::Create, 3).await;
}

/// Of two shared loads at once one is killed: the other goes on, and what the first has left goes with its repetition.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_load_and_one_that_goes_on_do_not_mix_up_their_tables() {
    let Some(trial) = Trial::of("two_shared").await else {
        return;
    };
    const PARTS: &str = "SELECT relname FROM pg_class WHERE relname LIKE 'arrowload_part%' AND relkind = 'r' ORDER BY 1";
    let database = &trial.database;
    let rows = people(0..100, "kept");
    let (go_on, waits) = tokio::sync::oneshot::channel::<()>();
    let halves = (rows.slice(0, 50), rows.slice(50, 50));
    let stream =
        futures::stream::once(async { Ok(halves.0) }).chain(futures::stream::once(async {
            waits.await.expect("a word");
            Ok(halves.1)
        }));
    let mut goes_on = with("other", json!({ "parallelism": 2, "batch_size": 10 }));
    goes_on.load.load_id = Some("goes on".into());
    let loader = database.loader().await;
    let going = tokio::spawn(async move {
        let rows = Input::stream(BatchStream::new(rows.schema(), stream));
        load(&loader, &goes_on, &rows).await
    });
    let mut own = Vec::new();
    while own.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
        own = database.rows(PARTS).await;
    }
    trial.proxy.fail(At::Start(FIRST_ROWS, 0), Fault::Swallow);
    trial
        .kill_child(Mode::Create, "killed", 3, "the one that is killed")
        .await;
    trial.proxy.heal();
    // Only the one that goes on is still there, with its three connections.
    let busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'arrowload'";
    for _ in 0..1_000 {
        if database.rows(busy).await == ["3"] {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(database.rows(PARTS).await.len(), 2);
    let again = spec_of(Mode::Create, "killed", 3);
    let report = database.load(&again, &people(0..ROWS, "new")).await;
    assert!(!report.already_loaded);
    assert_eq!(database.rows(PARTS).await, own);
    go_on.send(()).expect("it waits");
    let report = going.await.expect("no panic").expect("it goes on");
    assert_eq!(report.rows, 100);
    let count = "SELECT count(*) FROM other";
    assert_eq!(database.rows(count).await, ["100"]);
    database.assert_clean().await;
}

impl Database {
    /// All that is in the database, and the locks that are held there.
    pub(crate) async fn dump(&self) -> Vec<String> {
        let mut all = Vec::new();
        for sql in [
            "SELECT c.oid, c.relname, c.relkind, c.relfilenode, c.relacl FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname !~ '^pg_(catalog|toast)|information_schema' ORDER BY 1",
            "SELECT attrelid, attnum, attname, atttypid, attnotnull FROM pg_attribute WHERE attrelid >= 16384 ORDER BY 1, 2",
            "SELECT oid, conname, contype FROM pg_constraint WHERE oid >= 16384 ORDER BY 1",
            "SELECT l.classid, l.objid FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
             WHERE d.datname = current_database() AND locktype = 'advisory' ORDER BY 1, 2",
        ] {
            all.extend(self.rows(sql).await);
        }
        let tables = "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
            WHERE c.relkind = 'r' AND n.nspname = 'public' ORDER BY 1";
        for table in self.rows(tables).await {
            let rows = format!("SELECT xmin, ctid, r::text FROM {table} AS r ORDER BY ctid");
            all.extend(self.rows(&rows).await);
        }
        all
    }

    /// Asks all that can be asked, in sessions that may not write.
    async fn ask_everything(&self, spec: &LoadSpec) {
        let mut settings = self.settings();
        settings.set("options", "-c default_transaction_read_only=on", "the test");
        let loader = Loader::connect(&descriptor(), &settings, 0)
            .await
            .expect("connected");
        let rows = input(&[people(0..ROWS, "new")]);
        plan_load(&loader, spec, &rows).await.expect("planned");
        loader.describe(&spec.target).await.expect("described");
        let id = spec.load.load_id.as_deref().expect("an id");
        loader.find_load(&spec.target, id).await.expect("asked");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_change_nothing() {
    let Some(trial) = Trial::of("questions").await else {
        return;
    };
    let database = &trial.database;
    for parallelism in [1, 3] {
        for mode in Mode::ALL {
            database
                .run("DROP TABLE IF EXISTS t, arrowload_loads")
                .await;
            // A target that is missing, and the ledger with it.
            let fresh = database.dump().await;
            let spec = spec_of(mode, "fresh", parallelism);
            database.ask_everything(&spec).await;
            assert_eq!(database.dump().await, fresh, "{mode} by {parallelism}");
            // One that is there, by a load that is asked for, and one that was never loaded.
            let spec = database.stage(mode, "there").await;
            database.load(&spec, &people(0..10, "new")).await;
            let there = database.dump().await;
            database.ask_everything(&spec).await;
            if mode != Mode::Create {
                let other = spec_of(mode, "never", parallelism);
                database.ask_everything(&other).await;
            }
            assert_eq!(database.dump().await, there, "{mode} by {parallelism}");
        }
        // A load that was cut off, whose connections have left a table of their own if they were several.
        for point in [Point::Writing, Point::Preparing, Point::Committing] {
            let what = format!("cut {point:?} {parallelism}");
            database.stage(Mode::Create, &what).await;
            let fault = point.fault(End::Killed);
            trial.proxy.fail(point.place(parallelism), fault);
            trial
                .kill_child(Mode::Create, &what, parallelism, &what)
                .await;
            trial.proxy.heal();
            settled(database).await;
            let cut = database.dump().await;
            let left = cut.iter().any(|line| line.contains("arrowload_part_"));
            assert_eq!(left, parallelism > 1, "{what}: {cut:?}");
            let spec = spec_of(Mode::Create, &what, parallelism);
            database.ask_everything(&spec).await;
            assert_eq!(database.dump().await, cut, "{what}");
            database.load(&spec, &people(0..ROWS, "new")).await;
            database.assert_clean().await;
        }
    }
}
