"""Reads lineitem from CSV or NDJSON with DuckDB and polars, one request a line: `peer format types rows path`.

`types` is `declared` or `detected`. Every value of every column is made; batches are dropped as they come, where the peer has
batches. Answers with seconds of wall clock and of CPU, once the rows have been counted. Both have as many threads as the second
argument says (POLARS_MAX_THREADS is set by whoever starts this).
"""
import resource
import sys
import time

import duckdb
import polars

connection = duckdb.connect()
connection.execute(f"SET threads = {int(sys.argv[1])}")

INTEGERS = ["l_orderkey", "l_partkey", "l_suppkey", "l_linenumber"]
DECIMALS = ["l_quantity", "l_extendedprice", "l_discount", "l_tax"]
DATES = ["l_shipdate", "l_commitdate", "l_receiptdate"]
COLUMNS = (
    INTEGERS
    + DECIMALS
    + ["l_returnflag", "l_linestatus"]
    + DATES
    + ["l_shipinstruct", "l_shipmode", "l_comment"]
)


def pick(integer, decimal, date, text):
    kinds = {name: integer for name in INTEGERS}
    kinds |= {name: decimal for name in DECIMALS}
    kinds |= {name: date for name in DATES}
    return {name: kinds.get(name, text) for name in COLUMNS}


SQL = pick("BIGINT", "DECIMAL(15,2)", "DATE", "VARCHAR")
POLARS = pick(polars.Int64, polars.Decimal(15, 2), polars.Date, polars.String)
# polars 2.1 takes no number of JSON for a decimal, and is three times as fast if dates are texts first.
POLARS_JSON = pick(polars.Int64, polars.Float64, polars.String, polars.String)


def duckdb_rows(form, types, path):
    function = "read_csv" if form == "csv" else "read_json"
    options = ""
    if types == "declared":
        options = f", columns = {SQL}"
        if form == "csv":
            options += ", auto_detect = false, header = true, delim = ',', quote = '\"', escape = '\"'"
    if form == "ndjson":
        options += ", format = 'newline_delimited'"
    query = f"SELECT * FROM {function}('{path}'{options})"
    return sum(len(batch) for batch in connection.sql(query).to_arrow_reader(65_536))


def polars_rows(form, types, path):
    if form == "csv" and types == "declared":
        frame = polars.scan_csv(path, schema=POLARS)
    elif form == "csv":
        frame = polars.scan_csv(path, try_parse_dates=True)
    elif types == "declared":
        frame = polars.scan_ndjson(path, schema=POLARS_JSON)
        frame = frame.with_columns(polars.col(DATES).str.to_date("%Y-%m-%d"))
    else:
        frame = polars.scan_ndjson(path)
    sizes = []
    frame.sink_batches(lambda batch: sizes.append(len(batch)), engine="streaming")
    return sum(sizes)


READ = {"duckdb": duckdb_rows, "polars": polars_rows}


def cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    print("ready", f"duckdb-{duckdb.__version__}", f"polars-{polars.__version__}", flush=True)
    for line in sys.stdin:
        peer, form, types, rows, path = line.split()
        before, started = cpu(), time.perf_counter()
        found = READ[peer](form, types, path)
        seconds, used = time.perf_counter() - started, cpu() - before
        assert found == int(rows), f"{peer} read {found} rows"
        print(seconds, used, flush=True)
