//! How several connections share a load into a new table: they fill it under a temporary name, which no reader knows, and the
//! load's transaction renames it to the target's name.
//!
//! An existing table takes the rows of one connection: a transaction belongs to one, and rows that several have staged would be
//! written twice, which takes longer than one connection does.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use arrow_array::RecordBatch;
use arrowload_core::{LoadRequest, OnError, Result, Verify};
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::PostgresqlOptions;
use crate::catalog::{Look, Place};
use crate::connect::{Connections, Lease, STAY};
use crate::encode::CopyEncoder;
use crate::error::from_pg;
use crate::ident::quote;
use crate::lanes::Lanes;
use crate::layout::{Layout, Way};

type Request = LoadRequest<PostgresqlOptions>;

/// The bytes of rows from which on a load is shared by default: from this size on, several connections save more time than it takes
/// to begin with them.
pub(crate) const LARGE: usize = 16 << 20;
/// More connections than this do not share a load by default, as others use the server too.
const MOST: usize = 4;
/// The time limit for opening connections that the user has not asked for.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many connections copy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) count: usize,
    /// Why they are fewer than were asked for.
    pub(crate) why: Option<&'static str>,
    /// Whether the load begins with one connection, and takes more when it turns out to be large and the server has others free.
    pub(crate) if_large: bool,
}

/// The default number of connections: one for each core.
pub(crate) fn default_count() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MOST))
}

/// Connections that share a load.
pub(crate) struct Shared {
    lanes: Lanes,
    place: Place,
}

/// How many connections copy, and why they are fewer than were asked for.
pub(crate) async fn spread(
    client: &Client,
    request: &Request,
    look: &Look,
    layout: &Layout,
    pool: usize,
) -> Result<Spread> {
    let spread = connections(request, layout, pool);
    if spread.count == 1
        || !publishes_new_tables(client, &layout.place.schema, look.version).await?
    {
        return Ok(spread);
    }
    Ok(Spread {
        count: 1,
        why: Some("a publication would send the table that several fill to its subscribers"),
        if_large: false,
    })
}

fn connections(request: &Request, layout: &Layout, pool: usize) -> Spread {
    let (load, options) = (&request.load, &request.options);
    // One more connection than those that copy: the leader.
    let share = pool / request.destinations.max(1);
    let most = share.saturating_sub(1).max(1);
    let alone = if layout.table.is_some() {
        Some("the table is there, and one transaction fills it")
    } else if layout.way == Way::Staged {
        Some("an upsert stages its rows on one")
    } else if load.on_error == OnError::Skip {
        Some("on_error = skip")
    } else if load.verify == Verify::Checksum {
        Some("verify = checksum")
    } else {
        None
    };
    let spread = |count, why| Spread {
        count,
        why,
        if_large: load.parallelism.is_none() && count > 1,
    };
    let Some(wanted) = load.parallelism else {
        // Other statements in the load's transaction may change how the table is created.
        let is_plain = !options.freeze && options.pre_sql.is_none() && options.post_sql.is_none();
        return match alone.is_none() && is_plain {
            true => spread(default_count().min(most), None),
            false => spread(1, None),
        };
    };
    let wanted = wanted.max(1);
    match alone {
        Some(why) if wanted > 1 => spread(1, Some(why)),
        None if wanted > most && request.destinations > 1 => spread(
            most,
            Some("pool_size allows no more to each of the destinations"),
        ),
        None if wanted > most => spread(most, Some("pool_size allows no more")),
        Some(_) => spread(1, None),
        None => spread(wanted, None),
    }
}

impl Shared {
    /// Creates the table under a name of its own, and gets ready for rows.
    pub(crate) async fn start(
        leader: &Lease,
        connections: &Connections,
        count: usize,
        layout: &Layout,
        request: &Request,
        encoder: &CopyEncoder,
    ) -> Result<Self> {
        let all = Self::start_all(leader, connections, count, layout, request, encoder);
        connections.in_time(count + 1, all).await
    }

    async fn start_all(
        leader: &Lease,
        connections: &Connections,
        count: usize,
        layout: &Layout,
        request: &Request,
        encoder: &CopyEncoder,
    ) -> Result<Self> {
        let place = own_place(&layout.place);
        let (leases, ()) = futures::try_join!(connections.leases(count), hold(leader, &place))?;
        Self::fill(leases, place, layout, request, encoder).await
    }

    /// Creates the table, and gets ready for rows.
    async fn fill(
        leases: Vec<Lease>,
        place: Place,
        layout: &Layout,
        request: &Request,
        encoder: &CopyEncoder,
    ) -> Result<Self> {
        if let Some(first) = leases.first() {
            let statements = layout.creation(request, &place).join("; ");
            first.run_alone(&statements).await?;
        }
        let sql = layout.copy_sql(&place.sql(), "");
        let lanes = Lanes::start(leases, &sql, encoder).await?;
        Ok(Self { lanes, place })
    }

