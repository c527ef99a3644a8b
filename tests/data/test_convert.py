from __future__ import annotations

import copy
import json

import pyarrow as pa
import pytest
from pyarrow import parquet

from mmrl.cli import run
from mmrl.data.exchange import read_record, write_record
from mmrl.data.format import Misfit, Origin, describe_formats, find_format
from mmrl.data.row_format import parse_row
from mmrl.data.rows import load_rows, rows_from_dataset
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


@pytest.fixture
def convert(capfd):
    """Run the command; return the exit code, standard output and standard error."""

    def call(*arguments):
        code = run(["data", "convert", *map(str, arguments)])
        return (code, *capfd.readouterr())

    return call


def image(path="a.png"):
    return {"type": "image", "image": path}


def text(value):
    return {"type": "text", "text": value}


VTRIUNE = {
    "data_source": "v3det",
    "images": [{"bytes": None, "path": "a.png"}],
    "prompt": [{"role": "user", "content": "<image>Find dogs."}],
    "ability": "detection",
    "reward_model": {
        "answer": "[{'bbox_2d': [0, 0, 9, 9], 'label': 'dog'}]",
        "ground_truth": "[{'bbox_2d': [0, 0, 9, 9], 'label': 'dog'}]",
        "accuracy_ratio": 0.9,
        "format_ratio": 0.3,
        "verifier": "detection",
        "verifier_parm": {"det_reward_ratio": {"iou_max_label_first": 1.0, "map": 0.0}},
    },
    "extra_info": {"id": "v3-1", "image_path": "x/a.png"},
}
RECORDS = {
    "csv": (
        {"question": "<image>How many?", "answer": "3", "image": "a.png", "hard": "yes"},
        {"prompt": [image(), text("How many?")], "answer": "3", "verifier": "exact"},
        {"hard": "yes"},
    ),
    "easyr1": (
        {"problem": "<image>Find x.", "answer": "42", "images": ["a.png"], "level": 5},
        {"prompt": [image(), text("Find x.")], "answer": "42", "verifier": "math"},
        {"level": 5},
    ),
    "llava": (
        {
            "id": "0003",
            "image": "a.png",
            "conversations": [
                {"from": "human", "value": "<image>\nWhat is it?"},
                {"from": "gpt", "value": "A red bus."},
            ],
            "model": "",
        },
        {
            "id": "0003",
            "prompt": [image(), text("\nWhat is it?")],
            "answer": "A red bus.",
            "response": "A red bus.",
            "verifier": "text",
        },
        {"model": ""},
    ),
    "ms_swift": (
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "<audio><image>Which?"},
            ],
            "images": ["a.png"],
            "audios": ["a.wav"],
            "solution": "<answer>7</answer>",
            "channel": "x",
        },
        {
            "prompt": [{"type": "audio", "audio": "a.wav"}, image(), text("Which?")],
            "answer": "7",
            "verifier": "math",
        },
        {"channel": "x"},
    ),
    "r1_aqa": (
        {
            "id": 183,
            "question_text": "What is heard in the video?",
            "multi_choice": ["motorboat", "train"],
            "answer": 1,
            "dataset_name": "AVQA",
            "audio_path": "a.wav",
            "question_type": "which",
        },
        {
            "id": "183",
            "source": "avqa",
            "prompt": [
                {"type": "audio", "audio": "a.wav"},
                text(
                    "What is heard in the audio? Please choose the answer from the following"
                    " options: ['motorboat', 'train']."
                ),
            ],
            "answer": "train",
            "verifier": "choice",
        },
        {
            "question_type": "which",
            "dataset_name": "AVQA",
            "choices": ["motorboat", "train"],
            "question_text": "What is heard in the video?",
        },
    ),
    "seed_bench_r1": (
        {
            "sample_id": "s1",
            "question": "What next?",
            "answer": "wash",
            "video_source": "Epic",
            "video_basename": "v.mp4",
            "current_observation_basename": "o.png",
            "task_progress_metadata": [{"step": 1}],
            "golden_choice_idx": "B",
            "choice_a": "cut",
            "choice_b": "wash",
            "choice_c": "dry",
            "choice_d": "eat",
            "domain": "kitchen",
        },
        {
            "id": "s1",
            "prompt": [
                {"type": "video", "video": "videos/Epic/v.mp4"},
                image("images/Epic/o.png"),
                text("What next?\nA. cut\nB. wash\nC. dry\nD. eat\n"),
            ],
            "answer": "B",
            "verifier": "choice",
        },
        {
            "domain": "kitchen",
            "question": "What next?",
            "choices": ["cut", "wash", "dry", "eat"],
            "video_source": "Epic",
            "task_progress_metadata": [{"step": 1}],
        },
    ),
    "sharegpt": (
        {
            "system": "Be brief.",
            "conversations": [
                {"from": "human", "value": "<video>What?"},
                {"from": "gpt", "value": "Dog."},
                {"from": "human", "value": "And then?"},
                {"from": "gpt", "value": "<think>hm</think><answer>Cat</answer>"},
            ],
            "videos": ["a.mp4"],
        },
        {
            "prompt": [{"type": "video", "video": "a.mp4"}, text("What?")],
            "answer": "Cat",
            "response": "<think>hm</think><answer>Cat</answer>",
            "verifier": "exact",
        },
        {},
    ),
    "video_r1": (
        {
            "problem_id": 2,
            "problem": "What happens? ",
            "data_type": "video",
            "problem_type": "multiple choice",
            "options": ["A. rain", "B. sun"],
            "solution": "<answer>A</answer>",
            "path": "./LLaVA/a.mp4",
            "data_source": "LLaVA",
            "process": "<think>wet</think>",
        },
        {
            "id": "2",
            "source": "LLaVA",
            "prompt": [
                {"type": "video", "video": "./LLaVA/a.mp4"},
                text("What happens? Options:\nA. rain\nB. sun\n"),
            ],
            "answer": "A",
            "response": "<think>wet</think>\n<answer>A</answer>",
            "verifier": "choice",
        },
        {"problem_type": "multiple choice", "choices": ["A. rain", "B. sun"]},
    ),
    "vlm_r1": (
        {
            "id": 1,
            "image": "a.png",
            "conversations": [
                {"from": "human", "value": "<image>Where is the dog?"},
                {"from": "gpt", "value": [1, 2, 30, 40]},
            ],
            "dataset": "refcoco",
        },
        {
            "id": "1",
            "prompt": [image(), text("Where is the dog?")],
            "answer": [1, 2, 30, 40],
            "coordinates": "pixel",
            "verifier": "box",
        },
        {"dataset": "refcoco"},
    ),
    "vtriune": (
        VTRIUNE,
        {
            "id": "v3-1",
            "source": "v3det",
            "prompt": [{"type": "image", "image": {"path": "a.png"}}, text("Find dogs.")],
            "answer": VTRIUNE["reward_model"]["ground_truth"],
            "verifier": {"name": "detection", "params": {"ratios": {"iou_max_label_first": 1.0}}},
            "reward": {"accuracy": 0.75, "format": 0.25},
        },
        {"ability": "detection", "extra_info": {"image_path": "x/a.png"}},
    ),
}


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
    from mmrl.data.rows import records_of_dataset

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
