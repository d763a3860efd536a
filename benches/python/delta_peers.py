"""The peers of the Delta loader, one request a line: `deltalake PATH`, `polars PATH`, `merge PATH TABLE_ROWS ROWS`.

Only the write is timed; the rows are in memory before the first request. Answers with seconds and the peak memory in MB.
"""
import resource
import sys
import time

import deltalake
import polars
import pyarrow
import pyarrow.compute
import pyarrow.ipc

rows = pyarrow.ipc.open_file(sys.argv[1]).read_all() if len(sys.argv) > 1 else None
frame = polars.from_arrow(rows) if rows else None


def source(into, count):
    """What the loader's own benchmark merges: keys spread over the table, half of them there."""
    ids = pyarrow.array(range(0, 2 * into // count * count, 2 * into // count), pyarrow.int64())
    names = pyarrow.array([f"customer number {i} of {2 * into // count}" for i in ids.to_pylist()])
    amounts = pyarrow.array([(i % 10_007) / 7.0 for i in ids.to_pylist()])
    return pyarrow.table({"id": ids, "name": names, "amount": amounts})


def merge(path, table):
    target = deltalake.DeltaTable(path)
    merger = target.merge(table, "t.id = s.id", source_alias="s", target_alias="t")
    merger.when_matched_update_all().when_not_matched_insert_all().execute()


print("ready", "deltalake", deltalake.__version__, "polars", polars.__version__, flush=True)
for line in sys.stdin:
    request, *arguments = line.split()
    table = source(int(arguments[1]), int(arguments[2])) if request == "merge" else None
    started = time.perf_counter()
    if request == "merge":
        merge(arguments[0], table)
    elif request == "polars":
        frame.write_parquet(arguments[0], compression="snappy")
    else:
        deltalake.write_deltalake(arguments[0], rows)
    seconds = time.perf_counter() - started
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, flush=True)
