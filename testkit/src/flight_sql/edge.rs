//! The calls of Flight as they come in: those of SQL go on to the service, and what Flight SQL's own trait leaves out is here.

use arrow_flight::flight_service_server::FlightService;
use arrow_flight::{
    Action, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, PollInfo,
    SchemaResult, Ticket,
};
use bytes::Bytes;
use tonic::{Request, Response, Status, Streaming};

use super::service::Service;

type Answer<T> = Result<Response<T>, Status>;

/// What is before the command of a query whose progress is asked for again.
const ASKED: &[u8] = b"asked ";

pub(super) struct Edge(pub(super) Service);

#[tonic::async_trait]
impl FlightService for Edge {
    type HandshakeStream = <Service as FlightService>::HandshakeStream;
    type ListFlightsStream = <Service as FlightService>::ListFlightsStream;
    type DoGetStream = <Service as FlightService>::DoGetStream;
    type DoPutStream = <Service as FlightService>::DoPutStream;
    type DoActionStream = <Service as FlightService>::DoActionStream;
    type ListActionsStream = <Service as FlightService>::ListActionsStream;
    type DoExchangeStream = <Service as FlightService>::DoExchangeStream;

    /// Answers so many times that the query is not done.
    async fn poll_flight_info(&self, request: Request<FlightDescriptor>) -> Answer<PollInfo> {
        let polls = self.0.polls();
        if polls == 0 {
            return Err(Status::unimplemented("it does not say how far a query is"));
        }
        self.0.enter(&request).await?;
        self.0.note("poll");
        let mut descriptor = request.into_inner();
        let command = descriptor.cmd.clone();
        let asked = command
            .strip_prefix(ASKED)
            .and_then(|rest| Some((usize::from(*rest.first()?), rest.get(1..)?)));
        let (asked, command) = asked.unwrap_or((0, &command));
        descriptor.cmd = Bytes::copy_from_slice(command);
        if asked < polls {
            descriptor.cmd = [ASKED, &[asked as u8 + 1], command].concat().into();
            let info = FlightInfo::new().with_app_metadata("under way");
            let progress = asked as f64 / polls as f64;
            return Ok(Response::new(PollInfo {
                progress: Some(progress),
                ..PollInfo::new().with_info(info).with_descriptor(descriptor)
            }));
        }
        let info = self
            .get_flight_info(Request::new(descriptor))
            .await?
            .into_inner();
        Ok(Response::new(PollInfo {
            progress: Some(1.0),
            ..PollInfo::new().with_info(info)
        }))
    }

    async fn handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Answer<Self::HandshakeStream> {
        self.0.handshake(request).await
    }

    async fn list_flights(&self, request: Request<Criteria>) -> Answer<Self::ListFlightsStream> {
        self.0.list_flights(request).await
    }

    async fn get_flight_info(&self, request: Request<FlightDescriptor>) -> Answer<FlightInfo> {
        self.0.get_flight_info(request).await
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Answer<SchemaResult> {
        self.0.get_schema(request).await
    }

    async fn do_get(&self, request: Request<Ticket>) -> Answer<Self::DoGetStream> {
        self.0.do_get(request).await
    }

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Answer<Self::DoPutStream> {
        self.0.do_put(request).await
    }

    async fn do_action(&self, request: Request<Action>) -> Answer<Self::DoActionStream> {
        self.0.do_action(request).await
    }

    async fn list_actions(&self, request: Request<Empty>) -> Answer<Self::ListActionsStream> {
        self.0.list_actions(request).await
    }

    async fn do_exchange(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Answer<Self::DoExchangeStream> {
        self.0.do_exchange(request).await
    }
}
