//! An object store that speaks S3, for tests: Python's `moto`, in memory, on a free port of loopback. It enforces
//! conditional puts, as S3 does: `moto` looks and then puts, on a thread for each request, so two puts could both find
//! nothing there; a lock keeps requests for objects one after the other.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;

/// Starts the server, says where, and copies objects to local folders for the readers of [`python`](crate::python).
/// It ends when its input does, in whatever way the test's process ends.
const SERVER: &str = r#"
import sys, os, json, logging, threading, datetime
import boto3, botocore.exceptions
from moto.s3.models import s3_backends
from moto.s3.responses import S3Response
from moto.server import ThreadedMotoServer
one_at_a_time, handle = threading.Lock(), S3Response._key_response
def handle_alone(*request):
    with one_at_a_time: return handle(*request)
S3Response._key_response = handle_alone
logging.getLogger('werkzeug').setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
url = f'http://127.0.0.1:{port}'
s3 = boto3.client('s3', endpoint_url=url, region_name='us-east-1', aws_access_key_id='key', aws_secret_access_key='secret')
s3.create_bucket(Bucket='arrowload')
print(url, flush=True)
def keys(prefix):
    pages = s3.get_paginator('list_objects_v2').paginate(Bucket='arrowload', Prefix=prefix)
    return [o['Key'] for page in pages for o in page.get('Contents', [])]
def answer(request):
    prefix = request['prefix']
    if request['do'] == 'list': return json.dumps(keys(prefix))
    if request['do'] == 'put':
        s3.upload_file(request['file'], 'arrowload', prefix)
        return json.dumps([prefix])
    if request['do'] == 'remove':
        s3.delete_object(Bucket='arrowload', Key=prefix)
        return json.dumps([prefix])
    if request['do'] == 'age':
        buckets = [p.buckets['arrowload'] for a in s3_backends.values() for p in a.values() if 'arrowload' in p.buckets]
        for bucket in buckets:
            for key in keys(prefix): bucket.keys[key].last_modified -= datetime.timedelta(seconds=request['seconds'])
        return json.dumps(keys(prefix))
    if request['do'] == 'uploads':
        found = s3.list_multipart_uploads(Bucket='arrowload').get('Uploads', [])
        return json.dumps([u['Key'] for u in found if u['Key'].startswith(prefix)])
    for key in keys(prefix):
        rest = key[len(prefix):].lstrip('/') or os.path.basename(key)
        path = os.path.join(request['folder'], rest)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        # A lease or a staged file may go between the listing and the copy: such an object is not there.
        try: s3.download_file('arrowload', key, path)
        except botocore.exceptions.ClientError as error:
            if error.response['Error']['Code'] != '404': raise
    return json.dumps(keys(prefix))
for line in sys.stdin:
    try:
        print('ok ' + answer(json.loads(line)), flush=True)
    except Exception as error:
        print(type(error).__name__ + ': ' + str(error).replace('\n', ' '), flush=True)
"#;

/// A store with the bucket `arrowload`. Dropped, or when the test's process ends in whatever way, it is gone.
#[derive(Debug)]
pub struct ThrowawayS3 {
    endpoint: String,
    process: Mutex<Process>,
}

