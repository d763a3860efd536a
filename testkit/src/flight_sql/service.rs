//! What the server can do.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::messages;
use super::{AnnouncedSchema, ExpiredTickets, FlightSqlBehaviour};
use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::server::{FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::{
    ActionBeginTransactionRequest, ActionBeginTransactionResult,
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest,
    ActionCreatePreparedStatementResult, ActionEndTransactionRequest,
    CommandPreparedStatementQuery, CommandPreparedStatementUpdate, CommandStatementQuery,
    CommandStatementUpdate, DoPutPreparedStatementResult, EndTransaction, ProstMessageExt, SqlInfo,
    TicketStatementQuery,
};
use arrow_flight::{
    Action, FlightDescriptor, FlightEndpoint, FlightInfo, HandshakeRequest, HandshakeResponse,
    IpcMessage, Location, RenewFlightEndpointRequest, SchemaAsIpc, Ticket,
};
use arrow_schema::{DataType, Field, Schema};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::scalar::ScalarValue;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use prost::Message;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::StatusExt;

/// An answer.
type Rows = (arrow_schema::SchemaRef, Vec<RecordBatch>);
/// Names and values.
type Parameters = Vec<(String, ScalarValue)>;
type Answer<T> = Result<Response<T>, Status>;

#[derive(Clone)]
pub(super) struct Service {
    pub(super) behaviour: FlightSqlBehaviour,
    context: Arc<SessionContext>,
    bound: Arc<Mutex<HashMap<String, Parameters>>>,
    /// What was announced, until the server ends: its endpoints are asked for one after the other.
    answers: Arc<Mutex<HashMap<String, Rows>>>,
    calls: Arc<AtomicUsize>,
    infos: Arc<AtomicUsize>,
    pub(super) log: Arc<Mutex<Vec<String>>>,
    /// The token that every call needs.
    pub(super) token: Arc<Mutex<Option<String>>>,
    /// What the statements of open transactions will do.
    transactions: Arc<Mutex<HashMap<String, Vec<String>>>>,
}

fn other_metadata(schema: &Schema) -> Schema {
    let more = || HashMap::from([("announced".to_owned(), "yes".to_owned())]);
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|field| {
            field
                .as_ref()
                .clone()
                .with_nullable(true)
                .with_metadata(more())
        })
        .collect();
    Schema::new_with_metadata(fields, more())
}

/// The mark of tickets that are refused.
const REFUSED: &str = "!";

fn failed(error: impl std::fmt::Display) -> Status {
    Status::invalid_argument(error.to_string())
}

