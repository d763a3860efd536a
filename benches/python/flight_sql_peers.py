"""Reads a statement's rows with ADBC's Flight SQL driver: seconds of wall clock and of CPU for each line."""
import sys, time
from importlib.metadata import version

import adbc_driver_flightsql.dbapi as adbc
from adbc_driver_flightsql import DatabaseOptions

print("ready", f"adbc-driver-flightsql {version('adbc-driver-flightsql')}", flush=True)
for line in sys.stdin:
    statement = line.strip()
    began, cpu = time.perf_counter(), time.process_time()
    options = {DatabaseOptions.WITH_MAX_MSG_SIZE.value: str(1 << 30)}
    with adbc.connect(sys.argv[1], db_kwargs=options) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        rows = sum(batch.num_rows for batch in cursor.fetch_record_batch())
    assert rows == int(statement.split()[2]), rows
    print(time.perf_counter() - began, time.process_time() - cpu, flush=True)
