//! Reading `lineitem` from a Flight SQL server, against bare `arrow-flight` (the limit) and ADBC's driver: one server that
//! sends what it has encoded beforehand, alternating runs, medians.
//!
//! `cargo xtask bench flight-sql`

#![expect(clippy::print_stdout, reason = "a program's way to speak")]

use std::io::{BufRead, BufReader};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use arrow_array::RecordBatch;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::flight_service_server::FlightServiceServer;
use arrow_flight::sql::server::FlightSqlService;
use arrow_flight::sql::{CommandStatementQuery, ProstMessageExt, SqlInfo, TicketStatementQuery};
use arrow_flight::{FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, Ticket};
use arrow_ipc::CompressionType;
use arrow_ipc::writer::IpcWriteOptions;
use arrow_schema::SchemaRef;
use arrowload::Query;
use arrowload::core::DataSource;
use arrowload_bench_shared::{Peers, cpu_seconds, forget_peak, median, memory, save};
use arrowload_flight_sql::FlightSqlSource;
use clap::Parser;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use prost::Message;
use serde_json::{Map, Value, json};
use tonic::{Request, Response, Status};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Rows that the server holds encoded; it sends them as often as it takes.
const HELD: usize = 250_000;

#[derive(Parser)]
struct Args {
    /// Rows of lineitem
    #[arg(long, default_value_t = 6_000_000)]
    rows: usize,
    /// Alternating runs
    #[arg(long, default_value_t = 7)]
    runs: usize,
    /// Rows of the run that shows that memory stays flat
    #[arg(long, default_value_t = 20_000_000)]
    most_rows: usize,
    /// Is the server; prints its port
    #[arg(long, hide = true)]
    serve: bool,
}

/// Who reads, from how many endpoints, and how the bodies are compressed.
const CONTENDERS: [(&str, usize, &str); 10] = [
    ("bare", 1, "plain"),
    ("ours", 1, "plain"),
    ("adbc", 1, "plain"),
    ("ours", 4, "plain"),
    ("bare", 1, "zstd"),
    ("ours", 1, "zstd"),
    ("adbc", 1, "zstd"),
    ("ours", 4, "zstd"),
    // A server whose endpoints compute their rows, so that sending them is not the limit.
    ("ours", 1, "paced"),
    ("ours", 4, "paced"),
];

#[derive(Debug, Clone, Copy)]
struct Run {
    seconds: f64,
    cpu: f64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    if args.serve {
        return serve().await;
    }
    let server = Server::start()?;
    let folder = std::env::temp_dir().join("arrowload-bench-flight-sql");
    std::fs::create_dir_all(&folder)?;
    let packages = ["adbc-driver-flightsql", "pyarrow"];
    let mut adbc = Peers::start(&folder, "flight_sql_peers.py", &packages, &[&server.url()])?;
    let mut runs: Vec<Vec<Run>> = vec![Vec::new(); CONTENDERS.len()];
    // The first round warms up.
    for round in 0..=args.runs {
        for ((name, endpoints, body), runs) in CONTENDERS.iter().zip(&mut runs) {
            let statement = format!("{body} {endpoints} {}", args.rows);
            let run = match *name {
                "bare" => timed(bare(server.url(), statement.clone()), args.rows).await?,
                "adbc" => {
                    let (seconds, cpu) = adbc.ask(&statement)?;
                    Run { seconds, cpu }
                }
                _ => timed(ours(server.url(), statement.clone()), args.rows).await?,
            };
            if round > 0 {
                runs.push(run);
            }
        }
    }
    let results = report(args.rows, &runs);
    let memory = flatness(&server, args.most_rows).await?;
    save(
        "flight-sql",
        &json!({ "read": results, "memory": memory, "adbc": adbc.versions }),
    )
}

