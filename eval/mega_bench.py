"""A rule-scored subset of MEGA-Bench (arXiv 2410.10563), whose core has 440 tasks and about 45
metrics.

Only tasks are kept all of whose fields are scored by metrics that are plain rules (those of
`eval/_mega_rules.py`) on an answer of one field or of JSON; what needs programs, planners, LaTeX or
a language model is left out. The headline is the mean over the tasks that are left: it is not the
MEGA-Bench core number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from eval._mega_rules import METRICS, parse_json, parse_text, read_value
from eval._shared import groups_of, record_id
from mmrl.answer import as_text
from mmrl.evals.benchmark import (
    Benchmark,
    Item,
    Message,
    Record,
    Response,
    Score,
    Split,
    judged,
    register,
    unanswered,
    user_turn,
)
from mmrl.evals.reading import find_answer
from mmrl.evals.records import read_records
from mmrl.evals.scorers.mcq import read_options
from mmrl.evals.scorers.means import mean_over

PARSERS = ("answer_string", "json")
VIDEOS = (".mp4", ".mov", ".avi", ".mkv", ".webm")


def is_covered(record: Record) -> bool:
    """Tell whether a record's task is scored by rules that are here."""
    info = _metric_info(record)
    metrics = info.get("field_score_function") or {}
    return (
        bool(metrics)
        and all(name in METRICS for name in metrics.values())
        and info.get("response_parse_function") in PARSERS
        and not info.get("global_aux_metrics")
        and (info.get("aggregation") or {}).get("function") in ("mean", "min")
        and isinstance(read_value(str(record.get("answer"))), dict)
    )


def records(source: Path | str, split: Split) -> Iterator[Record]:
    """Yield the records of the tasks that are covered."""
    return (record for record in read_records(source, split) if is_covered(record))


def read_item(record: Record) -> Item:
    """Read a record; its answer is the text of an object, by field."""
    return Item(
        id=record_id(record, "id"),
        answer=read_value(str(record.get("answer"))),
        fields=record,
        groups=groups_of(
            record,
            task="task_name",
            application="application",
            input_format="input_format",
            output_format="output_format",
        ),
    )


def prompt(item: Item, folder: Path) -> list[Message]:
    """Show the task, its example and the question, each with its media before it."""
    record = item.fields
    parts: list[Any] = []
    for media, text in (
        ("global_media", "task_description"),
        ("example_media", "example_text"),
        ("query_media", "query_text"),
    ):
        files = read_options(record.get(media))
        parts += [("video" if f.lower().endswith(VIDEOS) else "image", f) for f in files]
        if record.get(text):
            parts.append(f"{record[text]}\n")
    return user_turn(*parts)


def score(item: Item, response: Response, mode: str) -> Score:
    """Judge the fields of a response. `strict` reads what a tag or a box holds, where there is one,
    and gives no credit where JSON was asked for and none was written.

    Raises:
        ValueError: the record's task is scored by rules that are not here.
    """
    if not is_covered(item.fields):
        raise ValueError(f"task {item.fields.get('task_name')!r} is not scored by rules")
    text = response.text if response.extraction is None else response.extraction
    if mode == "strict":
        text = find_answer(response).text
    if not text.strip():
        return unanswered()
    values = _fields(item, text, strict=mode == "strict")
    if values is None:
        return unanswered(answer=text[-200:])
    info = _metric_info(item.fields)
    scores = {
        field: METRICS[info["field_score_function"][field]](values.get(field, ""), as_text(gold))
        for field, gold in item.answer.items()
        if field in info["field_score_function"]
    }
    credit = _aggregated(scores, info["aggregation"])
    shown = as_text({field: str(value)[:100] for field, value in values.items()})[:300]
    return judged(credit == 1.0, answer=text[-200:], normalised=shown, how="fields", value=credit)


def _fields(item: Item, text: str, *, strict: bool) -> Mapping[str, Any] | None:
    """Return the answer's fields; without JSON the authors take the whole text for each."""
    if _metric_info(item.fields)["response_parse_function"] == "answer_string":
        field, gold = next(iter(item.answer.items()))
        return {field: parse_text(text, one_line="\n" not in as_text(gold))}
    value = parse_json(text)
    if isinstance(value, dict) and value:
        return value
    return None if strict else dict.fromkeys(item.answer, text)


def _aggregated(scores: Mapping[str, float], aggregation: Mapping[str, Any]) -> float:
    """Return the weighted mean or the least of the fields that count."""
    counted = {field: credit for field, credit in scores.items() if credit >= 0}
    if not counted:
        return 0.0
    if aggregation["function"] == "min":
        return min(counted.values())
    given = aggregation.get("field_weights") or {}
    weights = {field: float(given.get(field, 1)) for field in counted}
    total = sum(weights.values())
    return sum(counted[field] * weights[field] for field in counted) / total if total else 0.0


def _metric_info(record: Record) -> Mapping[str, Any]:
    info = record.get("metric_info")
    value = read_value(info) if isinstance(info, str) else info
    return value if isinstance(value, dict) else {}


register(
    Benchmark(
        name="mega_bench_rules",
        version="1",
        summary="The tasks of MEGA-Bench that plain rules score; not the MEGA-Bench core number.",
        hub="TIGER-Lab/MEGA-Bench",
        splits=(
            Split(
                name="test",
                config="core",
                files=("core/test-*.parquet", "test.jsonl", "test.json"),
            ),
        ),
        metric="mean",
        records=records,
        item=read_item,
        prompt=prompt,
        score=score,
        aggregate=mean_over("task"),
        groups=("application", "task", "input_format", "output_format"),
        media=frozenset({"image", "video"}),
        notes=(
            "a subset: only tasks whose every field is scored by one of "
            f"{', '.join(METRICS)}; published MEGA-Bench numbers do not compare",
            "texts are compared without accents by Unicode, where the authors transliterate",
        ),
    )
)
