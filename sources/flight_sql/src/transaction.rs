//! Transactions, where the server has them.

use std::sync::Arc;

use arrow_flight::sql::{
    ActionBeginTransactionRequest, ActionBeginTransactionResult, ActionEndTransactionRequest, Any,
    EndTransaction, ProstMessageExt,
};
use arrowload_core::{BatchStream, Error, ErrorKind, Query, Result};
use bytes::Bytes;
use prost::Message;

use crate::connect::Server;
use crate::error::malformed;
use crate::statement;

/// A transaction of a Flight SQL server. Dropped without [`commit`](Self::commit), it is rolled back.
#[derive(Debug)]
pub struct Transaction {
    server: Arc<Server>,
    id: Bytes,
    is_open: bool,
}

impl Transaction {
    pub(crate) async fn begin(server: &Arc<Server>) -> Result<Self> {
        let body = server
            .action(
                "BeginTransaction",
                ActionBeginTransactionRequest {}.as_any(),
            )
            .await;
        let body = body.map_err(|error| match error.kind() {
            ErrorKind::Unsupported => Error::new(
                ErrorKind::Unsupported,
                format!("the server has no transactions: {}", error.message()),
            )
            .with_source(error),
            _ => error,
        })?;
        let any = Any::decode(body).map_err(malformed)?;
        let result: Option<ActionBeginTransactionResult> = any.unpack().map_err(malformed)?;
        let id = result
            .map(|result| result.transaction_id)
            .filter(|id| !id.is_empty());
        let id = id.ok_or_else(|| malformed("another answer than a transaction"))?;
        Ok(Self {
            server: Arc::clone(server),
            id,
            is_open: true,
        })
    }

    /// Runs a statement of the transaction for its rows.
    ///
    /// # Errors
    /// Any error of the server.
    pub async fn query(&self, query: &Query) -> Result<BatchStream> {
        Ok(statement::query(&self.server, query, Some(&self.id))
            .await?
            .into_batches())
    }

    /// Runs a statement of the transaction for its effect, and returns how many rows it changed, if the server knows.
    ///
    /// # Errors
    /// Any error of the server.
    pub async fn execute(&self, query: &Query) -> Result<Option<u64>> {
        statement::execute(&self.server, query, Some(&self.id)).await
    }

    /// Commits its changes.
    ///
    /// # Errors
    /// Any error of the server. If the connection broke, it is not known whether they were committed.
    pub async fn commit(mut self) -> Result<()> {
        self.is_open = false;
        end(&self.server, self.id.clone(), EndTransaction::Commit).await
    }

    /// Rolls its changes back.
    ///
    /// # Errors
    /// Any error of the server.
    pub async fn rollback(mut self) -> Result<()> {
        self.is_open = false;
        end(&self.server, self.id.clone(), EndTransaction::Rollback).await
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        let (true, Ok(runtime)) = (self.is_open, tokio::runtime::Handle::try_current()) else {
            return;
        };
        let (server, id) = (Arc::clone(&self.server), self.id.clone());
        runtime.spawn(async move {
            if let Err(error) = end(&server, id, EndTransaction::Rollback).await {
                tracing::warn!(%error, "a transaction that was dropped could not be rolled back");
            }
        });
    }
}

async fn end(server: &Server, transaction_id: Bytes, action: EndTransaction) -> Result<()> {
    let request = ActionEndTransactionRequest {
        transaction_id,
        action: action.into(),
    };
    server
        .action_without_answer("EndTransaction", request.as_any())
        .await
        .map(drop)
}
