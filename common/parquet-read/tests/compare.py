"""Reads Parquet files by pyarrow, DuckDB and polars, and compares their values with those of an Arrow stream.

A line of input: name, file, stream (empty if the file was refused here). A line of output: name, what became of ours, what the
three say; and a last cell that begins with BAD where ours differs from pyarrow, or was refused though two others read it alike.
"""
import decimal, math, multiprocessing, os, sys, tempfile
import duckdb, polars, pyarrow as pa, pyarrow.parquet as pq

UNIT = {'s': 10**9, 'ms': 10**6, 'us': 10**3, 'ns': 1}

def values(array):
    """Values without the choices of a reader: text as bytes, times as nanoseconds, dictionaries decoded."""
    if isinstance(array, pa.ChunkedArray):
        return [value for chunk in array.chunks for value in values(chunk)]
    kind, nulls = array.type, array.is_null().to_pylist()
    t = pa.types
    if isinstance(kind, pa.BaseExtensionType): return values(array.storage)
    if t.is_dictionary(kind): return values(array.dictionary_decode())
    if t.is_struct(kind):
        parts = [values(array.field(i)) for i in range(kind.num_fields)]
        return [None if null else tuple(p[i] for p in parts) for i, null in enumerate(nulls)]
    if t.is_map(kind):
        keys, items, offsets = values(array.keys), values(array.items), array.offsets.to_pylist()
        return [None if null else list(zip(keys[offsets[i]:offsets[i+1]], items[offsets[i]:offsets[i+1]])) for i, null in enumerate(nulls)]
    if t.is_list(kind) or t.is_large_list(kind):
        inner, offsets = values(array.values), array.offsets.to_pylist()
        return [None if null else inner[offsets[i]:offsets[i+1]] for i, null in enumerate(nulls)]
    if t.is_fixed_size_list(kind):
        n = kind.list_size; inner = values(array.values)[array.offset*n:]
        return [None if null else inner[i*n:(i+1)*n] for i, null in enumerate(nulls)]
    if t.is_timestamp(kind) or t.is_duration(kind) or t.is_time64(kind):
        return [None if v is None else v * UNIT[kind.unit] for v in array.cast(pa.int64()).to_pylist()]
    if t.is_time32(kind):
        return [None if v is None else v * UNIT[kind.unit] for v in array.cast(pa.int32()).to_pylist()]
    if t.is_date64(kind):
        return [None if v is None else v // 86400000 for v in array.cast(pa.int64()).to_pylist()]
    if t.is_date32(kind): return array.cast(pa.int32()).to_pylist()
    plain = array.to_pylist()
    if t.is_floating(kind): return [None if v is None else ('nan' if math.isnan(v) else float(v)) for v in plain]
    return [v.encode() if isinstance(v, str) else decimal.Decimal(v) if isinstance(v, decimal.Decimal) else v for v in plain]

def flat(value):
    """A map as a list of structs, as polars has it; a struct of one as what is in it."""
    if isinstance(value, (list, tuple)): return [flat(v) for v in value]
    if hasattr(value, 'bytes') and not isinstance(value, bytes): return value.bytes
    if isinstance(value, bytearray): return bytes(value)
    return value

def columns(table): return [[flat(v) for v in values(c)] for c in table.columns]

def difference(ours, theirs):
    if ours.num_rows != theirs.num_rows: return f'{theirs.num_rows} rows, not {ours.num_rows}'
    if ours.num_columns != theirs.num_columns: return f'{theirs.num_columns} columns, not {ours.num_columns}'
    names = ours.column_names
    for name, a, b in zip(names, columns(ours), columns(theirs)):
        for row, (x, y) in enumerate(zip(a, b)):
            if x != y: return f'{name}, row {row}: {y!r:.40}, not {x!r:.40}'
    return None

READERS = {
    'pyarrow': lambda f: pq.ParquetFile(f, page_checksum_verification=True).read(),
    'duckdb': lambda f: duckdb.connect().sql(f"SET TimeZone='UTC'; SET enable_progress_bar=false; SELECT * FROM read_parquet('{f}')").to_arrow_table(),
    'polars': lambda f: POLARS.read(f),
}

class Polars:
    """In a process of its own: it panics over some files, and then never answers."""
    def __init__(self): self.process = None

    def work(self, pipe):
        os.close(2)
        for file, out in iter(pipe.recv, None):
            try:
                polars.read_parquet(file).write_ipc(out, compat_level=polars.CompatLevel.oldest())
                pipe.send(None)
            except BaseException as error: pipe.send(repr(error)[:200])

    def read(self, file):
        if self.process is None:
            self.pipe, theirs = multiprocessing.Pipe()
            self.process = multiprocessing.get_context('fork').Process(target=self.work, args=(theirs,), daemon=True)
            self.process.start()
        with tempfile.TemporaryDirectory() as folder:
            out = folder + '/out.arrow'
            self.pipe.send((file, out))
            if not self.pipe.poll(40):
                self.process.kill(); self.process = None
                raise RuntimeError('it never answers')
            why = self.pipe.recv()
            if why is not None: raise RuntimeError(why)
            return pa.ipc.open_file(out).read_all()

POLARS = Polars()

def main():
    for line in sys.stdin:
        name, file, stream = line.rstrip('\n').split('\t')
        ours = pa.ipc.open_stream(stream).read_all() if stream else None
        said, read, differs = [], [], []
        for reader, call in READERS.items():
            try: table = call(file)
            except BaseException as error:
                said.append('refuses'); continue
            read.append(reader)
            if ours is None: said.append('reads'); continue
            try: why = difference(ours, table)
            except BaseException as error: why = f'cannot be compared: {error!r:.60}'
            said.append('equal' if why is None else f'differs: {why}')
            if why is not None: differs.append(reader)
        verdict = ''
        if ours is None and len(read) >= 2: verdict = 'BAD refused'
        if ours is not None and ('pyarrow' in differs or ('pyarrow' not in read and differs == read and read)): verdict = 'BAD differs'
        cells = [name, 'read' if ours is not None else 'refused', *said, verdict]
        print('\t'.join(cell.replace('\t', ' ').replace('\n', ' ').replace('|', '\\|') for cell in cells), flush=True)

main()
