from __future__ import annotations

import json

import pyarrow as pa
import pytest
from pyarrow import parquet

from mmrl.cli import run
from mmrl.data.rows import load_rows, records_of_dataset, rows_from_dataset
from mmrl.data.writing import row_to_json


@pytest.fixture
def convert(capfd):
    """Run the command; return the exit code, standard output and standard error."""

    def call(*arguments):
        code = run(["data", "convert", *map(str, arguments)])
        return (code, *capfd.readouterr())

    return call


def test_parquet_with_embedded_pictures_becomes_files_and_parquet_again(tmp_path, media, convert):
    encoded = (media / "a.png").read_bytes()
    rows = [
        {"problem": f"<image>{i}?", "answer": str(i), "images": [{"bytes": encoded, "path": "x"}]}
        for i in range(3)
    ]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "geo.parquet")
    code, out, err = convert(
        "from=easyr1", f"in={tmp_path}/geo.parquet", f"out={tmp_path}/o/rows.jsonl"
    )
    assert (code, err) == (0, "")
    assert out == f"3 of 3 records in {tmp_path}/o/rows.jsonl\n"
    found = load_rows(tmp_path / "o" / "rows.jsonl")
    assert [row.id for row in found] == ["geo-1", "geo-2", "geo-3"]
    assert found[0].media[0].source.read_bytes() == encoded
    assert len(list((tmp_path / "o" / "media").iterdir())) == 1
    code, _, _ = convert(
        "to=easyr1", f"in={tmp_path}/o/rows.jsonl", f"out={tmp_path}/again.parquet"
    )
    again = parquet.read_table(tmp_path / "again.parquet").to_pylist()
    assert code == 0
    assert [row["images"][0]["bytes"] for row in again] == [encoded] * 3
    assert [row["problem"] for row in again] == ["<image>0?", "<image>1?", "<image>2?"]


def test_what_is_left_out_is_counted_by_reason(tmp_path, media, convert, capfd):
    good = {"problem": "?", "answer": "1"}
    lines = [
        good,
        {"problem": "?"},
        {"answer": "1"},
        {"problem": "?"},
        {**good, "images": ["no.png"]},
    ]
    path = tmp_path / "d.jsonl"
    path.write_text(
        "".join(f"{json.dumps(line)}\n" for line in lines) + "{broken\n\xff\n", encoding="latin-1"
    )
    arguments = ("from=easyr1", f"in={path}", f"report={tmp_path}/r.jsonl")
    code, out, err = convert(*arguments, f"out={tmp_path}/a.jsonl")
    assert code == 2
    assert out == f"1 of 7 records in {tmp_path}/a.jsonl\n"
    said = err.splitlines()
    assert said[0] == f"mmrl: 2 left out: the field 'answer' is missing ({path}:2, {path}:4)"
    assert any("a image is not there; media=FOLDER" in line for line in said)
    assert any("not JSON: Expecting property name" in line and f"{path}:6" in line for line in said)
    assert any("not UTF-8 text" in line for line in said)
    assert said[-1] == "mmrl: 6 left out; --allow-skips accepts that"
    assert len((tmp_path / "r.jsonl").read_text().splitlines()) == 6
    code, _, _ = convert(*arguments, f"out={tmp_path}/b.jsonl", "--allow-skips")
    assert code == 0


def test_an_id_that_is_taken_is_left_out_or_made_new(tmp_path, convert):
    turn = [{"from": "human", "value": "a?"}, {"from": "gpt", "value": "b"}]
    path = tmp_path / "d.json"
    path.write_text(json.dumps([{"id": "same", "conversations": turn}] * 2))
    code, _, err = convert("from=llava", f"in={path}", f"out={tmp_path}/a.jsonl")
    assert (code, "ids=number makes new ones" in err) == (2, True)
    code, _, _ = convert("from=llava", f"in={path}", f"out={tmp_path}/b.jsonl", "ids=number")
    assert code == 0
    found = load_rows(tmp_path / "b.jsonl")
    assert [(row.id, row.extra["id"]) for row in found] == [("d-1", "same"), ("d-2", "same")]


