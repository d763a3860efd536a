//! `--otlp`: traces and metrics to an OpenTelemetry collector. A load does not wait for it, and does not fail with it.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{
    ExporterBuildError, MetricExporter, SpanExporter, WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

use crate::exit::Failure;
use crate::show::note;
use crate::telemetry::BUCKETS;

/// If one of these is set, traces and metrics are sent, as in other programs.
const ENDPOINTS: [&str; 3] = [
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
];
/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(5);
/// How long the end of the command waits for what is not sent yet.
const LAST: Duration = Duration::from_secs(8);

/// The provider that makes traces from spans.
pub(crate) type Traces = SdkTracer;

/// What is sent while a command runs.
pub(crate) struct Otlp {
    pub(crate) traces: Traces,
    tracer: SdkTracerProvider,
    meter: SdkMeterProvider,
    /// It is not the runtime of the command, so that spans are sent also while that one is busy, and after its end.
    runtime: tokio::runtime::Runtime,
}

/// Begins to send, if that was asked for, and returns what metrics go to.
pub(crate) fn start(endpoint: Option<&str>) -> Result<Option<(Otlp, Bridge)>, Failure> {
    let is_set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_off = std::env::var("OTEL_SDK_DISABLED").is_ok_and(|text| text == "true");
    if is_off || (endpoint.is_none() && !ENDPOINTS.iter().any(is_set)) {
        return Ok(None);
    }
    let endpoint = endpoint.map(checked).transpose()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let client: Arc<dyn HttpClient> = Arc::new(Sender {
        client: crate::http::client(REQUEST)?,
        runtime: runtime.handle().clone(),
        complained: AtomicBool::new(false),
    });
    let resource = resource();
    let refused = |error: ExporterBuildError| Failure::usage(format!("OpenTelemetry: {error}"));
    let mut spans = SpanExporter::builder()
        .with_http()
        .with_shared_http_client(Arc::clone(&client));
    let mut numbers = MetricExporter::builder()
        .with_http()
        .with_shared_http_client(client);
    if let Some(endpoint) = endpoint {
        spans = spans.with_endpoint(format!("{endpoint}/v1/traces"));
        numbers = numbers.with_endpoint(format!("{endpoint}/v1/metrics"));
    }
    let tracer = SdkTracerProvider::builder()
        .with_resource(resource.clone())
        .with_batch_exporter(spans.build().map_err(refused)?)
        .build();
    let meter = SdkMeterProvider::builder()
        .with_resource(resource)
        .with_periodic_exporter(numbers.build().map_err(refused)?)
        .build();
    let bridge = Bridge(meter.meter("arrowload"));
    let otlp = Otlp {
        traces: tracer.tracer("arrowload"),
        tracer,
        meter,
        runtime,
    };
    Ok(Some((otlp, bridge)))
}

/// The description of the sender. The standard variables override it.
fn resource() -> Resource {
    let attributes = std::env::var("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let is_named =
        std::env::var_os("OTEL_SERVICE_NAME").is_some() || attributes.contains("service.name=");
    let builder = Resource::builder();
    let builder = match is_named {
        true => builder,
        false => builder.with_service_name("arrowload"),
    };
    builder
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build()
}

/// The base of the collector's URLs.
fn checked(endpoint: &str) -> Result<String, Failure> {
    let is_http = reqwest::Url::parse(endpoint).is_ok_and(|url| {
        ["http", "https"].contains(&url.scheme()) && url.host().is_some() && url.query().is_none()
    });
    match is_http {
        true => Ok(endpoint.trim_end_matches('/').to_owned()),
        // It may hold a token.
        false => Err(Failure::usage(
            "--otlp takes the URL of a collector, such as http://localhost:4318",
        )),
    }
}

impl Otlp {
    /// Sends what is left, within a time limit.
    pub(crate) fn end(self) {
        let (done, ended) = mpsc::channel();
        let (tracer, meter) = (self.tracer, self.meter);
        std::thread::spawn(move || {
            // What fails has been said.
            let _ = tracer.shutdown_with_timeout(LAST);
            let _ = meter.shutdown();
            let _ = done.send(());
        });
        if ended.recv_timeout(LAST).is_err() {
            note("not all traces and metrics could be sent in time");
        }
        self.runtime.shutdown_background();
    }
}

/// Sends what the exporters have made, and says once if that fails.
struct Sender {
    client: reqwest::Client,
    runtime: tokio::runtime::Handle,
    complained: AtomicBool,
}

/// Headers may hold a token.
impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

#[async_trait::async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let host = request.uri().authority().map(|authority| {
            let text = authority.as_str();
            text.rsplit('@').next().unwrap_or(text).to_owned()
        });
        let request = reqwest::Request::try_from(request)?;
        let client = self.client.clone();
        // The exporters have threads of their own, without a runtime.
        let sending = self.runtime.spawn(async move {
            let response = client.execute(request).await?;
            let (status, headers) = (response.status(), response.headers().clone());
            Ok((status, headers, response.bytes().await?))
        });
        let sent: Result<_, reqwest::Error> = sending.await?;
        let failed = match &sent {
            Ok((status, ..)) if status.is_success() => None,
            Ok((status, ..)) => Some(format!("it answered {status}")),
            Err(_) => Some(String::new()),
        };
        let sent = sent.map_err(crate::http::why);
        if let Some(answer) = failed
            && !self.complained.swap(true, Ordering::Relaxed)
        {
            let why = sent.as_ref().err().cloned().unwrap_or(answer);
            note(&format!(
                "traces or metrics could not be sent to {}, and the command goes on: {why}",
                host.as_deref().unwrap_or("the collector")
            ));
        }
        let (status, headers, body) = sent?;
        let mut response = Response::builder().status(status).body(body)?;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

