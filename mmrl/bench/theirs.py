"""A training step of TRL's GRPOTrainer, phase by phase, on the same weights, prompts and
completions.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmrl.bench.ours import Times, gradients, now
from mmrl.bench.task import Workload
from mmrl.compat import make_torchvision_importable
from mmrl.errors import ConfigError
from mmrl.types import Completion, Row


class Theirs:
    """TRL's trainer at its fastest here: no activation checkpointing, one forward for the batch."""

    def __init__(
        self,
        checkpoint: Path,
        rows: Sequence[Row],
        completions_PG: Sequence[Sequence[Completion]],
        workload: Workload,
        *,
        dtype: str,
    ) -> None:
        self.rows = rows
        self.completion_ids = [list(c.ids) for group in completions_PG for c in group]
        self.workload = workload
        self.rollout_seconds = 0.0
        self.seen: list[Tensor] = []
        self.trainer = _trainer(self, checkpoint, dtype)
        self.trainer.current_gradient_accumulation_steps = 1
        self.optimizer = torch.optim.AdamW(self.trainer.model.parameters(), lr=1e-30)

    def step(self) -> tuple[Times, dict[str, Tensor]]:
        """One step from rows to weights, at a learning rate that does not move them; its gradient
        by parameter.
        """
        trainer, model = self.trainer, self.trainer.model.train()
        device = trainer.accelerator.device
        began = now(device)
        batch = trainer._generate_and_score_completions(self._examples())
        judged = now(device)
        with trainer.compute_loss_context_manager():
            loss = trainer._compute_loss(model, batch)
        loss.backward()
        scored = now(device)
        gradient = gradients(model)
        kept = now(device)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        ended = now(device)
        return (
            Times(
                rollout=self.rollout_seconds,
                scoring_backward=scored - judged,
                step=ended - began - (kept - scored),
            ),
            gradient,
        )

    def logprobs(self) -> Tensor:
        """Log-probs [P * G, C] that the last step scored."""
        return self.seen[-1]

    def _examples(self) -> list[dict[str, Any]]:
        """What TRL's loader hands over: every row G times, its picture decoded each time."""
        from PIL import Image

        examples = []
        for row in self.rows:
            parts = row.prompt[0]["content"]
            text = next(part["text"] for part in parts if part["type"] == "text")
            source = row.media[0].source
            assert isinstance(source, bytes)
            examples += [
                {
                    "prompt": [{"role": "user", "content": text}],
                    "image": Image.open(BytesIO(source)).convert("RGB"),
                    "score": float(score),
                }
                for score in range(self.workload.group_size)
            ]
        return examples


def _trainer(side: Theirs, checkpoint: Path, dtype: str) -> Any:
    # TRL sends usage data and asks the hub for files otherwise
    os.environ.setdefault("CI", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    make_torchvision_importable()
    try:
        from trl.trainer.grpo_config import GRPOConfig
        from trl.trainer.grpo_trainer import GRPOTrainer
    except ImportError as error:
        raise ConfigError(
            "--against trl: TRL is not installed; run: pip install 'mmrl-toolkit[trl]'"
        ) from error
    from datasets import Dataset
    from transformers import AutoProcessor

    class Measured(GRPOTrainer):
        """Samples, and then goes on with the given completions."""

        def _generate_single_turn(self, *arguments: Any, **options: Any) -> Any:
            began = now(self.accelerator.device)
            super()._generate_single_turn(*arguments, **options)
            side.rollout_seconds = time.perf_counter() - began
            return side.completion_ids, None

        def _get_per_token_logps_and_entropies(self, *arguments: Any, **options: Any) -> Any:
            found = super()._get_per_token_logps_and_entropies(*arguments, **options)
            side.seen = [found[0].detach()]
            return found

    work = side.workload
    settings = GRPOConfig(
        output_dir=str(checkpoint / "trl"),
        use_cpu=not torch.cuda.is_available(),
        bf16=dtype == "bfloat16",
        report_to="none",
        gradient_checkpointing=False,
        model_init_kwargs={"dtype": "float32"},
        per_device_train_batch_size=work.prompts * work.group_size,
        num_generations=work.group_size,
        max_completion_length=work.completion_tokens,
        generation_kwargs={"min_new_tokens": work.completion_tokens},
        temperature=1.0,
        loss_type="dapo",
        beta=0.0,
    )
    processor: Any = AutoProcessor.from_pretrained(checkpoint)
    processor.image_processor.size = {"shortest_edge": 28 * 28, "longest_edge": 10**8}
    return Measured(
        model=str(checkpoint),
        reward_funcs=lambda completions, score, **_: score,
        args=settings,
        train_dataset=Dataset.from_list([{"prompt": [{"role": "user", "content": "x"}]}]),
        processing_class=processor,
    )
