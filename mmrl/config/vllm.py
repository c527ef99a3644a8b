"""The keys of vLLM as the engine that samples completions."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from mmrl.config.section import Section


class VllmConfig(Section):
    """vLLM in the training process, or as a server; needs the extra `vllm`."""

    url: str | None = Field(default=None, pattern=r"^https?://[^/\s]+/?$")
    """Of a server, such as http://localhost:8000; without it, vLLM runs in the training process.
    docs/vllm.md says how the server is started."""
    sync_dir: Path | None = None
    """A folder that this process and the server both see; the weights go through it after every
    step. /dev/shm is fastest on one machine."""
    timeout_s: float = Field(default=600, gt=0)
    """Longest wait for an answer of the server."""
    gpu_memory_utilization: float | None = Field(default=None, gt=0, le=1)
    """Share of the GPU's memory that vLLM takes for weights and cache; the trainer needs the rest.
    0.4 unless given."""
    kv_cache_mb: int | None = Field(default=None, ge=1)
    """Memory for the key-value cache in place of what that share would leave; needed on CPUs."""
    max_model_len: int | None = Field(default=None, ge=1)
    """Most tokens of a prompt with its completion; what the model allows unless given."""
    tensor_parallel: int | None = Field(default=None, ge=1)
    """GPUs that hold the weights together; 1 unless given."""
    enforce_eager: bool | None = None
    """Do without CUDA graphs: starts faster, samples slower."""
    sleep: bool | None = None
    """Move vLLM's weights to the CPU and give its cache back while the trainer computes."""

    @model_validator(mode="after")
    def _place(self) -> VllmConfig:
        if self.url is None:
            if self.sync_dir is not None:
                raise ValueError("sync_dir is for a server: give its 'url', or leave sync_dir out")
            return self
        if self.sync_dir is None:
            raise ValueError(
                "a server takes the weights from a folder: give 'sync_dir', such as /dev/shm/mmrl"
            )
        own = (
            "gpu_memory_utilization",
            "kv_cache_mb",
            "max_model_len",
            "tensor_parallel",
            "enforce_eager",
            "sleep",
        )
        if given := [key for key in own if getattr(self, key) is not None]:
            raise ValueError(
                f"{given[0]} is decided where the server is started (vllm serve --help), not here"
            )
        return self
