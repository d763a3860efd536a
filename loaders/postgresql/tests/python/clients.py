"""Clients of PostgreSQL that are not ours: psycopg and ADBC.

clients.py read CLIENT URL FOLDER TABLE...   writes each table, in the order of its ids, as an Arrow IPC stream
clients.py watch CLIENT URL SQL              asks again and again until its input ends; prints each answer once
"""

import datetime
import decimal
import json
import sys
import threading
import uuid

import adbc_driver_postgresql.dbapi
import psycopg
import pyarrow as pa

decimal.getcontext().prec = 100


def numeric(texts):
    """Decimals with the scale that all of them fit in."""
    values = [None if text is None else decimal.Decimal(text) for text in texts]
    scale = max([-value.as_tuple().exponent for value in values if value is not None] + [0])
    return pa.array([None if v is None else v.quantize(decimal.Decimal(1).scaleb(-scale)) for v in values], pa.decimal256(76, scale))


def interval(values):
    """Intervals of nothing but time are durations: the server does not say which they were."""
    if any(value is not None and (value.months or value.days) for value in values):
        return pa.array(values, pa.month_day_nano_interval())
    return pa.array([None if value is None else value.nanoseconds // 1000 for value in values], pa.duration("us"))


def by_adbc(url, table):
    with adbc_driver_postgresql.dbapi.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SET timezone = 'UTC'")
        cursor.execute(f"SELECT * FROM {table} ORDER BY id")
        found = cursor.fetch_arrow_table().combine_chunks()
    columns = {}
    for field in found.schema:
        column = found[field.name]
        kind = (field.metadata or {}).get(b"ADBC:postgresql:typname", b"").decode()
        if kind == "numeric":
            column = numeric(column.cast(pa.string()).to_pylist())
        elif kind == "interval" or pa.types.is_interval(column.type):
            column = interval(column.to_pylist())
        elif kind == "uuid":
            column = pa.array([v if v is None or isinstance(v, bytes) else uuid.UUID(str(v)).bytes for v in column.to_pylist()], pa.binary())
        columns[field.name] = column
    return pa.table(columns)


TYPES = {
    16: pa.bool_(), 21: pa.int16(), 23: pa.int32(), 20: pa.int64(), 700: pa.float32(), 701: pa.float64(), 25: pa.string(),
    17: pa.binary(), 1082: pa.date32(), 1083: pa.time64("us"), 1114: pa.timestamp("us"), 1184: pa.timestamp("us", "UTC"),
    114: pa.string(), 3802: pa.string(), 1007: pa.list_(pa.int32()), 1021: pa.list_(pa.float32()), 1009: pa.list_(pa.string()),
}


def duration(value):
    return None if value is None else (value.days * 86400 + value.seconds) * 1000000 + value.microseconds


def by_psycopg(url, table):
    psycopg.types.json.set_json_loads(lambda text: text.decode() if isinstance(text, bytes) else text)
    with psycopg.connect(url) as connection, connection.cursor(binary=True) as cursor:
        cursor.execute("SET timezone = 'UTC'")
        cursor.execute(f"SELECT * FROM {table} ORDER BY id")
        rows, described = cursor.fetchall(), cursor.description
    columns = {}
    for index, column in enumerate(described):
        values = [row[index] for row in rows]
        if column.type_code == 1700:
            columns[column.name] = numeric(values)
        elif column.type_code == 1186:
            columns[column.name] = pa.array([duration(value) for value in values], pa.duration("us"))
        elif column.type_code == 2950:
            columns[column.name] = pa.array([None if value is None else value.bytes for value in values], pa.binary())
        else:
            columns[column.name] = pa.array(values, TYPES[column.type_code])
    return pa.table(columns)


def read(client, url, folder, tables):
    for table in tables:
        try:
            found = {"adbc": by_adbc, "psycopg": by_psycopg}[client](url, table)
            with pa.ipc.new_stream(f"{folder}/{table}", found.schema) as writer:
                writer.write_table(found)
        except Exception as error:  # The test says which ones it knows.
            with open(f"{folder}/{table}.error", "w") as file:
                file.write(f"{type(error).__name__}: {error}")


def watch(client, url, sql):
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    connect = {"adbc": adbc_driver_postgresql.dbapi.connect, "psycopg": psycopg.connect}[client]
    seen = {}
    with connect(url) as connection, connection.cursor() as cursor:
        while not ended.is_set():
            # Twice in one transaction, whose snapshot stays the same.
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            answers = []
            for _ in range(2):
                cursor.execute(sql)
                answers.append("|".join(map(str, cursor.fetchone())))
            connection.commit()
            if answers[0] != answers[1]:
                seen[f"changed within a snapshot: {answers}"] = True
            if answers[0] not in seen:
                seen[answers[0]] = True
            if len(seen) == 1 and not getattr(watch, "said", False):
                print("ready", flush=True)
                watch.said = True
    print(json.dumps(list(seen)), flush=True)


if sys.argv[1] == "read":
    read(sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5:])
else:
    watch(sys.argv[2], sys.argv[3], sys.argv[4])