/// Hands metrics over to OpenTelemetry's instruments.
pub(crate) struct Bridge(Meter);

fn labels(key: &Key) -> Vec<KeyValue> {
    key.labels()
        .map(|label| KeyValue::new(label.key().to_owned(), label.value().to_owned()))
        .collect()
}

/// The name by OpenTelemetry's conventions, where a counter's does not say that it is one, and the unit.
fn named(key: &Key) -> (String, &'static str) {
    let name = key.name();
    let name = name.strip_suffix("_total").unwrap_or(name);
    let unit = if name.ends_with("_seconds") {
        "s"
    } else if name.ends_with("_bytes") {
        "By"
    } else {
        "1"
    };
    (name.replace("arrowload_", "arrowload."), unit)
}

impl Recorder for Bridge {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let (name, unit) = named(key);
        let instrument = self.0.u64_counter(name).with_unit(unit).build();
        Counter::from_arc(Arc::new(Count {
            instrument,
            labels: labels(key),
        }))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let (name, unit) = named(key);
        // Each call registers again, and what goes up comes down by another one.
        match name.ends_with("_in_progress") {
            true => Gauge::from_arc(Arc::new(UpDown {
                instrument: self.0.f64_up_down_counter(name).with_unit(unit).build(),
                labels: labels(key),
            })),
            false => Gauge::from_arc(Arc::new(Level {
                instrument: self.0.f64_gauge(name).with_unit(unit).build(),
                labels: labels(key),
            })),
        }
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let (name, unit) = named(key);
        let instrument = self.0.f64_histogram(name).with_unit(unit);
        let instrument = instrument.with_boundaries(BUCKETS.to_vec()).build();
        Histogram::from_arc(Arc::new(Spread {
            instrument,
            labels: labels(key),
        }))
    }
}

struct Count {
    instrument: opentelemetry::metrics::Counter<u64>,
    labels: Vec<KeyValue>,
}

impl CounterFn for Count {
    fn increment(&self, value: u64) {
        self.instrument.add(value, &self.labels);
    }

    /// None of ours is set.
    fn absolute(&self, _: u64) {}
}

struct UpDown {
    instrument: opentelemetry::metrics::UpDownCounter<f64>,
    labels: Vec<KeyValue>,
}

impl GaugeFn for UpDown {
    fn increment(&self, value: f64) {
        self.instrument.add(value, &self.labels);
    }

    fn decrement(&self, value: f64) {
        self.instrument.add(-value, &self.labels);
    }

    fn set(&self, _: f64) {}
}

struct Level {
    instrument: opentelemetry::metrics::Gauge<f64>,
    labels: Vec<KeyValue>,
}

impl GaugeFn for Level {
    fn increment(&self, _: f64) {}

    fn decrement(&self, _: f64) {}

    fn set(&self, value: f64) {
        self.instrument.record(value, &self.labels);
    }
}

struct Spread {
    instrument: opentelemetry::metrics::Histogram<f64>,
    labels: Vec<KeyValue>,
}

impl HistogramFn for Spread {
    fn record(&self, value: f64) {
        self.instrument.record(value, &self.labels);
    }
}
