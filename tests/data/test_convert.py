from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from mmrl.data.exchange import read_record, write_record
from mmrl.data.format import Misfit, Origin, describe_formats, find_format
from mmrl.data.row_format import parse_row
from mmrl.data.writing import row_to_json
from mmrl.judging.panel import Panel

FORMATS = (
    "csv",
    "easyr1",
    "llava",
    "ms_swift",
    "r1_aqa",
    "seed_bench_r1",
    "sharegpt",
    "video_r1",
    "vlm_r1",
    "vtriune",
)


def image(path="a.png"):
    return {"type": "image", "image": path}


def text(value):
    return {"type": "text", "text": value}


RECORDS = {
    name: (said["record"], said["row"], said["extra"])
    for name, said in json.loads(
        Path(__file__).with_name("format_records.json").read_text(encoding="utf-8")
    ).items()
}
"""By format: a record as its authors write it, what its row says, and what goes into extra."""


def cleaned(record):
    return json.loads(
        json.dumps(record),
        object_hook=lambda value: {k: v for k, v in value.items() if v is not None},
    )


def test_every_promised_format_is_there():
    assert tuple(found.name for found in describe_formats()) == FORMATS
    assert all(found.write for found in describe_formats())


@pytest.mark.parametrize("name", FORMATS)
def test_a_record_becomes_the_row_that_it_says(name):
    record, wanted, extra = RECORDS[name]
    given = cleaned(record)
    before = copy.deepcopy(given)
    raw = read_record(find_format(name), given, Origin(name="file", number=4))
    assert given == before
    wanted = {"id": "file-4", "source": raw["source"], **wanted}
    messages = raw.pop("prompt")
    content = wanted.pop("prompt")
    assert next(m["content"] for m in messages if m["role"] == "user") == content
    assert raw.pop("extra") == extra
    if isinstance(wanted["verifier"], str) and isinstance(raw["verifier"], dict):
        raw["verifier"] = raw["verifier"]["name"]
    assert raw == wanted


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_read_can_be_written_and_read_again(name, tmp_path):
    record, _, _ = RECORDS[name]
    found = find_format(name)
    first = parse_row(
        read_record(found, cleaned(record), Origin(name="f", number=1)), where="", folder=tmp_path
    )
    written = write_record(found, first)
    again = parse_row(
        leaves(read_record(found, written, Origin(name="x", number=9)), first),
        where="",
        folder=tmp_path,
    )
    assert row_to_json(again, tmp_path) == row_to_json(first, tmp_path)


def leaves(raw, row):
    """Replace media, which a writer settles later, by the paths that they came from."""
    media = iter(row.media)
    for message in raw["prompt"]:
        for part in message["content"]:
            if part["type"] != "text":
                part[part["type"]] = str(next(media).source)
    return raw


