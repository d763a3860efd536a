//! Statements, prepared where there are parameters, and their answers.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::sql::{
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult, Any,
    CommandPreparedStatementQuery, CommandStatementQuery, DoPutPreparedStatementResult, ProstMessageExt,
};
use arrow_flight::{Action, FlightDescriptor, IpcMessage};
use arrow_schema::{Field, Schema};
use arrowload_core::{BatchStream, DataSource, Error, ErrorKind, Param, Params, Query, Result};
use bytes::Bytes;
use futures::TryStreamExt;
use prost::Message;
use serde_json::{Map, Value};

use crate::config::{FlightSqlConfig, config_from_url};
use crate::connect::Server;
use crate::error::{from_flight, malformed};
use crate::fetch::fetch;

/// A Flight SQL server. See the crate's page.
#[derive(Debug)]
pub struct FlightSqlSource {
    server: Arc<Server>,
}

impl DataSource for FlightSqlSource {
    const NAME: &'static str = "flight_sql";
    const URL_SCHEMES: &'static [&'static str] = &["grpc", "grpc+tls", "grpc+unix", "http", "https"];

    type Config = FlightSqlConfig;

    async fn connect(config: FlightSqlConfig) -> Result<Self> {
        Ok(Self { server: Server::connect(config).await? })
    }

    async fn query(&self, query: &Query) -> Result<BatchStream> {
        let command = match &query.params {
            Params::None => CommandStatementQuery { query: query.sql.clone(), transaction_id: None }.as_any(),
            params => {
                let prepared = self.prepare(&query.sql).await?;
                let answer = self.bind_and_fetch(&prepared, params).await;
                self.close(prepared.handle);
                return answer;
            }
        };
        self.answer_to(&command).await
    }

    fn config_from_url(url: &str) -> Result<Map<String, Value>> {
        config_from_url(url)
    }
}

/// A statement that the server has prepared.
struct Prepared {
    handle: Bytes,
    /// What it says of its parameters; many servers say nothing.
    parameters: Schema,
}

impl FlightSqlSource {
    async fn answer_to(&self, command: &Any) -> Result<BatchStream> {
        let descriptor = FlightDescriptor::new_cmd(command.encode_to_vec());
        let mut calls = Server::calls(self.server.channel());
        let info = self.server.answer("after the query was sent", calls.get_flight_info(self.server.request(descriptor))).await?;
        fetch(Arc::clone(&self.server), info).await
    }

    async fn prepare(&self, sql: &str) -> Result<Prepared> {
        let request = ActionCreatePreparedStatementRequest { query: sql.to_owned(), transaction_id: None };
        let body = request.as_any().encode_to_vec();
        let request = self.server.request(Action { r#type: "CreatePreparedStatement".into(), body: body.into() });
        let mut calls = Server::calls(self.server.channel());
        let mut answers = self.server.answer("after a statement was to be prepared", calls.do_action(request)).await?;
        let first = self.server.in_time("while a statement was prepared", answers.message()).await?;
        let first = first.map_err(|status| self.server.explain(status))?.ok_or_else(|| malformed("no prepared statement came back"))?;
        let any = Any::decode(first.body).map_err(malformed)?;
        let result: Option<ActionCreatePreparedStatementResult> = any.unpack().map_err(malformed)?;
        let result = result.ok_or_else(|| malformed("another answer than a prepared statement"))?;
        let parameters = match result.parameter_schema.is_empty() {
            true => Schema::empty(),
            false => Schema::try_from(IpcMessage(result.parameter_schema)).map_err(malformed)?,
        };
        Ok(Prepared { handle: result.prepared_statement_handle, parameters })
    }

    async fn bind_and_fetch(&self, prepared: &Prepared, params: &Params) -> Result<BatchStream> {
        let row = parameter_row(params, &prepared.parameters)?;
        let command = |handle: &Bytes| CommandPreparedStatementQuery { prepared_statement_handle: handle.clone() }.as_any();
        let descriptor = FlightDescriptor::new_cmd(command(&prepared.handle).encode_to_vec());
        let data = FlightDataEncoderBuilder::new().with_schema(row.schema()).with_flight_descriptor(Some(descriptor));
        let data: Vec<_> = data.build(futures::stream::iter([Ok(row)])).try_collect().await.map_err(from_flight)?;
        let request = self.server.request(futures::stream::iter(data));
        let mut calls = Server::calls(self.server.channel());
        let bound = self.server.answer("after parameters were bound", calls.do_put(request)).await;
        let mut answers = bound.map_err(|error| match error.kind() {
            ErrorKind::Unsupported => {
                let message = "the server cannot bind parameters; write the values into the statement, where they are safe to write";
                Error::new(ErrorKind::Unsupported, message).with_source(error)
            }
            _ => error,
        })?;
        let first = self.server.in_time("while parameters were bound", answers.message()).await?;
        let first = first.map_err(|status| self.server.explain(status))?;
        // The server may hand out another handle for the statement with its parameters.
        let bound = first.and_then(|result| DoPutPreparedStatementResult::decode(result.app_metadata).ok()?.prepared_statement_handle);
        self.answer_to(&command(bound.as_ref().unwrap_or(&prepared.handle))).await
    }

    /// Tells the server that a statement is done with, beside what is going on.
    fn close(&self, handle: Bytes) {
        let server = Arc::clone(&self.server);
        tokio::spawn(async move {
            let body = ActionClosePreparedStatementRequest { prepared_statement_handle: handle }.as_any().encode_to_vec();
            let request = server.request(Action { r#type: "ClosePreparedStatement".into(), body: body.into() });
            let mut calls = Server::calls(server.channel());
            if let Err(error) = server.answer("after a statement was closed", calls.do_action(request)).await {
                tracing::debug!(%error, "the server keeps a prepared statement until the connection ends");
            }
        });
    }
}

/// The parameters as one row, of the types that the server wants, where it says so.
fn parameter_row(params: &Params, wanted: &Schema) -> Result<RecordBatch> {
    let named: Vec<(String, &Param)> = match params {
        Params::Positional(values) => values.iter().enumerate().map(|(index, value)| (format!("${}", index + 1), value)).collect(),
        Params::Named(values) => {
            let place = |name: &str| wanted.fields().iter().position(|field| field.name().trim_start_matches(['$', ':', '@']) == name);
            let mut values: Vec<(String, &Param)> = values.iter().map(|(name, value)| (format!("${name}"), value)).collect();
            values.sort_by_key(|(name, _)| place(name.trim_start_matches('$')));
            values
        }
        _ => Vec::new(),
    };
    let invalid = |message: String| Error::new(ErrorKind::InvalidOption, message);
    if !wanted.fields().is_empty() && wanted.fields().len() != named.len() {
        return Err(invalid(format!("the statement has {} parameters, and {} were given", wanted.fields().len(), named.len())));
    }
    let (mut fields, mut columns) = (Vec::new(), Vec::<ArrayRef>::new());
    for (index, (name, value)) in named.iter().enumerate() {
        let field = wanted.fields().get(index);
        let target = field.map_or(value.data_type(), |field| field.data_type());
        let options = arrow_cast::CastOptions { safe: false, ..Default::default() };
        let column = arrow_cast::cast_with_options(value.array(), target, &options)
            .map_err(|error| invalid(format!("parameter {name} cannot be {target}: {error}")))?;
        fields.push(Field::new(field.map_or(name.as_str(), |field| field.name()), target.clone(), true));
        columns.push(column);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(|error| invalid(error.to_string()))
}
