"""Writes a run in the shape in which lmms-eval logs samples, for the tools that read it: a JSONL
file for each task and one file of results.

A line has doc_id, doc, target, arguments, input, resps, filtered_resps, doc_hash and a value for
each mode; what lmms-eval has no place for stands under `mmrl`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmrl.errors import RunError
from mmrl.evals.finished import Finished, FinishedItem, FinishedTask
from mmrl.evals.log import write_lines
from mmrl.evals.run import write_json
from mmrl.evals.scoring import score_fields
from mmrl.evals.summary import mean_value

Z = 1.96
"""Standard errors in half of a 95 % interval."""


def export_lmms_eval(run: Finished, out: Path) -> list[Path]:
    """Write a run's samples and results into a folder; return the files.

    Raises:
        RunError: the folder cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"out: {out}: {error.strerror}; give another folder") from error
    written = []
    for name, task in run.tasks.items():
        path = out / f"mmrl_samples_{name}.jsonl"
        sampling = run.described.get("tasks", {}).get(name, {}).get("sampling", {})
        write_lines(path, _lines(task, sampling))
        written.append(path)
    path = out / "mmrl_results.json"
    write_json(path, _results(run))
    return [*written, path]


def _lines(task: FinishedTask, sampling: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for number, item in enumerate(task.items):
        doc = dict(item.result.item.fields)
        texts = [said.text for said in item.said]
        prompt = _prompt(item)
        yield {
            "doc_id": number,
            "doc": doc,
            "target": _told(item.result.item.answer),
            "arguments": [[prompt, dict(sampling)]],
            "input": prompt,
            "resps": [texts],
            "filtered_resps": texts[:1] if len(texts) == 1 else [texts],
            "doc_hash": _hash(doc),
            **{
                f"{task.benchmark.metric}_{mode}": mean_value(item.result, mode)
                for mode in task.modes
            },
            "mmrl": {
                "id": item.result.item.id,
                "scorer": task.version,
                "stops": [said.stop for said in item.said],
                "samples": [
                    {mode: score_fields(score) for mode, score in sample.items()}
                    for sample in item.result.samples
                ],
            },
        }


def _results(run: Finished) -> dict[str, Any]:
    results: dict[str, Any] = {}
    for name, summary in run.described.get("results", {}).items():
        if name not in run.tasks:
            continue
        results[name] = {"alias": name}
        for mode, part in summary["modes"].items():
            key = f"{part['name']}_{mode}"
            results[name][f"{key},none"] = part["value"]
            spread = (part["high"] - part["low"]) / (2 * Z)
            results[name][f"{key}_stderr,none"] = round(spread, 6)
    counts = {name: len(task.items) for name, task in run.tasks.items()}
    return {
        "results": results,
        "versions": {name: task.version for name, task in run.tasks.items()},
        "n-shot": dict.fromkeys(run.tasks, 0),
        "n-samples": {name: {"original": n, "effective": n} for name, n in counts.items()},
        "model_source": run.described.get("engine", {}).get("name"),
        "model_name": run.described.get("model"),
        "config": {"run": run.path.name, "weights": run.described.get("engine", {}).get("weights")},
    }


def _prompt(item: FinishedItem) -> str:
    parts = [part for message in item.prompt for part in message["content"]]
    return "\n".join(part.get("text", f"<{part['type']}>") for part in parts)


def _told(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _hash(doc: Mapping[str, Any]) -> str:
    text = json.dumps(doc, indent=2, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
