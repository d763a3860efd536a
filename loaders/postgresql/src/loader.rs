//! The loader: connects, looks at targets, begins loads, and knows which have committed.

use arrow_schema::DataType;
use arrowload_core::{
    Atomicity, BatchSize, Begun, Capabilities, DataLoader, Error, ErrorKind, LoadRequest,
    LoadState, Mode, Plan, Receipt, Rejects, Result, TargetColumns, TargetNames, TypeSupport,
};
use serde_json::{Map, Value};
use tokio_postgres::Client;

use crate::catalog::Look;
use crate::config::PostgresqlConfig;
use crate::config_url;
use crate::connect::{BEGIN, Connections, Lease};
use crate::ident::check;
use crate::ledger::{Ledger, Load, State};
use crate::parallel::{self, Spread};
use crate::session::{Opened, PostgresqlSession, transaction_id};
use crate::target::{PostgresqlTarget, Schemas, describe};
use crate::{PostgresqlOptions, apply};

/// Loads into PostgreSQL.
#[derive(Debug)]
pub struct PostgresqlLoader {
    connections: Connections,
    schemas: Schemas,
}

type Request = LoadRequest<PostgresqlOptions>;

impl PostgresqlLoader {
    async fn look(&self, client: &Client, request: &Request) -> Result<(Look, Ledger)> {
        self.schemas.look(client, &request.target).await
    }

    async fn resolve_on(
        &self,
        client: &Client,
        looked: (Look, Ledger),
        request: &Request,
    ) -> Result<PostgresqlTarget> {
        let pool = (self.connections.size(), self.connections.place());
        PostgresqlTarget::resolve(client, looked, request, pool).await
    }

    /// Begins the load's transaction, and locks the table, so that what was decided stays true. Returns the transaction's id, and
    /// the receipt of the load if it has committed already.
    async fn open(
        &self,
        lease: &Lease,
        request: &Request,
        target: &mut PostgresqlTarget,
    ) -> Result<(String, Option<Receipt>)> {
        let begin = async |target: &PostgresqlTarget| {
            let load = Load {
                target: &target.look.place,
                id: &request.load_id,
            };
            let (begun, id, found) = futures::join!(
                lease.run(BEGIN),
                transaction_id(lease),
                target.ledger.find(lease, &load, State::Current)
            );
            begun?;
            Ok::<_, Error>((id?, found?))
        };
        let look = || self.look(lease, request);
        // All statements that do not depend on each other are sent at once.
        let (transaction, locked, looked) = if let Some(sql) = &request.options.pre_sql {
            let sql = apply::within_transaction(sql);
            let (begun, ran, id, looked) = futures::join!(
                begin(target),
                lease.run(&sql),
                transaction_id(lease),
                look()
            );
            let (transaction, found) = begun?;
            if found.is_some() {
                return Ok((transaction, found));
            }
            ran.map_err(|error| apply::explain_sql(error, "pre_sql"))?;
            if id? != transaction {
                let message =
                    "pre_sql ended the load's transaction; it must hold no COMMIT or ROLLBACK";
                return Err(Error::new(ErrorKind::InvalidOption, message).with("key", "pre_sql"));
            }
            // The target is read again, because the user's SQL may have changed it.
            *target = self.resolve_on(lease, looked?, request).await?;
            let (locked, looked) = futures::join!(target.lock(lease, request), look());
            (transaction, locked, looked)
        } else {
            let (begun, locked, looked) =
                futures::join!(begin(target), target.lock(lease, request), look());
            let (transaction, found) = begun?;
            if found.is_some() {
                return Ok((transaction, found));
            }
            (transaction, locked, looked)
        };
        locked?;
        target.check(&looked?.0)?;
        Ok((transaction, None))
    }
}

