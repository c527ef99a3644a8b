from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from mmrl.config.schema import Run
from mmrl.errors import RunError
from mmrl.reporting.curves import read_history
from mmrl.reporting.page import write_page
from mmrl.reporting.report import summarise
from mmrl.reporting.step_times import step_columns
from mmrl.reporting.tables import accuracy_table, time_table

HOSTILE = "</p><script>alert(1)</script><img src=x onerror=alert(1)>\0\u202egpj\ud800\"'&"
MINUS = "\u2212"
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """The tags of a page with their attributes, its visible text, and tags closed out of turn."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        if "style" not in self.open[-1:]:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def links(self) -> list[str]:
        found = [value for _, attrs in self.tags for key, value in attrs.items() if key in LINKS]
        return [link for link in found if not link.startswith(("#", "data:"))]


LINKS = {"href", "src", "poster", "action", "data", "srcset"}


def stage(kind: str, steps: int, **changes) -> dict:
    model = {"family": "qwen2_5_omni", "tiny": "qwen2_5_omni"}
    rows = {"train": {"toy": {"path": "rows.jsonl"}}}
    return {"kind": kind, "model": model, "data": rows, "optim": {"steps": steps}} | changes


def run_of(out: Path, **stages: dict) -> Run:
    return Run.model_validate({"name": "toy", "out": out, "seed": 7, "stages": stages})


def write_lines(path: Path, lines) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def record(step: int, row: str, completion: str = "yes", score: float = 1.0, **changes) -> dict:
    return {
        "stage": "grpo",
        "step": step,
        "row": row,
        "source": "toy",
        "media": [],
        "prompt": "Is it?",
        "answer": "yes",
        "completion": completion,
        "length": 3,
        "stop": "eos",
        "score": score,
        "status": "ok",
        "parts": {"accuracy": score},
        "advantage": score - 0.5,
    } | changes


def pair(step: int, row: str, **changes) -> list[dict]:
    return [record(step, row, **changes), record(step, row, "no", 0.0, **changes)]


def grpo(steps: int) -> dict:
    return stage("grpo", steps, rollout={"group_size": 2})


def evaluation(name: str, step: int, image: float, sound: float) -> dict:
    values = {"eval/accuracy/image": image, "eval/accuracy/audio": sound}
    return {"stage": name, "step": step, **values, "eval/task/shapes": image, "eval/task/é&": sound}


def write(folder: Path, run: Run) -> Page:
    write_page(folder, run, summarise(folder, run))
    return Page(folder / "report.html")


@pytest.fixture(scope="module")
def full(tmp_path_factory, media_folder) -> tuple[Path, Run]:
    """A run of two stages with every file, and media of each kind inside it and outside."""
    folder = tmp_path_factory.mktemp("full") / "run ä #1"
    media = folder / "data" / "m?"
    shutil.copytree(media_folder, media)
    run = run_of(folder, sft=stage("sft", 3), grpo=grpo(4))
    write_lines(
        folder / "metrics.jsonl",
        [
            evaluation("sft", 0, 0.0, 0.1),
            *({"stage": "sft", "step": n, "policy/loss": 3.0 / n, "tokens": n} for n in (1, 2, 3)),
            evaluation("sft", 3, 0.5, 0.4),
            *(
                {
                    "stage": "grpo",
                    "step": n,
                    "reward/mean": 0.1 * n,
                    "reward/accuracy": 0.1 * n,
                    "group/zero_spread_frac": 0.25,
                    "policy/kl": 0.0,
                    "source/shapes/accuracy": 0.2,
                    "source/shapes/count": 2.0,
                    "tokens": 10 * n,
                }
                for n in (1, 2, 3, 4)
            ),
            evaluation("grpo", 4, 0.75, 0.3),
        ],
    )
    write_lines(
        folder / "timings.jsonl",
        [
            {"stage": "run", "step": 0, "prepare_s": 2.0},
            {"stage": "sft", "step": 1, "prompts_s": 1.0, "update_s": 2.0, "step_s": 3.5},
            {"stage": "grpo", "step": 1, "sample_s": 4.0, "judge_s": 1.0, "step_s": 5.0},
            {"stage": "grpo", "step": 1, "eval_s": 90.0},
        ],
    )
    shapes = {"source": "shapes", "prompt": "<image>\nHow many?"}
    sounds = {"source": "é&", "prompt": "<audio>\nWhich?"}
    write_lines(
        folder / "rollouts.jsonl",
        [
            *pair(1, "s1", **shapes, media=[str(media / "a.png")]),
            *pair(1, "t1", **sounds, media=[str(media / "a.wav")]),
            *pair(2, "s2", **shapes, media=[str(media / "b.png")], answer="SKIPPED"),
            *pair(4, "s3", **shapes, media=[str(media_folder / "b.png")]),
            *pair(4, "v3", source="film", prompt="<video>\n?", media=[str(media / "a.mp4")]),
            *pair(4, "m3", source="gone", prompt="<image>\n?", media=[str(media / "no.png")]),
            *pair(4, "p3", source="parquet", prompt="<image>\n?", media=["image: 321 bytes"]),
        ],
    )
    (folder / "environment.json").write_text(json.dumps({"platform": "<here>"}))
    return folder, run


@pytest.fixture(scope="module")
def page(full) -> Page:
    return write(*full)


def test_a_whole_run_is_told_from_its_headline_to_its_setup(page):
    assert "seed 7 · 1 min 40 s" in page.text
    assert "sft 3 steps → grpo 4 steps" in page.text
    assert "40 tokens" in page.text
    order = [page.source.index(f"<section id={name}>") for name in ("accuracy", "curves")]
    order += [page.source.index(f"<section id={name}>") for name in ("rollouts", "time", "setup")]
    assert order == sorted(order)
    assert "Not finished" not in page.text


def test_the_page_is_well_formed_and_runs_nothing_and_loads_nothing(page):
    assert not page.wrong
    assert not page.open
    assert "script" not in {tag for tag, _ in page.tags}
    assert not [key for _, attrs in page.tags for key in attrs if key.startswith("on")]
    assert {urlsplit(link).scheme for link in page.links()} <= {"", "file"}
    policy = next(a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a)
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy


def test_every_link_leads_to_a_file_and_those_inside_the_run_folder_are_relative(page, full):
    folder, _ = full
    files = [unquote(urlsplit(link).path) for link in page.links()]
    assert all((folder / name).is_file() for name in files)
    inside = {name for name in files if not name.startswith("/")}
    assert {"data/m?/a.png", "data/m?/a.wav", "data/m?/a.mp4", "metrics.jsonl"} <= inside
    outside = {name for name in files if name.startswith("/")}
    assert {Path(name).name for name in outside} == {"b.png"}


def test_media_that_cannot_be_shown_are_named(page):
    assert "image not found" in page.text
    assert "no.png" in page.text
    assert "image: 321 bytes, inside the data file" in page.text


def test_only_the_first_and_the_last_step_are_shown(page):
    assert "stage grpo, step 1" in page.text
    assert "stage grpo, step 4" in page.text
    assert "step 2" not in page.text
    assert "SKIPPED" not in page.text


def test_curves_are_drawn_where_something_was_measured(page):
    labels = [a["aria-label"] for t, a in page.tags if t == "figure"]
    assert page.source.count("<svg") == len(labels)
    assert "Reward in training: 0.1 → 0.4" in labels
    assert "Loss: 3 → 1" in labels
    assert not [label for label in labels if label.startswith("KL")]
    heldout = next(label for label in labels if label.startswith("held-out") and "50%" in label)
    assert "image 50% → 75%" in heldout
    assert "audio 40% → 30%" in heldout


def test_colours_come_from_the_page_so_that_drawings_turn_dark_with_it(page):
    drawings = re.findall(r"<svg.*?</svg>", page.source, re.S)
    painted = {c for svg in drawings for c in re.findall(r'(?:stroke|fill)="([^"]+)"', svg)}
    assert "var(--image)" in painted
    assert {c for c in painted if not c.startswith("var(--")} <= {"none", "transparent"}


def test_tasks_stand_under_their_modality_with_changes_in_points(full):
    folder, run = full
    columns = {"before": "before", "after_sft": "after sft", "after_grpo": "after grpo"}
    table = accuracy_table(summarise(folder, run), columns, {"shapes": "image", "é&": "audio"})
    rows = [
        re.sub(r"<[^>]+>", " ", row).split()
        for row in re.findall(r"<tr class=.*?>(.*?)</tr>", table)
    ]
    names = [row[0] for row in rows]
    assert names == ["image", "shapes", "audio", "é&amp;"]
    assert rows[0][1:] == ["0.0", "+50.0", "50.0", "+25.0", "75.0", "+75.0"]
    assert rows[2][1:] == ["10.0", "+30.0", "40.0", f"{MINUS}10.0", "30.0", "+20.0"]


def test_time_is_split_by_phase(full):
    table = time_table(full[0])
    told = dict(re.findall(r"<th>(.*?)</th>.*?<small>(.*?)</small>", table))
    assert told == {
        "loading data": "prepare 2.0 s",
        "sft": "prompts 1.0 s, update 2.0 s, rest 0.5 s",
        "grpo": "sample 4.0 s, judge 1.0 s, eval 1 min 30 s",
    }


def test_every_step_has_a_column_of_its_phases_and_the_last_clock_counts(tmp_path):
    phases = {"prompts_s": 0.5, "sample_s": 2.0, "judge_s": 1.0, "update_s": 0.5}
    lines = [
        {
            "stage": "<grpo>",
            "step": step,
            **phases,
            "step_s": seconds,
            "idle_frac": 1 - 2.5 / seconds,
        }
        for step, seconds in [(1, 40.0), (2, 4.0), (1, 5.0)]
    ]
    write_lines(tmp_path / "timings.jsonl", lines)
    shown = step_columns(tmp_path)
    assert "&lt;grpo&gt;" in shown
    assert "4.5 s a step; the model idle 44% of the time" in shown
    told = re.findall(r'<b style="height:(.*?)%" title="(.*?)">', shown)
    spent = "prompts 0.5 s, sample 2.0 s, judge 1.0 s, update 0.5 s"
    assert told == [("100", f"step 1: {spent}, rest 1.0 s"), ("80", f"step 2: {spent}")]
    assert step_columns(tmp_path / "nowhere") == ""


def test_a_long_stage_has_columns_of_several_steps(tmp_path):
    lines = [{"stage": "s", "step": n, "update_s": 1.0, "step_s": 1.0} for n in range(1, 301)]
    write_lines(tmp_path / "timings.jsonl", lines)
    told = re.findall(r'title="(.*?)"', step_columns(tmp_path))
    assert len(told) == 100
    assert told[-1] == "steps 298 to 300: update 1.0 s"


def test_a_moved_run_folder_keeps_its_links(full, tmp_path):
    folder, run = full
    moved = tmp_path / "elsewhere"
    shutil.copytree(folder, moved)
    (moved / "metrics.jsonl").unlink()
    links = write(moved, run).links()
    assert "data/m%3F/a.png" in links
    assert not [link for link in links if unquote(link).startswith(str(folder))]


def test_hostile_rows_and_completions_stay_text(tmp_path):
    run = run_of(tmp_path, grpo=grpo(1))
    hostile = {"source": HOSTILE, "prompt": HOSTILE, "answer": {HOSTILE: [HOSTILE]}}
    hostile |= {"media": [HOSTILE, "javascript:alert(1)", "x" * 5000], "detail": HOSTILE}
    hostile |= {"parts": {HOSTILE: None}, "status": "error", "score": None}
    write_lines(tmp_path / "rollouts.jsonl", [record(1, HOSTILE, HOSTILE) | hostile])
    page = write(tmp_path, run)
    assert not page.wrong
    assert {"script", "img"}.isdisjoint(tag for tag, _ in page.tags)
    assert set(page.links()) == {"rollouts.jsonl"}
    assert "<script>alert(1)</script>" in page.text
    assert "\0" not in page.source
    assert "\u202e" not in page.source
    assert "␀⟨U+202E⟩gpj\ufffd" in page.text
    assert "not judged" in page.text


def test_long_texts_are_cut_with_a_count(tmp_path):
    run = run_of(tmp_path, grpo=grpo(1))
    long = "a" * 50_000 + "<answer>end</answer>"
    write_lines(tmp_path / "rollouts.jsonl", [record(1, "r", long), record(1, "r", "b")])
    page = write(tmp_path, run)
    left_out = int(re.search(r"([\d,]+) characters left out", page.text)[1].replace(",", ""))
    shown = sum(page.text.count(letter * 20) * 20 for letter in "a")
    assert left_out + 520 == len(long)
    assert 480 <= shown <= 520
    assert page.text.index("end") > page.text.index("left out")
    assert len(page.source) < 60_000


def test_equal_completions_stand_once_with_their_number(tmp_path):
    run = run_of(tmp_path, grpo=stage("grpo", 1, rollout={"group_size": 4}))
    siblings = [record(1, "r", "no", 0.0), *[record(1, "r")] * 3]
    write_lines(tmp_path / "rollouts.jsonl", siblings)
    page = write(tmp_path, run)
    assert page.source.count("<li>") == 2
    assert "\u00d73" in page.text
    assert page.text.index("+0.50") < page.text.index(f"{MINUS}0.50")


def test_a_run_that_was_stopped_early_shows_what_there_is(tmp_path):
    run = run_of(tmp_path, sft=stage("sft", 9), grpo=grpo(4))
    write_lines(tmp_path / "metrics.jsonl", [evaluation("sft", 0, 0.25, 0.5)])
    write_lines(tmp_path / "metrics.jsonl", [evaluation("sft", 5, 0.5, 0.5)])
    page = write(tmp_path, run)
    assert "stage sft is at step 5 of 9" in page.text
    assert "in sft" in page.text
    assert "after grpo" not in page.text
    assert "<svg" not in page.source


def test_an_empty_run_folder_gives_a_page(tmp_path):
    page = write(tmp_path, run_of(tmp_path, grpo=grpo(4)))
    assert "stage grpo is at step 0 of 4" in page.text
    assert [a["href"] for t, a in page.tags if t == "a"] == ["#setup"]
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_line_that_is_still_being_written_is_left_out_and_a_damaged_one_is_named(tmp_path):
    run = run_of(tmp_path, grpo=grpo(4))
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"stage": "grpo", "step": 1, "reward/mean": 1}\n{"stage": "gr')
    assert read_history(tmp_path, run).reached == {"grpo": 1}
    path.write_text('{"stage": "grpo", "step": 1\n{"stage": "grpo", "step": 2}\n')
    with pytest.raises(RunError, match=r"metrics.jsonl line 1: not a JSON object"):
        read_history(tmp_path, run)


def test_stages_of_one_kind_follow_each_other_on_one_axis(tmp_path):
    run = run_of(tmp_path, easy=grpo(3), cold=stage("sft", 2), hard=grpo(4))
    lines = [("easy", 1, 0.1), ("easy", 3, 0.3), ("cold", 2, 0.2), ("hard", 1, 0.4)]
    write_lines(
        tmp_path / "metrics.jsonl",
        ({"stage": name, "step": step, "reward/mean": value} for name, step, value in lines),
    )
    curves = read_history(tmp_path, run).by_kind["grpo"]
    assert curves.offsets == {"easy": 0, "hard": 3}
    assert curves.points("reward/mean") == [(1, 0.1), (3, 0.3), (4, 0.4)]
    assert curves.last == 4


def test_of_a_large_group_the_middle_is_folded_away(tmp_path):
    run = run_of(tmp_path, grpo=stage("grpo", 1, rollout={"group_size": 12}))
    siblings = [record(1, "r", f"said {n}", n / 12) for n in range(12)]
    write_lines(tmp_path / "rollouts.jsonl", siblings)
    page = write(tmp_path, run)
    assert not page.wrong
    assert "4 between" in page.text
    assert all(f"said {n}" in page.text for n in range(12))
    folded = page.source.split("4 between")[1].split("</details>")[0]
    assert re.findall(r"said (\d+)", folded) == ["7", "6", "5", "4"]
