//! The loader: connects, says what a load would do, begins loads, and knows which have committed.

use arrow_schema::DataType;
use arrowload_core::{
    Atomicity, BatchSize, Capabilities, ColumnPlan, DataLoader, Error, ErrorKind, LoadRequest,
    LoadState, Mode, Plan, Result, TypeSupport,
};
use serde_json::{Map, Value};
use tokio_postgres::Client;

use crate::PostgresqlOptions;
use crate::catalog::{self, Place};
use crate::config::{self, PostgresqlConfig};
use crate::connect::{Connections, Lease};
use crate::error::from_pg;
use crate::ident::{TableName, check};
use crate::layout::{Found, Layout};
use crate::ledger::{Ledger, Load};
use crate::prepared;
use crate::rights;
use crate::session::{Begun, PostgresqlSession, transaction_id};
use crate::share;

/// Loads into PostgreSQL.
#[derive(Debug)]
pub struct PostgresqlLoader {
    connections: Connections,
    schema: Option<String>,
    ledger_schema: Option<String>,
}

type Request = LoadRequest<PostgresqlOptions>;

impl PostgresqlLoader {
    async fn place(&self, client: &Client, target: &str) -> Result<Place> {
        let place =
            catalog::place(client, &TableName::parse(target)?, self.schema.as_deref()).await?;
        check_schema_is_open(&place)?;
        self.ledger(&place).check_target(&place)?;
        Ok(place)
    }

    fn ledger(&self, place: &Place) -> Ledger {
        Ledger::of(place, self.ledger_schema.as_deref())
    }

    /// What the catalog says, as far as the mode asks for it.
    async fn look(&self, client: &Client, request: &Request, place: &Place) -> Result<Found> {
        let mut found = Found {
            version: catalog::version(client).await?,
            ..Found::default()
        };
        let Some((oid, partitioned)) = catalog::find(client, place).await? else {
            return Ok(found);
        };
        found.table = Some(catalog::table(client, oid, partitioned).await?);
        if !request.keys.is_empty() {
            found.indexes = catalog::unique_indexes(client, oid).await?;
        }
        if request.mode == Mode::Upsert {
            found.ours = self.ledger(place).created(client, oid).await?;
        }
        if request.mode == Mode::Overwrite {
            found.references = catalog::references(client, oid).await?;
        }
        Ok(found)
    }

    /// Begins the load's transaction, and locks the table, so that what is decided stays true.
    async fn begin_in(&self, lease: Lease, request: &Request) -> Result<Begun> {
        let place = self.place(&lease, &request.target).await?;
        catalog::check_schema(&lease, &place.schema).await?;
        let ledger = self.ledger(&place);
        if let Some(schema) = &self.ledger_schema {
            catalog::check_schema(&lease, schema).await?;
        }
        // What would be refused leaves nothing behind, not even the ledger.
        let first_look = self.look(&lease, request, &place).await?;
        let expected = Layout::resolve(request, place.clone(), first_look)?;
        expected.conversions(&request.schema)?;
        ledger.ensure(&lease).await?;
        prepared::recover(&lease, &ledger, &place).await?;
        // With row security on, a COPY or DELETE would pass over rows that this user may not see.
        lease
            .run("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL row_security = off")
            .await?;
        let transaction = transaction_id(&lease).await?;
        if let Some(sql) = &request.options.pre_sql {
            lease
                .run(&crate::apply::within_transaction(sql))
                .await
                .map_err(|error| crate::apply::explain_sql(error, "pre_sql"))?;
            check_unbroken(&lease, &transaction).await?;
        }
        self.lock(&lease, &place, expected.keeps_writers_out(request))
            .await?;
        let found = self.look(&lease, request, &place).await?;
        let layout = Layout::resolve(request, place, found)?;
        Ok(Begun {
            lease,
            connections: self.connections.clone(),
            ledger,
            layout,
            transaction,
        })
    }

    /// Appends and upserts go on side by side; an overwrite keeps other writers out, and never readers.
    async fn lock(&self, lease: &Lease, place: &Place, alone: bool) -> Result<()> {
        if catalog::find(lease, place).await?.is_none() {
            return Ok(());
        }
        let mode = if alone {
            "SHARE ROW EXCLUSIVE"
        } else {
            "ROW EXCLUSIVE"
        };
        lease
            .run(&format!("LOCK TABLE {} IN {mode} MODE", place.sql()))
            .await
    }
}

/// Schemas of the server's own, and of temporary tables, which only their own connection sees.
fn check_schema_is_open(place: &Place) -> Result<()> {
    if !place.schema.starts_with("pg_") && place.schema != "information_schema" {
        return Ok(());
    }
    let message = format!(
        "the schema of {} is the server's own; choose another",
        place.sql()
    );
    Err(Error::new(ErrorKind::InvalidOption, message).with("target", place.sql()))
}

async fn check_unbroken(lease: &Lease, transaction: &str) -> Result<()> {
    if transaction_id(lease).await? == transaction {
        return Ok(());
    }
    let message = "pre_sql ended the load's transaction; it must hold no COMMIT or ROLLBACK";
    Err(Error::new(ErrorKind::InvalidOption, message).with("key", "pre_sql"))
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
        let count = share::connections(&request, &self.connections);
        // Beside those that copy, one leads.
        let lease = self
            .connections
            .lease_for_load(if count > 1 { count + 1 } else { 1 })
            .await?;
        let begun = self.begin_in(lease, &request).await?;
        PostgresqlSession::start(begun, request).await
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
        let lease = self.connections.lease().await?;
        let place = self.place(&lease, &request.target).await?;
        catalog::check_schema(&lease, &place.schema).await?;
        let found = self.look(&lease, request, &place).await?;
        let layout = Layout::resolve(request, place, found)?;
        let connections = share::connections(request, &self.connections);
        let oid = catalog::find(&lease, &layout.place)
            .await?
            .map(|(oid, _)| oid);
        rights::check(
            &lease,
            &layout,
            oid,
            request.mode,
            &self.ledger(&layout.place),
            connections,
        )
        .await?;
        lease.give_back();
        let mut plan = Plan::from_types(&request.schema, Self::supports_type);
        plan.target_exists = layout.table.is_some();
        plan.ddl = layout.statements(request);
        plan.resources = vec![match connections {
            1 => format!("1 connection to {}", self.connections.place()),
            more => format!(
                "{} connections to {}, {more} of which copy",
                more + 1,
                self.connections.place()
            ),
        }];
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
        let place = self.place(&lease, target).await?;
        let ledger = self.ledger(&place);
        if !ledger.exists(&lease).await? {
            lease.give_back();
            return Ok(LoadState::NotCommitted);
        }
        lease.run("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
        let found = ledger
            .find(
                &lease,
                &Load {
                    target: &place,
                    id: load_id,
                },
            )
            .await?;
        lease.run("COMMIT").await?;
        // A load that is recorded may have been cut off before all of its connections had committed.
        prepared::recover(&lease, &ledger, &place).await?;
        if found.is_some() && catalog::find(&lease, &place).await?.is_none() {
            let message = format!(
                "the load `{load_id}` has committed into {}, which is gone since; give another load_id to load its rows again",
                place.sql()
            );
            return Err(Error::new(ErrorKind::TargetNotFound, message));
        }
        lease.give_back();
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
