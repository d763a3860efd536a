//! Processes die at any moment of a load, in each mode: the client's, the server's backend, the whole server. The target is as
//! before or exactly loaded, and the repeated load leaves one copy of each row.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use arrowload_core::{ErrorKind, LoadSpec, Loader, Mode, load};
use arrowload_testkit::{PostgresSetup, ThrowawayPostgres};

use crate::server::{Database, database, database_on};
use crate::support::{descriptor, input, people, query, staged_spec};

pub(crate) const ROWS: i64 = 20_000;

/// Tells this program, started again, what to load.
const CHILD: &str = "ARROWLOAD_TEST_CHILD";

/// What the child process runs; in the test's own process it does nothing.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the parent reads it")]
async fn child_process() {
    let Ok(text) = std::env::var(CHILD) else {
        return;
    };
    let [url, mode, load_id, parallelism] = text.split('\n').collect::<Vec<_>>()[..] else {
        panic!("{text}")
    };
    let mode = Mode::ALL
        .into_iter()
        .find(|known| known.name() == mode)
        .expect("a mode");
    let parallelism = parallelism.parse().expect("a number");
    let report = Database {
        url: url.to_owned(),
    }
    .load(
        &spec_of(mode, load_id, parallelism),
        &people(0..ROWS, "new"),
    )
    .await;
    println!("loaded {}", report.rows);
}

/// A load that this many connections share.
pub(crate) fn spec_of(mode: Mode, load_id: &str, parallelism: usize) -> LoadSpec {
    let mut spec = staged_spec(mode, load_id);
    if parallelism > 1 {
        (spec.load.parallelism, spec.load.batch_size) = (Some(parallelism), Some(2_000));
    }
    spec
}

