"""Writes the rows of an Arrow IPC file as Parquet with polars, DuckDB and pyarrow, one request a line: `peer codec path`.

Only the write is timed; the rows are in memory before the first request. Answers with seconds of wall clock and of CPU.
"""
import resource
import sys
import time

import duckdb
import polars
import pyarrow
import pyarrow.ipc
import pyarrow.parquet

rows = pyarrow.ipc.open_file(sys.argv[1]).read_all()
frame = polars.from_arrow(rows)
connection = duckdb.connect()


def write(peer, codec, path):
    if peer == "polars":
        frame.write_parquet(path, compression=codec)
    elif peer == "duckdb":
        connection.sql("SELECT * FROM rows").write_parquet(path, compression=codec)
    else:
        pyarrow.parquet.write_table(rows, path, compression=codec)


def cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


print("ready", polars.__version__, duckdb.__version__, pyarrow.__version__, flush=True)
for line in sys.stdin:
    peer, codec, path = line.split()
    before, started = cpu(), time.perf_counter()
    write(peer, codec, path)
    print(time.perf_counter() - started, cpu() - before, flush=True)
