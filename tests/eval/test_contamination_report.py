"""`mmrl eval contamination`: what counts as found in training data, and the scores without it."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mmrl.cli import run
from mmrl.evals.contamination_media import CORRELATION, look_of
from mmrl.evals.contamination_text import TextIndex, split_words
from mmrl.types import Medium

LONG = (
    "In the figure the wooden ladder leans against a wall of {n} metres and its foot slides away by "
    "{m} centimetres; how long is it?"
)
SOURCES = ("GeoQA+", "IconQA")


def _drawing(seed, *, sides=None):
    """Return a line drawing as geometry questions have them, of its own shape for each seed."""
    draw = random.Random(seed)
    image = Image.new("RGB", (320, 240), "white")
    pen = ImageDraw.Draw(image)
    corners = [(draw.randint(20, 300), draw.randint(20, 220)) for _ in range(sides or 5)]
    pen.polygon(corners, outline="black", width=3)
    centre, radius = (draw.randint(60, 260), draw.randint(60, 180)), draw.randint(20, 60)
    pen.circle(centre, radius, outline="blue", width=3)
    return image


@pytest.fixture
def world(tmp_path, capsys):
    """A benchmark of eight items that was answered, and a way to look for it in rows."""
    (tmp_path / "vista" / "images").mkdir(parents=True)
    records = []
    for n in range(8):
        _drawing(n).save(tmp_path / "vista" / "images" / f"{n}.png")
        question = LONG.format(n=n + 3, m=7 * n + 5) if n < 4 else f"Find the side x{n}."
        records.append(
            {
                "pid": str(n),
                "question": question,
                "image": f"images/{n}.png",
                "question_type": "free_form",
                "answer_type": "integer",
                "precision": None,
                "choices": None,
                "answer": "4",
                "metadata": {"source": SOURCES[n % 2]},
                "query": f"Hint: answer with an integer.\nQuestion: {question}",
            }
        )
    (tmp_path / "vista" / "testmini.json").write_text(json.dumps(records))
    lines = [{"pid": str(n), "response": "4" if n < 6 else "5"} for n in range(8)]
    answers = tmp_path / "answers.jsonl"
    answers.write_text("".join(json.dumps(line) + "\n" for line in lines))
    out = tmp_path / "run"
    arguments = ["eval", "tasks=mathvista", "engine=replay", f"responses={answers}"]
    assert run([*arguments, f"data={tmp_path / 'vista'}", f"out={out}"]) == 0

    def look(rows, *more):
        file = tmp_path / "rows.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        capsys.readouterr()
        code = run(["eval", "contamination", str(out), f"train={file}", "--json", *more])
        out_text, err = capsys.readouterr()
        assert code == 0 or err
        return (json.loads(out_text)["tasks"]["mathvista"], err) if code == 0 else (code, err)

    look.folder, look.run = tmp_path, out
    return look


def _row(name, text, image=None):
    content = [{"type": "text", "text": text}]
    if image:
        content.insert(0, {"type": "image", "image": image})
    return {
        "id": name,
        "source": "train",
        "prompt": [{"role": "user", "content": content}],
        "answer": "4",
        "verifier": {"name": "math"},
    }


def _kinds(found):
    return {item["id"]: set(item["kinds"]) for item in found["items"]}


def test_a_picture_is_found_though_resized_and_saved_again(world):
    original = Image.open(world.folder / "vista" / "images" / "3.png")
    original.resize((150, 150)).save(world.folder / "small.jpg", quality=40)
    original.convert("L").save(world.folder / "grey.webp")
    for name in ("small.jpg", "grey.webp"):
        found, _ = world([_row("t", "Another task altogether.", name)])
        assert _kinds(found) == {"3": {"look"}}, name
        assert found["items"][0]["kinds"]["look"] == {"row": "t", "rows": 1}


def test_the_same_file_is_found_by_its_bytes(world):
    (world.folder / "copy.png").write_bytes(
        (world.folder / "vista" / "images" / "3.png").read_bytes()
    )
    found, _ = world([_row("t", "Another task.", "copy.png")])
    assert _kinds(found) == {"3": {"medium"}}


def test_another_drawing_of_the_same_kind_is_no_hit(world):
    rows = []
    for seed in range(100, 115):
        _drawing(seed).save(world.folder / f"{seed}.png")
        rows.append(_row(f"t{seed}", "Another task.", f"{seed}.png"))
    found, _ = world(rows)
    assert found["items"] == []
    assert found["hits"]["any"] == 0


def test_drawings_stay_below_the_border_and_copies_above(tmp_path):
    looks = []
    for seed in range(40):
        _drawing(seed, sides=4 + seed % 3).save(tmp_path / f"{seed}.png")
        looks.append(look_of(Medium(kind="image", source=tmp_path / f"{seed}.png"), ""))
    grid = np.stack([look.brightness for look in looks])
    between = grid @ grid.T - np.eye(40)
    assert between.max() < CORRELATION
    for seed in range(0, 40, 9):
        small = Image.open(tmp_path / f"{seed}.png").resize((160, 120), Image.Resampling.LANCZOS)
        small.save(tmp_path / "copy.jpg", quality=50)
        copy = look_of(Medium(kind="image", source=tmp_path / "copy.jpg"), "")
        assert copy.brightness @ looks[seed].brightness > CORRELATION


def test_blank_pictures_are_told_apart_by_their_colour(world):
    Image.new("RGB", (64, 64), "red").save(world.folder / "vista" / "images" / "0.png")
    Image.new("RGB", (90, 40), "red").save(world.folder / "red.png")
    Image.new("RGB", (90, 40), "green").save(world.folder / "green.png")
    found, _ = world([_row("t", "A.", "green.png"), _row("u", "B.", "red.png")])
    assert found["items"] == [{"id": "0", "kinds": {"look": {"row": "u", "rows": 1}}}]


def test_thirteen_words_are_a_hit_and_twelve_are_none(world):
    words = LONG.format(n=4, m=12).split()
    start = next(place for place, word in enumerate(words) if word == "4") - 6
    found, _ = world([_row("t", "So, " + " ".join(words[start : start + 13]).upper() + "!!")])
    hit = found["items"][0]["kinds"]["words"]
    assert (found["items"][0]["id"], hit["row"]) == ("1", "t")
    assert len(hit["words"].split()) == 13
    found, _ = world([_row("t", " ".join(words[start : start + 12]))])
    assert found["items"] == []


def test_a_short_question_must_be_a_whole_line(world):
    found, _ = world([_row("t", "<image>Question: FIND the side x5\nAnswer with a number.")])
    assert _kinds(found) == {"5": {"question"}}
    found, _ = world([_row("t", "First find the side x5.")])
    assert found["items"] == []


def test_what_many_prompts_say_is_a_formula_and_a_repeated_row_is_none():
    index = TextIndex()
    index.add("Find x.", ("vista", "1"))
    for number in range(11):
        index.find(["Find x."], f"{number}.png", f"t{number}")
    assert index.hits() == {}
    assert index.formulas() == 1

    index = TextIndex()
    index.add("Find x.", ("vista", "1"))
    for number in range(11):
        index.find(["Find x."], "the same.png", f"t{number}")
    assert index.hits() == {("vista", "1"): ("question", "find x", "t0", 11)}


def test_words_that_many_items_share_are_a_formula():
    index = TextIndex()
    shared = " ".join(f"word{n}" for n in range(13))
    for number in range(11):
        index.add(f"{shared} {number}", ("vista", str(number)))
    index.find([f"{shared} 3 and more"], None, "t")
    assert set(index.hits()) == {("vista", "3")}


def test_chinese_characters_are_words():
    assert split_words("\u5982\u56fe\uff0cAB=\uff13") == ["\u5982", "\u56fe", "ab", "3"]


def test_medium_and_words_in_one_row_are_told_from_those_in_two(world):
    picture = "vista/images/5.png"
    apart, _ = world([_row("t", "Find the side x5."), _row("u", "Another task.", picture)])
    assert _kinds(apart) == {"5": {"question", "medium"}}
    together, _ = world([_row("t", "Find the side x5.", picture)])
    assert _kinds(together) == {"5": {"question", "medium", "both"}}


def test_scores_are_told_with_and_without_the_hits(world):
    rows = [_row(f"t{n}", f"Find the side x{n}.") for n in (4, 6)]
    found, _ = world(rows)
    strict = found["modes"]["strict"]
    assert strict["all"]["value"] == 6 / 8
    assert strict["without"]["question"]["value"] == pytest.approx(5 / 6, abs=1e-6)
    assert strict["on_hits"]["question"]["value"] == 0.5
    assert strict["without"]["any"]["n"] == 6
    assert strict["on_hits"]["look"] is None
    assert found["hits"] == {
        "medium": 0,
        "look": 0,
        "words": 0,
        "question": 2,
        "both": 0,
        "any": 2,
    }
    geo = found["groups"]["source"]["GeoQA+"]
    assert (geo["n"], geo["hits"]) == (4, 2)
    assert geo["all"]["strict"] == 3 / 4
    assert geo["without"]["strict"] == 1.0


def test_nothing_left_is_no_score(world):
    rows = [_row(f"t{n}", "x", f"vista/images/{n}.png") for n in range(8)]
    found, _ = world(rows)
    assert found["modes"]["strict"]["without"]["any"] is None
    assert found["hits"]["medium"] == 8


def test_what_cannot_be_read_is_one_line_and_not_left_out(world):
    code, err = world([_row("t", "x", "gone.png")])
    assert code == 2
    assert len(err.splitlines()) == 1
    assert "gone.png" in err
    assert "media=false" in err
    found, _ = world([_row("t", "Find the side x5.", "gone.png")], "media=false")
    assert _kinds(found) == {"5": {"question"}}
    code, err = world([{"id": "t"}])
    assert (code, len(err.splitlines())) == (2, 1)
    code, err = world([_row("t", "x")], "by=sauce")
    assert "source" in err
    (world.folder / "vista").rename(world.folder / "moved")
    code, err = world([_row("t", "x")])
    assert (code, len(err.splitlines())) == (2, 1)
    found, _ = world([_row("t", "x")], f"data={world.folder / 'moved'}")
    assert found["n"] == 8


def test_the_tables_name_every_hit(world, capsys):
    world([_row("t", "Find the side x5.", "vista/images/5.png")])
    file = world.folder / "rows.jsonl"
    assert run(["eval", "contamination", str(world.run), f"train={file}"]) == 0
    out = capsys.readouterr().out
    assert '5: the same file in t; the whole short question "find the side x5" in t' in out
    assert "without them" in out
