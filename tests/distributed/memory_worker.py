"""One of two processes that hold a model in parts: writes down how much it ever held of it."""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from mmrl.config.launch import LaunchConfig
from mmrl.config.schema import ModelConfig, OptimConfig
from mmrl.distributed.connect import connected
from mmrl.distributed.spread import spread
from mmrl.model import device_of, load_policy
from mmrl.update import Optimizer
from mmrl.weights import whole_weights


class Peaks(dict):
    """The most memory of the process in each phase beyond what it had at the start, in bytes;
    pages of files, which can be given back at any time, do not count.
    """

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        peak, done = [0], threading.Event()

        def watch() -> None:
            while not done.is_set():
                peak[0] = max(peak[0], anonymous_bytes())
                time.sleep(0.004)

        before = anonymous_bytes()
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()
        self[name] = peak[0] - before


def anonymous_bytes() -> int:
    text = Path("/proc/self/status").read_text()
    return 1024 * int(re.findall(r"RssAnon:\s+(\d+)", text)[0])


def main(folder: Path, strategy: str, out: Path) -> None:
    config = ModelConfig.model_validate(
        {"family": "qwen2_5_vl", "path": str(folder), "device": "cpu", "threads": 1}
    )
    launch = LaunchConfig.model_validate(
        {"processes": 2, "strategy": strategy, "backend": "gloo", "timeout_s": 60}
    )
    peaks = Peaks()
    with connected(launch, out) as ranks:
        load_policy(config, seed=0, empty=True)  # what is imported on the way counts for nothing
        ids = torch.arange(100, 124)[None]
        with peaks.phase("load"):
            policy = load_policy(config, seed=0, empty=True)
            assert all(p.device.type == "meta" for p in policy.model.parameters())
            policy = spread(
                policy,
                launch,
                ranks,
                load=lambda: load_policy(config, seed=0),
                device=device_of(config),
            )
        optim = OptimConfig.model_validate({"lr": 1e-3, "steps": 1})
        optimizer = Optimizer(config=optim, policy=policy)
        with peaks.phase("score"), torch.no_grad():
            before = policy(input_ids=ids).logits
        scores = policy(input_ids=ids).logits.log_softmax(-1)
        policy.strategy.backward(-scores[..., 1].mean() / ranks.count)
        norm = optimizer.step(0)["optim/grad_norm"]
        with peaks.phase("moments"):
            moments = policy.strategy.moments(policy.model, optimizer.adamw)
        sizes = [sum(t.numel() for k, t in m.items() if k != "step") for m in moments.values()]
        del moments
        with peaks.phase("weights"):
            weights = policy.strategy.weights(policy.model)
        with peaks.phase("sync"), torch.no_grad():
            synced = {name: float(weight.double().sum()) for name, weight in whole_weights(policy)}
        with policy.whole(), torch.no_grad():
            after = policy(input_ids=ids).logits
        found = {
            "peaks": peaks,
            "norm": norm,
            "moments": sum(sizes),
            "weights": {name: float(w.double().sum()) for name, w in (weights or {}).items()},
            "synced": synced,
            "before": before[0, -1].tolist(),
            "after": after[0, -1].tolist(),
        }
        (out / f"found-{ranks.rank}.json").write_text(json.dumps(found))
        policy.strategy.close()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
    sys.stdout.flush()
    os._exit(0)
