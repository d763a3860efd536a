"""Reads whole corpora of CSV files through the example `convert` of common/csv, accounts for every line and word of them, and
scores the answer: Pollock by its own measures, others against DuckDB with `all_varchar`.

    python csv_corpora.py CONVERT pollock CORPUS [REPORT.md]
    python csv_corpora.py CONVERT duckdb-csv CORPUS [REPORT.md]
"""

import codecs
import collections
import csv
import functools
import json
import multiprocessing
import os
import queue
import re
import subprocess
import sys
import tempfile
import threading

csv.field_size_limit(1 << 30)
LIMIT = 10  # Seconds that one file may take.


class Converter:
    """The example as a process that answers job after job; it is begun again after a panic or a hang."""

    def __init__(self, program):
        self.program = program
        self.begin()

    def begin(self):
        self.process = subprocess.Popen(
            [self.program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.answers = queue.Queue()

        def listen(process, answers):
            for line in process.stdout:
                answers.put(json.loads(line))
            answers.put(None)

        threading.Thread(target=listen, args=(self.process, self.answers), daemon=True).start()

    def convert(self, job):
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        try:
            answer = self.answers.get(timeout=LIMIT)
        except queue.Empty:
            answer = {"error": f"no answer in {LIMIT} s", "kind": "Hang"}
        if answer is None:
            answer = {"error": self.process.stderr.read()[-1000:], "kind": "Panic"}
        if answer.get("kind") in ("Hang", "Panic"):
            self.process.kill()
            self.begin()
        return answer


MARKS = [(codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")]


def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def unpacked(path):
    with open(path, "rb") as file:
        data = file.read()
    if data[:2] == b"\x1f\x8b":
        import gzip

        return gzip.decompress(data)
    return None if data[:4] == b"\x28\xb5\x2f\xfd" else data


def text_of(data, encoding):
    for mark, name in MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(name, "replace")
    # Python has other names for some of the WHATWG's encodings.
    return data.decode(encoding.lower().replace("windows-", "cp").replace("utf-16le", "utf-16-le"), "replace")


def words(text):
    return collections.Counter(re.findall(r"\w+", text))


def unaccounted(path, answer, out, aside):
    """What of a file is neither in the answer nor in what was set aside: lines by number, and words by content."""
    data = unpacked(path)
    if data is None:
        return None
    text = text_of(data, answer["encoding"])
    lines = (text.replace("\r\n", "\n").replace("\r", "\n") if answer["lone_cr"] else text).split("\n")
    count = len(lines) - (lines[-1] == "")
    if count != answer["total"]:
        return f"{answer['total']} of {count} lines are accounted for"
    if answer["read"] != answer["rows"]:
        return f"{answer['read']} rows are said to be read, and {answer['rows']} are there"
    lines = lines[:count]
    told = lines[: answer["preamble"]] + (lines[count - answer["footer"] :] if answer["footer"] else [])
    # Names may be numbered and joined: what the header says is looked for in the file's own words.
    told += lines[answer["preamble"] : answer["preamble"] + answer["header"]]
    if answer["comment"]:
        told += [line for line in lines if line.startswith(answer["comment"])]
    said = words("\n".join(told))
    with open(out, encoding="utf-8", newline="") as rows:
        next(rows)
        said += words(rows.read())
    with open(aside, "rb") as rows:
        said += words(rows.read().decode("utf-8", "replace"))
    for null in answer["null_text"]:
        for word in words(null):
            said[word] = len(text)
    lost = words(text) - said
    return f"words are lost: {list(lost)[:5]}" if lost else None


def pollock_options(parameters, told):
    options = {"types": "text", "ragged": "pad"}
    if not told:
        return options
    # As the benchmark's own programs take the parameters.
    names = [name.strip() for name in parameters["column_names"]]
    names = names or [f"col_{index}" for index in range(max(int(parameters["n_columns"]), 1))]
    quote = parameters["quotechar"] or '"'
    header = int(parameters["header_lines"])
    return options | {
        "delim": parameters["delimiter"] or ",",
        "quote": quote,
        "escape": parameters["escapechar"] or quote,
        "skip": int(parameters["preamble_lines"]) + header,
        "header": False,
        "names": names,
        "encoding": "utf-8" if parameters["encoding"] == "ascii" else parameters["encoding"],
    }


MEASURES = ["header_p", "header_r", "header_f1", "record_p", "record_r", "record_f1", "cell_p", "cell_r", "cell_f1"]


def kind(file):
    return re.sub(r"(row|quote|delimiter_|col|separator_)_?\d+", r"\1*", file).removesuffix(".csv")


def pollock(program, corpus, told):
    sys.path.insert(0, corpus)
    from pollock import metrics

    # The same cells stand in all files.
    metrics.normalize_cell = functools.lru_cache(maxsize=None)(metrics.normalize_cell)
    converter = Converter(program)
    folder = os.path.join(corpus, os.environ.get("ARROWLOAD_POLLOCK_SET", "polluted_files"))
    weights = load(os.path.join(corpus, "pollock_weights.json"))
    scores, lost, answers = {}, {}, {}
    with tempfile.TemporaryDirectory() as temporary:
        out, aside = (os.path.join(temporary, name) for name in ("out.csv", "aside"))
        for file in sorted(os.listdir(os.path.join(folder, "csv"))):
            parameters = load(os.path.join(folder, "parameters", file + "_parameters.json"))
            path = os.path.join(folder, "csv", file)
            job = {"file": path, "out": out, "aside": aside, "options": pollock_options(parameters, told)}
            answer = converter.convert(job)
            answers[file] = answer
            if "error" in answer:
                # A file of no bytes holds no table: the benchmark asks of it that nothing comes, and no word of an error.
                scores[file] = [1 if os.path.getsize(path) == 0 else 0] * 10
                continue
            if (fault := unaccounted(path, answer, out, aside)) is not None:
                lost[file] = fault
            scores[file] = [metrics.successful_csv(out)]
            scores[file] += metrics.header_record_cell_measures_csv(os.path.join(folder, "clean", file), out)
    simple = sum(map(sum, scores.values())) / len(scores)
    total = sum(weights.get(file, -1) for file in scores)
    weighted = sum(sum(score) * weights.get(file, -1) for file, score in scores.items()) / total
    return simple, weighted, scores, answers, lost


def by_kind(scores):
    kinds = collections.defaultdict(list)
    for file, score in scores.items():
        kinds[kind(file)].append(sum(score))
    return {name: (sum(all) / len(all), len(all)) for name, all in kinds.items()}


def duckdb_reads(connection):
    """A process that reads files with DuckDB: one that takes too long is ended."""
    import duckdb

    while True:
        path = connection.recv()
        try:
            relation = duckdb.connect().read_csv(path, all_varchar=True)
            connection.send((relation.columns, relation.fetchall()))
        except Exception as error:  # noqa: BLE001
            connection.send(str(error))


class DuckDB:
    def __init__(self):
        self.begin()

    def begin(self):
        self.connection, other = multiprocessing.Pipe()
        self.process = multiprocessing.Process(target=duckdb_reads, args=(other,), daemon=True)
        self.process.start()

    def read(self, path):
        self.connection.send(path)
        if self.connection.poll(LIMIT):
            return self.connection.recv()
        self.process.kill()
        self.begin()
        return f"no answer in {LIMIT} s"


def table(path):
    """A table as `convert` writes it: `""` is the empty text, nothing is null."""
    rows, row, at = [], [], 0
    with open(path, encoding="utf-8", newline="") as file:
        text = file.read()
    while at < len(text):
        if text[at] == '"':
            end = at + 1
            while True:
                end = text.index('"', end)
                if text[end : end + 2] != '""':
                    break
                end += 2
            row.append(text[at + 1 : end].replace('""', '"'))
            at = end + 1
        else:
            row.append(None)
        if text[at] == "\n":
            rows.append(tuple(row))
            row = []
        at += 1
    return list(rows[0]), rows[1:]


def difference(ours, theirs):
    """How two tables differ, by kind; nothing if they do not."""
    (names, rows), (their_names, their_rows) = ours, theirs
    if len(names) != len(their_names):
        return f"columns: {len(names)} here, {len(their_names)} there"
    empty = [tuple(cell or None for cell in row) for row in rows]
    their_empty = [tuple(cell or None for cell in row) for row in their_rows]
    if empty == their_empty:
        # Columns without names are `column_1` here and `column0` there, and repeated names have numbers.
        made = re.compile(r"(column)?_?\d*$")
        if [made.sub("", name) for name in names] != [made.sub("", name.strip()) for name in their_names]:
            return "names"
        return None if rows == their_rows else "null or the empty text"
    if len(rows) == len(their_rows) + 1 and empty[1:] == their_empty:
        return "the first row: a row here, names there"
    if len(rows) + 1 == len(their_rows) and empty == their_empty[1:]:
        return "the first row: names here, a row there"
    if len(rows) != len(their_rows):
        return f"rows: {len(rows)} here, {len(their_rows)} there"
    stripped = [tuple(cell and cell.strip() or None for cell in row) for row in rows]
    if stripped == [tuple(cell and cell.strip() or None for cell in row) for row in their_rows]:
        return "blanks around values"
    return "values"


def duckdb_corpus(program, corpus):
    converter, duck, answers = Converter(program), DuckDB(), {}
    with tempfile.TemporaryDirectory() as temporary:
        out, aside = (os.path.join(temporary, name) for name in ("out.csv", "aside"))
        for folder, _, files in sorted(os.walk(corpus)):
            for file in sorted(files):
                path = os.path.join(folder, file)
                name = os.path.relpath(path, corpus)
                for stale in (out, aside):
                    open(stale, "w").close()
                answer = converter.convert({"file": path, "out": out, "aside": aside, "options": {"types": "text"}})
                theirs = duck.read(path)
                fault = None if "error" in answer else unaccounted(path, answer, out, aside)
                if "error" in answer:
                    verdict = "both refuse" if isinstance(theirs, str) else "refused here: " + answer["error"]
                    if answer["kind"] in ("Hang", "Panic", "Unexpected"):
                        verdict = f"{answer['kind']}: {answer['error']}"
                elif isinstance(theirs, str):
                    verdict = "refused there"
                else:
                    verdict = difference(table(out), theirs) or "equal"
                if fault:
                    verdict = "LOST: " + fault
                if answer.get("skipped"):
                    verdict += f"; {answer['skipped']} rows set aside"
                answers[name] = (verdict, answer, theirs)
    return answers


POLLOCK_REASONS = {
    "file_no_header": "names are made up (`column_1`), and the benchmark takes the first row of the answer for the header that "
    "it expects; rows and cells are whole",
    "file_field_delimiter_0x20": "the benchmark's file has blanks in values without quotes: such rows are too long, and set aside; "
    "found is the comma, as rows divided by blanks have all lengths",
    "file_multitable": "a second table below the first: its rows are read as rows (or set aside, where they are too long), the "
    "benchmark wants them dropped",
    "file_quotation_char": "apostrophes within values are not escaped: such rows are set aside",
    "file_escape_char": "the benchmark's file has quotes within quotes that are not escaped: such rows are set aside",
    "row_field_delimiter": "one row is divided by blanks: it is short, and padded, or set aside as text follows a quote",
    "row_extra_quote": "one row has a quote too many: it is set aside with its line, where it cannot be read in one way only",
    "row_less_sep": "two values of one row have become one: no reader knows where to part them; or text follows a quote, and the "
    "row is set aside",
    "row_more_sep": "one row has a field too many: it is read if nothing stands in its last field, else set aside",
}


def pollock_report(program, corpus):
    lines = [
        "# Pollock",
        "",
        "`cargo xtask torture pollock`: every file of HPI's benchmark read by `common/csv` with `types = text` and `ragged = pad`, "
        "scored by the benchmark's own measures. Names are always written, as in DuckDB's run. DuckDB's published scores are 9.961 "
        "(simple) and 9.599 (weighted) with parameters; by its detection alone 9.075 and 8.440 as published, 8.87 and 8.99 run here.",
        "",
        "| | simple | weighted | files | lines or words neither in the answer nor set aside |",
        "|---|---|---|---|---|",
    ]
    tables = []
    for told in (True, False):
        simple, weighted, scores, answers, lost = pollock(program, corpus, told)
        what = "with parameters" if told else "by detection alone"
        lines.append(f"| {what} | {simple:.3f} | {weighted:.3f} | {len(scores)} | {len(lost)} files |")
        tables += ["", f"## Below 10, {what}", "", "| kind | files | score | why |", "|---|---|---|---|"]
        for name, (score, count) in sorted(by_kind(scores).items(), key=lambda pair: pair[1]):
            if score < 10 - 1e-9:
                why = next((why for start, why in POLLOCK_REASONS.items() if name.replace("*x", "0x").startswith(start)), "**unexplained**")
                tables.append(f"| `{name}` | {count} | {score:.3f} | {why} |")
        for file, answer in answers.items():
            if "error" in answer and scores[file][0] == 0:
                tables.append(f"| `{file}` | 1 | 0 | refused: {answer['error'].split(' (')[0]} |")
        tables += [f"- LOST in `{file}`: {fault}" for file, fault in lost.items()]
    return lines + tables


DUCKDB_REASONS = [
    ("equal", "the same names and rows"),
    ("refused there", "DuckDB refuses the file, or the first row that does not fit; here it is read, and such rows are set aside"),
    ("both refuse", "an empty file, or none that is CSV"),
    ("refused here: the file is empty", "DuckDB makes a column of an empty file; here it is an error"),
    ("refused here: the file looks like", "JSON: it is refused by name"),
    ("null or the empty text", "`\"\"` is the empty text, nothing is null; for DuckDB both are null"),
    ("blanks around values", "where every delimiter is followed by a blank, it belongs to no value"),
    ("the first row: a row here", "no name can be told from the values (`line1` above `line2`, a table of one column of words)"),
    ("the first row: names here", "the first row is not like the others, or stands alone"),
    ("names", "quotes that are no quotes, or repeated names, which are numbered in another way"),
    ("columns", "rows of several lengths: here the table has the length of most, the others are set aside; DuckDB falls back to one "
     "column, pads, or adds columns of the folders' names (`hive-partitioning`)"),
    ("rows", "rows with a malformed quote are set aside here; DuckDB joins or mends them"),
    ("values", "a quote that DuckDB takes off, or mends"),
]


def duckdb_report(program, corpus):
    import duckdb

    answers = duckdb_corpus(program, corpus)
    kinds = collections.defaultdict(list)
    for name, (verdict, _, _) in answers.items():
        kind = next((start for start, _ in DUCKDB_REASONS if verdict.startswith(start)), verdict)
        kinds[kind].append(name)
    for name, (verdict, answer, theirs) in answers.items():
        print(f"{name}\t{verdict}\t{answer.get('dialect', '')}\t{theirs[:160] if isinstance(theirs, str) else ''!r}")
    lines = [
        "# duckdb's data/csv",
        "",
        f"`cargo xtask torture duckdb-csv`: {len(answers)} files, read by `common/csv` (`types = text`, rows that do not fit are set "
        f"aside) and by DuckDB {duckdb.__version__} with `all_varchar`, each within {LIMIT} seconds. Every line and word of every file "
        "that is read is in the answer, in what was set aside, or in the lines that the layout names (title, footer, comments); files "
        "packed with zstd are not checked for that. The reasons are those of a kind, from looking at examples of it, not at each file.",
        "",
        "| what | files | why | for example |",
        "|---|---|---|---|",
    ]
    reasons = dict(DUCKDB_REASONS)
    for kind, names in sorted(kinds.items(), key=lambda pair: -len(pair[1])):
        example = next((name for name in names if not name.startswith(("afl", "fuzzing"))), names[0])
        lines.append(f"| {kind} | {len(names)} | {reasons.get(kind, '**a defect**')} | `{example}` |")
    return lines


def main():
    program, what, corpus = sys.argv[1:4]
    report = {"pollock": pollock_report, "duckdb-csv": duckdb_report}[what](program, corpus)
    text = "\n".join(report) + "\n"
    if len(sys.argv) > 4:
        with open(sys.argv[4], "w", encoding="utf-8") as file:
            file.write(text)
    print(text)
    if "**" in text or "LOST" in text:
        sys.exit("something is unexplained, or a defect")


if __name__ == "__main__":
    main()