impl DataLoader for PostgresqlLoader {
    const NAME: &'static str = "postgresql";
    const URL_SCHEMES: &'static [&'static str] = config_url::URL_SCHEMES;
    const ENVIRONMENT: &'static [(&'static str, &'static str)] = config_url::ENVIRONMENT;
    const CAPABILITIES: Capabilities = Capabilities::new(&Mode::ALL, Atomicity::Load)
        .create_target()
        .schema_evolution()
        .load_ids()
        .target_names(TargetNames::Quoted)
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
    type Resolved = PostgresqlTarget;
    type Session = PostgresqlSession;

    async fn connect(config: PostgresqlConfig) -> Result<Self> {
        let schemas = Schemas {
            target: config.schema.clone(),
            ledger: config.ledger_schema.clone(),
        };
        for schema in [&schemas.target, &schemas.ledger].into_iter().flatten() {
            check("a schema", schema)?;
        }
        let connections = Connections::new(&config)?;
        connections.lease().await?.give_back();
        Ok(Self {
            connections,
            schemas,
        })
    }

    fn supports_type(data_type: &DataType) -> TypeSupport {
        let field = arrow_schema::Field::new("column", data_type.clone(), true);
        let fitted = crate::matrix::for_new_column(&field, &PostgresqlOptions::default());
        fitted.map_or_else(
            |why| TypeSupport::Unsupported(why.into()),
            |new| new.support,
        )
    }

    async fn resolve(&self, request: &Request) -> Result<PostgresqlTarget> {
        self.connections.check_share(request.destinations)?;
        let lease = self.connections.lease_among(request.destinations).await?;
        let target = match self.look(&lease, request).await {
            Ok(looked) => self.resolve_on(&lease, looked, request).await,
            Err(error) => Err(error),
        };
        lease.give_back();
        target
    }

    fn plan(request: &Request, target: &PostgresqlTarget) -> Plan {
        target.plan(request)
    }

    async fn begin(
        &self,
        request: Request,
        mut target: PostgresqlTarget,
        rejects: Rejects,
    ) -> Result<Begun<PostgresqlSession>> {
        let lease = self
            .connections
            .lease_for_load(target.connections(), request.destinations)
            .await?;
        if target.look.has_parts {
            parallel::drop_abandoned(&lease, &target.look.place.schema).await;
        }
        target
            .ledger
            .make_current(&lease, target.ledger_state)
            .await?;
        let planned = target.copying;
        let opened = self.open(&lease, &request, &mut target).await;
        let transaction = match opened {
            Ok((transaction, None)) => transaction,
            Ok((_, Some(receipt))) => {
                lease.run("ROLLBACK").await?;
                lease.give_back();
                return Ok(Begun::AlreadyLoaded(receipt));
            }
            // It is begun again at once, and by the same connection.
            Err(error) if error.kind() == ErrorKind::Conflict => {
                lease.run("ROLLBACK").await?;
                lease.give_back();
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        // If the user's SQL has changed the target, the load may need fewer connections; it never gets more.
        let spread = Spread {
            count: planned.count.min(target.copying.count),
            ..planned
        };
        let opened = Opened {
            lease,
            ledger: target.ledger,
            layout: target.layout,
            transaction,
        };
        PostgresqlSession::start(opened, &self.connections, spread, request, rejects)
            .await
            .map(Begun::Session)
    }

    async fn describe(&self, target: &str) -> Result<Option<TargetColumns>> {
        let lease = self.connections.lease().await?;
        let looked = self.schemas.look(&lease, target).await;
        lease.give_back();
        looked.map(|(look, _)| describe(&look))
    }

    async fn find_load(&self, target: &str, load_id: &str) -> Result<LoadState> {
        let lease = self.connections.lease().await?;
        let (look, ledger) = self.schemas.look(&lease, target).await?;
        let state = ledger.state(&look.ledger)?;
        if state == State::Missing {
            lease.give_back();
            return Ok(LoadState::NotCommitted);
        }
        let load = Load {
            target: &look.place,
            id: load_id,
        };
        // The target is looked at again once no attempt of the load is in progress any more.
        let (begun, locked, found, look, ended) = futures::join!(
            lease.run("BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY"),
            ledger.lock(&lease, &load),
            ledger.find(&lease, &load, state),
            self.schemas.look(&lease, target),
            lease.run("COMMIT")
        );
        begun?;
        locked?;
        let (found, (look, _)) = (found?, look?);
        ended?;
        lease.give_back();
        if found.is_some() && look.table.is_none() {
            let message = format!(
                "the load `{load_id}` has committed into {}, which is gone since; give another load_id to load its rows again",
                look.place.sql()
            );
            return Err(Error::new(ErrorKind::TargetNotFound, message));
        }
        Ok(found.map_or(LoadState::NotCommitted, LoadState::committed))
    }

    async fn ping(&self) -> Result<()> {
        let lease = self.connections.lease().await?;
        lease.run("SELECT 1").await?;
        lease.give_back();
        Ok(())
    }

    fn config_from_url(url: &str) -> Result<Map<String, Value>> {
        config_url::from_url(url)
    }
}
