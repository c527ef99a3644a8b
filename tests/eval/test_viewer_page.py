"""`mmrl eval view`: one HTML file that shows every item, escapes everything and loads nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest

from mmrl.cli import run

FIXTURES = Path(__file__).parent / "fixtures"
HOSTILE = (
    "</p></script><script>alert(1)</script><img src=x onerror=alert(2)>\"'><b onclick=x>\u202e"
)


class _Page(HTMLParser):
    """Tags with their attributes, and the text of each kind of element."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.text, self.scripts, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif not self.open or self.open[-1] != "style":
            self.text.append(data)

    def named(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def _record(pid, **fields):
    return {
        "pid": pid,
        "question": "Which angle is BOC?",
        "image": "images/1.jpg",
        "question_type": "multi_choice",
        "answer_type": "text",
        "choices": ["3/11", "8/11", "6/11", "3/5"],
        "precision": None,
        "answer": "8/11",
        "metadata": {"source": "GeoQA+"},
        "query": "Which angle is BOC?",
        **fields,
    }


@pytest.fixture
def answered(tmp_path):
    """Answer records with responses; return the run's folder."""

    def make(name, records, responses):
        folder = tmp_path / "vista"
        folder.mkdir(exist_ok=True)
        if not (folder / "images").exists():
            (folder / "images").symlink_to(FIXTURES / "mathvista" / "images")
        (folder / "testmini.json").write_text(json.dumps(records))
        lines = [
            {"pid": pid, "response": text, "sample": sample}
            for pid, texts in responses.items()
            for sample, text in enumerate(texts)
        ]
        answers = tmp_path / f"{name}.jsonl"
        answers.write_text("".join(json.dumps(line) + "\n" for line in lines))
        samples = max(len(texts) for texts in responses.values())
        out = tmp_path / name
        arguments = [f"data={folder}", f"out={out}", f"samples={samples}"]
        replay = ["engine=replay", f"responses={answers}"]
        assert run(["eval", "tasks=mathvista", *replay, *arguments]) == 0
        return out

    return make


def _view(*arguments):
    assert run(["eval", "view", *map(str, arguments)]) == 0


def _page(path):
    return _Page(path.read_text())


def test_nothing_of_a_record_or_a_response_becomes_markup(answered, tmp_path):
    record = _record(
        HOSTILE,
        question=HOSTILE,
        query=HOSTILE,
        image=f"images/{HOSTILE[:60].replace('/', '')}.jpg",
        choices=[HOSTILE, "b", "c"],
        answer=HOSTILE,
        metadata={"source": HOSTILE, "skills": [HOSTILE + "2"]},
    )
    harmless = _record("1")
    one = answered("a", [record], {HOSTILE: [f"<answer>{HOSTILE}</answer>"]})
    two = answered("b", [record], {HOSTILE: [f"<think>{HOSTILE}</think> {HOSTILE}"]})
    plain = answered("plain", [harmless], {"1": ["<answer>B</answer>"]})
    _view(one)
    _view(one, two)
    _view(plain)
    allowed = {(tag, *sorted(attrs)) for tag, attrs in _page(plain / "view.html").tags}
    allowed |= {("p", "class"), ("small",), ("h3", "class"), ("label",), ("mark",)}
    allowed |= {("fieldset",), ("fieldset", "data-mode"), ("fieldset", "data-mode", "hidden")}
    allowed |= {("input", "type", "value"), ("select", "id")}
    allowed |= {("optgroup", "label"), ("i", "class"), ("i",)}
    for path in (one / "view.html", one / "against_b.html"):
        page = _page(path)
        assert {(tag, *sorted(attrs)) for tag, attrs in page.tags} <= allowed
        assert page.scripts == [files("mmrl.evals").joinpath("viewer.js").read_text()]
        assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
        assert "alert(1)" in "".join(page.text)
        assert "\u202e" not in path.read_text()


def test_the_page_runs_its_own_script_alone_and_loads_nothing(answered):
    out = answered("a", [_record("1")], {"1": ["<answer>B</answer>"]})
    _view(out)
    page = _page(out / "view.html")
    policy = next(attrs["content"] for attrs in page.named("meta") if "content" in attrs)
    digest = base64.b64encode(hashlib.sha256(page.scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    links = [attrs.get("src") or attrs.get("href") for _, attrs in page.tags]
    assert not [link for link in links if link and re.match(r"(https?:)?//|\w+script:", link)]
    assert page.named("link") == []


def test_a_picture_is_a_thumbnail_in_the_page_that_links_the_file(answered):
    out = answered("a", [_record("1")], {"1": ["<answer>B</answer>"]})
    _view(out)
    page = _page(out / "view.html")
    (image,) = page.named("img")
    assert image["src"].startswith("data:image/webp;base64,")
    (link,) = [attrs["href"] for attrs in page.named("a")]
    assert (out / link).is_file()


def test_the_way_from_response_to_verdict_is_shown_in_every_mode(answered):
    out = answered("a", [_record("1", answer="3/5")], {"1": [""]})
    _view(out)
    text = " ".join(" ".join(_page(out / "view.html").text).split())
    assert "official fallback 3/5 right no_answer" in text
    assert "strict none wrong no_answer" in text
    assert "modes differ" in text


def test_the_extracted_answer_is_marked_after_the_thought(answered):
    out = answered("a", [_record("1")], {"1": ["<think>B or C?</think><answer>B</answer>"]})
    _view(out)
    html = (out / "view.html").read_text()
    assert "&lt;answer&gt;</span><mark>B</mark>" in html
    assert html.count("<mark>") == 1
    assert "B or C?" in html


def test_every_item_has_the_marks_that_its_filters_ask_for(answered):
    records = [_record(str(n), metadata={"source": f"S{n % 2}"}) for n in range(1, 5)]
    out = answered(
        "a", records, {"1": ["B"], "2": ["C"], "3": ["no idea"], "4": ["<answer>B</answer>"]}
    )
    _view(out)
    page = _page(out / "view.html")
    html = (out / "view.html").read_text()
    cards = [attrs["class"].split() for attrs in page.named("article")]
    boxes = re.findall(r"value=(f\d+)><span>([^<]+?) <small>(\d+)</small>", html)
    assert boxes
    for name, _, count in boxes:
        assert sum(name in card for card in cards) == int(count)
    strict = html[html.index('data-mode="strict"') :]
    right = re.search(r"value=(f\d+)><span>right <small>", strict)[1]
    assert [right in card for card in cards] == [True, False, False, True]
    options = {attrs["value"] for attrs in page.named("option")} - {""}
    groups = re.findall(r"<option value=(f\d+)>S1 \((\d)\)", html)
    assert groups == [(groups[0][0], "2")]
    assert groups[0][0] in options


def test_two_runs_stand_side_by_side(answered):
    records = [_record("1"), _record("2")]
    one = answered("a", records, {"1": ["<answer>B</answer>"], "2": ["<answer>B</answer>"]})
    two = answered("b", records, {"1": ["<answer>C</answer>"], "2": ["<answer>B</answer>"]})
    _view(one, two)
    page = _page(one / "against_b.html")
    text = " ".join(" ".join(page.text).split())
    assert "A better on 1, B on 0 of 2" in text
    assert "+50.0" in text
    classes = [attrs["class"].split()[1] for attrs in page.named("article")]
    assert classes == ["ours", "good"]


def test_of_two_runs_items_that_differ_come_first_onto_a_small_page(answered, capsys):
    records = [_record(str(n)) for n in range(1, 6)]
    right, wrong = ["<answer>B</answer>"], ["<answer>C</answer>"]
    one = answered("a", records, {str(n): right for n in range(1, 6)})
    two = answered("b", records, {str(n): wrong if n == 5 else right for n in range(1, 6)})
    _view(one, two, "limit=2")
    page = _page(one / "against_b.html")
    text = " ".join(" ".join(page.text).split())
    assert "2 of 5 items are on this page" in text
    classes = [attrs["class"].split()[1] for attrs in page.named("article")]
    assert classes == ["good", "ours"]


def test_all_samples_of_an_item_are_shown(answered):
    out = answered("a", [_record("1")], {"1": ["B", "C", "B", ""]})
    _view(out)
    page = _page(out / "view.html")
    assert len(page.named("details")) == 4
    assert "2 of 4 samples right, strict" in "".join(page.text)
    assert page.named("article")[0]["class"].split()[1] == "between"


def test_pictures_inside_the_data_are_read_again(tmp_path):
    import pyarrow
    from pyarrow import parquet

    picture = (FIXTURES / "mathvista" / "images" / "1.jpg").read_bytes()
    record = _record("1", decoded_image={"bytes": picture, "path": None})
    data = tmp_path / "data"
    data.mkdir()
    parquet.write_table(pyarrow.Table.from_pylist([record]), data / "testmini.parquet")
    answers = tmp_path / "answers.jsonl"
    answers.write_text(json.dumps({"pid": "1", "response": "B"}) + "\n")
    out = tmp_path / "out"
    replay = ["engine=replay", f"responses={answers}"]
    assert run(["eval", "tasks=mathvista", *replay, f"data={data}", f"out={out}"]) == 0
    _view(out)
    assert len(_page(out / "view.html").named("img")) == 1
    data.rename(tmp_path / "moved")
    _view(out)
    page = _page(out / "view.html")
    assert page.named("img") == []
    assert "data=PATH shows them" in "".join(page.text)
    _view(out, f"data={tmp_path / 'moved'}")
    assert len(_page(out / "view.html").named("img")) == 1


@pytest.mark.parametrize(("task", "tag"), [("mmau", "audio"), ("seed_bench_r1", "video")])
def test_sounds_and_videos_have_players(task, tag, tmp_path):
    data = FIXTURES / task
    records = json.loads(
        (data / "mmau-test-mini.json").read_text()
        if task == "mmau"
        else json.dumps(_seed_records(data))
    )
    answers = tmp_path / "answers.jsonl"
    key = "id" if task == "mmau" else "sample_id"
    lines = [{key: record[key], "response": "<answer>A</answer>"} for record in records]
    answers.write_text("".join(json.dumps(line) + "\n" for line in lines))
    out = tmp_path / "out"
    replay = ["engine=replay", f"responses={answers}", "max_errors=1"]
    assert run(["eval", f"tasks={task}", *replay, f"data={data}", f"out={out}"]) == 0
    _view(out)
    page = _page(out / "view.html")
    players = page.named(tag)
    assert players
    assert all((out / player["src"]).is_file() for player in players)


def _seed_records(data):
    lines = (data / "annotations" / "validation_L1.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_mistakes_are_one_line(answered, capsys, tmp_path):
    out = answered("a", [_record("1")], {"1": ["B"]})
    for arguments in ((), (out, "limt=3"), (out, "limit=0"), (tmp_path / "x",), (out, "data.x=y")):
        capsys.readouterr()
        assert run(["eval", "view", *map(str, arguments)]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
