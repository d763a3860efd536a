//! The connection fails at every phase of a load, in each mode: the target is as before or exactly loaded, the report is true,
//! and the repeated load leaves one copy of each row.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrowload_core::{
    ErrorKind, Input, LoadReport, LoadSpec, Loader, Mode, Result, Settings, load,
};

use arrow_schema::Schema;
use arrowload_testkit::type_cases;
use serde_json::json;

use crate::proxy::{At, Fault, Proxy, To};
use crate::server::{Database, database};
use crate::support::{descriptor, input, people, query, with};

/// One mode's load, and what its target holds before and after.
struct Trial {
    database: Database,
    proxy: Proxy,
    settings: Settings,
    mode: Mode,
    rows: RecordBatch,
    loads: usize,
    /// Connections that share the load.
    parallelism: usize,
}

impl Trial {
    async fn of(test: &str, mode: Mode) -> Option<Self> {
        let database = database(&format!("{test}_{}", mode.name())).await?;
        let proxy = Proxy::before(database.port()).await;
        let mut settings = database.settings();
        for (key, value) in [
            ("port", proxy.port.to_string()),
            ("sslmode", "disable".into()),
            ("connect_timeout", "2".into()),
        ] {
            settings.set(key, value, "the test");
        }
        Some(Self {
            database,
            proxy,
            settings,
            mode,
            rows: people(0..300, "new"),
            loads: 0,
            parallelism: 1,
        })
    }

    /// The target as it is before a load, and a load that no other has the id of.
    async fn reset(&mut self) -> LoadSpec {
        self.loads += 1;
        let mut spec = self
            .database
            .stage(self.mode, &format!("load {}", self.loads))
            .await;
        if self.parallelism > 1 {
            (spec.load.parallelism, spec.load.batch_size) = (Some(self.parallelism), Some(40));
        }
        spec
    }

    async fn seen(&self) -> Option<String> {
        self.database.seen().await
    }

    /// A load by way of the proxy, on a connection of its own.
    async fn run(&self, spec: &LoadSpec, input: &Input) -> Result<LoadReport> {
        let loader = Loader::connect(&descriptor(), &self.settings, spec.load.max_retries).await?;
        load(&loader, spec, input).await
    }

    /// What the target holds before and after a load that nothing hinders, and the messages it took.
    async fn undisturbed(&mut self) -> (Option<String>, Option<String>, (usize, usize)) {
        let spec = self.reset().await;
        let before = self.seen().await;
        self.proxy.heal();
        self.run(&spec, &input(std::slice::from_ref(&self.rows)))
            .await
            .expect("loaded");
        let messages = self.proxy.messages();
        (before, self.seen().await, messages)
    }

    /// A load that meets this fault, and the same again when it is over.
    async fn meet(
        &mut self,
        at: At,
        fault: Fault,
        for_good: bool,
        whole: &(Option<String>, Option<String>),
    ) -> Result<LoadReport> {
        let what = format!(
            "{} with {fault:?} at {at:?}, for good: {for_good}",
            self.mode
        );
        let mut spec = self.reset().await;
        match for_good {
            true => self.proxy.fail_for_good(at, fault),
            false => self.proxy.fail(at, fault),
        }
        spec.load.timeout = (fault == Fault::Swallow).then_some(Duration::from_millis(300));
        let rows = input(std::slice::from_ref(&self.rows));
        let outcome = tokio::time::timeout(Duration::from_secs(20), self.run(&spec, &rows)).await;
        let outcome = outcome.unwrap_or_else(|_| panic!("{what}: it hangs"));
        self.proxy.heal();
        let unknown = outcome
            .as_ref()
            .is_err_and(|error| error.kind() == ErrorKind::CommitUnknown);
        if !unknown {
            let expected = if outcome.is_ok() { &whole.1 } else { &whole.0 };
            assert_eq!(self.seen().await, *expected, "{what}: {outcome:?}");
        }
        if let Err(error) = &outcome {
            let kinds = [
                ErrorKind::Connection,
                ErrorKind::CommitUnknown,
                ErrorKind::Timeout,
            ];
            assert!(kinds.contains(&error.kind()), "{what}: {error:?}");
        }
        spec.load.timeout = None;
        let before = self.seen().await;
        let again = self.database.load(&spec, &self.rows).await;
        assert_eq!(self.seen().await, whole.1, "{what}, repeated");
        assert_eq!(again.rows, 300, "{what}, repeated");
        if !unknown {
            assert_eq!(again.already_loaded, outcome.is_ok(), "{what}, repeated");
        } else {
            assert!(before == whole.0 || before == whole.1, "{what}: {before:?}");
        }
        let left = "SELECT count(*) FROM pg_class WHERE relname LIKE 'arrowload_part%'";
        assert_eq!(self.database.rows(left).await, ["0"], "{what}, repeated");
        outcome
    }
}

