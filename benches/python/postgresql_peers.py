"""Loads the rows of an Arrow IPC file into PostgreSQL, and reads them back, with ADBC, DuckDB and connectorx.

One request a line: `peer direction`. The rows are in memory before the first request; the table is there, and empty where rows
are loaded. Answers with seconds of wall clock and of CPU.
"""
import resource
import sys
import time

import adbc_driver_postgresql
import adbc_driver_postgresql.dbapi
import connectorx
import duckdb
import duckdb_extensions
import pyarrow
import pyarrow.ipc

rows = pyarrow.ipc.open_file(sys.argv[1]).read_all()
url = sys.argv[2]
adbc = adbc_driver_postgresql.dbapi.connect(url)
duck = duckdb.connect()
duckdb_extensions.import_extension("postgres_scanner", con=duck)
duck.sql("LOAD postgres_scanner")
duck.sql(f"ATTACH '{url}' AS pg (TYPE postgres)")


def run(peer, direction):
    if (peer, direction) == ("adbc", "load"):
        with adbc.cursor() as cursor:
            cursor.adbc_ingest("lineitem", rows, mode="append")
        adbc.commit()
    elif (peer, direction) == ("duckdb", "load"):
        duck.sql("INSERT INTO pg.lineitem SELECT * FROM rows")
    elif (peer, direction) == ("adbc", "read"):
        with adbc.cursor() as cursor:
            cursor.execute("SELECT * FROM lineitem")
            for batch in cursor.fetch_record_batch():
                pass
        adbc.rollback()
    elif (peer, direction) == ("connectorx", "read"):
        connectorx.read_sql(url, "SELECT * FROM lineitem", return_type="arrow")
    else:
        raise ValueError(f"{peer} does not {direction}")


def cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


print("ready adbc", adbc_driver_postgresql.__version__, "duckdb", duckdb.__version__, "connectorx", connectorx.__version__, flush=True)
for line in sys.stdin:
    before, started = cpu(), time.perf_counter()
    run(*line.split())
    print(time.perf_counter() - started, cpu() - before, flush=True)