fn report(rows: usize, runs: &[Vec<Run>]) -> Value {
    println!(
        "\n{rows} rows of lineitem, medians of {} alternating runs",
        runs.first().map_or(0, Vec::len)
    );
    println!(
        "{:18} {:>8} {:>11} {:>8} {:>8}",
        "", "seconds", "rows/s", "of bare", "CPU s"
    );
    let mut results = Map::new();
    let seconds = |runs: &[Run]| median(runs.iter().map(|run| run.seconds));
    for ((name, endpoints, body), own) in CONTENDERS.iter().zip(runs) {
        let limit = CONTENDERS
            .iter()
            .zip(runs)
            .find(|((name, _, of), _)| {
                *name == "bare" && (of == body || (*of == "plain" && *body == "paced"))
            })
            .map_or(f64::NAN, |(_, runs)| seconds(runs));
        let (took, cpu) = (seconds(own), median(own.iter().map(|run| run.cpu)));
        let label = format!("{name} {body} × {endpoints}");
        println!(
            "{label:18} {took:8.3} {:11.0} {:8.3} {cpu:8.2}",
            rows as f64 / took,
            limit / took
        );
        let all: Vec<f64> = own.iter().map(|run| run.seconds).collect();
        let numbers = json!({ "seconds": took, "rows_per_second": rows as f64 / took, "of_bare": limit / took, "cpu_seconds": cpu, "runs": all });
        results.insert(label, numbers);
    }
    Value::Object(results)
}

/// The most memory that reading takes, from few rows and from many.
async fn flatness(server: &Server, most_rows: usize) -> Result<Value> {
    let mut results = Map::new();
    for (endpoints, rows) in [
        (1, 1_000_000),
        (1, most_rows),
        (4, 1_000_000),
        (4, most_rows),
    ] {
        forget_peak()?;
        timed(
            ours(server.url(), format!("plain {endpoints} {rows}")),
            rows,
        )
        .await?;
        let peak = memory()?.1;
        println!("{rows} rows from {endpoints} endpoints: at most {peak:.0} MB");
        results.insert(format!("{endpoints} endpoints, {rows} rows"), peak.into());
    }
    Ok(Value::Object(results))
}

async fn timed(
    read: impl Future<Output = Result<usize>> + Send + 'static,
    rows: usize,
) -> Result<Run> {
    let (cpu, started) = (cpu_seconds()?.0, Instant::now());
    // As a program of many tasks does.
    let read = tokio::spawn(read).await??;
    let run = Run {
        seconds: started.elapsed().as_secs_f64(),
        cpu: cpu_seconds()?.0 - cpu,
    };
    ensure!(read == rows, "{read} rows were read of {rows}");
    Ok(run)
}

async fn ours(url: String, statement: String) -> Result<usize> {
    let config = serde_json::from_value(Value::Object(FlightSqlSource::config_from_url(&url)?))?;
    let mut batches = FlightSqlSource::connect(config)
        .await?
        .query(&Query::new(statement))
        .await?;
    let mut rows = 0;
    while let Some(batch) = batches.try_next().await? {
        rows += batch.num_rows();
    }
    Ok(rows)
}

/// The generated client and the decoder of `arrow-flight`, and nothing else.
async fn bare(url: String, statement: String) -> Result<usize> {
    let channel = tonic::transport::Endpoint::from_shared(url.replace("grpc://", "http://"))?
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(4 << 20)
        .connect()
        .await?;
    let mut calls = FlightServiceClient::new(channel).max_decoding_message_size(usize::MAX);
    let command = CommandStatementQuery {
        query: statement,
        transaction_id: None,
    }
    .as_any();
    let info = calls
        .get_flight_info(FlightDescriptor::new_cmd(command.encode_to_vec()))
        .await?
        .into_inner();
    let mut rows = 0;
    for endpoint in info.endpoint {
        let data = calls
            .do_get(endpoint.ticket.context("a ticket")?)
            .await?
            .into_inner();
        let mut batches =
            FlightRecordBatchStream::new_from_flight_data(data.map_err(FlightError::from));
        while let Some(batch) = batches.try_next().await? {
            rows += batch.num_rows();
        }
    }
    Ok(rows)
}