/// The connection is cut before, within and after messages of a load, in both directions: all along, and at each of those
/// around the COMMIT.
async fn cut_everywhere(mode: Mode, parallelism: usize) {
    let Some(mut trial) = Trial::of(&format!("cut_{parallelism}"), mode).await else {
        return;
    };
    trial.parallelism = parallelism;
    // The first load makes the ledger's table, which those that follow find.
    trial.undisturbed().await;
    let (before, after, (to_server, to_client)) = trial.undisturbed().await;
    let commit = trial.proxy.commit();
    let whole = (before, after);
    let (step, end) = if parallelism == 1 { (11, 8) } else { (29, 24) };
    let places = |count: usize| {
        (0..count)
            .filter(move |number| number % step == 0 || number + end > count)
            .enumerate()
    };
    let ways = places(to_server).map(|(index, number)| (index, number, To::Server));
    let ways = ways.chain(places(to_client).map(|(index, number)| (index, number, To::Client)));
    let (mut loaded, mut failed) = (0, 0);
    for (index, number, to) in ways {
        let at = At::Message(to, number);
        let fault = [
            Fault::Cut,
            Fault::CutWithin,
            Fault::CutAfter,
            Fault::Swallow,
        ][index % 4];
        // What belongs to the commit is waited for longer than a test may take; of several connections the one that leads says
        // nothing between the last of its preparations and the commit.
        let margin = if parallelism == 1 { 40 } else { 72 };
        let fault =
            if fault == Fault::Swallow && number + margin > [to_server, to_client][to as usize] {
                Fault::Cut
            } else {
                fault
            };
        match trial.meet(at, fault, false, &whole).await {
            Ok(_) => loaded += 1,
            Err(_) => failed += 1,
        }
    }
    assert!(
        loaded > 0 && failed > 20,
        "{loaded} loaded, {failed} failed"
    );
    if parallelism > 1 {
        return;
    }
    for fault in [Fault::Cut, Fault::CutWithin, Fault::CutAfter] {
        let outcome = trial.meet(commit.clone(), fault, false, &whole).await;
        // A COMMIT that arrived is found out about.
        assert_eq!(
            outcome.is_ok(),
            fault == Fault::CutAfter,
            "{mode} {fault:?}: {outcome:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_leaves_all_or_nothing_of_a_create() {
    cut_everywhere(Mode::Create, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_leaves_all_or_nothing_of_an_append() {
    cut_everywhere(Mode::Append, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_leaves_all_or_nothing_of_an_overwrite() {
    cut_everywhere(Mode::Overwrite, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_leaves_all_or_nothing_of_an_upsert() {
    cut_everywhere(Mode::Upsert, 1).await;
}

/// The same, of several connections that share the load.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_cut_leave_all_or_nothing_of_a_shared_load() {
    cut_everywhere(Mode::Create, 3).await;
}

/// The server is gone for good once COMMIT was sent: the load says that it does not know, and how to go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_cannot_be_asked_after_is_unknown() {
    let Some(mut trial) = Trial::of("unknown", Mode::Append).await else {
        return;
    };
    trial.undisturbed().await;
    let (before, after, _) = trial.undisturbed().await;
    let commit = trial.proxy.commit();
    let whole = (before, after);
    for fault in [Fault::Cut, Fault::CutAfter] {
        let error = trial
            .meet(commit.clone(), fault, true, &whole)
            .await
            .expect_err("nobody answered");
        assert_eq!(error.kind(), ErrorKind::CommitUnknown, "{error}");
        assert!(
            error.to_string().contains("repeat the load with load_id"),
            "{error}"
        );
    }
}

/// A query can be run again: the load survives by itself, and is there once.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_of_a_query_goes_through_a_broken_connection() {
    for mode in [Mode::Create, Mode::Append, Mode::Overwrite, Mode::Upsert] {
        let Some(mut trial) = Trial::of("repeated", mode).await else {
            return;
        };
        trial.undisturbed().await;
        let (_, after, (to_server, _)) = trial.undisturbed().await;
        for number in (0..to_server).step_by(23) {
            let mut spec = trial.reset().await;
            spec.load.max_retries = 3;
            trial
                .proxy
                .fail(At::Message(To::Server, number), Fault::CutAfter);
            let report = trial
                .run(&spec, &query(&trial.rows))
                .await
                .unwrap_or_else(|error| panic!("{mode} cut at {number}: {error:?}"));
            assert_eq!(
                (report.rows, trial.seen().await),
                (300, after.clone()),
                "{mode} cut at {number}"
            );
        }
    }
}

/// A slow wire is no broken one.
#[tokio::test(flavor = "multi_thread")]
async fn a_delay_is_waited_for() {
    let Some(mut trial) = Trial::of("delay", Mode::Append).await else {
        return;
    };
    trial.undisturbed().await;
    let (_, after, (to_server, to_client)) = trial.undisturbed().await;
    let commit = trial.proxy.commit();
    // Not the last message: how many there are differs a little from run to run.
    for at in [
        At::Message(To::Server, to_server / 2),
        At::Message(To::Client, to_client / 2),
        commit,
    ] {
        let spec = trial.reset().await;
        trial
            .proxy
            .fail(at, Fault::Delay(Duration::from_millis(300)));
        trial
            .run(&spec, &input(std::slice::from_ref(&trial.rows)))
            .await
            .expect("loaded");
        assert!(trial.proxy.fired(), "the delay was never reached");
        assert_eq!(trial.seen().await, after);
    }
}

/// What the server says arrives with a bit turned: no load panics, hangs, or leaves a part of its rows.
#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_falsified_break_no_promise() {
    let Some(mut trial) = Trial::of("flipped", Mode::Append).await else {
        return;
    };
    trial.undisturbed().await;
    let (before, after, _) = trial.undisturbed().await;
    for byte in (0..trial.proxy.bytes_to_client()).step_by(61) {
        let mut spec = trial.reset().await;
        trial.proxy.fail(At::Byte(To::Client, byte), Fault::Flip);
        let rows = input(std::slice::from_ref(&trial.rows));
        // A falsified length is waited for.
        let outcome =
            tokio::time::timeout(Duration::from_millis(400), trial.run(&spec, &rows)).await;
        let panicked = format!("{outcome:?}").contains("panick");
        assert!(!panicked, "byte {byte}: {outcome:?}");
        trial.proxy.heal();
        spec.load.timeout = None;
        trial.database.load(&spec, &trial.rows).await;
        assert_eq!(
            trial.seen().await,
            after,
            "byte {byte}: {before:?}, {outcome:?}"
        );
    }
}

/// A bit is turned in the rows on their way, in every type: the load ends, or what arrived is equal all the same.
#[tokio::test(flavor = "multi_thread")]
async fn checksums_find_a_bit_that_was_turned_on_the_wire() {
    let Some(mut trial) = Trial::of("turned", Mode::Append).await else {
        return;
    };
    let (mut found, mut equal) = (0, 0);
    for (index, case) in type_cases().into_iter().enumerate() {
        let schema = Arc::new(Schema::new(vec![case.field.clone()]));
        trial.rows = RecordBatch::try_new(schema, vec![case.values.clone()]).expect("a batch");
        let table = format!("t{index}");
        let load_spec = |number: usize| {
            let mut load_spec = with(&table, json!({ "verify": "checksum" }));
            load_spec.load.load_id = Some(format!("load {number:04}"));
            load_spec
        };
        let mut proved = true;
        for number in 0..2 {
            trial.proxy.heal();
            let rows = input(std::slice::from_ref(&trial.rows));
            match trial.run(&load_spec(number), &rows).await {
                Ok(report) => proved &= report.unproved.is_empty(),
                // A value that no column of the type can hold.
                Err(error) if error.kind() == ErrorKind::InvalidData => proved = false,
                Err(error) => panic!("{}: {error:?}", case.name),
            }
        }
        if !proved {
            continue;
        }
        let bytes = trial.proxy.row_bytes();
        let held = format!(
            "SELECT count(*), count(DISTINCT value::text), md5(string_agg(value::text, ' ' ORDER BY value::text)) FROM {table}"
        );
        let before = trial.database.rows(&held).await;
        for (number, byte) in (0..bytes).step_by((bytes / 9).max(1)).enumerate() {
            let what = format!("{}, byte {byte} of {bytes}", case.name);
            trial.proxy.fail(At::Row(byte), Fault::Flip);
            let rows = input(std::slice::from_ref(&trial.rows));
            let turned = load_spec(number + 10);
            let loading = tokio::time::timeout(Duration::from_secs(10), trial.run(&turned, &rows));
            let outcome = loading.await.unwrap_or_else(|_| panic!("{what}: it hangs"));
            assert!(trial.proxy.fired(), "{what}");
            trial.proxy.heal();
            match outcome {
                Err(error) => {
                    found += 1;
                    assert_ne!(error.kind(), ErrorKind::CommitUnknown, "{what}: {error:?}");
                    assert_eq!(
                        trial.database.rows(&held).await,
                        before,
                        "{what}: {error:?}"
                    );
                }
                Ok(_) => {
                    equal += 1;
                    let values = format!("SELECT count(DISTINCT value::text) FROM {table}");
                    let distinct = trial.database.rows(&values).await;
                    assert_eq!(
                        distinct,
                        [before[0].split('|').nth(1).unwrap_or_default()],
                        "{what}: it was published"
                    );
                    trial
                        .database
                        .run(&format!("DELETE FROM {table} WHERE ctid NOT IN (SELECT ctid FROM {table} LIMIT {})", 2 * case.values.len()))
                        .await;
                }
            }
        }
    }
    assert!(
        found > 400 && equal < 20,
        "{found} were found, {equal} were equal"
    );
}
