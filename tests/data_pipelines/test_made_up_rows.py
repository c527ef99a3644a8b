"""Rows of the smoke forms: each response is right by its own row's verifier."""

from __future__ import annotations

import pytest

from mmrl.config.rows import DataSource
from mmrl.data.sources import load_source
from mmrl.errors import UserError
from mmrl.reward import build_verifier, sample_of

FORMS = (
    {"form": "number"},
    {"form": "choice"},
    {"form": "choice", "media": "video"},
    {"form": "choice", "media": "audio"},
    {"form": "letters"},
    {"form": "yes_no"},
    {"form": "label"},
    {"form": "text"},
    {"form": "box"},
    {"form": "boxes"},
    {"form": "action"},
    {"form": "pair"},
    {"form": "caption"},
    {"form": "text_only"},
    {"form": "video_audio"},
    {"pretext": "jigsaw", "params": {"size": 112}},
    {"pretext": "temporal_jigsaw", "media": "video", "params": {"clips": 3, "frames": 2}},
)


@pytest.fixture
def build(tmp_path):
    """Build rows: `build(form="choice", split="heldout")`."""

    def run(split="train", seed=1, folder="rows", **params):
        source = DataSource(pipeline="smoke", params={"count": 4} | params)
        return load_source(source, folder=tmp_path / folder, seed=seed, split=split)

    return run


@pytest.mark.parametrize("params", FORMS, ids=lambda p: "-".join(str(v) for v in p.values())[:30])
def test_every_response_is_right_by_the_rows_own_verifier(build, params):
    rows = build(**params)
    assert len(rows) == 4
    for row in rows:
        (term,) = row.verifier
        verdict = build_verifier(term.name, term.params)(sample_of(row, row.response))
        whole = 2 if term.name == "gui_action" else 1
        assert verdict.score == pytest.approx(whole), (row.response, row.answer)


def test_rows_have_the_media_that_were_asked_for(build):
    kinds = {
        "text_only": set(),
        "choice": {"image"},
        "video_audio": {"video", "audio"},
    }
    for form, wanted in kinds.items():
        for row in build(form=form, folder=form):
            assert {medium.kind for medium in row.media} == wanted


@pytest.mark.parametrize(
    ("trace", "begins", "ends"),
    [
        ("think", "<think>", "</answer>"),
        ("boxed", "<think>", "}"),
        ("observe", "<observe>", "</answer>"),
        ("segments", "<time>", "</answer>"),
        ("reason", "<answer>", "</reason>"),
        ("answer", "<answer>", "</answer>"),
    ],
)
def test_responses_are_written_as_asked(build, trace, begins, ends):
    for row in build(form="number", trace=trace):
        assert row.response.startswith(begins)
        assert row.response.endswith(ends)


def test_the_bare_trace_is_the_answer_alone(build):
    rows = build(form="label", trace="bare", verifier={"name": "exact"})
    assert all(row.response == row.answer for row in rows)


def test_thoughts_are_left_empty_as_often_as_asked(build):
    rows = build(form="number", count=64, empty_thoughts=0.5)
    empty = sum("<think></think>" in row.response for row in rows)
    assert 20 <= empty <= 44
    assert not any("<think></think>" in r.response for r in build(form="number", folder="b"))


def test_hints_lead_from_little_help_to_the_whole_solution(build):
    for row in build(form="number"):
        assert len(row.extra["hints"]) == 5
        assert row.extra["hints"][-1] == row.response


def test_the_same_seed_gives_the_same_rows_and_a_split_has_its_own(build):
    def told(rows):
        return [(row.id, row.answer, row.response) for row in rows]

    one, again = build(form="choice", folder="a"), build(form="choice", folder="b")
    assert told(one) == told(again)
    assert {r.id for r in one}.isdisjoint(r.id for r in build("heldout", form="choice", folder="c"))


def test_a_source_has_the_name_it_was_given(build):
    assert {row.source for row in build(form="box", name="coco")} == {"coco"}


@pytest.mark.parametrize("params", [{}, {"form": "box", "pretext": "jigsaw"}])
def test_either_a_form_or_a_pretext_task_is_made(build, params):
    with pytest.raises(UserError, match="either 'form' or 'pretext'"):
        build(**params)
