"""V-Triune and Orsta (arXiv 2505.18129): parquet whose rows name their verifier and its weights.

`reward_model` holds `ground_truth`, `verifier` (`mathverify` or `detection`), `verifier_parm`, and
the weights of accuracy and format, which V-Triune divides by their sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmrl.answer import as_text
from mmrl.data.format import Format, Misfit, Origin, Record, register_format
from mmrl.data.formats._fields import media_list, place, take, unplace
from mmrl.types import Row

_RATIOS = (
    "iou_max_label_first",
    "iou_max_iou_first",
    "iou_completeness",
    "map",
    "map50",
    "map75",
)
_VERIFIERS = {"mathverify": "math", "detection": "detection"}
_DIGITS = 6
"""Weights are float32 in the files."""


def read(record: Record, origin: Origin) -> Record:
    """Read one record. The weights of accuracy and format become those of the row's rewards."""
    judged = take(record, "reward_model", Mapping)
    about = dict(take(record, "extra_info", Mapping, {}))
    images = media_list(record.pop("images", None), "images")
    row: Record = {
        "source": take(record, "data_source", str, origin.name),
        "prompt": _prompt(take(record, "prompt", list), images),
        "answer": judged.get("ground_truth", judged.get("answer")),
        "verifier": _verifier(judged),
        "reward": _weights(judged),
        "extra": {},
    }
    if "id" in about:
        row["id"] = str(about.pop("id"))
    shown = judged.get("answer")
    if shown is not None and shown != row["answer"]:
        row["extra"]["shown_answer"] = shown
    if about:
        row["extra"]["extra_info"] = about
    if row["answer"] is None:
        raise Misfit("reward_model has no ground_truth")
    return row


def write(row: Row) -> Record:
    """Write one record; only mathematics and detection have a verifier in V-Triune."""
    names = {ours: theirs for theirs, ours in _VERIFIERS.items()}
    (term, *others) = row.verifier
    if others or term.name not in names:
        raise Misfit(f"V-Triune has no verifier {(others or [term])[0].name!r}")
    parts = [(message["role"], *unplace(message["content"])) for message in row.prompt]
    if any(media.keys() - {"image"} for _, _, media in parts):
        raise Misfit("its prompt shows media that are no images")
    weights = {"accuracy": 1.0, "format": 0.1} | dict(row.reward)
    return {
        "data_source": row.source,
        "images": [medium for _, _, media in parts for medium in media.get("image", [])],
        "prompt": [{"role": role, "content": text} for role, text, _ in parts],
        "ability": row.extra.get("ability", ""),
        "reward_model": {
            "answer": as_text(row.answer),
            "ground_truth": as_text(row.answer),
            "accuracy_ratio": weights["accuracy"],
            "format_ratio": weights["format"],
            "verifier": names[term.name],
            "verifier_parm": _parm(dict(term.params)),
        },
        "extra_info": {"id": row.id, "image_path": ""},
    }


def _prompt(messages: list[Any], images: list[Any]) -> list[Record]:
    """Give every message its images; all without a place stand before the last one's text."""
    left = list(images)
    prompt = []
    for number, message in enumerate(messages, start=1):
        if not isinstance(message, Mapping) or not isinstance(message.get("content"), str):
            raise Misfit("a message of the prompt has no text as its content")
        count = message["content"].count("<image>")
        last = number == len(messages)
        mine = left if last else left[:count]
        left = [] if last else left[count:]
        content = place(message["content"], {"image": mine})
        prompt.append({"role": message.get("role", "user"), "content": content})
    return prompt


def _verifier(judged: Mapping[str, Any]) -> Record:
    name = judged.get("verifier") or "mathverify"
    if name not in _VERIFIERS:
        raise Misfit(f"V-Triune's verifier {name!r} is none of {', '.join(_VERIFIERS)}")
    parm = judged.get("verifier_parm") or {}
    if name == "mathverify":
        return {"name": "math", "params": {"boxed_only": True}}
    ratios = parm.get("det_reward_ratio") or {}
    params: Record = {"ratios": {key: value for key, value in ratios.items() if value}}
    if parm.get("det_verifier_normalized"):
        params |= {"coordinates": "norm1000", "truncate": True}
    return {"name": "detection", "params": params}


def _weights(judged: Mapping[str, Any]) -> Record:
    accuracy = judged.get("accuracy_ratio", 1.0)
    form = judged.get("format_ratio", 0.1)
    whole = accuracy + form
    if not whole > 0:
        raise Misfit("accuracy_ratio and format_ratio are both 0")
    return {"accuracy": round(accuracy / whole, _DIGITS), "format": round(form / whole, _DIGITS)}


def _parm(params: Record) -> Record:
    ratios = dict(params.get("ratios") or {})
    return {
        "verifier_style": "rule",
        "det_verifier_normalized": params.get("coordinates") == "norm1000",
        "det_reward_ratio": {key: float(ratios.get(key, 0.0)) for key in _RATIOS},
    }


def _schema() -> Any:
    import pyarrow as pa

    text = pa.string()
    medium = pa.struct([("bytes", pa.binary()), ("path", text)])
    ratios = pa.struct([(key, pa.float64()) for key in _RATIOS])
    parm = pa.struct(
        [
            ("verifier_style", text),
            ("det_verifier_normalized", pa.bool_()),
            ("det_reward_ratio", ratios),
        ]
    )
    judged = [("answer", text), ("ground_truth", text), ("accuracy_ratio", pa.float32())]
    judged += [("format_ratio", pa.float32()), ("verifier", text), ("verifier_parm", parm)]
    return pa.schema(
        [
            ("data_source", text),
            ("images", pa.list_(medium)),
            ("prompt", pa.list_(pa.struct([("role", text), ("content", text)]))),
            ("ability", text),
            ("reward_model", pa.struct(judged)),
            ("extra_info", pa.struct([("id", text), ("image_path", text)])),
        ]
    )


register_format(
    Format(
        name="vtriune",
        summary="V-Triune and Orsta: rows that name their verifier, in parquet",
        read=read,
        write=write,
        suffixes=(".parquet", ".jsonl", ".json"),
        schema=_schema,
    )
)