    /// The same for a load that began with one connection, which has created the target and put no rows into it. `None` if the
    /// server or the pool has fewer than two others free, or they cannot do it: then all is as it was, and one connection does.
    pub(crate) async fn start_if_free(
        leader: &Lease,
        connections: &Connections,
        most: usize,
        layout: &Layout,
        request: &Request,
        encoder: &CopyEncoder,
    ) -> Result<Option<Self>> {
        let mut leases = connections.spare(most, PATIENCE).await;
        if leases.len() < 2 {
            leases.into_iter().for_each(Lease::give_back);
            return Ok(None);
        }
        let place = own_place(&layout.place);
        // Whatever fails from here on, the load's transaction goes on as it was.
        leader.run("SAVEPOINT arrowload_share").await?;
        let start = async {
            hold(leader, &place).await?;
            // A trigger of the database's may forbid it. Until the transaction ends, nobody else can take the name.
            let drop = format!("DROP TABLE {}", layout.place.sql());
            leader.run(&drop).await?;
            let leases = std::mem::take(&mut leases);
            Self::fill(leases, place.clone(), layout, request, encoder).await
        };
        let why = match tokio::time::timeout(PATIENCE, start).await {
            Ok(Ok(shared)) => {
                leader.run("RELEASE SAVEPOINT arrowload_share").await?;
                return Ok(Some(shared));
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "they did not begin in time".to_owned(),
        };
        tracing::debug!(why, "several connections do not share this load");
        leader.run(UNDO).await?;
        // Drops what they may have created before the failure.
        let drop = format!(
            "SAVEPOINT arrowload_share; DROP TABLE IF EXISTS {}; RELEASE SAVEPOINT arrowload_share",
            place.sql()
        );
        if let Err(error) = leader.run(&drop).await {
            tracing::debug!(%error, "the table of connections that do not share a load stays, until another load removes it");
            leader.run(UNDO).await?;
        }
        Ok(None)
    }

    /// How many connections copy.
    pub(crate) fn count(&self) -> usize {
        self.lanes.count
    }

    /// Hands a batch to a connection.
    pub(crate) async fn write(&mut self, batch: &RecordBatch, first_row: u64) -> Result<()> {
        self.lanes.write(batch, first_row).await
    }

    /// Waits until every row is there, and commits them, where nobody looks. Returns rows and bytes.
    pub(crate) async fn finish(&mut self) -> Result<(u64, u64)> {
        self.lanes.finish().await?;
        let totals = self.lanes.totals();
        self.lanes.commit().await?;
        Ok(totals)
    }

    /// In the leader's transaction: creates the unique keys (while copying, the connections would have waited for each other
    /// because of them), and renames the table to the target's name, and its constraints to names that begin with it.
    pub(crate) async fn settle(&self, leader: &Lease, layout: &Layout) -> Result<()> {
        const CONSTRAINTS: &str = "SELECT conname::text FROM pg_catalog.pg_constraint \
            WHERE conrelid = $1::text::pg_catalog.regclass ORDER BY 1";
        let (own, target) = (self.place.sql(), &layout.place);
        if let Some(keys) = layout.key_definition() {
            leader.run(&format!("ALTER TABLE {own} ADD {keys}")).await?;
        }
        leader
            .run(&format!(
                "ALTER TABLE {own} RENAME TO {}",
                quote(&target.table)
            ))
            .await?;
        let found = leader
            .query_typed(CONSTRAINTS, &[(&target.sql(), Type::TEXT)])
            .await
            .map_err(from_pg)?;
        for row in found {
            let name: String = row.try_get(0).map_err(from_pg)?;
            let Some(rest) = name.strip_prefix(&self.place.table) else {
                continue;
            };
            let new = renamed(&target.table, rest);
            leader
                .run(&format!(
                    "ALTER TABLE {} RENAME CONSTRAINT {} TO {}",
                    target.sql(),
                    quote(&name),
                    quote(&new)
                ))
                .await?;
        }
        Ok(())
    }

    /// After the leader's transaction was rolled back.
    pub(crate) async fn clean_up(&mut self, leader: &Lease) -> Result<()> {
        self.lanes.cut();
        let place = self.place.sql();
        leader
            .run_alone(&format!("DROP TABLE IF EXISTS {place}"))
            .await
    }
}

/// Rolls the transaction back to the point where it began to share its load.
const UNDO: &str = "ROLLBACK TO SAVEPOINT arrowload_share; RELEASE SAVEPOINT arrowload_share";

/// Whether a subscriber would be sent the rows of a table that it does not know, and would stop at them: the table that several
/// connections fill is committed under a name of its own. `version` is the server's.
async fn publishes_new_tables(client: &Client, schema: &str, version: u32) -> Result<bool> {
    const ALL: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_publication WHERE puballtables)";
    const OF_SCHEMA: &str = " OR EXISTS (SELECT FROM pg_catalog.pg_publication_namespace p \
        JOIN pg_catalog.pg_namespace n ON n.oid = p.pnnspid WHERE n.nspname = $1)";
    let asked = if version < 150_000 {
        client.query_typed_one(ALL, &[]).await
    } else {
        let sql = format!("{ALL}{OF_SCHEMA}");
        client.query_typed_one(&sql, &[(&schema, Type::TEXT)]).await
    };
    asked.and_then(|row| row.try_get(0)).map_err(from_pg)
}