#[derive(Debug)]
struct Process {
    child: Child,
    input: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The store that all tests of a process share.
static SHARED: Mutex<Option<Arc<ThrowawayS3>>> = Mutex::new(None);

impl ThrowawayS3 {
    /// Starts a store of your own.
    ///
    /// # Errors
    /// A sentence for a person: Python lacks `moto`.
    pub fn start() -> Result<Self, String> {
        let python = std::env::var("ARROWLOAD_PYTHON").unwrap_or_else(|_| "python3".into());
        let mut command = Command::new(&python);
        command
            .args(["-c", SERVER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command
            .spawn()
            .map_err(|error| format!("{python} does not start: {error}"))?;
        let input = child.stdin.take().ok_or("Python has no input")?;
        let mut process = Process {
            answers: BufReader::new(child.stdout.take().ok_or("Python has no output")?),
            input,
            child,
        };
        let mut endpoint = String::new();
        process
            .answers
            .read_line(&mut endpoint)
            .map_err(|error| error.to_string())?;
        if !endpoint.starts_with("http") {
            return Err(format!(
                "{python} has no moto[server] and boto3; run `cargo xtask test`, or set ARROWLOAD_PYTHON"
            ));
        }
        Ok(Self {
            endpoint: endpoint.trim().to_owned(),
            process: Mutex::new(process),
        })
    }

    /// The store that all tests of this process share, or `None` with the reason printed; a failure if
    /// `ARROWLOAD_REQUIRE` names `python`.
    pub fn available() -> Option<Arc<Self>> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.is_none() {
            *shared = Self::start()
                .map(Arc::new)
                .map_err(|why| crate::skip("python", &why))
                .ok();
        }
        shared.clone()
    }

    /// The options of a connection to it, as object stores' own names have them.
    pub fn options(&self) -> [(&'static str, &str); 5] {
        [
            ("aws_endpoint", &self.endpoint),
            ("aws_access_key_id", "key"),
            ("aws_secret_access_key", "secret"),
            ("aws_region", "us-east-1"),
            ("aws_allow_http", "true"),
        ]
    }

    /// The URL of something in the bucket.
    pub fn url(&self, path: &str) -> String {
        format!("s3://arrowload/{path}")
    }

    /// The keys below a prefix.
    ///
    /// # Errors
    /// What the store says.
    pub fn keys(&self, prefix: &str) -> Result<Vec<String>, String> {
        self.ask(&json!({ "do": "list", "prefix": prefix }))
    }

    /// The keys of uploads below a prefix that are neither completed nor aborted.
    ///
    /// # Errors
    /// What the store says.
    pub fn uploads(&self, prefix: &str) -> Result<Vec<String>, String> {
        self.ask(&json!({ "do": "uploads", "prefix": prefix }))
    }

    /// Puts a local file there.
    ///
    /// # Errors
    /// What the store says.
    pub fn put(&self, key: &str, file: &Path) -> Result<(), String> {
        self.ask(&json!({ "do": "put", "prefix": key, "file": file }))
            .map(|_| ())
    }

    /// Removes an object.
    ///
    /// # Errors
    /// What the store says.
    pub fn remove(&self, key: &str) -> Result<(), String> {
        self.ask(&json!({ "do": "remove", "prefix": key }))
            .map(|_| ())
    }

    /// Makes everything below a prefix older, as if it had been written earlier.
    ///
    /// # Errors
    /// What the store says.
    pub fn age(&self, prefix: &str, by: std::time::Duration) -> Result<(), String> {
        let seconds = by.as_secs();
        self.ask(&json!({ "do": "age", "prefix": prefix, "seconds": seconds }))
            .map(|_| ())
    }

    /// Copies everything below a prefix into a local folder, for readers that are not ours.
    ///
    /// # Errors
    /// What the store says.
    pub fn copy(&self, prefix: &str, folder: &Path) -> Result<Vec<String>, String> {
        self.ask(&json!({ "do": "copy", "prefix": prefix, "folder": folder }))
    }

    fn ask(&self, request: &serde_json::Value) -> Result<Vec<String>, String> {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = |error: std::io::Error| format!("the store is gone: {error}");
        writeln!(process.input, "{request}")
            .and_then(|()| process.input.flush())
            .map_err(gone)?;
        let mut answer = String::new();
        process.answers.read_line(&mut answer).map_err(gone)?;
        let keys = answer
            .trim()
            .strip_prefix("ok ")
            .ok_or_else(|| answer.trim().to_owned())?;
        serde_json::from_str(keys).map_err(|error| error.to_string())
    }
}
