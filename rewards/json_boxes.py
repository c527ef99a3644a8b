"""Format of detection answers: a JSON list of labelled boxes.

V-Triune's code (arXiv 2505.18129) asks for `<answer>` on a line of its own, once closed on
another, and one box that can be read: `style: v_triune`. `plain` asks that the answer is a list
and every item a labelled box.
"""

from __future__ import annotations

from typing import Literal

from mmrl.answer import after_thinking
from mmrl.reward import Judge, verifier
from mmrl.types import Sample
from mmrl.verify.detections import read_detections
from mmrl.verify.reading import json_boxes as boxes_of
from mmrl.verify.reading import read_list


@verifier(modality="image", term=True, paper="V-Triune, arXiv 2505.18129")
def json_boxes(*, style: Literal["plain", "v_triune"] = "plain", labels: bool = True) -> Judge:
    """1.0 when the answer is a list of boxes such as `[{"bbox_2d": [1, 2, 3, 4], "label": "dog"}]`.

    Args:
        style: The answer is such a list and nothing else, or V-Triune's looser rule.
        labels: In plain style, every box needs a label.
    """

    def v_triune(sample: Sample) -> float:
        text = sample.text
        framed = "\n<answer>\n" in text and text.count("\n</answer>") == 1
        return float(framed and bool(read_detections(sample.answer or "")))

    def plain(sample: Sample) -> float:
        text = sample.answer if sample.answer is not None else after_thinking(sample.text)
        if not text.endswith(("]", "```")):
            return 0.0
        raw = read_list(text)
        found = boxes_of(raw) if raw else None
        if not raw or not found or len(found) < len(raw):
            return 0.0
        return float(all(_is_proper(item.box) and (item.label or not labels) for item in found))

    return v_triune if style == "v_triune" else plain


def _is_proper(box: tuple[float, float, float, float]) -> bool:
    return box[0] <= box[2] and box[1] <= box[3]
