from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mmrl.data.rows import load_rows
from mmrl.data.writing import write_rows
from mmrl.errors import DataError
from mmrl.types import Medium, VerifierTerm


def message_of(path, **options):
    with pytest.raises(DataError) as error:
        load_rows(path, **options)
    return str(error.value)


def test_a_full_row_is_read_key_by_key(tmp_path, raw, write_jsonl):
    part = {"type": "image", "image": "img/17.png"}
    path = write_jsonl(
        raw(
            "geo-17",
            prompt=[
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [part, {"type": "text", "text": "Find x."}]},
            ],
            answer=[1, 2, 3, 4],
            verifier=[{"name": "box", "params": {"threshold": 0.5}, "weight": 2}, "exact"],
            reward={"accuracy": 0.9},
            difficulty=0.4,
            response="<think>t</think><answer>[1, 2, 3, 4]</answer>",
            extra={"split": "a"},
            coordinates="pixel",
        )
    )
    (row,) = load_rows(path)
    assert row.prompt[0] == {"role": "system", "content": [{"type": "text", "text": "Be brief."}]}
    assert row.media == (Medium(kind="image", source=tmp_path / "img/17.png"),)
    assert row.modality == "image"
    assert row.verifier == (
        VerifierTerm(name="box", params={"threshold": 0.5}, weight=2.0),
        VerifierTerm(name="exact"),
    )
    assert row.answer == [1, 2, 3, 4]
    assert row.extra == {"split": "a", "coordinates": "pixel"}
    assert row.reward == {"accuracy": 0.9}
    assert row.where == f"{path}:1"


def test_media_are_not_opened(with_media, write_jsonl):
    (row,) = load_rows(write_jsonl(with_media("a", image="not/there.png")))
    assert row.media[0].source.name == "there.png"


def test_a_verifier_can_be_a_bare_name(raw, write_jsonl):
    (row,) = load_rows(write_jsonl(raw(verifier="math")))
    assert row.verifier == (VerifierTerm(name="math"),)


def test_nones_that_arrow_filled_in_are_cleaned(raw, write_jsonl):
    content = [
        {"type": "image", "image": "a.png", "text": None, "video": None},
        {"type": "text", "text": "What?", "image": None, "video": None},
    ]
    (row,) = load_rows(
        write_jsonl(raw(prompt=[{"role": "user", "content": content, "name": None}]))
    )
    assert row.prompt[0]["content"][1] == {"type": "text", "text": "What?"}
    assert set(row.prompt[0]) == {"role", "content"}


def test_a_byte_order_mark_crlf_and_blank_lines_are_harmless(tmp_path, raw):
    lines = [json.dumps(raw("a")), "", json.dumps(raw("b")), ""]
    (tmp_path / "rows.jsonl").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    assert [row.id for row in load_rows(tmp_path / "rows.jsonl")] == ["a", "b"]


def test_line_separators_inside_a_text_do_not_split_a_row(tmp_path, raw):
    text = "one\u2028two\u0085three"
    line = json.dumps(raw(prompt=[{"role": "user", "content": text}]), ensure_ascii=False)
    (tmp_path / "rows.jsonl").write_text(line, encoding="utf-8")
    (row,) = load_rows(tmp_path / "rows.jsonl")
    assert row.prompt[0]["content"][0]["text"] == text


