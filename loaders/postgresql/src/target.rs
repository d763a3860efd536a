//! What a load finds at its target, and what it will do there: decided from one catalog query, before anything is changed.

use arrowload_core::{
    AfterFailure, ColumnPlan, Error, ErrorKind, LoadRequest, Plan, Result, TargetColumn,
    TargetColumns, Verify,
};
use tokio_postgres::Client;

use crate::catalog::{self, Look};
use crate::connect::Lease;
use crate::ident::TableName;
use crate::layout::{Layout, Way};
use crate::ledger::{Ledger, State};
use crate::parallel::Spread;
use crate::types::arrow_type;
use crate::{PostgresqlLoader, PostgresqlOptions, apply, parallel, privileges};

type Request = LoadRequest<PostgresqlOptions>;

/// Where targets and the ledger are, if they do not say so themselves.
#[derive(Debug, Clone)]
pub(crate) struct Schemas {
    pub(crate) target: Option<String>,
    pub(crate) ledger: Option<String>,
}

impl Schemas {
    /// What the catalog says of a target.
    pub(crate) async fn look(&self, client: &Client, target: &str) -> Result<(Look, Ledger)> {
        let name = TableName::parse(target)?;
        let (schema, ledger) = (self.target.as_deref(), self.ledger.as_deref());
        let look = catalog::look(client, &name, schema, ledger).await?;
        check_schema_is_open(&look)?;
        check_name_is_open(&look)?;
        let ledger = Ledger::of(&look.place, ledger);
        ledger.check_target(&look.place)?;
        Ok((look, ledger))
    }
}

/// Schemas of the server's own, and of temporary tables, which only their own connection sees.
fn check_schema_is_open(look: &Look) -> Result<()> {
    let place = &look.place;
    if !place.schema.starts_with("pg_") && place.schema != "information_schema" {
        return Ok(());
    }
    let message = format!(
        "the schema of {} is the server's own; choose another",
        place.sql()
    );
    Err(Error::new(ErrorKind::InvalidOption, message).with("target", place.sql()))
}

/// Loads drop tables with such names where no load is in progress.
fn check_name_is_open(look: &Look) -> Result<()> {
    if !parallel::is_own(&look.place.table) {
        return Ok(());
    }
    let message = format!(
        "{} is the name of a table that loads make for themselves, and remove; choose another",
        look.place.sql()
    );
    Err(Error::new(ErrorKind::InvalidOption, message).with("target", look.place.sql()))
}

/// What was found at a target, and what the load will do there.
#[derive(Debug)]
pub struct PostgresqlTarget {
    pub(crate) look: Look,
    pub(crate) layout: Layout,
    pub(crate) ledger: Ledger,
    pub(crate) ledger_state: State,
    /// How many connections copy, and why they are fewer than were asked for.
    pub(crate) copying: Spread,
    /// Hosts and ports.
    server: String,
}

impl PostgresqlTarget {
    /// Decides what the load will do with what was found, and refuses what it cannot. Changes nothing.
    pub(crate) async fn resolve(
        client: &Client,
        (look, ledger): (Look, Ledger),
        request: &Request,
        pool: (usize, &str),
    ) -> Result<Self> {
        catalog::check_schema(&look.place.schema, look.may_create)?;
        catalog::check_schema(&ledger.place().schema, look.ledger.may_create)?;
        let ledger_state = ledger.state(&look.ledger)?;
        let layout = Layout::resolve(request, &look)?;
        if let (Some(table), Some(_)) = (&look.table, layout.index_sql()) {
            let ours = ledger_state != State::Missing && ledger.created(client, table.oid).await?;
            if !ours {
                return Err(layout.no_index());
            }
        }
        privileges::check(&look, &layout, request, &ledger)?;
        let limits = request.load.limits();
        if apply::overwrites(request.load.mode, &layout) && !limits.is_empty() {
            let rows = apply::count_rows(client, &layout).await?;
            limits.check(0, rows, rows)?;
        }
        let copying = parallel::spread(client, request, &look, &layout, pool.0).await?;
        if copying.count > 1 && request.options.freeze {
            let message = "freeze needs the transaction that creates the table, and parallelism has several; leave one of them out";
            return Err(Error::new(ErrorKind::InvalidOption, message).with("key", "freeze"));
        }
        Ok(Self {
            look,
            layout,
            ledger,
            ledger_state,
            copying,
            server: pool.1.to_owned(),
        })
    }

