//! The loader: connects, says what a load would do, begins loads, and knows which have committed.

use arrow_schema::DataType;
use arrowload_core::{
    Atomicity, BatchSize, Capabilities, ColumnPlan, DataLoader, Error, ErrorKind, LoadRequest,
    LoadState, Mode, Plan, Result, TypeSupport,
};
use serde_json::{Map, Value};
use tokio_postgres::Client;

use crate::PostgresqlOptions;
use crate::catalog::{self, Look};
use crate::config::{self, PostgresqlConfig};
use crate::connect::{BEGIN, Connections, Lease};
use crate::error::from_pg;
use crate::ident::{TableName, check};
use crate::layout::Layout;
use crate::ledger::{Ledger, Load};
use crate::parallel;
use crate::privileges;
use crate::session::{Begun, PostgresqlSession, transaction_id};

/// Loads into PostgreSQL.
#[derive(Debug)]
pub struct PostgresqlLoader {
    connections: Connections,
    schema: Option<String>,
    ledger_schema: Option<String>,
}

type Request = LoadRequest<PostgresqlOptions>;

/// What was found at the target, and what the load will do there.
struct Resolved {
    look: Look,
    layout: Layout,
    ledger: Ledger,
    /// The ledger's table is there.
    ledger_is_there: bool,
    /// How many connections copy, and why they are fewer than were asked for.
    connections: (usize, Option<&'static str>),
}

impl PostgresqlLoader {
    /// What the catalog says.
    async fn look(&self, client: &Client, target: &str) -> Result<Look> {
        let (schema, ledger) = (self.schema.as_deref(), self.ledger_schema.as_deref());
        let look = catalog::look(client, &TableName::parse(target)?, schema, ledger).await?;
        check_schema_is_open(&look)?;
        self.ledger(&look).check_target(&look.place)?;
        Ok(look)
    }

    fn ledger(&self, look: &Look) -> Ledger {
        Ledger::of(&look.place, self.ledger_schema.as_deref())
    }

    /// Decides what the load will do, and refuses what it cannot. Changes nothing.
    async fn resolve_on(&self, client: &Client, request: &Request) -> Result<Resolved> {
        let look = self.look(client, &request.target).await?;
        catalog::check_schema(&look.place.schema, look.may_create)?;
        let ledger = self.ledger(&look);
        catalog::check_schema(&ledger.place().schema, look.ledger.may_create)?;
        let ledger_is_there = ledger.is_there(&look.ledger)?;
        let ours = match &look.table {
            Some(table) if request.mode == Mode::Upsert && ledger_is_there => {
                ledger.created(client, table.oid).await?
            }
            _ => false,
        };
        let layout = Layout::resolve(request, &look, ours)?;
        privileges::check(&look, &layout, request, &ledger)?;
        let connections = parallel::connections(request, &layout, self.connections.size());
        if connections.0 > 1 && request.options.freeze {
            let message = "freeze needs the transaction that creates the table, and parallelism has several; leave one of them out";
            return Err(Error::new(ErrorKind::InvalidOption, message).with("key", "freeze"));
        }
        Ok(Resolved {
            look,
            layout,
            ledger,
            ledger_is_there,
            connections,
        })
    }

    async fn resolve(&self, request: &Request) -> Result<Resolved> {
        let lease = self.connections.lease().await?;
        let resolved = self.resolve_on(&lease, request).await?;
        lease.give_back();
        Ok(resolved)
    }

