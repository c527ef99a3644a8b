"""The checks of scripts/gpu_check.sh: packed attention against plain attention, a run in bfloat16
with and without gradient checkpointing, and the page of what was found.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch


def main() -> None:
    """Run one check and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    for name, work in (("attention", attention), ("training", training), ("page", page)):
        command = commands.add_parser(name)
        command.set_defaults(work=work)
        for option in ("device", "out", "attention", "training", "step"):
            command.add_argument(f"--{option}")
    arguments = parser.parse_args()
    arguments.work(arguments)


def attention(arguments: argparse.Namespace) -> None:
    """Outputs and gradients of packed rows against one plain causal row per completion."""
    from mmrl.sharing.attention import packed_attention
    from mmrl.sharing.flex import has_flex
    from mmrl.sharing.layout import arrange, as_mask

    device = torch.device(arguments.device)
    flex = has_flex(device)
    heads, size = 4, 64
    prompt, completions = (1000, [300, 200, 100]) if flex else (40, [9, 7, 5])
    segments = arrange([(prompt, completions)])
    total = prompt + sum(completions)
    torch.manual_seed(0)
    rows = [torch.randn(1, heads, total, size, device=device, requires_grad=True) for _ in range(3)]
    mask = as_mask(segments)
    query, key, value = rows
    found = packed_attention(torch.nn.Identity(), query, key, value, mask)[0].transpose(1, 2)
    grads = torch.autograd.grad(found.square().sum(), rows)
    attend: Any = torch.nn.functional.scaled_dot_product_attention
    pieces, start = [], prompt
    for length in completions:
        places = [*range(prompt), *range(start, start + length)]
        alone = attend(*(row[:, :, places] for row in rows), is_causal=True)
        pieces.append(alone if start == prompt else alone[:, :, prompt:])
        start += length
    plain = torch.cat(pieces, dim=2)
    expected = torch.autograd.grad(plain.square().sum(), rows)
    gap = (found - plain).abs().max().item()
    grad_gap = max((a - b).abs().max().item() for a, b in zip(grads, expected, strict=True))
    name = "FlexAttention" if flex else "SDPA in parts (no FlexAttention here)"
    print(
        f"{name} over a packed group against a causal row per completion, float32: outputs differ"
    )
    print(f"by {gap:.1e}, gradients by {grad_gap:.1e}.")
    limit = 2e-2 if flex else 1e-4  # a GPU may multiply float32 in TF32
    if not (gap < limit and grad_gap < 10 * limit):
        sys.exit(f"gpu_check: packed attention differs by {gap:.1e} and {grad_gap:.1e}")


def training(arguments: argparse.Namespace) -> None:
    """Two steps of the quickstart's first stage, plain and with activations computed again."""
    print("| dtype | gradient checkpointing | seconds | last loss | last gradient norm |")
    print("|---|---|---|---|---|")
    for dtype in ("float32", "bfloat16"):
        norms = []
        for checkpointing in ("false", "true"):
            out = Path(f"{arguments.out}-{dtype}-{checkpointing}")
            began = time.perf_counter()
            command = [sys.executable, "-m", "mmrl", "train", "stage=quickstart/sft", f"out={out}"]
            command += [f"model.device={arguments.device}", f"model.dtype={dtype}"]
            command += [f"model.gradient_checkpointing={checkpointing}", "optim.steps=2"]
            command += ["eval.limit=2", "rollout.max_new_tokens=8", "optim.batch_size=4"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(f"gpu_check: training in {dtype} failed: {done.stderr.strip()[-2000:]}")
            lines = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
            last = [line for line in lines if "optim/grad_norm" in line][-1]
            seconds = time.perf_counter() - began
            values = f"{last['policy/loss']:.3g} | {last['optim/grad_norm']:.3g}"
            print(f"| {dtype} | {checkpointing} | {seconds:.1f} | {values} |")
            norms.append(last["optim/grad_norm"])
        if not 0 < norms[0] < float("inf") or abs(norms[1] / norms[0] - 1) > 0.01:
            sys.exit(f"gpu_check: gradient norms {norms} in {dtype}, plain and with checkpointing")


def page(arguments: argparse.Namespace) -> None:
    """Put the findings together."""
    cuda = torch.cuda.is_available()
    name = torch.cuda.get_device_name(0) if cuda else "a CPU"
    found = Path(arguments.step).read_text()
    print(f"# On {name}\n\ntorch {torch.__version__}. Repeat with `scripts/gpu_check.sh`.\n")
    print(f"## Attention\n\n{Path(arguments.attention).read_text()}")
    print(f"## Training\n\n{Path(arguments.training).read_text()}")
    print(f"## A step\n\n```json\n{found[found.index('{') :].rstrip()}\n```")


if __name__ == "__main__":
    main()
