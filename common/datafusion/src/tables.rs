//! The tables of an engine: the part that each source implements.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow_schema::DataType;
use arrowload_core::{Error, ErrorKind, Reading, Result};
use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;

use crate::calls::Call;

/// What a query asks of the tables that it opens.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// What the load asks, and takes.
    pub reading: Reading,
    /// The types that the target has for columns which the query passes on as they are, by their names in the table.
    pub types: BTreeMap<String, DataType>,
    /// Whether the answer is every row and column of one table, as they are.
    pub whole: bool,
}

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
        asked: &Asked,
    ) -> Result<Option<Arc<dyn TableProvider>>>;

    /// The table functions that these tables have, in small letters.
    fn functions(&self) -> &'static [&'static str] {
        &[]
    }

    /// The name of the table that a call of one of the [`functions`](Self::functions) stands for, as [`open`](Self::open) takes it.
    ///
    /// # Errors
    /// When the function does not take these values.
    fn call(&self, call: Call) -> Result<String> {
        let message = format!("there is no table function `{}`", call.function);
        Err(Error::new(ErrorKind::NotFound, message))
    }

    /// The error for a name that no table has.
    fn missing(&self, name: &str) -> Error;
}

/// The tables as DataFusion asks for them, for one query.
pub(crate) struct Schema {
    pub(crate) tables: Arc<dyn Tables>,
    /// The session that opens them. It has no catalog, so that nothing keeps itself alive.
    pub(crate) session: SessionState,
    pub(crate) asked: Asked,
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
        self.tables
            .open(name, &self.session, &self.asked)
            .await
            .map_err(|error| DataFusionError::External(Box::new(error)))
    }
}