def test_verifier_source_and_fields_can_be_told(tmp_path, convert):
    (tmp_path / "d.csv").write_text("Frage;answer;weg\nWie?;3;x\n")
    code, _, err = convert(
        "from=csv",
        f"in={tmp_path}/d.csv",
        f"out={tmp_path}/a.jsonl",
        "columns.question=Frage",
        "delimiter=;",
        "verifier={name: number, params: {abs_tol: 1}}",
        "source=mine",
        "drop=[weg]",
    )
    assert (code, err) == (0, "")
    (row,) = load_rows(tmp_path / "a.jsonl")
    assert (row.source, row.verifier[0].name, row.verifier[0].params) == (
        "mine",
        "number",
        {"abs_tol": 1},
    )
    assert row.extra == {}


def test_a_folder_is_read_file_by_file_and_loops_are_named(tmp_path, convert):
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "loop").symlink_to(folder)
    (folder / "self").symlink_to(folder / "self")
    for name in ("b.jsonl", "sub/a.jsonl"):
        (folder / name).write_text(json.dumps({"problem": name, "answer": "1"}) + "\n")
    (folder / "c.parquet").write_bytes(b"PAR1 not really")
    code, out, err = convert("from=easyr1", f"in={folder}", f"out={tmp_path}/a.jsonl")
    assert code == 2
    assert out.startswith("2 of 3 records")
    assert {row.source for row in load_rows(tmp_path / "a.jsonl")} == {"a", "b"}
    assert "self: the symbolic link leads to itself" in err
    assert "loop: a symbolic link that leads to a folder that is read already" in err
    assert "not a readable parquet file" in err


def test_a_table_in_another_encoding_is_one_line_and_the_others_are_read(tmp_path, convert):
    folder = tmp_path / "in"
    folder.mkdir()
    for name, encoding in (("a", "utf-8"), ("b", "cp1252"), ("c", "utf-16")):
        text = f"question,answer\nGröße {name}?,3\n"
        (folder / f"{name}.csv").write_bytes(text.encode(encoding))
    code, out, err = convert("from=csv", f"in={folder}", f"out={tmp_path}/a.jsonl")
    assert (code, out) == (2, f"2 of 3 records in {tmp_path}/a.jsonl\n")
    assert err.splitlines()[0].startswith("mmrl: 1 left out: ")
    assert "not UTF-8 (byte 0xf6)" in err.splitlines()[0]
    texts = [row.prompt[0]["content"][0]["text"] for row in load_rows(tmp_path / "a.jsonl")]
    assert texts == ["Größe a?", "Größe c?"]
    code, out, err = convert("from=csv", f"in={folder}/b.csv", f"out={tmp_path}/b.jsonl")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert f"{folder}/b.csv:2: not UTF-8" in err


def test_rows_go_out_as_a_saved_data_set_and_come_back(
    tmp_path, media, with_media, raw, write_jsonl, convert
):
    import datasets

    path = write_jsonl(
        with_media("a", image="media/a.png"),
        raw("b", answer=[1, 2], extra={"n": 1}),
        raw("c", answer=2.5),
    )
    code, _, err = convert(f"in={path}", f"out={tmp_path}/saved")
    assert (code, err) == (0, "")
    saved = datasets.load_from_disk(str(tmp_path / "saved"))
    wanted = [row_to_json(row, tmp_path) for row in load_rows(path)]
    assert [
        row_to_json(row, tmp_path) for row in rows_from_dataset(saved, folder=tmp_path)
    ] == wanted
    streamed = rows_from_dataset(saved.to_iterable_dataset(), folder=tmp_path)
    assert [row_to_json(row, tmp_path) for row in streamed] == wanted
    code, _, err = convert(f"in={tmp_path}/saved", f"out={tmp_path}/back.jsonl")
    assert (code, err) == (0, "")
    assert [row_to_json(row, tmp_path) for row in load_rows(tmp_path / "back.jsonl")] == wanted


