//! How several connections share one load, and still all of it arrives or nothing.

use arrow_array::RecordBatch;
use arrowload_core::{Error, ErrorKind, LoadRequest, Result, Verify};

use crate::PostgresqlOptions;
use crate::apply;
use crate::catalog::{self, Place};
use crate::connect::{Connections, Lease};
use crate::encode::CopyEncoder;
use crate::error::from_pg;
use crate::ident::quote;
use crate::lanes::Lanes;
use crate::layout::{Found, Layout, Way};
use crate::prepared::{self, Prepared};

type Request = LoadRequest<PostgresqlOptions>;

/// How the connections' rows become visible at once.
enum Manner {
    /// They fill a new table of a name of its own, which then gets the target's.
    Renamed(Place),
    /// They copy into the table, and commit by prepared transactions.
    Prepared(Prepared),
    /// They stage in a table of a name of its own, from which one transaction moves the rows.
    Staged(Place),
}

/// Several connections that share a load.
pub(crate) struct Shared {
    lanes: Lanes,
    manner: Manner,
}

/// How many connections copy. Rows that are set aside or proved are copied by one.
pub(crate) fn connections(request: &Request, connections: &Connections) -> usize {
    let wanted = request
        .parallelism
        .unwrap_or(1)
        .min(connections.size().saturating_sub(1))
        .max(1);
    if request.rejects.accepts() || request.verify == Verify::Checksum {
        1
    } else {
        wanted
    }
}

fn copy_sql(place: &Place, layout: &Layout) -> String {
    format!(
        "COPY {} ({}) FROM STDIN (FORMAT binary)",
        place.sql(),
        layout.column_list()
    )
}

impl Shared {
    /// Gets ready for rows. The layout says afterwards whether they are staged, and where.
    pub(crate) async fn start(
        leader: &Lease,
        connections: &Connections,
        count: usize,
        layout: &mut Layout,
        request: &Request,
        encoder: &CopyEncoder,
    ) -> Result<Self> {
        if request.options.freeze {
            let message = "freeze needs the transaction that creates the table, and parallelism has several; leave one of them out";
            return Err(Error::new(ErrorKind::InvalidOption, message).with("key", "freeze"));
        }
        let leases = connections.leases(count).await?;
        let Some(first) = leases.first() else {
            return Err(Error::new(ErrorKind::Unexpected, "no connection copies"));
        };
        prepared::drop_abandoned(first, &layout.place.schema).await?;
        let sql_of_user = request.options.pre_sql.is_some() || request.options.post_sql.is_some();
        let direct = layout.way == Way::Direct && !apply::overwrites(request.mode, layout);
        let (manner, sql) = if direct && layout.table.is_none() {
            let place = prepared::own_table(leader, &layout.place).await?;
            let found = Found {
                version: catalog::version(first).await?,
                ..Found::default()
            };
            for statement in Layout::resolve(request, place.clone(), found)?.before {
                first.run_alone(&statement).await?;
            }
            let sql = copy_sql(&place, layout);
            (Manner::Renamed(place), sql)
        } else if direct && !sql_of_user && prepared::are_allowed(first, count).await? {
            (
                Manner::Prepared(Prepared::of(leader, &layout.place).await?),
                copy_sql(&layout.place, layout),
            )
        } else {
            let place = prepared::own_table(leader, &layout.place).await?;
            first
                .run_alone(&apply::shared_stage_sql(
                    layout,
                    &place,
                    layout.keys.is_some(),
                ))
                .await?;
            (layout.way, layout.stage) = (Way::Staged, place.sql());
            let sql = format!("COPY {} FROM STDIN (FORMAT binary)", place.sql());
            (Manner::Staged(place), sql)
        };
        Ok(Self {
            lanes: Lanes::start(leases, &sql, encoder).await?,
            manner,
        })
    }

    /// Whether the table is created under a name of its own.
    pub(crate) fn creates(&self) -> bool {
        matches!(self.manner, Manner::Renamed(_))
    }

