//! What tables an engine has: the part that differs from source to source.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use arrowload_core::{Error, Result};
use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::prelude::SessionContext;

/// The tables of a source. A table is opened when a query names it.
#[async_trait]
pub trait Tables: fmt::Debug + Send + Sync + 'static {
    /// The names that `information_schema` lists. More tables may be opened than are listed.
    fn names(&self) -> Vec<String>;

    /// Opens the table of this name, or answers `None` if there is none.
    async fn open(
        &self,
        name: &str,
        session: &SessionState,
    ) -> Result<Option<Arc<dyn TableProvider>>>;

    /// The error for a name that no table has.
    fn missing(&self, name: &str) -> Error;
}

/// The tables as DataFusion asks for them.
pub(crate) struct Schema {
    tables: Arc<dyn Tables>,
    /// The session that opens them. It is not kept alive from here: its own catalog holds this schema.
    session: Box<dyn Fn() -> Option<SessionState> + Send + Sync>,
}

impl Schema {
    pub(crate) fn new(tables: Arc<dyn Tables>, context: &SessionContext) -> Self {
        let state = context.state_weak_ref();
        Self {
            tables,
            session: Box::new(move || Some(state.upgrade()?.read().clone())),
        }
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Schema").field(&self.tables).finish()
    }
}

#[async_trait]
impl SchemaProvider for Schema {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn table_names(&self) -> Vec<String> {
        self.tables.names()
    }

    fn table_exist(&self, name: &str) -> bool {
        self.tables.names().iter().any(|known| known == name)
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let session = (self.session)()
            .ok_or_else(|| DataFusionError::Internal("the session has ended".into()))?;
        self.tables
            .open(name, &session)
            .await
            .map_err(|error| DataFusionError::External(Box::new(error)))
    }
}
