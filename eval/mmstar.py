"""MMStar (arXiv 2403.20330): 1,500 questions that cannot be answered without the picture, of six
abilities.

`official` wants the letter at the very start: as the first character, after a bracket, after
"option " or after "the answer is ", in either case. `strict` reads what the response means. The
headline is the mean over the six abilities, of 250 questions each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from eval._shared import groups_of, qwen, read_tsv, record_id
from mmrl.evals.benchmark import (
    Benchmark,
    Item,
    Message,
    Record,
    Response,
    Score,
    Split,
    register,
    unanswered,
    user_turn,
)
from mmrl.evals.reading import score_choice
from mmrl.evals.records import read_records
from mmrl.evals.scorers.mcq import score_letter
from mmrl.evals.scorers.means import mean_over

LETTERS = "ABCD"
_LEADS = ("", "(", "option ", "the answer is ")


def read_item(record: Record) -> Item:
    """Read a record; its options stand in the question."""
    return Item(
        id=record_id(record, "index"),
        answer=record.get("answer"),
        choices=options_in(str(record.get("question") or "")),
        fields=record,
        groups=groups_of(record, category="category", ability="l2_category"),
    )


def records(source: Path | str, split: Split) -> Iterator[Record]:
    """Yield the records of the hub's table, or of the authors' MMStar.tsv."""
    path = Path(source)
    table = path if path.suffix == ".tsv" else path / "MMStar.tsv"
    return read_tsv(table) if table.is_file() else read_records(source, split)


def options_in(question: str) -> tuple[str, ...]:
    """Return the options' texts that a question ends with; none where they cannot be told apart.

    >>> options_in("Which?\\nOptions: A: a dog, B: a cat, C: both, D: none")
    ('a dog', 'a cat', 'both', 'none')
    """
    _, found, tail = question.rpartition("Options:")
    starts = []
    for letter in LETTERS if found else "":
        mark = re.compile(rf"(?:^|[\s,]){letter}[:.]\s").search(
            tail, starts[-1][1] if starts else 0
        )
        if mark is None:
            break
        starts.append((mark.start(), mark.end()))
    ends = [start for start, _ in starts[1:]] + [len(tail)]
    texts = [tail[start:end] for (_, start), end in zip(starts, ends, strict=False)]
    return tuple(text.strip().rstrip(",").strip() for text in texts) if len(texts) > 1 else ()


def prompt(item: Item, folder: Path) -> list[Message]:
    """Show the picture, then the question with its options."""
    return user_turn(("image", item.fields["image"]), f"Question: {item.fields['question']}")


def score(item: Item, response: Response, mode: str) -> Score:
    """Judge a response by the letter it gives."""
    gold = str(item.answer).strip()
    if mode == "strict":
        return score_choice(item, response, gold=gold, letters=LETTERS)
    text = response.text if response.extraction is None else response.extraction
    text = text.lower().strip().replace("\n", " ")
    at = next((lead for lead in _LEADS if text.startswith(f"{lead}{gold.lower()}")), None)
    if at is not None:
        return score_letter(gold.upper(), gold.upper(), "letter" if len(at) < 2 else "cue")
    if not text:
        return unanswered()
    return score_letter(text[:1].upper(), gold.upper())


register(
    Benchmark(
        name="mmstar",
        version="1",
        summary="Questions that need the picture, of six abilities; four options.",
        hub="Lin-Chen/MMStar",
        splits=(Split(name="val", files=("mmstar.parquet", "val*.*", "*.jsonl"), count=1500),),
        records=records,
        item=read_item,
        prompt=prompt,
        score=score,
        aggregate=mean_over("category"),
        groups=("category", "ability"),
        published=qwen(63.9, 70.9, 75.3),
        notes=("official counts a first word that begins with the gold letter: 'Because' is B",),
    )
)