impl Service {
    pub(super) fn new(behaviour: FlightSqlBehaviour) -> Self {
        // One partition: every server gives the rows of a query in the same order, so that parts of it fit together.
        let session =
            SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1))
                .enable_url_table();
        Self {
            token: Arc::new(Mutex::new(behaviour.token.map(str::to_owned))),
            behaviour,
            context: Arc::new(session),
            bound: Arc::default(),
            answers: Arc::default(),
            calls: Arc::default(),
            infos: Arc::default(),
            log: Arc::default(),
            transactions: Arc::default(),
        }
    }

    pub(super) fn polls(&self) -> usize {
        self.behaviour.polls
    }

    pub(super) fn note(&self, what: impl Into<String>) {
        self.log.lock().expect("a log").push(what.into());
    }

    pub(super) async fn enter<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let token = self.token.lock().expect("a token").clone();
        if let Some(token) = token
            && request
                .metadata()
                .get("authorization")
                .and_then(|value| value.to_str().ok())
                != Some(&format!("Bearer {token}"))
        {
            return Err(Status::unauthenticated("no such token"));
        }
        if let Some(late) = self.behaviour.late {
            tokio::time::sleep(late).await;
        }
        if self.calls.fetch_add(1, Ordering::SeqCst) < self.behaviour.unavailable {
            return Err(Status::unavailable("it is starting"));
        }
        if let Some((times, pause)) = self.behaviour.busy
            && self.calls.load(Ordering::SeqCst) <= times
        {
            let details = tonic_types::ErrorDetails::with_retry_info(Some(pause));
            return Err(Status::with_error_details(
                Code::ResourceExhausted,
                "too many queries",
                details,
            ));
        }
        Ok(())
    }

    /// Keeps the parameters of a statement.
    async fn bind(
        &self,
        handle: &[u8],
        request: Request<PeekableFlightDataStream>,
    ) -> Result<String, Status> {
        let handle = String::from_utf8(handle.to_vec()).map_err(failed)?;
        let data = request.into_inner().map_err(FlightError::from);
        let batches: Vec<RecordBatch> = FlightRecordBatchStream::new_from_flight_data(data)
            .try_collect()
            .await
            .map_err(failed)?;
        let row = batches.first().ok_or_else(|| failed("no parameters"))?;
        let schema = row.schema();
        let named = row.columns().iter().zip(schema.fields());
        let values = named.map(|(column, field)| {
            Ok::<_, Status>((
                field.name().clone(),
                ScalarValue::try_from_array(column, 0).map_err(failed)?,
            ))
        });
        self.bound
            .lock()
            .expect("parameters")
            .insert(handle.clone(), values.collect::<Result<_, _>>()?);
        Ok(handle)
    }

    /// Runs a statement for its effect: how many rows it changed, or -1.
    async fn change(&self, statement: &str) -> Result<i64, Status> {
        let (schema, batches) = self.rows(statement).await?;
        let counted = schema
            .fields()
            .iter()
            .any(|field| field.name() == "count")
            .then_some(())
            .and(batches.first());
        Ok(counted.map_or(-1, |batch| {
            batch.column(0).as_primitive::<UInt64Type>().value(0) as i64
        }))
    }

    async fn rows(&self, handle: &str) -> Result<Rows, Status> {
        let mut frame = self.context.sql(handle).await.map_err(failed)?;
        let bound = self.bound.lock().expect("parameters").get(handle).cloned();
        if let Some(values) = bound {
            let is_positional = values
                .iter()
                .all(|(name, _)| name.trim_start_matches('$').parse::<usize>().is_ok());
            frame = match is_positional {
                true => frame.with_param_values(
                    values
                        .into_iter()
                        .map(|(_, value)| value)
                        .collect::<Vec<_>>(),
                ),
                false => frame.with_param_values(
                    values
                        .into_iter()
                        .map(|(name, value)| (name.trim_start_matches('$').to_owned(), value))
                        .collect::<Vec<_>>(),
                ),
            }
            .map_err(failed)?;
        }
        let schema: arrow_schema::SchemaRef = Arc::new(frame.schema().as_arrow().clone());
        Ok((schema, frame.collect().await.map_err(failed)?))
    }

    async fn info(&self, handle: &str, descriptor: FlightDescriptor) -> Answer<FlightInfo> {
        let (schema, batches) = self.rows(handle).await?;
        self.answers
            .lock()
            .expect("answers")
            .insert(handle.to_owned(), (Arc::clone(&schema), batches.clone()));
        let announced = match self.behaviour.announces {
            AnnouncedSchema::Truth => messages::sent_schema(&schema, &self.behaviour)
                .as_ref()
                .clone(),
            AnnouncedSchema::Other => Schema::new(vec![Field::new("other", DataType::Utf8, true)]),
            AnnouncedSchema::OtherMetadata => {
                other_metadata(&messages::sent_schema(&schema, &self.behaviour))
            }
            AnnouncedSchema::Nothing => Schema::empty(),
        };
        let mut info = FlightInfo::new()
            .with_descriptor(descriptor)
            .with_ordered(self.behaviour.ordered);
        if self.behaviour.announces != AnnouncedSchema::Nothing {
            info = info.try_with_schema(&announced).map_err(failed)?;
        }
        if self.behaviour.app_metadata {
            info = info.with_app_metadata("announced");
        }
        let parts = self.behaviour.endpoints.max(1);
        let is_first = self.infos.fetch_add(1, Ordering::SeqCst) == 0;
        let (expires, is_refused) = match self.behaviour.expired {
            None => (false, false),
            Some(ExpiredTickets::Renewed | ExpiredTickets::Taken) => (true, false),
            Some(ExpiredTickets::Refused) => (true, true),
            Some(ExpiredTickets::FirstRefused) => (is_first, is_first),
        };
        for part in 0..parts {
            let mark = if is_refused { REFUSED } else { "" };
            let ticket = TicketStatementQuery {
                statement_handle: format!("{part}/{parts}{mark} {handle}").into_bytes().into(),
            };
            let mut endpoint =
                FlightEndpoint::new().with_ticket(Ticket::new(ticket.as_any().encode_to_vec()));
            endpoint.location = self
                .behaviour
                .locations
                .iter()
                .map(|uri| Location { uri: uri.clone() })
                .collect();
            if expires {
                endpoint = endpoint.with_expiration_time(prost_types::Timestamp {
                    seconds: 1,
                    nanos: 0,
                });
            }
            info = info.with_endpoint(endpoint);
        }
        Ok(Response::new(info.with_total_records(
            batches.iter().map(RecordBatch::num_rows).sum::<usize>() as i64,
        )))
    }
}