/// A name that begins with the table's, as far as there is room, and ends so.
fn renamed(table: &str, rest: &str) -> String {
    let room = 63_usize.saturating_sub(rest.len());
    let end = table.floor_char_boundary(room);
    format!("{}{rest}", &table[..end])
}

/// The beginning of the names of tables that loads create for themselves, and that remain if a load is cut off.
const OWN: &str = "arrowload_part_";

/// The name of such a table, beside its target.
pub(crate) fn own_name(target: &Place, digits: &str) -> Place {
    Place {
        schema: target.schema.clone(),
        table: format!("{OWN}{digits}"),
    }
}

/// The name of one that nobody else has.
fn own_place(target: &Place) -> Place {
    // Each state has keys of its own, which are random.
    let [a, b, c, d, ..] = RandomState::new()
        .hash_one(std::process::id())
        .to_be_bytes();
    let random = u32::from_be_bytes([a, b, c, d]);
    own_name(target, &format!("{random:08x}{:08x}", check_digits(random)))
}

/// The second half of the digits follows from the first, so that a table of somebody else's is not taken for one of ours because its
/// name happens to begin like theirs.
fn check_digits(random: u32) -> u32 {
    random.wrapping_mul(0x9e37_79b1) ^ 0x6172_6c64
}

/// Whether a table has the name of one that loads make for themselves.
pub(crate) fn is_own(table: &str) -> bool {
    let half = |digits: &str| u32::from_str_radix(digits, 16).ok();
    table
        .strip_prefix(OWN)
        .filter(|digits| digits.len() == 16 && !digits.contains('+'))
        .and_then(|digits| digits.split_at_checked(8))
        .and_then(|(random, check)| Some((half(random)?, half(check)?)))
        .is_some_and(|(random, check)| check_digits(random) == check)
}

/// Has the transaction hold a lock on the name to its end: as long as it is held, the load is in progress.
async fn hold(client: &Client, place: &Place) -> Result<()> {
    const LOCK: &str =
        "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended($1, 0))";
    let name = place.sql();
    client.batch_execute(STAY).await.map_err(from_pg)?;
    let held = client.execute_typed(LOCK, &[(&name, Type::TEXT)]).await;
    held.map(drop).map_err(from_pg)
}

/// Drops such tables that were left by loads that were cut off. Must run outside of a transaction. Those that it cannot drop are
/// left to the next load.
pub(crate) async fn drop_abandoned(client: &Lease, schema: &str) {
    if let Err(error) = try_drop_abandoned(client, schema).await {
        tracing::debug!(%error, "tables of loads that were cut off could not be removed");
        // Outside of a transaction, the server only warns of it.
        let _ = client.run("ROLLBACK").await;
    }
}

async fn try_drop_abandoned(client: &Lease, schema: &str) -> Result<()> {
    const FIND: &str = "SELECT c.relname::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
        WHERE n.nspname = $1 AND c.relkind = 'r' AND c.relname ~ '^arrowload_part_[0-9a-f]{16}$' \
        AND pg_catalog.pg_has_role(c.relowner, 'USAGE')";
    const TRY: &str =
        "SELECT pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtextextended($1, 0))";
    let found = client
        .query_typed(FIND, &[(&schema, Type::TEXT)])
        .await
        .map_err(from_pg)?;
    for row in found {
        let place = Place {
            schema: schema.to_owned(),
            table: row.try_get(0).map_err(from_pg)?,
        };
        if !is_own(&place.table) {
            continue;
        }
        client
            .run("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL lock_timeout = '2s'")
            .await?;
        let free: bool = client
            .query_typed_one(TRY, &[(&place.sql(), Type::TEXT)])
            .await
            .and_then(|row| row.try_get(0))
            .map_err(from_pg)?;
        if free {
            client
                .run(&format!("DROP TABLE IF EXISTS {}", place.sql()))
                .await?;
        }
        client.run("COMMIT").await?;
    }
    Ok(())
}
