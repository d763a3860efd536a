//! Tokens by OAuth's client credentials, from a server of tokens that is `oauthlib`'s.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use arrowload_core::{DataSource, Error, ErrorKind, Query, Result};
use arrowload_flight_sql::FlightSqlSource;
use arrowload_testkit::{FlightSqlBehaviour, ThrowawayFlightSql, python};
use serde_json::{Value, json};

use crate::{NUMBERS, ids, rows};

/// Gives the tokens `first`, `second`, …; those of the scope `short` last a second.
const SERVER: &str = r"
import base64, sys, urllib.parse
from http.server import BaseHTTPRequestHandler, HTTPServer
from oauthlib.oauth2 import BackendApplicationServer, RequestValidator
names = iter(['first', 'second', 'third', 'fourth', 'fifth'])
class Validator(RequestValidator):
    def authenticate_client(self, request, *args, **kwargs):
        header = request.headers.get('Authorization', '')
        if header.startswith('Basic ') and 'body-only' not in (request.scope or ''):
            name, secret = [urllib.parse.unquote_plus(part) for part in base64.b64decode(header[6:]).decode().split(':', 1)]
        else:
            name, secret = request.client_id, request.client_secret
        request.client = type('Client', (), {'client_id': name})()
        return (name, secret) == ('ada', 's3cret+/ü')
    def validate_grant_type(self, client_id, grant_type, client, request, *args, **kwargs): return True
    def get_default_scopes(self, client_id, request, *args, **kwargs): return ['rows']
    def validate_scopes(self, client_id, scopes, client, request, *args, **kwargs): return 'forbidden' not in scopes
    def save_bearer_token(self, token, request, *args, **kwargs): pass
def lasts(request): return 1 if 'short' in request.scopes else 3600
server = BackendApplicationServer(Validator(), token_generator=lambda request: next(names), token_expires_in=lasts)
class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers['Content-Length'])).decode()
        headers, text, status = server.create_token_response(self.path, 'POST', body, dict(self.headers))
        self.send_response(status)
        for item in headers.items(): self.send_header(*item)
        self.end_headers()
        self.wfile.write(text.encode())
    def log_message(self, *args): pass
http = HTTPServer(('127.0.0.1', 0), Handler)
print(http.server_port, flush=True)
http.serve_forever()
";

struct Tokens {
    child: Child,
    port: u16,
}

impl Drop for Tokens {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tokens() -> Option<Tokens> {
    if !python::available() {
        return None;
    }
    let python = python::interpreter().expect("a Python");
    let mut child = Command::new(python)
        .args(["-c", SERVER])
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("its output"))
        .read_line(&mut line)
        .expect("a line");
    Some(Tokens {
        port: line.trim().parse().expect("oauthlib is there"),
        child,
    })
}

async fn connect(
    server: &ThrowawayFlightSql,
    tokens: &Tokens,
    more: Value,
) -> Result<FlightSqlSource> {
    let mut config = json!({
        "host": "127.0.0.1", "port": server.port(), "max_retries": 0,
        "oauth_token_url": format!("http://127.0.0.1:{}/token", tokens.port),
        "oauth_client_id": "ada", "oauth_client_secret": "s3cret+/ü",
    });
    config
        .as_object_mut()
        .expect("an object")
        .extend(more.as_object().expect("an object").clone());
    FlightSqlSource::connect(serde_json::from_value(config).expect("a config")).await
}

async fn count(source: &FlightSqlSource) -> Result<usize> {
    Ok(ids(&rows(source, &Query::new(NUMBERS)).await?).len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_fetched_kept_and_fetched_anew() {
    let Some(tokens) = tokens() else { return };
    let server = ThrowawayFlightSql::start(FlightSqlBehaviour {
        token: Some("first"),
        ..FlightSqlBehaviour::default()
    })
    .await;
    let source = connect(&server, &tokens, json!({}))
        .await
        .expect("a source");
    assert_eq!(count(&source).await.expect("rows"), 1000);
    assert_eq!(
        count(&source).await.expect("rows with the same token"),
        1000
    );
    // The server takes it back before its time.
    server.accept_only("second");
    assert_eq!(count(&source).await.expect("rows with another"), 1000);
    server.accept_only("third");
    let short = connect(
        &server,
        &tokens,
        json!({"oauth_scope": "rows short", "oauth_audience": "db"}),
    )
    .await
    .expect("a source");
    assert_eq!(count(&short).await.expect("rows"), 1000);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    server.accept_only("fourth");
    assert_eq!(
        count(&short)
            .await
            .expect("rows with one that is fetched in time"),
        1000
    );
    // Some servers of tokens want the secret in the body.
    server.accept_only("fifth");
    let body = connect(&server, &tokens, json!({"oauth_scope": "rows body-only"}))
        .await
        .expect("a source");
    assert_eq!(count(&body).await.expect("rows"), 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_cannot_be_had_are_explained() {
    let Some(tokens) = tokens() else { return };
    let server = ThrowawayFlightSql::start(FlightSqlBehaviour {
        token: Some("never"),
        ..FlightSqlBehaviour::default()
    })
    .await;
    let refused = async |more: Value| -> Error {
        match connect(&server, &tokens, more).await {
            Ok(source) => count(&source).await.expect_err("refused"),
            Err(error) => error,
        }
    };
    for (more, kind, words) in [
        (
            json!({"oauth_client_secret": "hunter2"}),
            ErrorKind::Authentication,
            "oauth_client_secret",
        ),
        (
            json!({"oauth_scope": "forbidden"}),
            ErrorKind::Authentication,
            "invalid_scope",
        ),
        (
            json!({"oauth_token_url": "http://127.0.0.1:1/token"}),
            ErrorKind::Connection,
            "oauth_token_url",
        ),
        (
            json!({"oauth_token_url": "no url"}),
            ErrorKind::InvalidOption,
            "oauth_token_url",
        ),
        (
            json!({"oauth_client_id": null}),
            ErrorKind::InvalidOption,
            "all three",
        ),
        (json!({"token": "x"}), ErrorKind::InvalidOption, "give one"),
        // The token is fetched, and the server wants another.
        (json!({}), ErrorKind::Authentication, "no such token"),
    ] {
        let error = refused(more.clone()).await;
        assert!(
            error.kind() == kind && error.to_string().contains(words),
            "{more}: {error:#} ({:?})",
            error.kind()
        );
        let shown = format!("{error:#} {error:?}");
        assert!(
            !shown.contains("hunter2") && !shown.contains("s3cret"),
            "{shown}"
        );
    }
}
