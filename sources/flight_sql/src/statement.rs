//! Runs statements; they are prepared if there are parameters.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::sql::{
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest,
    ActionCreatePreparedStatementResult, Any, CommandPreparedStatementQuery,
    CommandPreparedStatementUpdate, CommandStatementQuery, CommandStatementUpdate,
    DoPutPreparedStatementResult, DoPutUpdateResult, ProstMessageExt,
};
use arrow_flight::{FlightData, FlightDescriptor};
use arrow_schema::{Field, Schema};
use arrowload_common_ipc::read_schema;
use arrowload_core::{Error, ErrorKind, Param, Params, Query, QueryProgress, Result};
use bytes::Bytes;
use futures::TryStreamExt;
use prost::Message;

use crate::connect::Server;
use crate::error::{from_flight, malformed, undecoded};
use crate::fetch::fetch;
use crate::stream::FlightStream;

/// Runs a statement for its rows, in a transaction or in none.
pub(crate) async fn query(
    server: &Arc<Server>,
    query: &Query,
    transaction: Option<&Bytes>,
) -> Result<FlightStream> {
    let Params::None = query.params else {
        let prepared = Prepared::new(server, &query.sql, transaction).await?;
        let row = prepared.row(&query.params)?;
        let handle = prepared.bind(row).await?;
        let command = CommandPreparedStatementQuery {
            prepared_statement_handle: handle,
        };
        return rows_of(server, &command.as_any(), &query.reading.progress).await;
    };
    let command = CommandStatementQuery {
        query: query.sql.clone(),
        transaction_id: transaction.cloned(),
    };
    rows_of(server, &command.as_any(), &query.reading.progress).await
}

/// Runs a statement for its effect, and returns how many rows it changed, if the server knows.
pub(crate) async fn execute(
    server: &Arc<Server>,
    query: &Query,
    transaction: Option<&Bytes>,
) -> Result<Option<u64>> {
    let answer = match &query.params {
        Params::None => {
            let command = CommandStatementUpdate {
                query: query.sql.clone(),
                transaction_id: transaction.cloned(),
            }
            .as_any();
            let message = FlightData::new().with_descriptor(descriptor(&command));
            put(server, vec![message], "after the statement was sent").await?
        }
        params => {
            let prepared = Prepared::new(server, &query.sql, transaction).await?;
            let command = CommandPreparedStatementUpdate {
                prepared_statement_handle: prepared.handle.clone(),
            }
            .as_any();
            put(
                server,
                messages(&command, prepared.row(params)?).await?,
                "after the statement was sent",
            )
            .await?
        }
    };
    let body = answer.ok_or_else(|| malformed("no number of changed rows came back"))?;
    let result = DoPutUpdateResult::decode(body).map_err(malformed)?;
    Ok(u64::try_from(result.record_count).ok())
}

/// The rows that a command stands for.
pub(crate) async fn rows_of(
    server: &Arc<Server>,
    command: &Any,
    progress: &QueryProgress,
) -> Result<FlightStream> {
    let ask = |server: Arc<Server>, command: Any, progress: QueryProgress| async move {
        let (info, cancel) = server.info(&command, &progress).await?;
        fetch(server, info, cancel).await
    };
    let (again, command_again, said) = (Arc::clone(server), command.clone(), progress.clone());
    Ok(ask(Arc::clone(server), command.clone(), progress.clone())
        .await?
        .or_again(move || ask(again, command_again, said)))
}

/// A prepared statement. When it is dropped, it is closed in the background.
struct Prepared {
    server: Arc<Server>,
    handle: Bytes,
    /// What it says of its parameters; many servers say nothing.
    parameters: Schema,
}

impl Prepared {
    async fn new(server: &Arc<Server>, sql: &str, transaction: Option<&Bytes>) -> Result<Self> {
        let request = ActionCreatePreparedStatementRequest {
            query: sql.to_owned(),
            transaction_id: transaction.cloned(),
        };
        let body = server
            .retrying(|| server.action("CreatePreparedStatement", request.as_any()))
            .await?;
        let any = Any::decode(body).map_err(malformed)?;
        let result: Option<ActionCreatePreparedStatementResult> =
            any.unpack().map_err(malformed)?;
        let result = result.ok_or_else(|| malformed("another answer than a prepared statement"))?;
        let mut prepared = Self {
            server: Arc::clone(server),
            handle: result.prepared_statement_handle,
            parameters: Schema::empty(),
        };
        if !result.parameter_schema.is_empty() {
            let parameters = read_schema(&result.parameter_schema).map_err(undecoded)?;
            prepared.parameters = parameters.as_ref().clone();
        }
        Ok(prepared)
    }

