//! Incremental loads of a table that grows meanwhile, which are killed at any moment, lose the answer to a commit, or run two at once:
//! in the end every row is there once. `cargo xtask torture incremental` does it 300 times each.
#![cfg(unix)]

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Child;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrowload_testkit::ThrowawayPostgres;

use crate::{Ended, Place};

/// How often each disturbance has to have happened; the torture asks for more.
const ROUNDS: u64 = 4;
/// The COMMIT of a load, on the wire.
const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";

/// `events` commits in the order of `id`; `late` out of the order of `stamp`, by at most 25.
const SOURCE: &str = "
CREATE TABLE events (id bigint PRIMARY KEY, note text);
CREATE TABLE late (id bigint PRIMARY KEY, stamp bigint NOT NULL, note text);
CREATE TABLE running (on_since timestamptz);
INSERT INTO running VALUES (now());
CREATE PROCEDURE grow() LANGUAGE plpgsql AS $$
DECLARE last bigint := 0; n bigint := 3; upto bigint;
BEGIN
  WHILE EXISTS (SELECT FROM running) LOOP
    n := n + 1;
    upto := last + 1 + (random() * 4)::int;
    INSERT INTO events SELECT id, 'row ' || id FROM generate_series(last + 1, upto) AS id;
    INSERT INTO late SELECT id, n * 10 - (random() * 25)::int, 'row ' || id FROM generate_series(last + 1, upto) AS id;
    last := upto;
    COMMIT;
    PERFORM pg_sleep(0.01);
  END LOOP;
END $$";
const TARGET: &str = "CREATE TABLE late (id bigint PRIMARY KEY, stamp bigint NOT NULL, note text)";

/// What happens to a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disturbance {
    Killed,
    AnswerLost,
    TwoAtOnce,
}

/// What the wire does to the next COMMIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It arrives, its answer does not, and the connection breaks.
    LoseAnswer,
    /// It does not arrive, and the connection breaks.
    LoseCommit,
}

/// A wire before the server that loses what it is told to lose.
struct Wire {
    port: u16,
    fault: Arc<Mutex<Option<Fault>>>,
    lost: Arc<AtomicU64>,
}

impl Wire {
    fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let wire = Self {
            port: listener.local_addr().expect("an address").port(),
            fault: Arc::default(),
            lost: Arc::default(),
        };
        let (fault, lost) = (Arc::clone(&wire.fault), Arc::clone(&wire.lost));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else {
                    continue;
                };
                let (fault, lost) = (Arc::clone(&fault), Arc::clone(&lost));
                std::thread::spawn(move || join(&client, &server, &fault, &lost));
            }
        });
        wire
    }
}

fn join(client: &TcpStream, server: &TcpStream, fault: &Mutex<Option<Fault>>, lost: &AtomicU64) {
    let mute = AtomicBool::new(false);
    let end = || {
        // One side may have gone already.
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut from, mut to) = (server, client);
            let mut bytes = [0; 8192];
            while let Ok(read @ 1..) = from.read(&mut bytes) {
                // The server has answered, and has done what was asked.
                if mute.load(Ordering::SeqCst) || to.write_all(&bytes[..read]).is_err() {
                    break;
                }
            }
            end();
        });
        let (mut from, mut to) = (client, server);
        let (mut bytes, mut tail) = ([0; 8192], Vec::new());
        while let Ok(read @ 1..) = from.read(&mut bytes) {
            tail.extend_from_slice(&bytes[..read]);
            if tail.windows(COMMIT.len()).any(|window| window == COMMIT) {
                tail.clear();
                let fault = fault.lock().unwrap_or_else(PoisonError::into_inner).take();
                if fault.is_some() {
                    lost.fetch_add(1, Ordering::SeqCst);
                }
                match fault {
                    Some(Fault::LoseCommit) => break,
                    Some(Fault::LoseAnswer) => mute.store(true, Ordering::SeqCst),
                    None => {}
                }
            }
            let keep = tail.len().saturating_sub(COMMIT.len() - 1);
            tail.drain(..keep);
            if to.write_all(&bytes[..read]).is_err() {
                break;
            }
            if mute.load(Ordering::SeqCst) {
                // The other thread ends it.
                return;
            }
        }
        end();
    });
}

/// Numbers that look like chance, the same each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit.max(1)
    }
}

/// A growing source, and a target.
struct Scene {
    server: Arc<ThrowawayPostgres>,
    place: Place,
    names: [String; 2],
    urls: [String; 2],
    growing: Option<std::thread::JoinHandle<()>>,
}

