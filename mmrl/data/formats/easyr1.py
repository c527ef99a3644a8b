"""EasyR1: `problem` with `<image>` or `<video>`, `answer`, and the lists `images` and `videos`.

EasyR1 names the columns in its run's configuration; the names here are those of its own examples.
"""

from __future__ import annotations

from typing import Any

from mmrl.answer import as_text
from mmrl.data.format import Format, Origin, Record, register_format
from mmrl.data.formats._fields import media_list, place, question, take
from mmrl.types import Row


def read(
    record: Record,
    origin: Origin,
    *,
    prompt_key: str = "problem",
    answer_key: str = "answer",
    image_key: str = "images",
    video_key: str = "videos",
) -> Record:
    """Read one record. EasyR1's own rewards compare answers as mathematics, so rows do too."""
    text = take(record, prompt_key)
    media = {
        "image": media_list(record.pop(image_key, None), image_key),
        "video": media_list(record.pop(video_key, None), video_key),
    }
    return {
        "prompt": [{"role": "user", "content": place(text, media)}],
        "answer": take(record, answer_key, (str, int, float)),
        "verifier": "math",
    }


def write(row: Row) -> Record:
    """Write one record; system messages go into EasyR1's prompt template instead."""
    text, media = question(row, ("image", "video"))
    record: Record = {"problem": text, "answer": as_text(row.answer)}
    for kind, found in media.items():
        record[f"{kind}s"] = found
    return record


def _schema() -> Any:
    import pyarrow as pa

    media = pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    columns = {"problem": pa.string(), "answer": pa.string(), "images": media, "videos": media}
    return pa.schema(list(columns.items()))


register_format(
    Format(
        name="easyr1",
        summary="EasyR1: problem, answer, images and videos, usually in parquet",
        read=read,
        write=write,
        suffixes=(".parquet", ".jsonl", ".json"),
        schema=_schema,
    )
)
