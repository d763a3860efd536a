//! Cancels a query at the server when its answer is no longer needed.

use std::sync::Arc;

use arrow_flight::{CancelFlightInfoRequest, FlightInfo};

use crate::connect::Server;

/// Cancels a query that is in progress when it is dropped before [`done`](Self::done).
#[derive(Debug)]
pub(crate) struct CancelOnDrop {
    server: Arc<Server>,
    /// The server's handle of the query; `None` before the server has sent one, and after all rows
    /// have come.
    info: Option<FlightInfo>,
}

impl CancelOnDrop {
    pub(crate) fn new(server: Arc<Server>, info: Option<FlightInfo>) -> Self {
        Self { server, info }
    }

    /// Takes the server's newest handle of the query.
    pub(crate) fn set(&mut self, info: Option<FlightInfo>) {
        self.info = info;
    }

    /// All rows have come.
    pub(crate) fn done(&mut self) {
        self.info = None;
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        let (Some(info), Ok(runtime)) = (self.info.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        let server = Arc::clone(&self.server);
        runtime.spawn(async move {
            // Many servers cannot; they notice that nobody listens.
            if let Err(error) = server
                .action_without_answer(
                    "CancelFlightInfo",
                    CancelFlightInfoRequest { info: Some(info) },
                )
                .await
            {
                tracing::debug!(%error, "the server was not told to cancel the query");
            }
        });
    }
}
