from __future__ import annotations

import re
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest

from mmrl.data.page import write_page
from mmrl.data.rows import load_rows
from mmrl.data.writing import write_rows


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


def test_a_hostile_path_stays_inside_its_attribute(with_media, write_jsonl, page_of):
    path = write_jsonl(with_media("a", image='x" onerror="alert(1).png'))
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
    path = write_jsonl(with_media("a", image="media/empty.png"), with_media("b", image="none.png"))
    assert len(Page(page_of(path)).all("img")) == 2