pub(crate) fn child(database: &Database, mode: Mode, load_id: &str, parallelism: usize) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command
        .args(["--exact", "crash::child_process", "--nocapture"])
        .env(
            CHILD,
            format!(
                "{}\n{}\n{load_id}\n{parallelism}",
                database.url,
                mode.name()
            ),
        );
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// Waits until the server knows that the clients of loads are gone.
pub(crate) async fn settled(database: &Database) {
    const BUSY: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'arrowload'";
    for _ in 0..500 {
        if database.rows(BUSY).await == ["0"] {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("a load that was killed is still under way");
}

async fn kill_the_client(mode: Mode, parallelism: usize) {
    let Some(database) = database(&format!("client_{parallelism}_{}", mode.name())).await else {
        return;
    };
    let mut took = Duration::ZERO;
    // The first load makes the ledger's table.
    for load in ["first", "second"] {
        database.stage(mode, load).await;
        let began = Instant::now();
        let output = child(&database, mode, load, parallelism)
            .output()
            .expect("started");
        assert!(
            String::from_utf8_lossy(&output.stdout).contains("loaded 20000"),
            "{output:?}"
        );
        took = began.elapsed();
    }
    let after = database.seen().await;
    let (mut survived, mut died) = (0, 0);
    for round in 0..20 {
        let load_id = format!("round {round}");
        database.stage(mode, &load_id).await;
        let spec = spec_of(mode, &load_id, parallelism);
        let before = database.seen().await;
        let mut process = child(&database, mode, &load_id, parallelism)
            .spawn()
            .expect("started");
        // From the middle of connecting to a little after the end.
        let pause = took * (round * 6 + 10) / 120;
        tokio::time::sleep(pause).await;
        process.kill().expect("killed");
        let output = process.wait_with_output().expect("its output");
        settled(&database).await;
        let seen = database.seen().await;
        let reported = String::from_utf8_lossy(&output.stdout).contains("loaded");
        let report = database.load(&spec, &people(0..ROWS, "new")).await;
        let whole = seen == after || (seen == before && !reported);
        assert!(
            whole,
            "{mode} killed after {pause:?}: {seen:?}, reported: {reported}"
        );
        let known = seen != before;
        assert_eq!(
            (report.rows, report.already_loaded),
            (ROWS as u64, known),
            "{mode} killed after {pause:?}, repeated"
        );
        database.assert_clean().await;
        assert_eq!(
            database.seen().await,
            after,
            "{mode} killed after {pause:?}, repeated"
        );
        if seen == after {
            survived += 1
        } else {
            died += 1
        }
    }
    assert!(
        died > 0,
        "{survived} loads were over before they were killed, and {died} were not"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_client_leaves_all_or_nothing_of_a_create() {
    kill_the_client(Mode::Create, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_client_leaves_all_or_nothing_of_an_append() {
    kill_the_client(Mode::Append, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_client_leaves_all_or_nothing_of_an_overwrite() {
    kill_the_client(Mode::Overwrite, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_client_leaves_all_or_nothing_of_an_upsert() {
    kill_the_client(Mode::Upsert, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_client_leaves_all_or_nothing_of_a_shared_load() {
    kill_the_client(Mode::Create, 3).await;
}

/// How the server's end comes.
#[derive(Debug, Clone, Copy)]
enum End {
    /// One backend, as an administrator ends it.
    Terminate,
    /// One backend by SIGKILL: the server ends all others, and recovers.
    KillBackend,
    /// The server by SIGKILL.
    KillServer,
    /// The server, as an administrator stops it.
    StopServer,
}

const LOADING: &str = "SELECT pid FROM pg_stat_activity WHERE application_name = 'arrowload' AND datname = 'arrowload_test_ends'";

impl End {
    fn come(self, server: &ThrowawayPostgres) {
        match self {
            Self::Terminate => {
                let _ = server.psql(
                    "postgres",
                    &format!("SELECT pg_terminate_backend(pid) FROM ({LOADING}) AS loading"),
                );
            }
            Self::KillBackend => {
                let pids = server.psql("postgres", LOADING).unwrap_or_default();
                for pid in pids.lines() {
                    let _ = Command::new("kill")
                        .args(["-KILL", pid])
                        .stderr(Stdio::null())
                        .status();
                }
                // Until the server has noticed, it takes connections, and then ends them.
                std::thread::sleep(Duration::from_millis(300));
            }
            Self::KillServer => {
                server.kill().expect("killed");
                server.restart().expect("restarted");
            }
            Self::StopServer => {
                server.stop().expect("stopped");
                server.restart().expect("restarted");
            }
        }
    }
}

/// Waits until the server takes connections again.
async fn recovered(server: &ThrowawayPostgres) {
    for _ in 0..500 {
        if server.psql("postgres", "SELECT 1").is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the server does not recover");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_leaves_all_or_nothing() {
    let Some(shared) = ThrowawayPostgres::available() else {
        return;
    };
    if shared.port().is_none() {
        return arrowload_testkit::skip(
            "postgresql_own",
            "the server that is named by its URL is not the test's to kill",
        );
    }
    let server = ThrowawayPostgres::start(&PostgresSetup::new()).expect("started");
    let database = database_on(&server, "ends").await;
    let rows = people(0..ROWS, "new");
    let mut failed = 0;
    for mode in Mode::ALL {
        database.stage(mode, "first").await;
        database
            .load(&staged_spec(mode, &format!("first {mode}")), &rows)
            .await;
        let after = database.seen().await;
        for round in 0..12_u32 {
            let end = [
                End::Terminate,
                End::KillBackend,
                End::KillServer,
                End::StopServer,
            ][round as usize % 4];
            let load_id = format!("{mode} {round}");
            database.stage(mode, &load_id).await;
            let parallelism = if round % 3 == 2 { 3 } else { 1 };
            let mut spec = spec_of(mode, &load_id, parallelism);
            let before = database.seen().await;
            let pause = Duration::from_millis(u64::from(round * round * 5) % 97);
            let what = format!("{mode}, {end:?} after {pause:?}");
            let settings = database.settings();
            // Every other load can be run again by itself, and lives to see its end.
            let persists = round % 8 >= 4;
            spec.load.max_retries = if persists { 8 } else { 0 };
            let source = if persists {
                query(&rows)
            } else {
                input(std::slice::from_ref(&rows))
            };
            let loading = async {
                load(
                    &Loader::connect(&descriptor(), &settings, spec.load.max_retries).await?,
                    &spec,
                    &source,
                )
                .await
            };
            let ending = async {
                tokio::time::sleep(pause).await;
                tokio::task::block_in_place(|| end.come(&server));
                recovered(&server).await;
            };
            let (outcome, ()) = tokio::join!(loading, ending);
            settled(&database).await;
            let seen = database.seen().await;
            match &outcome {
                Ok(report) => assert!(
                    report.rows == ROWS as u64 && seen == after,
                    "{what}: {report:?}, and {seen:?} is there"
                ),
                Err(error) if error.kind() == ErrorKind::CommitUnknown => {
                    assert!(seen == before || seen == after, "{what}: {seen:?}");
                }
                Err(error) => {
                    failed += 1;
                    assert_eq!(seen, before, "{what}: {error:?}");
                    assert!(
                        error.kind() == ErrorKind::Connection && !persists,
                        "{what}: {error:?}"
                    );
                }
            }
            let report = database.load(&spec, &rows).await;
            assert_eq!(
                (report.already_loaded, database.seen().await),
                (seen != before, after.clone()),
                "{what}, repeated"
            );
            database.assert_clean().await;
        }
    }
    assert!(
        failed > 4,
        "only {failed} loads met the end of their server"
    );
}