    /// Connections that the load uses: beside several that copy, one leads.
    pub(crate) fn connections(&self) -> usize {
        match self.copying {
            Spread { count: 1, .. } | Spread { if_large: true, .. } => 1,
            Spread { count, .. } => count + 1,
        }
    }

    /// What the load would do.
    pub(crate) fn plan(&self, request: &Request) -> Plan {
        let layout = &self.layout;
        let Spread {
            count,
            why,
            if_large,
        } = self.copying;
        let mut plan = Plan::of::<PostgresqlLoader>(request);
        plan.target_exists = layout.table.is_some();
        plan.identity = Some(format!(
            "{}/{} {}",
            self.look.started,
            self.look.database,
            layout.place.sql()
        ));
        plan.ddl = self.statements(request);
        if plan.target_exists {
            let changes = layout.after.iter().cloned().chain(layout.index_sql());
            plan.schema_changes = changes.collect();
        }
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        plan.resources = vec![match count {
            1 => format!("1 connection to {}{why}", self.server),
            _ if if_large => format!(
                "1 connection to {}; a load of {} MiB and more has one for each core that copies, up to 4, if they are free",
                self.server,
                parallel::LARGE >> 20
            ),
            _ => format!(
                "{} connections to {}, {count} of which copy{why}",
                count + 1,
                self.server
            ),
        }];
        if count > 1 {
            let own = parallel::own_name(&layout.place, "…").sql();
            plan.resources.push(format!(
                "the table {own}, which then gets the target's name{}",
                if if_large { ", if several copy" } else { "" }
            ));
        }
        for (column, planned) in layout.columns.iter().zip(&mut plan.columns) {
            let is_unproved = request.load.verify == Verify::Checksum
                && column.conversion.is_some()
                && column.read_back.is_none();
            *planned = ColumnPlan {
                target_type: column.pg.name.clone(),
                support: column.support.clone(),
                unproved: is_unproved
                    .then(|| format!("{} keeps its values in another form", column.pg.name)),
                ..planned.clone()
            };
        }
        // One transaction: whatever ends it leaves nothing.
        plan.guarantees.after_failure = AfterFailure::UNCHANGED;
        plan.guarantees.parallelism = count;
        plan
    }

    /// All that would run, in its order.
    fn statements(&self, request: &Request) -> Vec<String> {
        let mut all: Vec<String> = self
            .ledger
            .statement(self.ledger_state)
            .into_iter()
            .collect();
        all.extend(request.options.pre_sql.iter().cloned());
        all.extend(self.layout.creation(request, &self.layout.place));
        if self.layout.way == Way::Staged {
            all.push(apply::stage_sql(&self.layout));
        }
        all.extend(self.layout.statements(request.load.mode));
        all.extend(request.options.post_sql.iter().cloned());
        all
    }

    /// Locks the table, if it exists. Appends and upserts go on side by side; an overwrite keeps other writers out, and never
    /// readers.
    pub(crate) async fn lock(&self, lease: &Lease, request: &Request) -> Result<()> {
        if self.look.table.is_none() {
            return Ok(());
        }
        let mode = if self.layout.keeps_writers_out(request) {
            "SHARE ROW EXCLUSIVE"
        } else {
            "ROW EXCLUSIVE"
        };
        let sql = format!("LOCK TABLE {} IN {mode} MODE", self.look.place.sql());
        lease.run(&sql).await.map_err(|error| match error.kind() {
            ErrorKind::TargetNotFound => self.changed().with_source(error),
            _ => error,
        })
    }

    /// Refuses to go on if what decides is not as it was found.
    pub(crate) fn check(&self, look: &Look) -> Result<()> {
        let same = (&look.place, &look.table) == (&self.look.place, &self.look.table);
        if same && self.ledger.state(&look.ledger)? == State::Current {
            return Ok(());
        }
        Err(self.changed())
    }

    fn changed(&self) -> Error {
        let message = format!(
            "{} was created, dropped or altered by another while the load began",
            self.look.place.sql()
        );
        Error::new(ErrorKind::Conflict, message).transient()
    }
}

/// The columns of an existing table.
pub(crate) fn describe(look: &Look) -> Option<TargetColumns> {
    let table = look.table.as_ref()?;
    let columns = table.columns.iter().map(|column| {
        let (pg, nullable) = (&column.pg, !column.not_null);
        TargetColumn::new(&column.name, &pg.name, arrow_type(&pg.kind), nullable)
    });
    Some(TargetColumns::new(columns.collect()))
}
