//! `--metrics-file`, `--metrics-listen`, `--otlp`: metrics and traces of loads, for monitoring.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use arrowload::core::describe_metrics;
use clap::Args;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics::{Unit, describe_gauge, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::args::Command;
use crate::exit::Failure;
use crate::params::{once, pair};
use crate::show::note;

/// How often the file is written.
const INTERVAL: Duration = Duration::from_secs(5);
/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(10);
/// The buckets of the histogram of load times, in seconds.
pub(crate) const BUCKETS: [f64; 8] = [0.1, 1.0, 10.0, 60.0, 300.0, 1_800.0, 7_200.0, 43_200.0];
/// Labels that metrics have already.
const TAKEN: [&str; 4] = ["command", "le", "loader", "outcome"];

const START: &str = "arrowload_command_start_time_seconds";
const END: &str = "arrowload_command_end_time_seconds";
const EXIT_CODE: &str = "arrowload_command_exit_code";

#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Metrics")]
pub(crate) struct TelemetryArgs {
    /// Write metrics into this file every 5 seconds and at the end, in the text format of Prometheus; the node exporter reads those
    /// whose name ends with .prom
    #[arg(long, value_name = "FILE")]
    pub(crate) metrics_file: Option<PathBuf>,
    /// Serve metrics at http://ADDR:PORT/metrics while the command runs, to everybody who can connect: 127.0.0.1:9464
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) metrics_listen: Option<String>,
    /// A label of all these metrics, which tells files of one node exporter apart: cron=orders
    #[arg(long = "metrics-label", value_name = "NAME=VALUE")]
    pub(crate) metrics_labels: Vec<String>,
    /// Send traces and metrics to an OpenTelemetry collector, by OTLP over HTTP: http://localhost:4318; by default to the one that
    /// OTEL_EXPORTER_OTLP_ENDPOINT names, if it is set. Only in builds with the feature `otlp`
    #[arg(long, value_name = "URL")]
    pub(crate) otlp: Option<String>,
}

/// Metrics and traces while a command runs.
#[derive(Default)]
pub(crate) struct Telemetry {
    command: &'static str,
    file: Option<Arc<MetricsFile>>,
    listener: Option<(TcpListener, PrometheusHandle)>,
    #[cfg(feature = "otlp")]
    otlp: Option<crate::otlp::Otlp>,
}

struct MetricsFile {
    path: PathBuf,
    metrics: PrometheusHandle,
    /// A failure to write the file is reported only once.
    complained: AtomicBool,
}

impl Telemetry {
    /// Reads the flags, and refuses what cannot work: a file that cannot be written, an address that is in use.
    pub(crate) fn start(command: &Command) -> Result<Self, Failure> {
        let Some((name, args)) = command.telemetry() else {
            return Ok(Self::default());
        };
        let prometheus = args.metrics_file.is_some() || args.metrics_listen.is_some();
        if !prometheus && !args.metrics_labels.is_empty() {
            return Err(Failure::usage(
                "--metrics-label is about --metrics-file and --metrics-listen; give one of them",
            ));
        }
        if let Some(path) = &args.metrics_file {
            refuse_to_overwrite(path, &command.files())?;
        }
        let recorder = prometheus.then(|| recorder(args)).transpose()?;
        let handle = recorder.as_ref().map(|recorder| recorder.handle());
        let mut telemetry = Self {
            command: name,
            ..Self::default()
        };
        #[cfg(feature = "otlp")]
        {
            use metrics_util::layers::FanoutBuilder;

            let otlp = crate::otlp::start(args.otlp.as_deref())?;
            let mut all = FanoutBuilder::default();
            if let Some(recorder) = recorder {
                all = all.add_recorder(recorder);
            }
            if let Some((otlp, bridge)) = otlp {
                telemetry.otlp = Some(otlp);
                all = all.add_recorder(bridge);
            }
            if handle.is_some() || telemetry.otlp.is_some() {
                install(all.build())?;
            }
        }
        #[cfg(not(feature = "otlp"))]
        {
            if args.otlp.is_some() {
                return Err(Failure::usage(
                    "--otlp: this build has no OpenTelemetry; build it with the feature `otlp`",
                ));
            }
            if let Some(recorder) = recorder {
                install(recorder)?;
            }
        }
        telemetry.started();
        if let (Some(address), Some(handle)) = (&args.metrics_listen, &handle) {
            telemetry.listener = Some((listen(address)?, handle.clone()));
        }
        if let (Some(path), Some(metrics)) = (&args.metrics_file, handle) {
            let file = MetricsFile {
                path: path.clone(),
                metrics,
                complained: AtomicBool::new(false),
            };
            file.write().map_err(|error| {
                Failure::usage(format!("--metrics-file {}: {error}", path.display()))
            })?;
            telemetry.file = Some(Arc::new(file));
        }
        Ok(telemetry)
    }