impl Scene {
    fn new(server: &Arc<ThrowawayPostgres>, name: &str) -> Self {
        let names = [format!("{name}_from"), format!("{name}_to")];
        let urls = [0, 1].map(|index| server.create_database(&names[index]).expect("a database"));
        server.psql(&names[0], SOURCE).expect("a source");
        server.psql(&names[1], TARGET).expect("a target");
        let (growing, from) = (Arc::clone(server), names[0].clone());
        Self {
            server: Arc::clone(server),
            place: Place::new(),
            growing: Some(std::thread::spawn(move || {
                growing.psql(&from, "CALL grow()").expect("it grows");
            })),
            names,
            urls,
        }
    }

    /// The flags of a load, in order or with rows that come late, through this port of the target.
    fn load(&self, is_late: bool, port: u16) -> Vec<String> {
        let [from, to] = &self.urls;
        let own = format!(":{}", self.server.port().expect("a port"));
        let to = to.replace(&own, &format!(":{port}"));
        assert!(to.contains(&format!(":{port}")), "{to}");
        let common = ["load", "--from", from, "--to", &to, "-q"];
        let own: &[&str] = match is_late {
            false => &[
                "--sql",
                "SELECT * FROM events WHERE id >= $cursor AND id < $cursor_end",
                "-T",
                "events",
                "--incremental",
                "id",
                "--initial",
                "0",
            ],
            true => &[
                "--table",
                "late",
                "-T",
                "late",
                "--mode",
                "upsert",
                "--keys",
                "id",
                "--incremental",
                "stamp",
                "--lag",
                "30",
            ],
        };
        common
            .iter()
            .chain(own)
            .map(|word| (*word).to_owned())
            .collect()
    }

    fn spawn(&self, load: &[String]) -> Child {
        let words: Vec<&str> = load.iter().map(String::as_str).collect();
        self.place.spawn(&words)
    }

    fn run(&self, load: &[String]) -> Ended {
        let words: Vec<&str> = load.iter().map(String::as_str).collect();
        self.place.run(&words)
    }

    fn sql(&self, index: usize, sql: &str) -> String {
        self.server.psql(&self.names[index], sql).expect(sql)
    }

    /// Ends the growth, loads what is left, and compares: how many loads are recorded, and how many rows there are.
    fn end(mut self) -> (u64, u64) {
        self.sql(0, "DELETE FROM running");
        self.growing
            .take()
            .expect("a thread")
            .join()
            .expect("it grew");
        let all = "SELECT count(*) || ' ' || coalesce(md5(string_agg(id || note, ',' ORDER BY id)), '') FROM";
        let wanted = ["events", "late"].map(|table| self.sql(0, &format!("{all} {table}")));
        // Rows of the newest value wait for one that is newer.
        self.sql(0, "INSERT INTO events SELECT max(id) + 1000 FROM events");
        self.sql(
            0,
            "INSERT INTO late SELECT max(id) + 1000, max(stamp) + 1000 FROM late",
        );
        let port = self.server.port().expect("a port");
        for is_late in [false, true] {
            let ended = self.run(&self.load(is_late, port));
            assert_eq!(ended.code, 0, "{ended:?}");
        }
        let found = ["events", "late"].map(|table| self.sql(1, &format!("{all} {table}")));
        assert_eq!(
            found, wanted,
            "rows that are there, and rows that should be"
        );
        let rows = wanted[0].split(' ').next().unwrap_or_default();
        let loads = self.sql(1, "SELECT count(*) FROM arrowload_loads");
        (
            loads.parse().expect("a number"),
            rows.parse().expect("a number"),
        )
    }
}

/// What a torture did.
#[derive(Default)]
struct Tally {
    disturbed: u64,
    ended_well: u64,
    conflicts: u64,
    recorded: u64,
    rows: u64,
}

