"""Reads the predictions that other kits stored, as lines for `mmrl eval score`: the samples of
lmms-eval, the prediction files of VLMEvalKit, and the output files of the MathVista authors.

Such a file holds the responses, and more or less of the items. What it lacks is taken from the
benchmark's own data, by id, or by place where lmms-eval left the document out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmrl.errors import ConfigError, DataError
from mmrl.evals.benchmark import Benchmark, Item
from mmrl.evals.exchange_tables import read_table
from mmrl.evals.questions import read_questions
from mmrl.evals.records import read_file
from mmrl.evals.scoring import RESPONSE_KEYS
from mmrl.registry import did_you_mean


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """What a file says of one item."""

    fields: Mapping[str, Any]
    """Of the item, as far as the file has them."""
    texts: Sequence[str | None]
    """The responses; None for one that the kit did not get."""
    stops: Sequence[str | None] = ()
    """How each ended, where the file says so."""
    extraction: str | None = None
    place: int | None = None
    """Of the item in the benchmark's data."""


FAILED = "Failed to obtain answer via API"
"""How VLMEvalKit begins a prediction that it did not get."""
_IDS = ("pid", "id", "index", "question_id", "sample_id", "sample_index")
"""What benchmarks call the id that VLMEvalKit calls `index`."""


def import_predictions(
    benchmark: Benchmark,
    file: Path,
    kind: str,
    *,
    data: str | None = None,
    split: str | None = None,
    extraction: bool = True,
) -> Iterator[dict[str, Any]]:
    """Yield the responses of a file as lines that `mmrl eval score` takes.

    Args:
        benchmark: Whose items they answer.
        file: The file.
        kind: lmms_eval, vlmevalkit or mathvista.
        data: The benchmark's data, whose records replace what the file says of the items.
        split: Of the data.
        extraction: Hand on the extractions that a file has; otherwise responses are read anew.

    Raises:
        ConfigError: there is no such kind.
        DataError: the file cannot be read, or its lines are no items of the benchmark.
    """
    if kind not in READERS:
        raise ConfigError(f"from={kind}: there is no such kind{did_you_mean(kind, READERS)}")
    if not file.is_file():
        raise DataError(f"{file}: no such file")
    known = _known(benchmark, data, split) if data else None
    count = 0
    for number, found in enumerate(READERS[kind](file), start=1):
        fields = _fields(benchmark, found, known, f"{file}:{number}")
        for sample, text in enumerate(found.texts):
            count += 1
            line = dict(fields)
            if text is not None:  # without a response the scorers' status is error
                line["response"] = text
            if len(found.texts) > 1:
                line["sample"] = sample
            if found.stops and found.stops[sample] is not None:
                line["stop"] = found.stops[sample]
            if extraction and found.extraction is not None:
                line["extraction"] = found.extraction
            yield line
    if not count:
        raise DataError(f"{file}: holds no responses")


def _known(benchmark: Benchmark, data: str, split: str | None) -> list[Item]:
    return [found.item for found in read_questions(benchmark, data, benchmark.split(split))]


def _fields(
    benchmark: Benchmark, prediction: Prediction, known: list[Item] | None, where: str
) -> dict[str, Any]:
    """Return the record that a response belongs to."""
    fields, place = prediction.fields, prediction.place
    item = _item(benchmark, fields)
    if known is None:
        if item is None or not item.id or item.answer is None:
            raise DataError(
                f"{where}: does not hold the whole item of {benchmark.name!r}; give the "
                "benchmark's data, data=PATH"
            )
        return {key: value for key, value in fields.items() if key not in RESPONSE_KEYS}
    ids = {str(fields[key]) for key in _IDS if fields.get(key) is not None}
    ids |= {item.id} if item is not None and item.id else set()
    found = next((one for one in known if one.id in ids), None)
    if found is None and place is not None and not fields and place < len(known):
        found = known[place]
    if found is None:
        raise DataError(
            f"{where}: the data hold no item {', '.join(sorted(ids)) or place!r}; give the data "
            "and split that were answered"
        )
    return dict(found.fields)


def _item(benchmark: Benchmark, fields: Mapping[str, Any]) -> Item | None:
    try:
        return benchmark.item(fields) if fields else None
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _read_lmms_eval(file: Path) -> Iterator[Prediction]:
    for number, line in enumerate(read_file(file), start=1):
        texts = _flat(line.get("resps", line.get("filtered_resps")))
        if not texts:
            raise DataError(f"{file}:{number}: has neither 'resps' nor 'filtered_resps'")
        own: Any = line.get("mmrl") or {}
        stops = own.get("stops") if isinstance(own, dict) else None
        if not isinstance(stops, list) or len(stops) != len(texts):
            stops = ()
        doc = line.get("doc")
        place = line.get("doc_id")
        yield Prediction(
            fields=dict(doc) if isinstance(doc, dict) else {},
            texts=texts,
            stops=stops,
            place=place if isinstance(place, int) else None,
        )


def _flat(value: Any) -> list[str | None]:
    """Return the texts of nested lists, in order."""
    if isinstance(value, list):
        return [
            text
            for one in value
            for text in (_flat(one) if isinstance(one, list) else [_text(one)])
        ]
    return [] if value is None else [_text(value)]


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _read_vlmevalkit(file: Path) -> Iterator[Prediction]:
    for number, row in enumerate(read_table(file), start=1):
        if "prediction" not in row:
            raise DataError(f"{file}:{number}: has no column 'prediction'")
        fields = {key: value for key, value in row.items() if key != "prediction"}
        for name in _IDS:
            fields.setdefault(name, _text_of(row.get("index")))
        text = "" if row["prediction"] is None else str(row["prediction"])
        yield Prediction(fields=fields, texts=[None if text.startswith(FAILED) else text])


def _text_of(value: Any) -> str | None:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return _text(value)


def _read_mathvista(file: Path) -> Iterator[Prediction]:
    for record in read_file(file):
        fields = {
            key: value
            for key, value in record.items()
            if key not in ("response", "extraction", "prediction", "_key")
        }
        fields.setdefault("pid", str(record.get("_key", "")))
        text, found = record.get("response"), record.get("extraction")
        yield Prediction(
            fields=fields, texts=["" if text is None else str(text)], extraction=_text(found)
        )


READERS: Mapping[str, Callable[[Path], Iterator[Prediction]]] = {
    "lmms_eval": _read_lmms_eval,
    "vlmevalkit": _read_vlmevalkit,
    "mathvista": _read_mathvista,
}