    /// How the load says that it was done.
    pub(crate) fn name(&self) -> &'static str {
        match self.manner {
            Manner::Renamed(_) => "renamed",
            Manner::Prepared(_) => "prepared transactions",
            Manner::Staged(_) => "staged",
        }
    }

    /// How many connections copy.
    pub(crate) fn count(&self) -> usize {
        self.lanes.count
    }

    /// Hands a batch to a connection.
    pub(crate) async fn write(&mut self, batch: &RecordBatch, first_row: u64) -> Result<()> {
        self.lanes.write(batch, first_row).await
    }

    /// Waits until every row is there; what nobody sees is committed. Answers with rows and bytes.
    pub(crate) async fn finish(&mut self) -> Result<(u64, u64)> {
        self.lanes.finish().await?;
        let totals = self.lanes.totals();
        if !matches!(self.manner, Manner::Prepared(_)) {
            self.lanes.commit().await?;
        }
        Ok(totals)
    }

    /// In the leader's transaction: gives the table its name, or drops what rows were moved from. Answers with the table's id
    /// if it was created.
    pub(crate) async fn settle(&self, leader: &Lease, layout: &Layout) -> Result<Option<u32>> {
        match &self.manner {
            Manner::Renamed(place) => rename(leader, place, layout).await.map(Some),
            Manner::Staged(place) => leader
                .run(&format!("DROP TABLE {}", place.sql()))
                .await
                .map(|()| None),
            Manner::Prepared(_) => Ok(None),
        }
    }

    /// What the record of the load is to say, so that prepared transactions are known to belong to it.
    pub(crate) fn attempt(&self) -> Option<&str> {
        if let Manner::Prepared(names) = &self.manner {
            Some(names.attempt())
        } else {
            None
        }
    }

    /// Before the leader's commit: nothing can fail any more.
    pub(crate) async fn prepare(&self) -> Result<()> {
        if let Manner::Prepared(names) = &self.manner {
            self.lanes.prepare(names).await
        } else {
            Ok(())
        }
    }

    /// The leader's commit was refused.
    pub(crate) async fn roll_back(&self) {
        if let Manner::Prepared(names) = &self.manner {
            self.lanes.roll_back(names).await;
        }
    }

    /// After the leader's commit: the others follow. If one cannot be reached, asking for the load completes it.
    pub(crate) async fn commit(&mut self) -> Result<()> {
        let Manner::Prepared(names) = &self.manner else {
            return Ok(());
        };
        let lost = |error| {
            Error::new(
                ErrorKind::CommitUnknown,
                "a connection was lost while the load committed",
            )
            .with_source(error)
        };
        self.lanes.commit_prepared(names).await.map_err(lost)
    }

    /// After the leader's transaction was rolled back.
    pub(crate) async fn clean_up(self, leader: &Lease) -> Result<()> {
        let Self { lanes, manner } = self;
        drop(lanes);
        match manner {
            Manner::Renamed(place) | Manner::Staged(place) => {
                leader
                    .run_alone(&format!("DROP TABLE IF EXISTS {}", place.sql()))
                    .await
            }
            Manner::Prepared(_) => Ok(()),
        }
    }
}

/// Names of constraints and of their indexes begin with that of the table.
async fn rename(leader: &Lease, place: &Place, layout: &Layout) -> Result<u32> {
    const CONSTRAINTS: &str =
        "SELECT conname::text FROM pg_catalog.pg_constraint WHERE conrelid = $1 ORDER BY 1";
    leader
        .run(&format!(
            "ALTER TABLE {} RENAME TO {}",
            place.sql(),
            quote(&layout.place.table)
        ))
        .await?;
    let Some((oid, _)) = catalog::find(leader, &layout.place).await? else {
        return Err(Error::new(
            ErrorKind::Unexpected,
            "the table is not there after it was renamed",
        ));
    };
    for row in leader.query(CONSTRAINTS, &[&oid]).await.map_err(from_pg)? {
        let name: String = row.try_get(0).map_err(from_pg)?;
        let Some(rest) = name.strip_prefix(&place.table) else {
            continue;
        };
        let room = 63_usize.saturating_sub(rest.len());
        let end = (0..=room.min(layout.place.table.len()))
            .rev()
            .find(|end| layout.place.table.is_char_boundary(*end))
            .unwrap_or(0);
        let new = format!("{}{rest}", &layout.place.table[..end]);
        leader
            .run(&format!(
                "ALTER TABLE {} RENAME CONSTRAINT {} TO {}",
                layout.place.sql(),
                quote(&name),
                quote(&new)
            ))
            .await?;
    }
    Ok(oid)
}
