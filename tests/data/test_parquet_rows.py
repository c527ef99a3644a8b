from __future__ import annotations

import hashlib

import pyarrow as pa
import pytest
from pyarrow import parquet

from mmrl.data.rows import load_rows, rows_from_dataset
from mmrl.data.writing import write_rows
from mmrl.errors import DataError


def drop_where(row):
    return {name: getattr(row, name) for name in row.__slots__ if name != "where"}


def test_rows_of_mixed_answers_survive_parquet(tmp_path, raw, with_media, write_jsonl):
    rows = load_rows(
        write_jsonl(
            with_media("a", image="a.png", audio="b.wav"),
            raw("b", answer=[1, 2, 3], coordinates="unit", extra={"n": 1}),
            raw("c", answer=2.5, verifier=[{"name": "number", "params": {"abs_tol": 1}}, "exact"]),
            raw("d", answer=2, extra={"n": "text"}, response="r", difficulty=0.5),
            raw("e", answer={"x": 1}, extra={"m": None}, reward={"format": 0.5}),
        )
    )
    write_rows(rows, tmp_path / "rows.parquet")
    again = load_rows(tmp_path / "rows.parquet")
    assert list(map(drop_where, again)) == list(map(drop_where, rows))
    assert isinstance(again[3].answer, int)


def test_plain_columns_stay_plain(tmp_path, raw, write_jsonl):
    rows = load_rows(write_jsonl(raw("a", answer="1"), raw("b", answer="2")))
    write_rows(rows, tmp_path / "rows.parquet")
    assert parquet.read_table(tmp_path / "rows.parquet")["answer"].to_pylist() == ["1", "2"]


def test_embedded_media_stand_alone(tmp_path, media, with_media, write_jsonl):
    path = write_jsonl(with_media("a", image="media/a.png", video="media/a.mp4"))
    write_rows(load_rows(path), tmp_path / "alone.parquet", embed=True)
    encoded = (media / "a.png").read_bytes(), (media / "a.mp4").read_bytes()
    (row,) = load_rows(tmp_path / "alone.parquet")
    assert tuple(medium.source for medium in row.media) == encoded


def test_bytes_become_files_beside_jsonl(tmp_path, media, with_media, write_jsonl):
    path = write_jsonl(with_media("a", image="media/a.png"))
    write_rows(load_rows(path), tmp_path / "alone.parquet", embed=True)
    (tmp_path / "new").mkdir()
    write_rows(load_rows(tmp_path / "alone.parquet"), tmp_path / "new" / "rows.jsonl")
    (row,) = load_rows(tmp_path / "new" / "rows.jsonl")
    encoded = (media / "a.png").read_bytes()
    name = hashlib.blake2b(encoded, digest_size=16).hexdigest()
    assert row.media[0].source == tmp_path / "new" / "media" / f"{name}.png"
    assert row.media[0].source.read_bytes() == encoded


def test_only_parquet_holds_media(tmp_path, raw, write_jsonl):
    with pytest.raises(DataError, match=r"only a .parquet file can hold media"):
        write_rows(load_rows(write_jsonl(raw())), tmp_path / "x.jsonl", embed=True)


def test_a_foreign_parquet_file_with_filled_in_nones_is_read(tmp_path, raw):
    rows = [
        raw("a", prompt=[{"role": "user", "content": [{"type": "text", "text": "x"}]}]),
        raw(
            "b",
            prompt=[
                {
                    "role": "user",
                    "content": [
                        {"type": "image", "image": {"bytes": b"\x89PNG", "path": None}},
                        {"type": "text", "text": "y"},
                    ],
                }
            ],
            verifier={"name": "number", "params": {"abs_tol": 0.5}},
        ),
    ]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    one, other = load_rows(tmp_path / "rows.parquet")
    assert one.prompt[0]["content"] == [{"type": "text", "text": "x"}]
    assert other.media[0].source == b"\x89PNG"
    assert dict(one.verifier[0].params) == {}
    assert dict(other.verifier[0].params) == {"abs_tol": 0.5}


def test_a_missing_answer_is_noticed_in_parquet_too(tmp_path, raw):
    rows = [raw("a"), {**raw("b"), "answer": None}]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=r"rows.parquet:2: row b: a row needs 'answer'"):
        load_rows(tmp_path / "rows.parquet")


@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"not parquet at all", b"PAR1" + b"x" * 90 + b"PAR1"]
)
def test_a_broken_parquet_file_is_one_line(content, tmp_path):
    (tmp_path / "rows.parquet").write_bytes(content)
    with pytest.raises(DataError, match="not a readable parquet file") as error:
        load_rows(tmp_path / "rows.parquet")
    assert "\n" not in str(error.value)


def test_a_dataset_is_read_without_decoding(media, raw):
    datasets = pytest.importorskip("datasets")
    part = {
        "image": datasets.Image(),
        "text": datasets.Value("string"),
        "type": datasets.Value("string"),
    }
    text = datasets.Value("string")
    features = datasets.Features(
        {
            "id": text,
            "source": text,
            "prompt": [{"role": text, "content": [part]}],
            "answer": text,
            "verifier": text,
        }
    )
    encoded = (media / "a.png").read_bytes()
    content = [
        {"type": "image", "image": {"bytes": encoded, "path": None}, "text": None},
        {"type": "text", "image": None, "text": "What?"},
    ]
    rows = [
        raw("a", verifier="exact", prompt=[{"role": "user", "content": content}]),
        raw("b", verifier="exact", prompt=[{"role": "user", "content": content[1:]}]),
    ]
    dataset = datasets.Dataset.from_list(rows, features=features)
    one, other = rows_from_dataset(dataset.select([1, 0]))
    assert (one.id, other.id) == ("b", "a")
    assert other.media[0].source == encoded
    assert other.where == "dataset[1]"
