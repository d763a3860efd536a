//! A load: its rows and its destination, then its plan, or awaiting it to run.

use std::fmt;
use std::future::IntoFuture;
use std::time::Instant;

use arrowload_core::{Input, LoadReport, LoadState, LoadStatus, Operator, Plan, Result};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::{Client, Destination};

/// A load that is being set up. Awaiting it runs it.
///
/// Dropping the future before its end commits nothing. What the load has left in its target by then,
/// [`status`](Self::status) says.
///
/// Options stand over the connection's load defaults, and those over what suits the loader.
#[must_use = "a load does nothing until it is awaited"]
pub struct LoadBuilder {
    client: Client,
    input: Input,
    to: Destination,
}

impl LoadBuilder {
    pub(crate) fn new(client: Client, input: Input, to: Destination) -> Self {
        Self { client, input, to }
    }

    pub(crate) fn edit(mut self, change: impl FnOnce(&mut Destination)) -> Self {
        self.to = self.to.edit(change);
        self
    }

    /// Puts an operator between the rows and the target, after those that were added before: columns under other names
    /// ([`Rename`](crate::Rename)), or whatever implements [`Operator`].
    pub fn through(mut self, operator: impl Operator) -> Self {
        self.input = self.input.through(operator);
        self
    }

    /// Follows the load from outside. Take it before the load is awaited: it says how far the load is, and after an interruption
    /// (the future was dropped) what happened to the target.
    pub fn status(&self) -> LoadStatus {
        self.to.status()
    }

    /// Says what the load would do, column by column, and changes nothing. What the load would refuse before its first row is
    /// refused here, in the same words.
    ///
    /// # Errors
    /// Whatever would stop the load before its first row; a column of an unsupported type is reported in the plan instead.
    pub async fn plan(self) -> Result<Plan> {
        let prepared = self.to.prepare(&self.client, Instant::now())?;
        let loader = prepared.connect(&self.client).await?;
        let mut plan = arrowload_core::plan_load(&loader, &prepared.spec, &self.input).await?;
        plan.connection = prepared.connection;
        Ok(plan)
    }

    /// Connects, and checks that the store answers.
    ///
    /// # Errors
    /// Whatever keeps the load from its store: an unknown name or key, a refused connection.
    pub async fn ping(self) -> Result<()> {
        let prepared = self.to.prepare(&self.client, Instant::now())?;
        prepared.connect(&self.client).await?.ping().await
    }

    /// Whether a load with this [`load_id`](Self::load_id) has committed. A question: it changes nothing.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`](crate::ErrorKind::InvalidOption) without a `load_id`, and whatever keeps the question from the
    /// store.
    pub async fn find(self) -> Result<LoadState> {
        let prepared = self.to.prepare(&self.client, Instant::now())?;
        prepared.load_id()?;
        prepared.find(&self.client).await
    }

    async fn run(self) -> Result<LoadReport> {
        let prepared = self.to.prepare(&self.client, Instant::now())?;
        let loader = prepared.connect(&self.client).await?;
        arrowload_core::load(&loader, &prepared.spec, &self.input).await
    }
}

impl IntoFuture for LoadBuilder {
    type Output = Result<LoadReport>;
    type IntoFuture = BoxFuture<'static, Result<LoadReport>>;

    fn into_future(self) -> Self::IntoFuture {
        self.run().boxed()
    }
}

impl fmt::Debug for LoadBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadBuilder")
            .field("to", &self.to)
            .finish_non_exhaustive()
    }
}