/// The server, in a process of its own.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start() -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--serve")
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("it has no output")?).read_line(&mut line)?;
        Ok(Self {
            child,
            port: line.trim().parse()?,
        })
    }

    fn url(&self) -> String {
        format!("grpc://127.0.0.1:{}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How long a paced endpoint takes for a message of 8,192 rows: 2.7 million rows a second.
const COMPUTES: Duration = Duration::from_millis(3);

/// Messages and the rows in each.
type Messages = Vec<(FlightData, usize)>;

#[derive(Clone)]
struct Service {
    schema: SchemaRef,
    plain: Arc<Messages>,
    zstd: Arc<Messages>,
}

async fn serve() -> Result<()> {
    let batches: Vec<RecordBatch> = arrowload_tpch::lineitem_rows(HELD, 8192).collect();
    let schema = batches[0].schema();
    let plain = encoded(&schema, &batches, None).await?;
    let zstd = encoded(&schema, &batches, Some(CompressionType::ZSTD)).await?;
    let service = Service {
        schema,
        plain: Arc::new(plain),
        zstd: Arc::new(zstd),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port());
    let incoming = stream::unfold(listener, |listener| async move {
        Some((listener.accept().await.map(|(socket, _)| socket), listener))
    });
    let flight = FlightServiceServer::new(service).max_encoding_message_size(usize::MAX);
    Ok(tonic::transport::Server::builder()
        .add_service(flight)
        .serve_with_incoming(incoming)
        .await?)
}

async fn encoded(
    schema: &SchemaRef,
    batches: &[RecordBatch],
    compression: Option<CompressionType>,
) -> Result<Messages> {
    let options = IpcWriteOptions::default().try_with_compression(compression)?;
    let mut messages = Vec::new();
    for batch in batches {
        let stream = FlightDataEncoderBuilder::new()
            .with_schema(Arc::clone(schema))
            .with_options(options.clone())
            .with_max_flight_data_size(usize::MAX)
            .build(stream::iter([Ok(batch.clone())]));
        let pair: Vec<FlightData> = stream.try_collect().await?;
        ensure!(pair.len() == 2, "a batch has {} messages", pair.len());
        for message in pair.into_iter().skip(usize::from(!messages.is_empty())) {
            let rows = if messages.is_empty() {
                0
            } else {
                batch.num_rows()
            };
            messages.push((message, rows));
        }
    }
    Ok(messages)
}

fn failed(error: impl std::fmt::Display) -> Status {
    Status::invalid_argument(error.to_string())
}

impl Service {
    /// The schema, and then messages until there are so many rows, which are a multiple of those held.
    fn messages(
        &self,
        ticket: &str,
    ) -> Option<impl Stream<Item = Result<FlightData, Status>> + Send + use<>> {
        let (body, rows) = ticket.split_once(' ')?;
        let held = Arc::clone(if body == "zstd" {
            &self.zstd
        } else {
            &self.plain
        });
        let mut left: usize = rows.parse().ok()?;
        let mut next = 0;
        Some(stream::iter(std::iter::from_fn(move || {
            if next == held.len() {
                next = 1;
            }
            let (message, rows) = held.get(next)?;
            if next > 0 && left == 0 {
                return None;
            }
            left = left.saturating_sub(*rows);
            next += 1;
            Some(Ok(message.clone()))
        })))
    }
}

#[tonic::async_trait]
impl FlightSqlService for Service {
    type FlightService = Self;

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let words: Vec<&str> = query.query.split(' ').collect();
        let [body, parts, rows] = words[..] else {
            return Err(failed("write: plain|zstd|paced, endpoints, rows"));
        };
        let (parts, rows): (usize, usize) = (
            parts.parse().map_err(failed)?,
            rows.parse().map_err(failed)?,
        );
        let mut info = FlightInfo::new()
            .with_descriptor(request.into_inner())
            .try_with_schema(&self.schema)
            .map_err(failed)?;
        for _ in 0..parts {
            let ticket = TicketStatementQuery {
                statement_handle: format!("{body} {}", rows / parts).into_bytes().into(),
            };
            info = info.with_endpoint(
                FlightEndpoint::new().with_ticket(Ticket::new(ticket.as_any().encode_to_vec())),
            );
        }
        Ok(Response::new(info))
    }

    async fn do_get_statement(
        &self,
        ticket: TicketStatementQuery,
        _: Request<Ticket>,
    ) -> Result<Response<Pin<Box<dyn Stream<Item = Result<FlightData, Status>> + Send>>>, Status>
    {
        let ticket = String::from_utf8(ticket.statement_handle.to_vec()).map_err(failed)?;
        let messages = self.messages(&ticket).ok_or_else(|| failed("a ticket"))?;
        Ok(Response::new(match ticket.starts_with("paced") {
            true => messages
                .then(|message| async {
                    tokio::time::sleep(COMPUTES).await;
                    message
                })
                .boxed(),
            false => messages.boxed(),
        }))
    }

    async fn register_sql_info(&self, _: i32, _: &SqlInfo) {}
}
