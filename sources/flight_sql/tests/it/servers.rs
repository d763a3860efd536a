//! Servers of others, and ADBC's driver as the other client: everything that it reads we read equal, type by type.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use arrowload_core::{DataSource, ErrorKind, Param, Params, Query};
use arrowload_flight_sql::FlightSqlSource;
use arrowload_testkit::python;
use futures::TryStreamExt;

use crate::{ids, rows, source};

/// Reads a query's answer with ADBC's driver, and writes it as an Arrow IPC stream.
const ADBC: &str = r"
import sys, pyarrow as pa, adbc_driver_flightsql.dbapi as adbc
url, sql, out = sys.argv[1:]
with adbc.connect(url) as connection, connection.cursor() as cursor:
    cursor.execute(sql)
    table = cursor.fetch_arrow_table().replace_schema_metadata(None)
with pa.ipc.new_stream(out, table.schema) as writer:
    for batch in table.to_batches(): writer.write_batch(batch)
";

/// A program of the Python that reads back, running until it is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
    _folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The folder of programs beside the interpreter, or `None` with the reason printed.
fn program(name: &str) -> Option<PathBuf> {
    if !python::available() {
        return None;
    }
    let found = python::interpreter().ok().and_then(|python| {
        let program = PathBuf::from(python).parent()?.join(name);
        program.is_file().then_some(program)
    });
    if found.is_none() {
        arrowload_testkit::skip(
            "python",
            &format!("there is no {name} beside Python; run `cargo xtask test`"),
        );
    }
    found
}

pub(crate) async fn start(
    name: &str,
    arguments: impl Fn(&str, &std::path::Path) -> Vec<String>,
) -> Option<(Server, FlightSqlSource)> {
    start_program(program(name)?, arguments).await
}

/// Starts a program that is told a free port, and waits until it answers.
pub(crate) async fn start_program(
    program: PathBuf,
    arguments: impl Fn(&str, &std::path::Path) -> Vec<String>,
) -> Option<(Server, FlightSqlSource)> {
    let name = program.display().to_string();
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr()
        .expect("an address")
        .port();
    let folder = tempfile::tempdir().expect("a folder");
    let child = Command::new(&program)
        .args(arguments(&port.to_string(), folder.path()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let server = Server {
        child,
        url: format!("grpc://127.0.0.1:{port}"),
        _folder: folder,
    };
    let began = Instant::now();
    loop {
        match source(&server.url).await {
            Ok(source) => return Some((server, source)),
            Err(error) => assert!(
                began.elapsed() < Duration::from_secs(60),
                "{name} does not start: {error:#}"
            ),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Compares our answer with ADBC's: columns, types, and every value.
pub(crate) async fn same_as_adbc(server: &Server, source: &FlightSqlSource, sql: &str) {
    let stream = source
        .query(&Query::new(sql))
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error:#}"));
    let schema: SchemaRef = stream.schema().clone();
    let batches: Vec<RecordBatch> = stream
        .try_collect()
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error:#}"));
    let ours = arrow_select::concat::concat_batches(&schema, &batches).expect("one batch");
    let out = tempfile::NamedTempFile::new().expect("a file");
    let python = python::interpreter().expect("a Python");
    let output = Command::new(python)
        .args(["-c", ADBC, &server.url, sql])
        .arg(out.path())
        .output()
        .expect("Python runs");
    assert!(
        output.status.success(),
        "{sql}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let reader = arrow_ipc::reader::StreamReader::try_new(out.reopen().expect("a file"), None)
        .expect("a stream");
    let theirs_schema = reader.schema();
    let theirs: Vec<RecordBatch> = reader.collect::<Result<_, _>>().expect("batches");
    let theirs = arrow_select::concat::concat_batches(&theirs_schema, &theirs).expect("one batch");
    assert!(ours.num_rows() > 0, "{sql}: no rows");
    assert_eq!(ours.num_rows(), theirs.num_rows(), "{sql}");
    for (index, field) in theirs_schema.fields().iter().enumerate() {
        assert_eq!(
            (schema.field(index).name(), schema.field(index).data_type()),
            (field.name(), field.data_type()),
            "{sql}"
        );
        assert_eq!(
            ours.column(index),
            theirs.column(index),
            "{sql}: column {}",
            field.name()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sail_is_read_as_adbc_reads_it() {
    let arguments = |port: &str, _: &std::path::Path| {
        ["flight", "server", "--ip", "127.0.0.1", "--port", port]
            .map(str::to_owned)
            .to_vec()
    };
    let Some((server, source)) = start("sail", arguments).await else {
        return;
    };
    for sql in [
        "SELECT CAST(1 AS TINYINT) a, CAST(-32768 AS SMALLINT) b, CAST(2147483647 AS INT) c, CAST(-9223372036854775807 AS BIGINT) d",
        "SELECT CAST('NaN' AS DOUBLE) a, CAST('-Infinity' AS FLOAT) b, CAST(0.1 AS DOUBLE) c, true d, CAST(NULL AS BOOLEAN) e",
        "SELECT CAST('99999999999999999999999999999999999.999' AS DECIMAL(38,3)) a, CAST('-0.01' AS DECIMAL(5,2)) b",
        "SELECT DATE '0001-01-01' a, DATE '9999-12-31' b, TIMESTAMP '2024-02-29 23:59:59.123456' c, TIMESTAMP_NTZ '1970-01-01 00:00:00' d",
        "SELECT 'ünïcode 名' a, '' b, CAST(NULL AS STRING) c, CAST('x' AS BINARY) d",
        "SELECT array(1, 2, NULL) a, named_struct('x', 1, 'y', array('a')) b, map('k', 1) c",
        "SELECT id, CAST(id AS STRING) s, id % 7 = 0 b FROM range(100000) ORDER BY id",
    ] {
        same_as_adbc(&server, &source, sql).await;
    }
    let error = rows(&source, &Query::new("SELEC 1"))
        .await
        .expect_err("no SQL");
    assert!(
        error.kind() == ErrorKind::Query && error.to_string().contains("SELEC"),
        "{error:#}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn roapi_is_read_as_adbc_reads_it() {
    let arguments = |port: &str, folder: &std::path::Path| {
        let file = folder.join("people.csv");
        std::fs::write(&file, "id,name\n1,Ada\n2,Grace\n3,\n").expect("written");
        let table = format!("people={}", file.display());
        [
            "--addr-flight-sql",
            &format!("127.0.0.1:{port}"),
            "--addr-http",
            "127.0.0.1:0",
            "--addr-postgres",
            "127.0.0.1:0",
            "-t",
            &table,
        ]
        .map(str::to_owned)
        .to_vec()
    };
    let Some((server, source)) = start("roapi", arguments).await else {
        return;
    };
    for sql in [
        "SELECT * FROM people ORDER BY id",
        "SELECT count(*) n, max(name) last, sum(id) / 2.0 half FROM people",
    ] {
        same_as_adbc(&server, &source, sql).await;
    }
    // It prepares statements, and does not bind.
    let bound = Query::new("SELECT id FROM people WHERE id > $1")
        .with_params(Params::Positional(vec![Param::from(1_i64)]));
    match rows(&source, &bound).await {
        Ok(batches) => assert_eq!(ids(&batches), [2, 3]),
        Err(error) => assert!(
            matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Query),
            "{error:#}"
        ),
    }
    let error = rows(&source, &Query::new("SELECT * FROM nosuch"))
        .await
        .expect_err("no table");
    assert!(error.to_string().contains("nosuch"), "{error:#}");
}
