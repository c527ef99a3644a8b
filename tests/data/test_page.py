from __future__ import annotations

import re
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from mmrl.data.page import write_page
from mmrl.data.rows import load_rows
from mmrl.data.verdicts import judge_golds, sense_of
from mmrl.data.writing import write_rows
from mmrl.judging.panel import Panel


class Page(HTMLParser):
    """The tags of a page with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture
def page_of(tmp_path):
    def make(path, folder=tmp_path):
        rows = load_rows(path)
        write_page(rows, folder / "page.html", title="rows", total=len(rows))
        return (folder / "page.html").read_text(encoding="utf-8")

    return make


def test_media_are_linked_relative_to_the_page(tmp_path, media, with_media, write_jsonl, page_of):
    (media / "a.png").rename(media / "ä #1?.png")
    path = write_jsonl(
        with_media("a", image="media/ä #1?.png", video="media/a.mp4", audio="media/a.wav")
    )
    (tmp_path / "sub").mkdir()
    page = Page(page_of(path, tmp_path / "sub"))
    links = [page.all(tag)[0]["src"] for tag in ("img", "video", "audio")]
    assert not any(link.startswith("/") for link in links)
    for link in links:
        assert (tmp_path / "sub" / unquote(link)).is_file()


def test_everything_from_a_row_is_escaped(raw, write_jsonl, page_of):
    evil = "<script>alert(1)</script>\"'&"
    path = write_jsonl(
        raw(
            evil,
            source=evil,
            prompt=[{"role": "user", "content": evil}],
            answer=evil,
            response=evil,
            extra={evil: evil},
            verifier={"name": evil, "params": {evil: evil}},
        )
    )
    text = page_of(path)
    assert "<script" not in text
    assert Page(text).all("article")[0]["id"] == evil
    assert "&lt;script&gt;" in text


def test_a_hostile_path_stays_inside_its_attribute(
    tmp_path, media, with_media, write_jsonl, page_of
):
    name = 'x" onerror="alert(1).png'
    (media / "a.png").rename(tmp_path / name)
    path = write_jsonl(with_media("a", image=name))
    (image,) = Page(page_of(path)).all("img")
    assert set(image) == {"loading", "src", "alt"}


def test_boxes_are_drawn_in_their_own_space(tmp_path, media, with_media, write_jsonl, page_of):
    def row(row_id, answer, space):
        row = with_media(row_id, image="media/a.png", answer=answer)
        return {**row, "verifier": "box", "coordinates": space}

    path = write_jsonl(
        row("a", [100, 200, 300, 600], "norm1000"),
        row("b", [6, 8, 18, 24], "pixel"),
        row("c", [0.1, 0.2, 0.3, 0.6], "unit"),
    )
    page = Page(page_of(path))
    views = [svg["viewbox"] for svg in page.all("svg")]
    assert views == ["0 0 1000 1000", "0 0 60 40", "0 0 1 1"]
    shares = []
    for view, rect in zip(views, page.all("rect"), strict=True):
        _, _, width, height = map(float, view.split())
        shares.append(
            (float(rect["x"]) / width, float(rect["y"]) / height, float(rect["width"]) / width)
        )
    for share in shares:
        assert share == pytest.approx((0.1, 0.2, 0.2))


def test_embedded_media_are_shown_too(tmp_path, media, with_media, write_jsonl, page_of):
    path = write_jsonl(
        with_media("a", image="media/a.png", audio="media/a.wav", video="media/a.mp4")
    )
    write_rows(load_rows(path), tmp_path / "alone.parquet", embed=True)
    text = page_of(tmp_path / "alone.parquet")
    kinds = re.findall(r'src="data:([^;]+);base64,', text)
    assert kinds == ["image/png", "audio/wav", "video/mp4"]


def test_broken_media_do_not_stop_the_page(tmp_path, media, with_media, write_jsonl, page_of):
    (media / "empty.png").touch()
    path = write_jsonl(with_media("a", image="media/empty.png"), with_media("b", image="<b>.png"))
    text = page_of(path)
    assert len(Page(text).all("img")) == 1
    assert f"no such file: {tmp_path}/&lt;b&gt;.png" in text


def test_boxes_of_a_detection_carry_their_labels(media, with_media, write_jsonl, page_of):
    boxes = [
        {"bbox_2d": [6, 8, 18, 24], "label": "dog"},
        {"bbox_2d": [30, 20, 60, 40], "label": "<i>"},
    ]
    row = with_media("a", image="media/a.png", answer=boxes)
    text = page_of(write_jsonl({**row, "verifier": "detection"}))
    page = Page(text)
    assert [rect["width"] for rect in page.all("rect")] == ["12", "30"]
    assert page.all("svg")[0]["viewbox"] == "0 0 60 40"
    assert [span["style"] for span in page.all("span")] == [
        "left:10.00%;top:20.00%",
        "left:50.00%;top:50.00%",
    ]
    assert ">dog</span>" in text
    assert "&lt;i&gt;</span>" in text


def test_boxes_stand_upright_as_the_browser_shows_the_picture(
    media, with_media, write_jsonl, page_of
):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 40)).save(media / "turned.jpg", exif=exif)
    row = with_media("a", image="media/turned.jpg", answer=[1, 2, 30, 50])
    page = Page(page_of(write_jsonl({**row, "verifier": "box"})))
    assert page.all("svg")[0]["viewbox"] == "0 0 40 60"


def test_verdicts_of_the_own_and_the_neighbours_answer_are_shown(raw, write_jsonl, tmp_path):
    path = write_jsonl(
        raw("a", answer="1"),
        raw("b", answer="1"),
        raw("c", answer="2", source="other"),
        raw("half", answer="many", verifier="number"),
        raw("lone", answer="x", verifier={"name": "exact", "params": {"case": True}}),
        raw("none", verifier="no_such_verifier"),
    )
    rows = load_rows(path)
    panel = Panel()
    try:
        found = judge_golds(rows, panel)
    finally:
        panel.close()
    assert [sense_of(verdicts) for verdicts in found] == [
        *["right"] * 3,
        "unjudged",
        "right",
        "unjudged",
    ]
    assert [verdicts[0].neighbour_id for verdicts in found] == ["c", "c", "a", "", "", ""]
    assert found[0][0].neighbour.score == 0.0
    write_page(rows, tmp_path / "p.html", title="t", total=6, verdicts=found)
    text = (tmp_path / "p.html").read_text()
    assert "exact: own answer <b>1</b>, that of c <b>0</b>" in text
    assert "exact: own answer <b>1</b>, no other answer to compare with" in text
    assert "there is no verifier &#x27;no_such_verifier&#x27;" in text
    senses = [attrs["class"] for attrs in Page(text).all("article")]
    assert senses[0] == "is-s1 is-right"
    assert senses[2] == "is-s0 is-right"
    assert senses[3] == "is-s1 is-unjudged"


def test_a_verifier_that_takes_any_answer_is_doubtful(raw, write_jsonl):
    rows = load_rows(
        write_jsonl(
            raw("a", answer="0.5", verifier="math"), raw("b", answer="1/2", verifier="math")
        )
    )
    panel = Panel()
    try:
        found = judge_golds(rows, panel)
    finally:
        panel.close()
    assert [sense_of(verdicts) for verdicts in found] == ["doubtful", "doubtful"]


@pytest.mark.parametrize(
    "answers", ["aab", "abab", "aaab", "abbb", "baaa", "abc", "aaaa", "a", "aba"]
)
def test_the_neighbour_is_the_next_row_with_another_answer(answers, raw, write_jsonl):
    rows = load_rows(write_jsonl(*(raw(str(n), answer=a) for n, a in enumerate(answers))))
    panel = Panel()
    try:
        found = [verdicts[0].neighbour_id for verdicts in judge_golds(rows, panel)]
    finally:
        panel.close()
    count = len(answers)
    for place, shown in enumerate(found):
        around = [(place + step) % count for step in range(1, count)]
        wanted = next((str(n) for n in around if answers[n] != answers[place]), "")
        assert shown == wanted


def test_sources_and_verdicts_can_be_hidden_without_a_script(raw, write_jsonl, tmp_path):
    evil = "x:not(:checked) } body { display: none } </style>"
    rows = load_rows(
        write_jsonl(raw("a", source="one"), raw("b", source=evil), raw("c", source="one"))
    )
    write_page(rows, tmp_path / "p.html", title="t", total=3, verdicts=[[], [], []])
    text = (tmp_path / "p.html").read_text()
    page = Page(text)
    boxes = {attrs["id"]: attrs for attrs in page.all("input")}
    assert set(boxes) == {"show-s0", "show-s1", "show-right", "show-doubtful", "show-unjudged"}
    assert all("checked" in attrs for attrs in boxes.values())
    style = text.partition("<style>")[2].partition("</style>")[0]
    for name in boxes:
        assert f"body:has(#{name}:not(:checked)) article.{name.replace('show', 'is')} {{" in style
    assert "one (2)" in text
    assert "} body {" not in style
    assert "<script" not in text
    assert "://" not in text


def test_large_embedded_media_become_files_beside_the_page(
    tmp_path, media, with_media, write_jsonl, page_of
):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (400, 400, 3), dtype=np.uint8)).save(media / "large.png")
    path = write_jsonl(
        with_media("a", image="media/large.png"), with_media("b", image="media/a.png")
    )
    write_rows(load_rows(path), tmp_path / "alone.parquet", embed=True)
    large, small = Page(page_of(tmp_path / "alone.parquet")).all("img")
    assert (tmp_path / large["src"]).read_bytes() == (media / "large.png").read_bytes()
    assert small["src"].startswith("data:image/png;base64,")