    /// Begins the load's transaction, and locks the table, so that what was decided stays true.
    async fn begin_on(
        &self,
        lease: Lease,
        request: &Request,
        mut resolved: Resolved,
    ) -> Result<(Begun, usize)> {
        let (count, _) = resolved.connections;
        if !resolved.ledger_is_there {
            resolved.ledger.create(&lease).await?;
        }
        let (transaction, locked, look);
        if let Some(sql) = &request.options.pre_sql {
            let sql = crate::apply::within_transaction(sql);
            let (begun, first, ran, last) = futures::join!(
                lease.run(BEGIN),
                transaction_id(&lease),
                lease.run(&sql),
                transaction_id(&lease)
            );
            begun?;
            transaction = first?;
            ran.map_err(|error| crate::apply::explain_sql(error, "pre_sql"))?;
            if last? != transaction {
                let message =
                    "pre_sql ended the load's transaction; it must hold no COMMIT or ROLLBACK";
                return Err(Error::new(ErrorKind::InvalidOption, message).with("key", "pre_sql"));
            }
            // What the SQL has made of the target counts.
            resolved = self.resolve_on(&lease, request).await?;
            let again = self.look(&lease, &request.target);
            (locked, look) = futures::join!(lock(&lease, &resolved, request), again);
        } else {
            // All on its way at once.
            let (begun, id);
            (begun, id, locked, look) = futures::join!(
                lease.run(BEGIN),
                transaction_id(&lease),
                lock(&lease, &resolved, request),
                self.look(&lease, &request.target)
            );
            begun?;
            transaction = id?;
        }
        locked?;
        if look?.table != resolved.look.table {
            return Err(changed(&resolved));
        }
        let begun = Begun {
            lease,
            ledger: resolved.ledger,
            layout: resolved.layout,
            transaction,
        };
        Ok((begun, resolved.connections.0.min(count)))
    }
}

/// Appends and upserts go on side by side; an overwrite keeps other writers out, and never readers.
async fn lock(lease: &Lease, resolved: &Resolved, request: &Request) -> Result<()> {
    if resolved.look.table.is_none() {
        return Ok(());
    }
    let mode = if resolved.layout.keeps_writers_out(request) {
        "SHARE ROW EXCLUSIVE"
    } else {
        "ROW EXCLUSIVE"
    };
    let sql = format!("LOCK TABLE {} IN {mode} MODE", resolved.look.place.sql());
    lease.run(&sql).await.map_err(|error| match error.kind() {
        ErrorKind::TargetNotFound => changed(resolved).with_source(error),
        _ => error,
    })
}

/// The next look finds it as it is now.
fn changed(resolved: &Resolved) -> Error {
    let message = format!(
        "{} was created, dropped or altered by another while the load began",
        resolved.look.place.sql()
    );
    Error::new(ErrorKind::Conflict, message).transient()
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

impl DataLoader for PostgresqlLoader {
    const NAME: &'static str = "postgresql";
    const URL_SCHEMES: &'static [&'static str] = config::URL_SCHEMES;
    const ENVIRONMENT: &'static [(&'static str, &'static str)] = config::ENVIRONMENT;
    const CAPABILITIES: Capabilities = Capabilities::new(&Mode::ALL, Atomicity::Load)
        .create_target()
        .schema_evolution()
        .load_ids()
        .skip_rows()
        .checksum()
        .parallel()
        .change_limits()
        .batch(BatchSize {
            min_rows: 0,
            max_rows: 1 << 16,
            max_bytes: 16 << 20,
        });

    type Config = PostgresqlConfig;
    type Options = PostgresqlOptions;
    type Session = PostgresqlSession;

    async fn connect(config: PostgresqlConfig) -> Result<Self> {
        for schema in [&config.schema, &config.ledger_schema]
            .into_iter()
            .flatten()
        {
            check("a schema", schema)?;
        }
        let connections = Connections::new(&config)?;
        connections.lease().await?.give_back();
        Ok(Self {
            connections,
            schema: config.schema,
            ledger_schema: config.ledger_schema,
        })
    }

    async fn begin(&self, request: Request) -> Result<PostgresqlSession> {
        let resolved = self.resolve(&request).await?;
        let (count, _) = resolved.connections;
        // Beside those that copy, one leads.
        let lease = self
            .connections
            .lease_for_load(if count > 1 { count + 1 } else { 1 })
            .await?;
        let (begun, count) = self.begin_on(lease, &request, resolved).await?;
        PostgresqlSession::start(begun, &self.connections, count, request).await
    }

    fn supports_type(data_type: &DataType) -> TypeSupport {
        let field = arrow_schema::Field::new("column", data_type.clone(), true);
        let fitted = crate::matrix::for_new_column(&field, &PostgresqlOptions::default());
        fitted.map_or_else(
            |why| TypeSupport::Unsupported(why.into()),
            |new| new.support,
        )
    }

    async fn plan(&self, request: &Request) -> Result<Plan> {
        let Resolved {
            layout,
            connections,
            ..
        } = self.resolve(request).await?;
        let mut plan = Plan::from_types(&request.schema, Self::supports_type);
        plan.target_exists = layout.table.is_some();
        plan.ddl = layout.statements(request);
        plan.resources = vec![resource(connections, &self.connections)];
        for (column, planned) in layout.columns.iter().zip(&mut plan.columns) {
            *planned = ColumnPlan {
                target_type: column.pg.name.clone(),
                support: column.support.clone(),
                ..planned.clone()
            };
        }
        Ok(plan)
    }

    async fn find_load(&self, target: &str, load_id: &str) -> Result<LoadState> {
        let lease = self.connections.lease().await?;
        let look = self.look(&lease, target).await?;
        let ledger = self.ledger(&look);
        if look.ledger.may_create.is_none() || !ledger.is_there(&look.ledger)? {
            lease.give_back();
            return Ok(LoadState::NotCommitted);
        }
        let load = Load {
            target: &look.place,
            id: load_id,
        };
        // The target is looked at again once no attempt of the load is under way any more.
        let (begun, found, look, ended) = futures::join!(
            lease.run("BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY"),
            ledger.find(&lease, &load),
            self.look(&lease, target),
            lease.run("COMMIT")
        );
        begun?;
        let (found, look) = (found?, look?);
        ended?;
        lease.give_back();
        if found.is_some() && look.table.is_none() {
            let message = format!(
                "the load `{load_id}` has committed into {}, which is gone since; give another load_id to load its rows again",
                look.place.sql()
            );
            return Err(Error::new(ErrorKind::TargetNotFound, message));
        }
        Ok(found.map_or(LoadState::NotCommitted, LoadState::Committed))
    }

    async fn ping(&self) -> Result<()> {
        let lease = self.connections.lease().await?;
        lease.query_one("SELECT 1", &[]).await.map_err(from_pg)?;
        lease.give_back();
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        self.connections.close();
        Ok(())
    }

    fn config_from_url(url: &str) -> Result<Map<String, Value>> {
        config::from_url(url)
    }
}

/// The connections that a load uses.
fn resource((count, why): (usize, Option<&str>), connections: &Connections) -> String {
    let place = connections.place();
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    match count {
        1 => format!("1 connection to {place}{why}"),
        _ => format!(
            "{} connections to {place}, {count} of which copy{why}",
            count + 1
        ),
    }
}
