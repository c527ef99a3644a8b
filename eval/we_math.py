"""We-Math (arXiv 2407.01284): problems of two or three steps, asked whole and step by step.

A problem whose steps are right but not the whole is inadequate generalisation (IG), with a wrong
step and a wrong whole it is insufficient knowledge (IK). A right whole is complete mastery (CM) or
rote memorisation (RM): `strict` wants every step right for CM, `loose` any. The score is 1 - (IG /
2 + RM + IK) / problems, of which the released set has 525.

`official` reads what follows the last "Answer": punctuation off, first character A to H. In mode
`strict` the response's meaning is read; the metric's own strict and loose are both printed.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from eval._shared import groups_of, record_id
from mmrl.evals.benchmark import (
    Benchmark,
    Item,
    Message,
    Published,
    Record,
    Response,
    Score,
    Scored,
    Split,
    register,
    unanswered,
    user_turn,
)
from mmrl.evals.reading import score_choice
from mmrl.evals.scorers.mcq import score_letter

LETTERS = "ABCDEFGH"
ASKED = (
    "Think the problem through briefly. Then end with the letter of the right option in this form: "
    "Answer: <<letter>>"
)
_MARKS = re.compile(r"[<>:.]")
_OPTION = re.compile(r"(?:^|[;\n])\s*([A-H])[.:)]\s*")


def read_item(record: Record) -> Item:
    """Read a record; `ID` names the problem and `key` the step of it, as in 3steps_2."""
    key, problem = str(record.get("key") or ""), str(record.get("ID", ""))
    steps, _, step = key.partition("_")
    groups = groups_of(record, knowledge="knowledge concept", split="split")
    return Item(
        id=f"{problem}/{key}" if problem else record_id(record),
        answer=record.get("answer"),
        choices=options_in(str(record.get("option") or "")),
        fields=record,
        groups=groups | ({"steps": steps, "step": step} if step else {}),
        cluster=f"{steps}/{problem}" if problem else "",
    )


def options_in(text: str) -> tuple[str, ...]:
    """Return the options' texts of a record.

    >>> options_in("A. 3; B. 4; C. No correct answer")
    ('3', '4', 'No correct answer')
    """
    found = list(_OPTION.finditer(text))
    if [mark[1] for mark in found] != list(LETTERS[: len(found)]):
        return ()
    ends = [mark.start() for mark in found[1:]] + [len(text)]
    return tuple(
        text[mark.end() : end].strip().rstrip(";").strip()
        for mark, end in zip(found, ends, strict=True)
    )


def prompt(item: Item, folder: Path) -> list[Message]:
    """Show the picture, the question, its options and how to answer."""
    record = item.fields
    picture = record.get("image_path") or record["image"]
    text = f"Question: {record['question']}\nOption: {record['option']}\n{ASKED}"
    return user_turn(("image", picture), text)


def score(item: Item, response: Response, mode: str) -> Score:
    """Judge the response to one step, or to the whole."""
    gold = str(item.answer).strip()
    if mode == "strict":
        return score_choice(item, response, gold=gold, letters=LETTERS)
    text = response.text if response.extraction is None else response.extraction
    tail = _MARKS.sub("", text.split("Answer")[-1].strip()).strip()
    if not tail or tail[0] not in LETTERS:
        return unanswered(answer=tail[:200] or None)
    return score_letter(tail[0], gold)


def aggregate(scored: Sequence[Scored]) -> Mapping[str, float]:
    """Return the scores and the shares of the four conditions, over whole problems.

    A problem counts where its whole was asked; a step of it that is missing counts as wrong.
    """
    problems: dict[tuple[str, str], dict[str, bool]] = defaultdict(dict)
    for one in scored:
        steps, step = (str(one.item.groups.get(key, "")) for key in ("steps", "step"))
        problems[one.item.cluster, steps][step] = one.score.value == 1.0
    counts: Counter[str] = Counter()
    for (_, steps), right in problems.items():
        if "multi" in right:
            counts.update(_conditions(right, 3 if steps.startswith("3") else 2))
    total = counts["problems"]
    if not total:
        return {"score_strict": 0.0, "score_loose": 0.0}
    scores = {
        f"score_{kind}": 1 - (counts["IG"] / 2 + counts[f"RM_{kind}"] + counts["IK"]) / total
        for kind in ("strict", "loose")
    }
    shares = {name: counts[name] / total for name in ("IK", "IG", "CM_strict", "CM_loose")}
    rote = {
        f"RM_{kind}": counts[f"RM_{kind}"] / max(1, counts[f"CM_{kind}"] + counts[f"RM_{kind}"])
        for kind in ("strict", "loose")
    }
    return scores | shares | rote


def _conditions(found: Mapping[str, bool], count: int) -> list[str]:
    right = [found.get(str(place), False) for place in range(1, count + 1)]
    if not found["multi"]:
        return ["problems", "IG" if all(right) else "IK"]
    return [
        "problems",
        "CM_strict" if all(right) else "RM_strict",
        "CM_loose" if any(right) else "RM_loose",
    ]


register(
    Benchmark(
        name="we_math",
        version="1",
        summary="Problems of two or three steps, asked whole and step by step; four conditions.",
        hub="We-Math/We-Math",
        splits=(
            Split(name="testmini", files=("testmini.*", "data/testmini-*.parquet"), count=1740),
        ),
        item=read_item,
        prompt=prompt,
        score=score,
        aggregate=aggregate,
        groups=("steps", "step", "knowledge"),
        published=(
            Published(
                model="OMR-7B",
                value=79.0,
                source="OpenMMReasoner repository",
                setting="score_loose",
            ),
            Published(
                model="OVR-7B",
                value=64.8,
                source="OpenMMReasoner repository",
                setting="score_loose",
            ),
        ),
        notes=(
            "the score is over whole problems (525 in the released set), not over the 1,740 "
            "questions",
            "RM is a share of the problems whose whole is right, the other conditions of all",
            "the prompt asks for the authors' form in other words",
        ),
    )
)
