"""Memory does not grow with the rows: what is kept of each is far smaller than the row."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from mmrl.cli import run
from mmrl.data import parquet, records
from mmrl.data.row_format import parse_row
from mmrl.data.writing import write_rows

ROW_BYTES = 20_000


def peak_of(*arguments):
    tracemalloc.start()
    try:
        assert run(["data", *map(str, arguments)]) == 0
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture
def files(tmp_path, raw):
    """Two files of rows, one four times as long, and the same as a table and a JSON list."""

    def line(number):
        return {"question": f"{number}? {'long' * (ROW_BYTES // 4)}", "answer": str(number)}

    made = {}
    for count in (60, 240):
        prompts = ([{"role": "user", "content": line(n)["question"]}] for n in range(count))
        raws = (raw(str(n), prompt=prompt) for n, prompt in enumerate(prompts))
        rows = (parse_row(raw, where="", folder=tmp_path) for raw in raws)
        write_rows(rows, tmp_path / f"{count}.jsonl")
        table = "\n".join(["question,answer", *(",".join(line(n).values()) for n in range(count))])
        (tmp_path / f"{count}.csv").write_text(table)
        records = [{"problem": line(n)["question"], "answer": str(n)} for n in range(count)]
        (tmp_path / f"{count}.json").write_text(json.dumps(records))
        made[count] = tmp_path / str(count)
    return made


@pytest.mark.parametrize(
    "arguments",
    [
        ("convert", "in={}.jsonl", "out={}.out.jsonl"),
        ("convert", "in={}.jsonl", "out={}.out.parquet"),
        ("convert", "from=csv", "in={}.csv", "out={}.out.jsonl"),
        ("convert", "from=easyr1", "in={}.json", "out={}.out.jsonl"),
        ("convert", "to=llava", "in={}.jsonl", "out={}.out.json"),
        ("mix", "in.a={}.jsonl", "out={}.out.jsonl"),
        ("split", "{}.jsonl", "out={}.parts", "shares.a=1", "shares.b=1"),
        ("show", "{}.jsonl", "limit=3"),
        ("stats", "{}.jsonl"),
    ],
    ids=" ".join,
)
def test_four_times_the_rows_take_no_more_memory(arguments, files, capsys, monkeypatch):
    monkeypatch.setattr(parquet, "_ROWS", 16)
    monkeypatch.setattr(records, "_BLOCK", 1 << 16)
    peaks = {
        count: peak_of(*(argument.format(path) for argument in arguments))
        for count, path in files.items()
    }
    more = 180 * ROW_BYTES
    assert peaks[240] - peaks[60] < 0.4 * more