def test_the_limit_stops_reading(raw, write_jsonl):
    path = write_jsonl(raw("a"), raw("b"), {"broken": True})
    assert [row.id for row in load_rows(path, limit=2)] == ["a", "b"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"anwser": "4"}, "a row has no key 'anwser', did you mean 'answer'?; other facts go into"),
        ({"image": "a.png"}, "a row has no key 'image'; media stand in the prompt, as parts"),
        ({"images": ["a.png"]}, "a row has no key 'images'; media stand in the prompt, as parts"),
        ({"source": 3}, "source: the number 3 where a text should stand"),
        ({"source": " "}, "source: is empty"),
        ({"prompt": "How many?"}, 'prompt: a text; write [{"role": "user", "content": ...}]'),
        ({"prompt": []}, "prompt: empty where a list of messages should stand"),
        ({"prompt": [{"role": "user"}]}, "prompt[0]: a message needs 'content'"),
        ({"prompt": [{"role": "usr", "content": "x"}]}, "'usr' is none of system, user, assistant"),
        ({"prompt": [{"role": "user", "content": []}]}, "prompt[0].content: empty; write a text"),
        (
            {"prompt": [{"role": "assistant", "content": "x"}]},
            "the last message is the assistant's",
        ),
        ({"prompt": [{"role": "user", "content": "a\0b"}]}, "holds a NUL character"),
        ({"prompt": [{"role": "user", "content": "\ud800"}]}, "half a character"),
        ({"verifier": {"name": "exact", "parms": {}}}, "no key 'parms', did you mean 'params'?"),
        ({"verifier": {"params": {}}}, "a verifier needs 'name', which is missing"),
        ({"verifier": []}, "verifier: empty; write the name of a verifier"),
        (
            {"verifier": {"name": "exact", "weight": 0}},
            "verifier.weight: 0; a verifier that counts",
        ),
        (
            {"reward": {"format": "high"}},
            "reward.format: a text where a finite number should stand",
        ),
        ({"reward": {"format": True}}, "reward.format: a truth value where a finite number"),
        ({"difficulty": "easy"}, "difficulty: a text where a finite number should stand"),
        ({"difficulty": 10**400}, "difficulty: a number beyond the range of a float"),
        ({"response": 3}, "response: the number 3 where a text should stand"),
        ({"extra": []}, "extra: a list where an object should stand"),
        (
            {"coordinates": "pixels"},
            "'pixels' is none of pixel, norm1000, unit, did you mean 'pixel'?",
        ),
    ],
)
def test_a_wrong_row_is_one_line_with_place_and_id(changes, said, raw, write_jsonl):
    path = write_jsonl(raw("geo-17", **changes))
    found = message_of(path)
    assert found.startswith(f"{path}:1: row geo-17: ")
    assert said in found
    assert "\n" not in found


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"type": "image"}, "a part of type 'image' needs 'image', which is missing"),
        ({"type": "image", "image": 3}, "the number 3 where the path of a file should stand"),
        ({"type": "image", "image": ""}, "an empty text where the path of a file should stand"),
        ({"type": "image", "image": "http://x.org/a.png"}, "is a URL; download the file"),
        ({"type": "image", "image": "file:///etc/passwd"}, "is a URL; download the file"),
        ({"type": "video", "video": "data:video/mp4;base64,AAAA"}, "is a URL; download the file"),
        ({"type": "image", "image": "../a.png"}, "'../a.png' leaves the data file's folder"),
        ({"type": "image", "image": "x/../../a.png"}, "leaves the data file's folder"),
        ({"type": "image_url", "image_url": {}}, "none of text, image, video, audio"),
        ({"type": "video", "video": ["a.png", "b.png"]}, "a list where the path of a file should"),
        (
            {"type": "text", "text": "x", "image": "a.png"},
            "a part of type 'text' has no key 'image'",
        ),
        ({"text": "x"}, "a part needs 'type'"),
        ("x", "a text where a part, an object, should stand"),
        ({"type": "image", "image": "a\0.png"}, "NUL"),
    ],
)
def test_a_wrong_part_is_one_line(part, said, raw, write_jsonl):
    path = write_jsonl(raw("v-3", prompt=[{"role": "user", "content": [part]}]))
    found = message_of(path)
    assert found.startswith(f"{path}:1: row v-3: prompt[0].content[0]")
    assert said in found


def test_absolute_paths_and_allowed_ways_out_are_taken(tmp_path, with_media, write_jsonl):
    path = write_jsonl(with_media("a", image="/data/a.png"), with_media("b", image="../b.png"))
    one, other = load_rows(path, outside=True)
    assert one.media[0].source == Path("/data/a.png")
    assert other.media[0].source == tmp_path / "../b.png"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"id": "a", ', "not JSON: "),
        (b"[1, 2]", "a list where a row, a JSON object, should stand"),
        (b'{"id": "a"}\0', "not JSON: "),
        (b"\xff\xfe{\0}\0", "not UTF-8 text"),
        (b'{"id": NaN}', "NaN is no JSON number"),
        (b'{"id": "a", "id": "b"}', "the key 'id' stands twice in one object"),
        (b"[" * 100_000, "not usable JSON"),
        (b"1" * 5000, "not usable JSON"),
        (b"{}", "a row needs 'id', 'source', 'prompt', 'answer', 'verifier', which is missing"),
    ],
)
def test_a_line_that_is_no_row_is_one_line(line, said, tmp_path, raw):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(json.dumps(raw()).encode() + b"\n" + line + b"\n")
    found = message_of(path)
    assert found.startswith(f"{path}:2: ")
    assert said in found
    assert "\n" not in found