    /// The layer that takes spans as traces.
    #[cfg(feature = "otlp")]
    pub(crate) fn traces(&self) -> Option<crate::otlp::Traces> {
        self.otlp.as_ref().map(|otlp| otlp.traces.clone())
    }

    /// The parent of all spans.
    pub(crate) fn span(&self) -> tracing::Span {
        match self.command {
            "" => tracing::Span::none(),
            command => {
                tracing::info_span!("command", otel.name = format!("arrowload {command}"))
            }
        }
    }

    fn started(&self) {
        describe_metrics();
        describe_gauge!(START, Unit::Seconds, "When the command began, since 1970.");
        describe_gauge!(END, Unit::Seconds, "When the command ended, since 1970.");
        describe_gauge!(
            EXIT_CODE,
            Unit::Count,
            "The exit code of the command; 0 is well."
        );
        gauge!(START, "command" => self.command).set(now());
    }

    /// Begins to write and serve metrics, inside the runtime.
    pub(crate) fn run(&mut self) -> Result<(), Failure> {
        if let Some(file) = self.file.clone() {
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(INTERVAL).await;
                    file.write_or_complain();
                }
            });
        }
        if let Some((listener, handle)) = self.listener.take() {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            note(&format!(
                "metrics at http://{}/metrics",
                listener.local_addr()?
            ));
            tokio::spawn(serve(listener, handle));
        }
        Ok(())
    }

    /// The command has ended: writes the last metrics.
    pub(crate) fn end(self, exit_code: u8) {
        if self.command.is_empty() {
            return;
        }
        gauge!(END, "command" => self.command).set(now());
        gauge!(EXIT_CODE, "command" => self.command).set(f64::from(exit_code));
        if let Some(file) = &self.file {
            file.write_or_complain();
        }
        #[cfg(feature = "otlp")]
        if let Some(otlp) = self.otlp {
            otlp.end();
        }
    }
}

/// Refuses a file that holds something else than metrics, and one that the command itself reads or writes.
fn refuse_to_overwrite(path: &Path, files: &[&Path]) -> Result<(), Failure> {
    let refused = |why: &str| {
        Failure::usage(format!(
            "--metrics-file {}: {why}; give the metrics a file of their own",
            path.display()
        ))
    };
    let own = place_of(path);
    if files.iter().any(|file| place_of(file) == own) {
        return Err(refused("the command itself reads or writes this file"));
    }
    // What cannot be looked at cannot be written either, or says so when it is.
    let Ok(about) = std::fs::metadata(path) else {
        return Ok(());
    };
    if about.is_dir() || about.len() == 0 && about.is_file() {
        return Ok(());
    }
    let mut first = Vec::new();
    if about.is_file() {
        std::fs::File::open(path)?.take(7).read_to_end(&mut first)?;
    }
    match first.as_slice() {
        b"# HELP " | b"# TYPE " => Ok(()),
        _ => Err(refused(
            "this file is there, does not hold metrics, and would be overwritten",
        )),
    }
}

/// A path by which a file can be told from others, also before it is there.
fn place_of(path: &Path) -> PathBuf {
    let text = path.to_str().and_then(|text| text.strip_prefix("file://"));
    let path = text.map_or(path, Path::new);
    let found = path.canonicalize().or_else(|_| {
        let folder = path.parent().filter(|folder| *folder != Path::new(""));
        let folder = folder.unwrap_or(Path::new(".")).canonicalize()?;
        Ok::<_, std::io::Error>(folder.join(path.file_name().unwrap_or_default()))
    });
    found.unwrap_or_else(|_| path.to_owned())
}

