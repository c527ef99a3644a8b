"""Samples with a vLLM server: prompts go to it as token ids and processed media, weights through a
folder that both see.
"""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import Tensor

from mmrl.config.schema import RolloutConfig
from mmrl.config.vllm import VllmConfig
from mmrl.engines.hf import read_completion
from mmrl.engines.vllm import (
    check_length,
    check_prompt,
    sampling_arguments,
    vllm_class,
    write_model,
)
from mmrl.engines.vllm_client import AT_ONCE, VllmClient
from mmrl.engines.vllm_prompts import engine_input, of_vllm
from mmrl.errors import ConfigError
from mmrl.model import Policy
from mmrl.seeds import derive
from mmrl.types import Completion, Prompt
from mmrl.weights import checkpoint_weights

FILE_BYTES = 4_000_000_000
"""Weights of one file, about; they lie in memory until it is written."""


@dataclass(kw_only=True, slots=True)
class VllmServer:
    """A server that another command has started; see docs/vllm.md for it."""

    policy: Policy
    config: VllmConfig
    elsewhere: bool = field(default=True, init=False)
    _client: VllmClient = field(init=False)
    _folder: tempfile.TemporaryDirectory[str] = field(init=False)
    _processor: Any = field(init=False)
    _limit: int = field(init=False)
    _version: str | None = field(init=False, default=None)
    """Of the weights that the server was given last; None before."""

    def __post_init__(self) -> None:
        self._client = VllmClient(url=str(self.config.url), timeout_s=self.config.timeout_s)
        self._limit = self._check_server()
        self._folder = tempfile.TemporaryDirectory(prefix="mmrl-vllm-")
        write_model(self.policy, Path(self._folder.name))
        model = of_vllm("config").ModelConfig(
            model=self._folder.name, dtype="float32", mm_processor_cache_gb=0
        )
        self._processor = of_vllm("multimodal").MULTIMODAL_REGISTRY.create_processor(model)

    def sample(
        self,
        prompts_P: Sequence[Prompt],
        config: RolloutConfig,
        *,
        group_size: int,
        seed: int,
        places: Sequence[int] | None = None,
        greedy: bool = False,
    ) -> list[list[Completion]]:
        """Completions [P][G]; `logprobs` are those of the distribution that was drawn from, so
        after top-p and top-k.

        Raises:
            DataError: the server refuses a prompt, or reads another one than the trainer.
        """
        requests = []
        places = range(len(prompts_P)) if places is None else places
        for place, prompt in zip(places, prompts_P, strict=True):
            check_length(prompt, config.max_new_tokens, self._limit)
            luck = derive(seed, place)
            body: dict[str, Any] = {
                "token_ids": list(prompt.ids),
                "sampling_params": sampling_arguments(
                    self.policy, config, group_size, seed=luck, greedy=greedy
                ),
                "return_token_ids": True,
            }
            if prompt.media:
                body["features"] = self._features(prompt)
            requests.append(body)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            asked = [pool.submit(self._ask, *one) for one in zip(prompts_P, requests, strict=True)]
            try:
                completions_PG = [one.result() for one in asked]
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
        if self._version is not None:
            self._client.check_version(self._version)
        return completions_PG

    def sync(self) -> None:
        """Have the server read the policy's weights, and forget what it computed with the old ones:
        prefixes, media and the features of encoders.
        """
        ranks = self.policy.strategy.ranks
        weights = checkpoint_weights(self.policy)
        folder = self._weights_folder()
        if ranks.leads:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            self._write(weights, folder)
        else:
            for _ in weights:
                pass  # gathering needs all processes

        def read() -> str:
            if self._version is not None:
                self._check_server()  # it may have been started again, in another way
            version = f"mmrl-{uuid.uuid4().hex}"
            self._client.load_weights(str(folder.resolve()), version)
            return version

        self._version = ranks.first_only(read, "vllm: taking over the weights")

    def __enter__(self) -> VllmServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.policy.strategy.ranks.leads:
            shutil.rmtree(self._weights_folder(), ignore_errors=True)
        self._client.close()
        self._folder.cleanup()

    def _weights_folder(self) -> Path:
        """For this engine alone, whatever else goes through `sync_dir`."""
        assert self.config.sync_dir is not None
        return self.config.sync_dir / Path(self._folder.name).name

    def _check_server(self) -> int:
        tokenizer = self.policy.processor.tokenizer
        return self._client.check(
            model_class=vllm_class(self.policy),
            encode=lambda text: tokenizer.encode(text, add_special_tokens=False),
        )

    def _features(self, prompt: Prompt) -> dict[str, Any]:
        """The media of a prompt as the server reads them.

        Raises:
            ConfigError: a video whose frames stand apart, which the protocol cannot say.
        """
        given = engine_input(self.policy, self._processor, prompt)
        for kind, places in given["mm_placeholders"].items():
            if any(place.is_embed is not None for place in places):
                raise ConfigError(
                    f"rollout.vllm.url: a server cannot be told where the frames of a {kind} of "
                    "this family stand; leave url out, so that vLLM runs in the training process"
                )
        encode = of_vllm("entrypoints.scale_out.token_in_token_out.mm_serde").encode_mm_kwargs_item
        return {
            "mm_hashes": given["mm_hashes"],
            "mm_placeholders": {
                kind: [{"offset": place.offset, "length": place.length} for place in places]
                for kind, places in given["mm_placeholders"].items()
            },
            "kwargs_data": {
                kind: [encode(item) for item in items] for kind, items in given["mm_kwargs"].items()
            },
        }

    def _ask(self, prompt: Prompt, body: dict[str, Any]) -> list[Completion]:
        about = f"row {prompt.row.id}: "
        found = self._client.post("/inference/v1/generate", body, about=about)
        check_prompt(prompt, found["prompt_token_ids"])
        completions = []
        for choice in sorted(found["choices"], key=lambda item: item["index"]):
            logprobs = [token["logprob"] for token in choice["logprobs"]["content"]]
            completions.append(read_completion(self.policy, choice["token_ids"], logprobs))
        return completions

    def _write(self, weights: Iterator[tuple[str, Tensor]], folder: Path) -> None:
        from safetensors.torch import save_file

        part: dict[str, Tensor] = {}
        size, number = 0, 0
        for name, weight in weights:
            part[name] = weight.to(device="cpu", dtype=self.policy.dtype, copy=True).contiguous()
            size += part[name].nbytes
            if size >= FILE_BYTES:
                save_file(part, folder / f"model-{number:05d}.safetensors")
                part, size, number = {}, 0, number + 1
        save_file(part, folder / f"model-{number:05d}.safetensors")