    /// Binds parameters; the server may hand out another handle for the statement with them.
    async fn bind(&self, row: RecordBatch) -> Result<Bytes> {
        let command = CommandPreparedStatementQuery {
            prepared_statement_handle: self.handle.clone(),
        }
        .as_any();
        let messages = messages(&command, row).await?;
        let ask = || {
            put(
                &self.server,
                messages.clone(),
                "after parameters were bound",
            )
        };
        let bound = self.server.retrying(ask).await.map_err(|error| match error.kind() {
            ErrorKind::Unsupported => {
                let message = "the server cannot bind parameters; write the values into the statement, where they are safe to write";
                Error::new(ErrorKind::Unsupported, message).with_source(error)
            }
            _ => error,
        })?;
        let handle = bound.and_then(|body| {
            DoPutPreparedStatementResult::decode(body)
                .ok()?
                .prepared_statement_handle
        });
        Ok(handle.unwrap_or_else(|| self.handle.clone()))
    }

    /// The parameters as one row, of the types that the server wants, where it says so.
    fn row(&self, params: &Params) -> Result<RecordBatch> {
        let wanted = self.parameters.fields();
        let named: Vec<(String, &Param)> = match params {
            Params::Positional(values) => values
                .iter()
                .enumerate()
                .map(|(index, value)| (format!("${}", index + 1), value))
                .collect(),
            Params::Named(values) => {
                let place = |name: &str| {
                    wanted
                        .iter()
                        .position(|field| field.name().trim_start_matches(['$', ':', '@']) == name)
                };
                let mut values: Vec<(String, &Param)> = values
                    .iter()
                    .map(|(name, value)| (format!("${name}"), value))
                    .collect();
                values.sort_by_key(|(name, _)| place(name.trim_start_matches('$')));
                values
            }
            _ => Vec::new(),
        };
        let invalid = |message: String| Error::new(ErrorKind::InvalidOption, message);
        if !wanted.is_empty() && wanted.len() != named.len() {
            return Err(invalid(format!(
                "the statement has {} parameters, and {} were given",
                wanted.len(),
                named.len()
            )));
        }
        let (mut fields, mut columns) = (Vec::new(), Vec::<ArrayRef>::new());
        for (index, (name, value)) in named.iter().enumerate() {
            let field = wanted.get(index);
            let target = field.map_or(value.data_type(), |field| field.data_type());
            let options = arrow_cast::CastOptions {
                safe: false,
                ..Default::default()
            };
            let column = arrow_cast::cast_with_options(value.array(), target, &options).map_err(
                |error| invalid(format!("parameter {name} cannot be {target}: {error}")),
            )?;
            fields.push(Field::new(
                field.map_or(name.as_str(), |field| field.name()),
                target.clone(),
                true,
            ));
            columns.push(column);
        }
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
            .map_err(|error| invalid(error.to_string()))
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let server = Arc::clone(&self.server);
        let request = ActionClosePreparedStatementRequest {
            prepared_statement_handle: self.handle.clone(),
        };
        runtime.spawn(async move {
            if let Err(error) = server.action_without_answer("ClosePreparedStatement", request.as_any()).await {
                tracing::debug!(%error, "the server keeps a prepared statement until the connection ends");
            }
        });
    }
}

fn descriptor(command: &Any) -> FlightDescriptor {
    FlightDescriptor::new_cmd(command.encode_to_vec())
}

async fn messages(command: &Any, row: RecordBatch) -> Result<Vec<FlightData>> {
    let data = FlightDataEncoderBuilder::new()
        .with_schema(row.schema())
        .with_flight_descriptor(Some(descriptor(command)));
    data.build(futures::stream::iter([Ok(row)]))
        .try_collect()
        .await
        .map_err(from_flight)
}

/// Sends messages, and returns the metadata of the first answer.
async fn put(server: &Server, messages: Vec<FlightData>, what: &str) -> Result<Option<Bytes>> {
    let request = server.request(futures::stream::iter(messages)).await?;
    let mut answers = server.answer(what, server.calls().do_put(request)).await?;
    Ok(server
        .next(what, &mut answers)
        .await?
        .map(|answer| answer.app_metadata))
}