/// Seconds since 1970.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}

fn install(recorder: impl metrics::Recorder + Sync + 'static) -> Result<(), Failure> {
    metrics::set_global_recorder(recorder).map_err(|error| Failure::failed(error.to_string()))
}

fn recorder(
    args: &TelemetryArgs,
) -> Result<metrics_exporter_prometheus::PrometheusRecorder, Failure> {
    let seconds = Matcher::Suffix("_seconds".to_owned());
    let mut builder = PrometheusBuilder::new()
        .set_buckets_for_metric(seconds, &BUCKETS)
        .map_err(|error| Failure::failed(error.to_string()))?;
    let labels = args.metrics_labels.iter();
    let labels = labels.map(|text| pair("--metrics-label", text));
    let labels = labels.collect::<Result<Vec<_>, _>>()?;
    once("--metrics-label", labels.iter().copied())?;
    for (name, value) in labels {
        let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let is_name = name.chars().all(is_word)
            && !name.starts_with(|letter: char| letter.is_ascii_digit())
            && !name.starts_with("__");
        if !is_name {
            return Err(Failure::usage(format!(
                "--metrics-label: a name is made of letters, digits and _, and `{name}` is not"
            )));
        }
        if TAKEN.contains(&name) {
            return Err(Failure::usage(format!(
                "--metrics-label: the metrics have a label `{name}` already"
            )));
        }
        builder = builder.add_global_label(name, value);
    }
    Ok(builder.build_recorder())
}

impl MetricsFile {
    /// Under a temporary name first, so that nobody reads half of it.
    fn write(&self) -> std::io::Result<()> {
        if self.path.is_dir() {
            return Err(std::io::ErrorKind::IsADirectory.into());
        }
        let folder = match self.path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let mut builder = tempfile::Builder::new();
        builder.prefix(".arrowload-metrics-").suffix(".tmp");
        // The reader of the file is another user.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(std::fs::Permissions::from_mode(0o644));
        }
        let mut file = builder.tempfile_in(folder)?;
        file.write_all(self.metrics.render().as_bytes())?;
        file.persist(&self.path)?;
        Ok(())
    }

    fn write_or_complain(&self) {
        match self.write() {
            Ok(()) => self.complained.store(false, Ordering::Relaxed),
            Err(error) if !self.complained.swap(true, Ordering::Relaxed) => note(&format!(
                "the metrics could not be written into {}, and the command goes on: {error}",
                self.path.display()
            )),
            Err(_) => {}
        }
    }
}

/// Takes the address, or says why not.
fn listen(address: &str) -> Result<TcpListener, Failure> {
    let refused = |why: String| Failure::usage(format!("--metrics-listen {address}: {why}"));
    let addresses = address.to_socket_addrs().map_err(|error| {
        refused(format!(
            "not an address to listen at, such as 127.0.0.1:9464: {error}"
        ))
    })?;
    let addresses: Vec<SocketAddr> = addresses.collect();
    let listener =
        TcpListener::bind(addresses.as_slice()).map_err(|error| refused(error.to_string()))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

async fn serve(listener: tokio::net::TcpListener, handle: PrometheusHandle) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // For example, there are no file handles left.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let handle = handle.clone();
        let service = service_fn(move |request| {
            let response = answer(&request, &handle);
            async { response }
        });
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(REQUEST)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service);
        // A client that disconnects does no harm.
        tokio::spawn(async { drop(tokio::time::timeout(REQUEST, serving).await) });
    }
}

fn answer(
    request: &Request<Incoming>,
    handle: &PrometheusHandle,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::default());
    if request.uri().path() != "/metrics" {
        *response.status_mut() = StatusCode::NOT_FOUND;
        *response.body_mut() = Full::from("the metrics are at /metrics\n");
    } else if ![Method::GET, Method::HEAD].contains(request.method()) {
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        let allowed = hyper::header::HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
    } else {
        let kind =
            hyper::header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        *response.body_mut() = Full::from(handle.render());
    }
    Ok(response)
}