def test_a_streaming_data_set_is_read_without_decoding(tmp_path, media):
    import datasets

    encoded = (media / "a.png").read_bytes()
    rows = [{"problem": "<image>?", "answer": "1", "images": [{"bytes": encoded, "path": None}]}]
    features = datasets.Features(
        {
            "problem": datasets.Value("string"),
            "answer": datasets.Value("string"),
            "images": datasets.List(datasets.Image()),
        }
    )
    datasets.Dataset.from_list(rows, features=features).to_parquet(str(tmp_path / "d.parquet"))
    streamed = datasets.load_dataset(
        "parquet",
        data_files=str(tmp_path / "d.parquet"),
        split="train",
        streaming=True,
        cache_dir=str(tmp_path / "cache"),
    )
    ((where, record),) = records_of_dataset(streamed, "d")
    assert where == "d[0]"
    assert record["images"][0]["bytes"] == encoded


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["from=eazyr1", "in=d.csv", "out=a.jsonl"], "did you mean 'easyr1'?"),
        (["from=csv", "in=none.csv", "out=a.jsonl"], "none.csv: there is no such file or folder"),
        (
            ["from=csv", "in=d.csv", "out=a.csv"],
            "rows are written to .jsonl or .parquet or a folder",
        ),
        (["from=csv", "in=d.csv", "out=d.csv", "to=csv"], "d.csv is there already"),
        (["from=csv", "in=d.csv", "out=a.jsonl", "colums.question=x"], "did you mean 'columns'?"),
        (["from=csv", "in=d.csv", "out=a.jsonl", "columns.ask=x"], "columns: there is no 'ask'"),
        (["from=csv", "in=d.csv"], "out: is missing"),
        (["from=csv", "in=d.csv", "out=a.jsonl", "engine=spark"], "engine: must be one of"),
        (["from=csv", "in=d.csv", "out=a.jsonl", "encoding=utf99"], "there is no encoding 'utf99'"),
        (["to=llava", "in=d.csv", "out=a.parquet"], "llava are written to .json or .jsonl"),
    ],
)
def test_a_mistake_is_one_line(arguments, said, tmp_path, convert, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d.csv").write_text("question,answer\na,b\n")
    code, out, err = convert(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
    assert [found.name for found in tmp_path.iterdir()] == ["d.csv"]


def test_the_formats_are_listed(convert):
    code, out, _ = convert("--list")
    assert code == 0
    assert (
        "easyr1 (from and to): EasyR1: problem, answer, images and videos, usually in parquet\n"
        in out
    )
    assert "  prompt_key ('problem')\n" in out


def test_a_project_brings_its_own_format(tmp_path, convert, monkeypatch):
    project = tmp_path / "project"
    (project / "configs" / "stage").mkdir(parents=True)
    (project / "data_pipelines").mkdir()
    (project / "data_pipelines" / "mine.py").write_text(
        '"""Mine."""\nfrom mmrl.data.format import Format, register_format\n\n\n'
        "def read(record, origin):\n"
        "    ask = [{'role': 'user', 'content': record.pop('ask')}]\n"
        "    return {'prompt': ask, 'answer': record.pop('say'), 'verifier': 'exact'}\n\n\n"
        "register_format(Format(name='mine', summary='', read=read, suffixes=('.jsonl',)))\n"
    )
    monkeypatch.chdir(project)
    (tmp_path / "d.jsonl").write_text('{"ask": "a", "say": "b", "more": 1}\n')
    code, _, err = convert("from=mine", f"in={tmp_path}/d.jsonl", f"out={tmp_path}/a.jsonl")
    assert (code, err) == (0, "")
    (row,) = load_rows(tmp_path / "a.jsonl")
    assert (row.answer, row.extra) == ("b", {"more": 1})