@pytest.mark.parametrize("name", FORMATS)
def test_no_format_loses_what_it_has_no_field_for(name, tmp_path):
    """A row that says more than any other format has fields for comes back whole, or is refused."""
    content = [image(), text("Where? A or B?")]
    raw = {
        "id": "geo-1",
        "source": "own",
        "prompt": [{"role": "user", "content": content}],
        "answer": [1, 2, 3, 4],
        "verifier": [{"name": "box", "params": {"threshold": 0.5}, "weight": 2.0}],
        "reward": {"accuracy": 0.7, "format": 0.3},
        "difficulty": 0.25,
        "response": "<answer>[1, 2, 3, 4]</answer>",
        "extra": {"system": "not a prompt", "answer": "neither", "options": ["x"]},
        "coordinates": "unit",
    }
    row = parse_row(raw, where="", folder=tmp_path)
    found = find_format(name)
    if name in ("vtriune", "r1_aqa", "seed_bench_r1", "video_r1"):
        with pytest.raises(Misfit):
            write_record(found, row)
        return
    written = write_record(found, row)
    back = leaves(read_record(found, written, Origin(name="x", number=2)), row)
    again = parse_row(back, where="", folder=tmp_path)
    assert row_to_json(again, tmp_path) == row_to_json(row, tmp_path)


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("easyr1", {"problem": "Find x."}, None),
        ("easyr1", {"problem": "<image><image>Find x."}, "more <image> in the text"),
        (
            "easyr1",
            {"problem": "<image>", "images": ["a.png", "b.png"]},
            "more media of kind image",
        ),
        ("easyr1", {"answer": None}, "the field 'answer' is missing"),
        ("easyr1", {"answer": ["4"]}, "the field 'answer' holds a list"),
        ("easyr1", {"images": [3]}, "holds a int where a path should be"),
        (
            "vtriune",
            {"reward_model": {"ground_truth": "1", "verifier": "code"}},
            "'code' is none of",
        ),
        ("video_r1", {"problem_type": "essay"}, "problem_type 'essay' is none of"),
        ("video_r1", {"data_type": "audio"}, "neither image nor video"),
        ("vlm_r1", {"conversations": []}, "not a question and its solution"),
        ("vlm_r1", {"accu_reward_method": "magic"}, "'magic' is none of"),
        ("llava", {"conversations": [{"from": "human", "value": "x"}]}, "there is no reply"),
        ("llava", {"conversations": [{"from": "tool", "value": "x"}]}, "a turn of 'tool'"),
        ("seed_bench_r1", {"golden_choice_idx": "E"}, "no letter from A to D"),
        ("r1_aqa", {"answer": 2}, "not the number of a choice"),
        ("r1_aqa", {"answer": True}, "holds a bool"),
        ("csv", {"answer": " "}, "nothing in the column 'answer'"),
    ],
)
def test_what_does_not_fit_says_why(name, changes, said):
    record = {**cleaned(RECORDS[name][0]), **changes}
    found, origin = find_format(name), Origin(name="f", number=1)
    if said is None:
        assert read_record(found, record, origin)["prompt"][0]["content"][0] == image()
        return
    with pytest.raises(Misfit, match=said.replace("(", r"\(")):
        read_record(found, record, origin)


def test_training_records_of_seed_bench_draw_their_choices_by_the_seed():
    record = cleaned(RECORDS["seed_bench_r1"][0])
    for key in ("golden_choice_idx", "choice_a", "choice_b", "choice_c", "choice_d"):
        del record[key]
    record["negative_answers"] = [f"wrong {number}" for number in range(6)]
    found, origin = find_format("seed_bench_r1"), Origin(name="f", number=1)
    orders = set()
    for seed in range(12):
        raw = read_record(found, record, origin, params={"seed": seed})
        assert raw == read_record(found, record, origin, params={"seed": seed})
        choices = raw["extra"]["choices"]
        assert len(set(choices)) == 4
        assert choices["ABCD".index(raw["answer"])] == "wash"
        orders.add(tuple(choices))
    assert len(orders) > 6


def test_boxes_of_ms_swift_are_an_answer():
    record = {
        "messages": [
            {"role": "user", "content": "<image>Find the <ref-object>"},
            {"role": "assistant", "content": "<bbox>"},
        ],
        "images": ["a.png"],
        "objects": {"ref": ["sheep"], "bbox": [[1, 2, 3, 4]], "bbox_type": "norm1"},
    }
    raw = read_record(find_format("ms_swift"), record, Origin(name="f", number=1))
    assert raw["prompt"][0]["content"] == [image(), text("Find the sheep")]
    assert (raw["answer"], raw["coordinates"], raw["verifier"]) == ([1, 2, 3, 4], "unit", "box")


def test_golds_of_every_format_are_right_by_their_own_verifier(tmp_path):
    from mmrl.data.golds import check_golds

    rows = []
    for name in FORMATS:
        raw = read_record(find_format(name), cleaned(RECORDS[name][0]), Origin(name=name, number=1))
        rows.append(parse_row(raw, where=name, folder=tmp_path))
    panel = Panel()
    try:
        report = check_golds(rows, panel)
    finally:
        panel.close()
    assert [str(error) for error in report.errors] == []
    assert report.judged == len(FORMATS)
