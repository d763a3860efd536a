//! The loader: what Iceberg tables can do, and what a load would do to them.

use std::sync::Arc;

use arrow_schema::DataType;
use arrowload_core::{
    Atomicity, BatchSize, Begun, Capabilities, DataLoader, Error, ErrorKind, LoadRequest,
    LoadState, Mode, Plan, Rejects, Result, TargetColumns, TargetNames, TypeSupport,
};

use crate::catalog::Catalog;
use crate::config::IcebergConfig;
use crate::ledger::{find_receipt, state};
use crate::options::IcebergOptions;
use crate::plan::{described, planned};
use crate::resolve::{Found, open, resolve};
use crate::session::IcebergSession;
use crate::storage::Stores;
use crate::table::Table;
use crate::types::{Form, support};

/// Loads into Iceberg tables. See the crate's page.
#[derive(Debug)]
pub struct IcebergLoader {
    config: IcebergConfig,
    stores: Stores,
    catalog: Arc<Catalog>,
}

impl DataLoader for IcebergLoader {
    const NAME: &'static str = "iceberg";
    const URL_SCHEMES: &'static [&'static str] = &["iceberg+sql", "iceberg+rest"];
    const CAPABILITIES: Capabilities = Capabilities::new(&Mode::ALL, Atomicity::Load)
        .create_target()
        .schema_evolution()
        .load_ids()
        .target_names(TargetNames::Dotted)
        .checksum()
        .parallel()
        .change_limits()
        .batch(BatchSize {
            min_rows: 1024,
            max_rows: 1 << 16,
            max_bytes: 16 << 20,
        });

    type Config = IcebergConfig;
    type Options = IcebergOptions;
    type Resolved = IcebergTarget;
    type Session = IcebergSession;

    async fn connect(config: IcebergConfig) -> Result<Self> {
        let stores = Stores::new(config.storage_options.clone());
        let catalog = Arc::new(Catalog::connect(&config, &stores).await?);
        Ok(Self {
            config,
            stores,
            catalog,
        })
    }

    fn supports_type(data_type: &DataType) -> TypeSupport {
        support(data_type, Form::DEFAULT)
    }

    async fn resolve(&self, request: &LoadRequest<IcebergOptions>) -> Result<IcebergTarget> {
        let ident = self.config.table(&request.target)?;
        let identity = self.catalog.identity(&ident);
        let found = resolve(&self.config, &self.stores, &self.catalog, ident, request).await?;
        Ok(IcebergTarget {
            found,
            identity,
            catalog: self.catalog.describe(),
        })
    }

    fn plan(request: &LoadRequest<IcebergOptions>, target: &IcebergTarget) -> Plan {
        let mut plan = planned(Plan::of::<Self>(request), request, &target.found);
        plan.identity.clone_from(&target.identity);
        plan.resources.push(target.catalog.clone());
        plan
    }

    async fn begin(
        &self,
        request: LoadRequest<IcebergOptions>,
        target: IcebergTarget,
        _: Rejects,
    ) -> Result<Begun<IcebergSession>> {
        let Found::Fits(target) = target.found else {
            let message = "the load has a column whose type the table cannot hold";
            return Err(Error::new(ErrorKind::UnsupportedType, message));
        };
        let recorded = target
            .table
            .as_ref()
            .and_then(|table| find_receipt(table.metadata(), &request.load_id));
        if let Some(receipt) = recorded {
            return Ok(Begun::AlreadyLoaded(receipt));
        }
        let session = IcebergSession::begin(Arc::clone(&self.catalog), *target, request);
        session.await.map(Begun::Session)
    }

    async fn describe(&self, target: &str) -> Result<Option<TargetColumns>> {
        let table = self.open(target).await?;
        table.map(|table| described(&table)).transpose()
    }

    async fn find_load(&self, target: &str, load_id: &str) -> Result<LoadState> {
        let table = self.open(target).await?;
        Ok(state(table.as_ref().map(Table::metadata), load_id))
    }

    fn config_from_url(url: &str) -> Result<serde_json::Map<String, serde_json::Value>> {
        let (scheme, uri) = url.split_once("://").unwrap_or(("", url));
        if scheme.eq_ignore_ascii_case("iceberg+rest") {
            let uri = match arrowload_core::url_scheme(uri) {
                Some(_) => uri.to_owned(),
                None => format!("https://{uri}"),
            };
            let keys = [("catalog_type", "rest".into()), ("catalog_uri", uri.into())];
            return Ok(keys
                .map(|(key, value)| (key.to_owned(), value))
                .into_iter()
                .collect());
        }
        // The URI of a database, or the warehouse that has its catalog in it.
        let key = match arrowload_core::url_scheme(uri) {
            Some(_) => "catalog_uri",
            None => "warehouse",
        };
        Ok([(key.to_owned(), uri.into())].into_iter().collect())
    }
}

impl IcebergLoader {
    async fn open(&self, target: &str) -> Result<Option<Table>> {
        let ident = self.config.table(target)?;
        open(&self.stores, &self.catalog, &ident).await
    }
}

/// A table as it was found, and what a load would make of it.
pub struct IcebergTarget {
    found: Found,
    /// The identity, which distinguishes it from other targets.
    identity: Option<String>,
    /// Which catalog knows it.
    catalog: String,
}