#[tonic::async_trait]
impl FlightSqlService for Service {
    type FlightService = Self;

    async fn do_handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Answer<Pin<Box<dyn Stream<Item = Result<HandshakeResponse, Status>> + Send>>> {
        let Some(token) = self.token.lock().expect("a token").clone() else {
            return Err(Status::unimplemented("no handshake"));
        };
        // ada:pw
        if request
            .metadata()
            .get("authorization")
            .and_then(|value| value.to_str().ok())
            != Some("Basic YWRhOnB3")
        {
            return Err(Status::unauthenticated("no such user, or another password"));
        }
        let answer = HandshakeResponse {
            protocol_version: 0,
            payload: token.into_bytes().into(),
        };
        Ok(Response::new(Box::pin(stream::iter([Ok(answer)]))))
    }

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        self.enter(&request).await?;
        self.info(&query.query, request.into_inner()).await
    }

    async fn get_flight_info_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        self.enter(&request).await?;
        let handle = String::from_utf8(query.prepared_statement_handle.to_vec()).map_err(failed)?;
        self.info(&handle, request.into_inner()).await
    }

    async fn do_get_statement(
        &self,
        ticket: TicketStatementQuery,
        request: Request<Ticket>,
    ) -> Answer<<Self as FlightService>::DoGetStream> {
        self.enter(&request).await?;
        let handle = String::from_utf8(ticket.statement_handle.to_vec()).map_err(failed)?;
        self.note(format!("get {handle}"));
        let (part, handle) = handle.split_once(' ').ok_or_else(|| failed("a ticket"))?;
        let (part, parts) = part.split_once('/').ok_or_else(|| failed("a ticket"))?;
        if parts.ends_with(REFUSED) {
            return Err(Status::not_found("the ticket has expired"));
        }
        let (part, parts): (usize, usize) = (part.parse().map_err(failed)?, part_count(parts)?);
        let announced = self.answers.lock().expect("answers").get(handle).cloned();
        let (schema, batches) = match announced {
            Some(answer) => answer,
            None => self.rows(handle).await?,
        };
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let whole = arrow_select::concat::concat_batches(&schema, &batches).map_err(failed)?;
        let (from, to) = (rows * part / parts, rows * (part + 1) / parts);
        let messages =
            messages::encode(&whole.slice(from, to - from), &self.behaviour).map_err(failed)?;
        let behaviour = self.behaviour.clone();
        let cuts = self.calls.load(Ordering::SeqCst);
        let stream = stream::iter(messages)
            .enumerate()
            .then(move |(index, message)| {
                let behaviour = behaviour.clone();
                async move {
                    if behaviour.silent_after.is_some_and(|after| index > after) {
                        tokio::time::sleep(Duration::from_secs(600)).await;
                    }
                    if behaviour
                        .cut_after
                        .is_some_and(|(after, times)| index > after && cuts <= 2 * times)
                    {
                        return Err(Status::unavailable("it goes down"));
                    }
                    let mut message = message;
                    if behaviour.garbage && index == 1 {
                        message.data_header = message
                            .data_header
                            .iter()
                            .map(|byte| byte ^ 0x5a)
                            .collect::<Vec<u8>>()
                            .into();
                    }
                    Ok(message)
                }
            });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn do_put_prepared_statement_query(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        self.enter(&request).await?;
        let handle = self.bind(&query.prepared_statement_handle, request).await?;
        Ok(DoPutPreparedStatementResult {
            prepared_statement_handle: Some(handle.into_bytes().into()),
        })
    }

    async fn do_put_prepared_statement_update(
        &self,
        query: CommandPreparedStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        self.enter(&request).await?;
        let handle = self.bind(&query.prepared_statement_handle, request).await?;
        self.change(&handle).await
    }

    async fn do_put_statement_update(
        &self,
        command: CommandStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        self.enter(&request).await?;
        let Some(id) = command.transaction_id else {
            return self.change(&command.query).await;
        };
        let id = String::from_utf8(id.to_vec()).map_err(failed)?;
        let mut transactions = self.transactions.lock().expect("transactions");
        transactions
            .get_mut(&id)
            .ok_or_else(|| failed("no such transaction"))?
            .push(command.query);
        Ok(-1)
    }

    async fn do_action_begin_transaction(
        &self,
        _: ActionBeginTransactionRequest,
        request: Request<Action>,
    ) -> Result<ActionBeginTransactionResult, Status> {
        self.enter(&request).await?;
        let id = format!("transaction {}", self.calls.load(Ordering::SeqCst));
        self.transactions
            .lock()
            .expect("transactions")
            .insert(id.clone(), Vec::new());
        Ok(ActionBeginTransactionResult {
            transaction_id: id.into_bytes().into(),
        })
    }

    async fn do_action_end_transaction(
        &self,
        query: ActionEndTransactionRequest,
        request: Request<Action>,
    ) -> Result<(), Status> {
        self.enter(&request).await?;
        let id = String::from_utf8(query.transaction_id.to_vec()).map_err(failed)?;
        let changes = self
            .transactions
            .lock()
            .expect("transactions")
            .remove(&id)
            .ok_or_else(|| failed("no such transaction"))?;
        if query.action() == EndTransaction::Commit {
            for change in changes {
                self.change(&change).await?;
            }
        }
        self.note(format!("{:?}", query.action()));
        Ok(())
    }

    async fn do_action_create_prepared_statement(
        &self,
        query: ActionCreatePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        self.enter(&request).await?;
        let plan = self.context.sql(&query.query).await.map_err(failed)?;
        let mut types: Vec<_> = plan
            .logical_plan()
            .get_parameter_types()
            .map_err(failed)?
            .into_iter()
            .collect();
        types.sort_by(|left, right| left.0.cmp(&right.0));
        let fields: Vec<Field> = types
            .into_iter()
            .filter_map(|(name, kind)| Some(Field::new(name, kind?, true)))
            .collect();
        let schema = Schema::new(fields);
        let IpcMessage(bytes) =
            SchemaAsIpc::new(&schema, &arrow_ipc::writer::IpcWriteOptions::default())
                .try_into()
                .map_err(|error: arrow_schema::ArrowError| failed(error))?;
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle: query.query.into_bytes().into(),
            dataset_schema: bytes::Bytes::new(),
            parameter_schema: bytes,
        })
    }

    async fn do_action_close_prepared_statement(
        &self,
        _: ActionClosePreparedStatementRequest,
        _: Request<Action>,
    ) -> Result<(), Status> {
        self.note("close");
        Ok(())
    }

    async fn do_action_fallback(
        &self,
        request: Request<Action>,
    ) -> Answer<<Self as FlightService>::DoActionStream> {
        self.note(request.get_ref().r#type.clone());
        let action = request.into_inner();
        if action.r#type == "RenewFlightEndpoint"
            && self.behaviour.expired == Some(ExpiredTickets::Renewed)
        {
            let renewed = RenewFlightEndpointRequest::decode(action.body)
                .map_err(failed)?
                .endpoint
                .ok_or_else(|| failed("an endpoint"))?;
            let mut renewed = renewed;
            renewed.expiration_time = None;
            let body = renewed.encode_to_vec().into();
            return Ok(Response::new(Box::pin(stream::iter([Ok(
                arrow_flight::Result { body },
            )]))));
        }
        Err(Status::unimplemented(action.r#type))
    }

    async fn register_sql_info(&self, _: i32, _: &SqlInfo) {}
}

fn part_count(text: &str) -> Result<usize, Status> {
    text.parse().map_err(failed)
}
