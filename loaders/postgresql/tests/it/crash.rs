//! Processes die at any moment of a load, in each mode: the client's, the server's backend, the whole server. The target is as
//! before or exactly loaded, and the repeated load leaves one copy of each row.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use arrowload_core::{ErrorKind, Loader, Mode, load};
use arrowload_testkit::{PostgresSetup, ThrowawayPostgres};

use crate::server::{Database, database, database_on};
use crate::support::{descriptor, input, people, query, staged_spec};

const ROWS: i64 = 20_000;

/// Tells this program, started again, what to load.
const CHILD: &str = "ARROWLOAD_TEST_CHILD";

/// What the child process runs; in the test's own process it does nothing.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the parent reads it")]
async fn child_process() {
    let Ok(text) = std::env::var(CHILD) else { return };
    let [url, mode, load_id] = text.split('\n').collect::<Vec<_>>()[..] else { panic!("{text}") };
    let mode = Mode::ALL.into_iter().find(|known| known.name() == mode).expect("a mode");
    let report = Database { url: url.to_owned() }.load(&staged_spec(mode, load_id), &people(0..ROWS, "new")).await;
    println!("loaded {}", report.rows);
}

fn child(database: &Database, mode: Mode, load_id: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "crash::child_process", "--nocapture"]).env(CHILD, format!("{}\n{}\n{load_id}", database.url, mode.name()));
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// Waits until the server knows that the clients of loads are gone.
async fn settled(database: &Database) {
    const BUSY: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'arrowload'";
    for _ in 0..500 {
        if database.rows(BUSY).await == ["0"] {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("a load that was killed is still under way");
}

async fn kill_the_client(mode: Mode) {
    let Some(database) = database(&format!("client_{}", mode.name())).await else { return };
    let mut took = Duration::ZERO;
    // The first load makes the ledger's table.
    for load in ["first", "second"] {
        database.stage(mode, load).await;
        let began = Instant::now();
        let output = child(&database, mode, load).output().expect("started");
        assert!(String::from_utf8_lossy(&output.stdout).contains("loaded 20000"), "{output:?}");
        took = began.elapsed();
    }
    let after = database.seen().await;
    let (mut survived, mut died) = (0, 0);
    for round in 0..30 {
        let load_id = format!("round {round}");
        let spec = database.stage(mode, &load_id).await;
        let before = database.seen().await;
        let mut process = child(&database, mode, &load_id).spawn().expect("started");
        // From the middle of connecting to a little after the end.
        let pause = took * (round * 4 + 10) / 120;
        tokio::time::sleep(pause).await;
        process.kill().expect("killed");
        let output = process.wait_with_output().expect("its output");
        settled(&database).await;
        let seen = database.seen().await;
        let reported = String::from_utf8_lossy(&output.stdout).contains("loaded");
        assert!(seen == after || (seen == before && !reported), "{mode} killed after {pause:?}: {seen:?}, reported: {reported}");
        let report = database.load(&spec, &people(0..ROWS, "new")).await;
        assert_eq!((report.rows, report.already_loaded), (ROWS as u64, seen == after), "{mode} killed after {pause:?}, repeated");
        assert_eq!(database.seen().await, after, "{mode} killed after {pause:?}, repeated");
        if seen == after { survived += 1 } else { died += 1 }
    }
    assert!(died > 0, "{survived} loads were over before they were killed, and {died} were not");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_client_leaves_all_or_nothing_of_a_create() {
    kill_the_client(Mode::Create).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_client_leaves_all_or_nothing_of_an_append() {
    kill_the_client(Mode::Append).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_client_leaves_all_or_nothing_of_an_overwrite() {
    kill_the_client(Mode::Overwrite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_client_leaves_all_or_nothing_of_an_upsert() {
    kill_the_client(Mode::Upsert).await;
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
                let _ = server.psql("postgres", &format!("SELECT pg_terminate_backend(pid) FROM ({LOADING}) AS loading"));
            }
            Self::KillBackend => {
                let pids = server.psql("postgres", LOADING).unwrap_or_default();
                for pid in pids.lines() {
                    let _ = Command::new("kill").args(["-KILL", pid]).stderr(Stdio::null()).status();
                }
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
    let Some(shared) = ThrowawayPostgres::available() else { return };
    if shared.port().is_none() {
        return arrowload_testkit::skip("postgresql_own", "the server that is named by its URL is not the test's to kill");
    }
    let server = ThrowawayPostgres::start(&PostgresSetup::new()).expect("started");
    let database = database_on(&server, "ends").await;
    let rows = people(0..ROWS, "new");
    let mut failed = 0;
    for mode in Mode::ALL {
        database.stage(mode, "first").await;
        database.load(&staged_spec(mode, &format!("first {mode}")), &rows).await;
        let after = database.seen().await;
        for round in 0..16_u32 {
            let end = [End::Terminate, End::KillBackend, End::KillServer, End::StopServer][round as usize % 4];
            let load_id = format!("{mode} {round}");
            let mut spec = database.stage(mode, &load_id).await;
            let before = database.seen().await;
            let pause = Duration::from_millis(u64::from(round * round) % 97);
            let what = format!("{mode}, {end:?} after {pause:?}");
            let settings = database.settings();
            // Every other load can be run again by itself, and lives to see its end.
            let persists = round % 8 >= 4;
            spec.load.max_retries = if persists { 8 } else { 0 };
            let source = if persists { query(&rows) } else { input(std::slice::from_ref(&rows)) };
            let loading = async { load(&Loader::connect(&descriptor(), &settings, spec.load.max_retries).await?, &spec, &source).await };
            let ending = async {
                tokio::time::sleep(pause).await;
                tokio::task::block_in_place(|| end.come(&server));
                recovered(&server).await;
            };
            let (outcome, ()) = tokio::join!(loading, ending);
            settled(&database).await;
            let seen = database.seen().await;
            match &outcome {
                Ok(report) => assert!(report.rows == ROWS as u64 && seen == after, "{what}: {report:?}, and {seen:?} is there"),
                Err(error) if error.kind() == ErrorKind::CommitUnknown => assert!(seen == before || seen == after, "{what}: {seen:?}"),
                Err(error) => {
                    failed += 1;
                    assert_eq!(seen, before, "{what}: {error:?}");
                    assert!(error.kind() == ErrorKind::Connection && !persists, "{what}: {error:?}");
                }
            }
            let report = database.load(&spec, &rows).await;
            assert_eq!((report.already_loaded, database.seen().await), (seen == after, after.clone()), "{what}, repeated");
        }
    }
    assert!(failed > 8, "only {failed} loads met the end of their server");
}