fn torture(server: &Arc<ThrowawayPostgres>, what: Disturbance, rounds: u64) -> Tally {
    let scene = Scene::new(server, &format!("incremental_{}", what as u8));
    let direct = server.port().expect("a port");
    let wire = Wire::before(direct);
    let mut chance = Chance(0x2545_F491_4F6C_DD1D ^ rounds ^ what as u64);
    let (mut tally, mut round) = (Tally::default(), 0);
    // How long a load takes that nobody disturbs.
    let began = Instant::now();
    for is_late in [false, true] {
        let ended = scene.run(&scene.load(is_late, direct));
        assert_eq!(ended.code, 0, "{ended:?}");
    }
    let whole = u64::try_from(began.elapsed().as_millis() / 2).unwrap_or(500);
    while tally.disturbed < rounds {
        round += 1;
        assert!(
            round < 20 * rounds,
            "{what:?} happened {} times only",
            tally.disturbed
        );
        let is_late = round % 2 == 0;
        if what == Disturbance::AnswerLost {
            let fault = match chance.below(3) {
                0 => Fault::LoseCommit,
                _ => Fault::LoseAnswer,
            };
            *wire.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
            let before = wire.lost.load(Ordering::SeqCst);
            let ended = scene.run(&scene.load(is_late, wire.port));
            assert_eq!(ended.code, 0, "{fault:?}: {ended:?}");
            tally.disturbed += wire.lost.load(Ordering::SeqCst) - before;
            tally.ended_well += 1;
            continue;
        }
        let load = scene.load(is_late, direct);
        let count = 1 + usize::from(what == Disturbance::TwoAtOnce);
        let mut children: Vec<Child> = (0..count).map(|_| scene.spawn(&load)).collect();
        // Of two at once, each second time both go to their ends.
        let kills = match what {
            Disturbance::TwoAtOnce if chance.below(2) == 0 => 0,
            _ => 1,
        };
        if kills > 0 {
            // Each second time when the commit is near.
            let moment = match chance.below(2) {
                0 => chance.below(whole),
                _ => whole / 2 + chance.below(whole * 3 / 4),
            };
            std::thread::sleep(Duration::from_millis(moment));
        }
        let mut ended_early = 0;
        for child in children.iter_mut().take(kills) {
            let is_over = child.try_wait().expect("a state").is_some();
            ended_early += usize::from(is_over);
            // It may be over by now.
            let _ = child.kill();
        }
        for child in children {
            let ended = child.wait_with_output().expect("it ends");
            let said = String::from_utf8_lossy(&ended.stderr).into_owned();
            match ended.status.code() {
                // Killed.
                None => {}
                Some(0) => tally.ended_well += 1,
                Some(_) if what == Disturbance::TwoAtOnce && is_conflict(&said) => {
                    tally.conflicts += 1;
                }
                Some(code) => panic!("{what:?}: {code}: {said}"),
            }
        }
        tally.disturbed += match what {
            Disturbance::TwoAtOnce => 1,
            _ => u64::from(ended_early == 0),
        };
    }
    (tally.recorded, tally.rows) = scene.end();
    tally
}

/// The mark has moved, as another run was first.
fn is_conflict(said: &str) -> bool {
    said.contains("another run has loaded this window first")
}

#[test]
fn every_row_arrives_once_whatever_happens_to_the_loads() {
    let Some(server) = ThrowawayPostgres::available() else {
        return;
    };
    let rounds = std::env::var("ARROWLOAD_TORTURE_ROUNDS").ok();
    let rounds = rounds.and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    let mut table = String::new();
    for (what, words) in [
        (Disturbance::Killed, "killed at any moment"),
        (
            Disturbance::AnswerLost,
            "the COMMIT or the answer to it lost",
        ),
        (
            Disturbance::TwoAtOnce,
            "two at once, of which each second time one is killed",
        ),
    ] {
        let Tally {
            disturbed,
            ended_well,
            conflicts,
            recorded,
            rows,
        } = torture(&server, what, rounds);
        writeln!(
            table,
            "| {words} | {disturbed} | {ended_well} | {conflicts} | {recorded} | {rows} | 0 | 0 |"
        )
        .expect("text");
    }
    if let Some(file) = std::env::var_os("ARROWLOAD_TORTURE_RESULTS") {
        let text = format!("{HEAD}{table}");
        std::fs::write(file, text).expect("written");
    }
}

const HEAD: &str = "# Incremental loads, disturbed

`cargo xtask torture incremental` writes this file. Tables in PostgreSQL grow by some hundred rows a second: one in the order of its
cursor (`append`, with a query of `$cursor` and `$cursor_end`), one out of it by less than the lag (`upsert`). Loads of both into other
tables, in turn, are disturbed at random moments. In the end the growth stops, one more load takes the rest, and the tables are
compared by a checksum over all rows: the torture fails if a row is missing or there twice.

The target records each load with its rows: also those that were killed behind their commit, two before and two behind; a load that
finds nothing new is none.

| the loads are | times | ended well | conflicts | recorded | rows | missing | double |
|---|---|---|---|---|---|---|---|
";
