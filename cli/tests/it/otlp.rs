//! Traces and metrics by OTLP: decoded by OpenTelemetry's own protobuf definitions for Python, which stand in for a collector.
#![cfg(feature = "otlp")]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use arrowload_testkit::python;
use serde_json::Value;

use crate::{Ended, PEOPLE, Place};

/// Takes requests until standard input ends, and prints what they were.
const COLLECTOR: &str = r#"
import json, sys, threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
kinds = {"/v1/traces": ExportTraceServiceRequest, "/v1/metrics": ExportMetricsServiceRequest}
class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        message = kinds[self.path].FromString(self.rfile.read(int(self.headers["content-length"])))
        got = {"path": self.path, "key": self.headers.get("x-key"), "message": MessageToDict(message)}
        print(json.dumps(got), flush=True)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()
    def log_message(self, *_): pass
server = HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stdin.read()
"#;

const JOB: &str = "
[loads.people]
from = \"people.csv\"
to = \"a.parquet\"
mode = \"overwrite\"
[loads.taken]
from = \"people.csv\"
to = \"people.csv\"
mode = \"create\"
";

fn attributes(of: &Value) -> Vec<(String, String)> {
    let pairs = of["attributes"].as_array().cloned().unwrap_or_default();
    let pair = |pair: &Value| {
        let value = pair["value"]
            .as_object()
            .and_then(|value| value.values().next());
        let value = value.cloned().unwrap_or_default();
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        (pair["key"].as_str().unwrap_or_default().to_owned(), text)
    };
    pairs.iter().map(pair).collect()
}

fn has(of: &Value, key: &str, value: &str) -> bool {
    attributes(of).contains(&(key.to_owned(), value.to_owned()))
}

#[test]
fn a_collector_gets_spans_and_metrics() {
    if !python::available() {
        return;
    }
    let python = python::interpreter().expect("it is available");
    let mut collector = Command::new(python)
        .args(["-c", COLLECTOR])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(collector.stdout.take().expect("its output")).lines();
    let port = lines.next().expect("a port").expect("text");
    let place = Place::new();
    place.write("people.csv", PEOPLE).write("job.toml", JOB);
    let mut command = place.command(&["run", "job.toml", "--run-id", "day 1"]);
    let ended = Ended::of(
        command
            .env(
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                format!("http://127.0.0.1:{port}"),
            )
            .env("OTEL_EXPORTER_OTLP_HEADERS", "x-key=hunter2")
            .env("OTEL_SERVICE_NAME", "nightly")
            .env("NO_PROXY", "127.0.0.1"),
    );
    assert_eq!(ended.code, 1, "{ended:?}");
    drop(collector.stdin.take());
    let got: Vec<Value> = lines
        .map(|line| serde_json::from_str(&line.expect("text")).expect("JSON"))
        .collect();
    collector.wait().expect("it ends");
    let whole = serde_json::to_string(&got.iter().map(|one| &one["message"]).collect::<Vec<_>>());
    assert!(!whole.expect("text").contains("hunter2"));

    let (mut spans, mut metrics) = (Vec::new(), Vec::new());
    for request in &got {
        assert_eq!(request["key"], "hunter2");
        for (all, outer, inner, items) in [
            (&mut spans, "resourceSpans", "scopeSpans", "spans"),
            (&mut metrics, "resourceMetrics", "scopeMetrics", "metrics"),
        ] {
            for resource in request["message"][outer].as_array().into_iter().flatten() {
                assert!(
                    has(&resource["resource"], "service.name", "nightly"),
                    "{resource}"
                );
                for scope in resource[inner].as_array().into_iter().flatten() {
                    all.extend(scope[items].as_array().cloned().unwrap_or_default());
                }
            }
        }
    }
    let named =
        |name: &str| -> Vec<&Value> { spans.iter().filter(|span| span["name"] == name).collect() };
    let run = named("arrowload run");
    assert_eq!(run.len(), 1, "{spans:#?}");
    let loads = named("load");
    assert_eq!(loads.len(), 2, "{spans:#?}");
    let well = loads
        .iter()
        .find(|span| has(span, "outcome", "ok"))
        .expect("loaded");
    assert!(
        has(well, "loader", "file") && has(well, "rows", "2"),
        "{well}"
    );
    let numbers = well.to_string();
    assert!(numbers.contains("\"intValue\":\"2\""), "{numbers}");
    let failed = loads
        .iter()
        .find(|span| has(span, "outcome", "error"))
        .expect("failed");
    assert_eq!(failed["status"]["code"], "STATUS_CODE_ERROR", "{failed}");
    // A load is below the one of the job, and its phases are below it.
    let parent = named("load people");
    assert_eq!(
        (&parent[0]["parentSpanId"], &well["parentSpanId"]),
        (&run[0]["spanId"], &parent[0]["spanId"])
    );
    assert!(has(parent[0], "run", "day 1"), "{parent:?}");
    for phase in [
        "connecting",
        "querying",
        "resolving",
        "writing",
        "preparing",
        "committing",
    ] {
        let is_own = |span: &&Value| span["parentSpanId"] == well["spanId"];
        assert!(
            named(phase).into_iter().any(|span| is_own(&span)),
            "{phase}: {spans:#?}"
        );
    }
    let value = |name: &str, kind: &str, label: (&str, &str)| {
        let metric = metrics.iter().rfind(|metric| metric["name"] == name);
        let points =
            metric.unwrap_or_else(|| panic!("{name}: {metrics:#?}"))[kind]["dataPoints"].clone();
        let points = points.as_array().cloned().unwrap_or_default();
        let point = points
            .iter()
            .find(|point| has(point, label.0, label.1))
            .cloned();
        point.unwrap_or_else(|| panic!("{name}: {metrics:#?}"))
    };
    assert_eq!(
        value("arrowload.loads", "sum", ("outcome", "ok"))["asInt"],
        "1"
    );
    assert_eq!(
        value("arrowload.loaded_rows", "sum", ("loader", "file"))["asInt"],
        "2"
    );
    assert_eq!(
        value(
            "arrowload.load_duration_seconds",
            "histogram",
            ("loader", "file")
        )["count"],
        "1"
    );
    assert_eq!(
        value("arrowload.command_exit_code", "gauge", ("command", "run"))["asDouble"],
        1.0
    );
}

#[test]
fn a_collector_that_is_not_there_fails_no_load_and_a_wrong_address_is_refused() {
    let place = Place::new();
    place.write("people.csv", PEOPLE);
    let load = [
        "load",
        "--from",
        "people.csv",
        "--to",
        "a.parquet",
        "--mode",
        "overwrite",
    ];
    for wrong in ["localhost:4318", "grpc://hunter2@x", "http://"] {
        let line = place.refused(2, &[&load[..], &["--otlp", wrong]].concat());
        assert!(
            line.contains("such as http://localhost:4318") && !line.contains("hunter2"),
            "{line}"
        );
    }
    assert!(!place.path().join("a.parquet").exists());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    drop(taken);
    let url = format!("http://me:hunter2@127.0.0.1:{port}");
    let mut command = place.command(&[&load[..], &["--otlp", &url]].concat());
    let ended = Ended::of(command.env("NO_PROXY", "127.0.0.1"));
    assert_eq!(ended.code, 0, "{ended:?}");
    let said = format!("could not be sent to 127.0.0.1:{port}, and the command goes on");
    assert!(
        ended.err.contains(&said) && !ended.err.contains("hunter2"),
        "{ended:?}"
    );
    assert_eq!(
        ended.err.matches("could not be sent").count(),
        1,
        "{ended:?}"
    );
}
