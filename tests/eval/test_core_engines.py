"""Engines: what a file replays, what vLLM needs, and a project's own benchmark."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from mmrl.cli import run
from mmrl.config.schema import MediaConfig
from mmrl.errors import ConfigError, DataError
from mmrl.evals.benchmark import Decoding, Item, find_benchmark
from mmrl.evals.engine import Request
from mmrl.evals.engines.messages import chat_messages
from mmrl.evals.engines.replay import replay_engine
from mmrl.evals.models import fingerprint_files, resolve_model
from mmrl.evals.run import run_evaluation
from mmrl.evals.settings import read_settings
from mmrl.project import find_project
from mmrl.types import Row

VISTA = Path(__file__).parent / "fixtures" / "mathvista"
BENCHMARK = find_benchmark("mathvista")


def _file(tmp_path, *lines):
    path = tmp_path / "responses.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def _ask(engine, item_id, sample=0):
    request = Request(
        key="",
        task="mathvista",
        item=Item(id=item_id, answer=""),
        sample=sample,
        row=Row(id=item_id, source="mathvista", prompt=(), answer="", verifier=()),
        decoding=Decoding(),
        media=MediaConfig(),
        seed=0,
    )
    [(_, answer)] = engine.answer([request])
    return answer


@pytest.mark.parametrize(
    "line",
    [{"pid": "7"}, {"id": "7"}, {"task": "mathvista", "id": "7"}, {"pid": 7, "question": "?"}],
)
def test_a_line_names_its_item_by_id_or_by_the_benchmarks_own_field(tmp_path, line):
    engine = replay_engine(_file(tmp_path, {**line, "response": "C"}), [BENCHMARK])
    assert _ask(engine, "7").text == "C"
    assert _ask(engine, "8").error is not None


def test_lines_of_other_tasks_are_left_alone(tmp_path):
    lines = [{"task": "seed_bench_r1", "id": "7", "response": "A"}, {"id": "7", "response": "B"}]
    assert _ask(replay_engine(_file(tmp_path, *lines), [BENCHMARK]), "7").text == "B"


def test_samples_come_by_their_number_or_in_their_order(tmp_path):
    lines = [{"id": "7", "sample": 1, "response": "A"}, {"id": "7", "sample": 0, "response": "B"}]
    engine = replay_engine(_file(tmp_path, *lines), [BENCHMARK])
    assert [_ask(engine, "7", sample).text for sample in (0, 1)] == ["B", "A"]
    lines = [{"id": "7", "response": "A"}, {"id": "7", "response": "B"}]
    engine = replay_engine(_file(tmp_path, *lines), [BENCHMARK])
    assert [_ask(engine, "7", sample).text for sample in (0, 1)] == ["A", "B"]


def test_a_sample_that_stands_twice_is_an_error(tmp_path):
    lines = [{"id": "7", "sample": 0, "response": text} for text in "AB"]
    with pytest.raises(DataError, match="sample 0 of '7' stands there twice"):
        replay_engine(_file(tmp_path, *lines), [BENCHMARK])


def test_the_log_of_a_run_can_be_replayed(tmp_path):
    project = find_project()
    arguments = ["tasks=mathvista", f"data={VISTA}", f"out={tmp_path / 'first'}"]
    more = ["model=tiny_omni", "max_new_tokens=3", "temperature=1", "samples=2"]
    first = run_evaluation(read_settings([*arguments, *more], project), project)
    arguments[2] = f"out={tmp_path / 'second'}"
    log = tmp_path / "first" / "samples.jsonl"
    more = ["engine=replay", f"responses={log}", "samples=2"]
    second = run_evaluation(read_settings([*arguments, *more], project), project)
    assert second["results"] == first["results"]


def _checkpoint(tmp_path, **config):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2_5_vl", **config}))
    return tmp_path


def test_a_checkpoint_says_its_family(tmp_path):
    project = find_project()
    assert resolve_model(str(_checkpoint(tmp_path)), {}, project).family == "qwen2_5_vl"
    omni = str(_checkpoint(tmp_path, model_type="qwen2_5_omni_thinker"))
    assert resolve_model(omni, {}, project).family == "qwen2_5_omni"
    with pytest.raises(ConfigError, match="says 'llama', which is none of"):
        resolve_model(str(_checkpoint(tmp_path, model_type="llama")), {}, project)
    forced = {"family": "qwen3_vl", "dtype": "bfloat16"}
    assert resolve_model(str(tmp_path), forced, project).dtype == "bfloat16"


def test_a_name_on_the_hub_needs_a_family():
    with pytest.raises(ConfigError, match=r"say the family, model\.family="):
        resolve_model("Qwen/Qwen2.5-VL-7B-Instruct", {}, find_project())


def test_a_fingerprint_is_of_the_bytes_not_of_the_name(tmp_path):
    for name, content in {"a": b"1", "b": b"1", "c": b"2"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(content)
    a, b, c = (fingerprint_files(tmp_path / name) for name in "abc")
    assert a == b != c


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vllm is installed")
def test_vllm_that_is_not_installed_is_one_line_that_names_the_extra(tmp_path, capsys):
    model = _checkpoint(tmp_path)
    arguments = [f"model={model}", f"data={VISTA}", f"out={tmp_path / 'out'}"]
    assert run(["eval", "tasks=mathvista", "engine=vllm", *arguments]) == 2
    told = capsys.readouterr().err.splitlines()
    assert told == ["mmrl: engine=vllm: vllm is not installed; pip install 'mmrl-toolkit[vllm]'"]


def test_messages_carry_media_as_they_are(ask):
    row = ask("image:a.png", "video:a.mp4", "audio:a.wav", "What?")
    system, user = chat_messages(row, MediaConfig(), system="Be brief.")
    assert system == {"role": "system", "content": "Be brief."}
    kinds = [part["type"] for part in user["content"]]
    assert kinds == ["image_url", "video_url", "input_audio", "text"]
    assert user["content"][0]["image_url"]["url"].startswith("data:image/png;base64,iVBOR")
    assert user["content"][1]["video_url"]["url"].startswith("data:video/mp4;base64,")
    assert user["content"][2]["input_audio"]["format"] == "wav"


OWN = '''
"""A benchmark of one's own."""

from mmrl.evals.benchmark import Benchmark, Item, Split, judged, register, user_turn


def item(record):
    return Item(id=record["id"], answer=record["answer"], fields=record)


def score(item, response, mode):
    same = response.text == item.answer
    return judged(same, answer=response.text, normalised=response.text, how="whole")


register(Benchmark(
    name="mine", version="1", hub="", summary="Mine.", splits=(Split(name="test"),), item=item,
    prompt=lambda item, folder: user_turn(item.fields["question"]), score=score,
))
'''


def test_one_new_file_is_a_benchmark(tmp_path):
    (tmp_path / "configs" / "stage").mkdir(parents=True)
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "mine.py").write_text(OWN)
    lines = [
        {"id": str(n), "question": "?", "answer": "a", "response": "ab"[n % 2]} for n in range(4)
    ]
    file = _file(tmp_path, *lines)
    command = [sys.executable, "-m", "mmrl", "--project", str(tmp_path), "eval"]
    listed = subprocess.run([*command, "tasks"], capture_output=True, text=True, check=True)
    assert "mine " in listed.stdout
    assert "mathvista " in listed.stdout
    scored = subprocess.run(
        [*command, "score", "task=mine", str(file)], capture_output=True, text=True, check=True
    )
    summary = json.loads(scored.stdout.splitlines()[-1])["summary"]
    assert summary["modes"]["strict"]["value"] == 0.5