def test_a_null_answer_is_refused(tmp_path, raw):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({**raw(), "answer": None}))
    assert 'answer: null; where a verifier needs no gold answer, write ""' in message_of(path)


def test_an_id_is_taken_once(raw, write_jsonl):
    path = write_jsonl(raw("a"), raw("b"), raw("a"))
    assert message_of(path) == f"{path}:3: row a: the id is taken by {path}:1; ids are unique"


def test_all_mistakes_are_reported_at_once_and_counted_from_the_twentieth(raw, write_jsonl):
    path = write_jsonl(*(raw(f"r{i}", difficulty="x" if i % 2 else 0.5) for i in range(60)))
    found = message_of(path).split("\n")
    assert len(found) == 21
    assert found[0].startswith(f"{path}:2: row r1: difficulty")
    assert found[-1] == f"{path}: 10 more rows are wrong"


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "rows.jsonl").touch()
    assert message_of(tmp_path / "rows.jsonl") == f"{tmp_path}/rows.jsonl: holds no rows"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("none.jsonl", "no such file"),
        ("folder.jsonl", "is a folder"),
        ("a.csv", ".jsonl and .parquet"),
    ],
)
def test_what_is_no_rows_file_is_refused(name, said, tmp_path):
    (tmp_path / "folder.jsonl").mkdir()
    assert said in message_of(tmp_path / name)


def test_rows_survive_writing_and_reading(tmp_path, raw, with_media, write_jsonl):
    rows = load_rows(
        write_jsonl(
            with_media("a", image="media/ä b.png", video="v.mp4"),
            raw("b", answer={"x": [1, 2.5, None]}, coordinates="unit", extra={"n": None, "ü": "ß"}),
            raw("c", response="line\nline", difficulty=0, verifier=["exact", {"name": "math"}]),
        )
    )
    write_rows(rows, tmp_path / "again.jsonl")
    again = load_rows(tmp_path / "again.jsonl")
    assert [drop_where(row) for row in again] == [drop_where(row) for row in rows]
    assert not list(tmp_path.glob(".*"))


def drop_where(row):
    return {name: getattr(row, name) for name in row.__slots__ if name != "where"}


def test_media_outside_the_folder_are_written_with_their_whole_path(
    tmp_path, with_media, write_jsonl
):
    rows = load_rows(write_jsonl(with_media("a", image="a.png")))
    (tmp_path / "sub").mkdir()
    write_rows(rows, tmp_path / "sub" / "rows.jsonl")
    assert load_rows(tmp_path / "sub" / "rows.jsonl")[0].media[0].source == tmp_path / "a.png"


def test_a_failed_write_leaves_the_old_file(tmp_path, raw, write_jsonl):
    path = write_jsonl(raw("a"))
    (row,) = load_rows(path)
    bad = type(row)(id="b", source="s", prompt=(), answer=float("nan"), verifier=())
    with pytest.raises(ValueError, match="Out of range"):
        write_rows([row, bad], path)
    assert [row.id for row in load_rows(path)] == ["a"]
    assert [found.name for found in tmp_path.iterdir()] == ["rows.jsonl"]


def test_reading_rows_and_listing_pipelines_loads_nothing_heavy(raw, write_jsonl):
    path = write_jsonl(raw("a"))
    code = (
        "import sys; from mmrl.data.rows import load_rows; from mmrl.data.pipelines import *\n"
        f"load_rows({str(path)!r}); check_params('synthetic', {{'tasks': {{'colour': 1}}}})\n"
        "import mmrl.commands.data, mmrl.data.check, mmrl.data.sources, mmrl.media.video\n"
        "heavy = {'torch', 'transformers', 'datasets', 'decord', 'cv2', 'av', 'sympy', 'pyarrow'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
