"""The same function over many items: here, in worker processes of `datasets`, or on Ray Data.

The results are the same and come in the order of the items, whichever engine runs. What goes to
another process travels as JSON, and a chunk of it at a time, so memory does not grow with the
number of items.
"""

from __future__ import annotations

import base64
import functools
import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

from mmrl.errors import ConfigError, DataError

Engine = Literal["local", "processes", "ray"]
Function = Callable[[Any], Any]

_CHUNK_ITEMS = 4096
_CHUNK_BYTES = 64 << 20


def map_items(
    function: Function,
    items: Iterable[Any],
    *,
    engine: Engine = "local",
    workers: int | None = None,
) -> Iterator[Any]:
    """Yield `function(item)` for every item, in their order.

    Args:
        function: Takes and returns what JSON can say, and bytes. It is sent to other processes, so
            it is a function of a module, or a `functools.partial` of one.
        items: They are read as they are needed.
        engine: Where the function runs. `ray` joins the cluster of `$RAY_ADDRESS`, else starts one
            on this machine for the time of the call.
        workers: Processes; as many as there are cores if not given. `local` is one.

    Raises:
        ConfigError: there is no such engine, or Ray is not installed.
        UserError: what the function raises.
    """
    if engine not in get_args(Engine):
        raise ConfigError(f"engine: must be one of {', '.join(get_args(Engine))}, got {engine!r}")
    if workers is not None and workers < 1:
        raise ConfigError(f"workers: must be at least 1, got {workers}")
    if engine == "local":
        return map(function, items)
    count = workers or os.cpu_count() or 1
    return (_on_ray if engine == "ray" else _in_processes)(function, items, count)


def _in_processes(function: Function, items: Iterable[Any], workers: int) -> Iterator[Any]:
    """Spool the items to an Arrow file, which the workers read and the results are a copy of."""
    import datasets
    import pyarrow

    with tempfile.TemporaryDirectory(prefix="mmrl-") as temporary, quiet_bars():
        spool = Path(temporary) / "items.arrow"
        schema = pyarrow.schema([("item", pyarrow.large_string())])
        count = 0
        with pyarrow.OSFile(str(spool), "wb") as sink, pyarrow.ipc.new_stream(sink, schema) as file:
            for chunk in _chunks(items):
                file.write_batch(pyarrow.record_batch([chunk], schema=schema))
                count += len(chunk)
        if not count:
            return
        done = datasets.Dataset.from_file(str(spool)).map(
            functools.partial(_call_on_row, function=function),
            num_proc=min(workers, count),
            cache_file_name=str(Path(temporary) / "results.arrow"),
            new_fingerprint="mmrl",
            writer_batch_size=256,
            features=datasets.Features({"item": datasets.Value("large_string")}),
            desc="working",
        )
        for batch in done.with_format("arrow").iter(batch_size=256):
            yield from map(_result, batch.column("item").to_pylist())  # pyright: ignore[reportAttributeAccessIssue]


def _on_ray(function: Function, items: Iterable[Any], workers: int) -> Iterator[Any]:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ConfigError(
            "engine=ray: Ray is not installed; pip install 'mmrl-toolkit[ray]'"
        ) from error
    with _ray_running(ray, workers):
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        for chunk in _chunks(items):
            blocks = min(len(chunk), 4 * workers)
            rows = ray.data.from_items(
                [{"item": item} for item in chunk], override_num_blocks=blocks
            )
            done = rows.map(functools.partial(_call_on_row, function=function))
            for row in done.iter_rows():
                yield _result(row["item"])


@contextmanager
def _ray_running(ray: Any, workers: int) -> Iterator[None]:
    """Start Ray unless it runs here already; stop what was started."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if ray.is_initialized():
        yield
        return
    local = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": workers}
    ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR", **local)
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def quiet_bars() -> Iterator[None]:
    """Show the bars of `datasets` on terminals only."""
    import datasets

    shown = datasets.are_progress_bars_disabled()
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not shown:
            datasets.enable_progress_bars()


def _call_on_row(row: dict[str, str], function: Function) -> dict[str, str]:
    """Run in a worker: one packed item in, the packed result out."""
    from mmrl.errors import UserError

    try:
        return {"item": pack({"value": function(unpack(row["item"]))})}
    except UserError as error:
        return {"item": pack({"error": str(error)})}


def _result(text: str) -> Any:
    result = unpack(text)
    if "error" in result:
        raise DataError(result["error"])
    return result["value"]


def _chunks(items: Iterable[Any]) -> Iterator[list[str]]:
    chunk: list[str] = []
    held = 0
    for item in items:
        chunk.append(pack(item))
        held += len(chunk[-1])
        if len(chunk) == _CHUNK_ITEMS or held > _CHUNK_BYTES:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk


def pack(value: Any) -> str:
    """Return a value as text; bytes in it become objects that only `unpack` reads.

    >>> unpack(pack({"image": b"x"}))
    {'image': b'x'}
    """
    mark = "bytes"
    while True:
        found: list[bytes] = []

        def encode(value: Any, mark: str = mark, found: list[bytes] = found) -> dict[str, str]:
            if not isinstance(value, bytes):
                raise TypeError(f"a {type(value).__name__} cannot be sent to another process")
            found.append(value)
            return {mark: base64.b64encode(value).decode("ascii")}

        text = json.dumps(value, default=encode, ensure_ascii=False)
        # An object of the data may look like an encoded one: then the mark is made longer.
        if text.count(f'{{"{mark}":') == len(found):
            return f"{mark if found else ''}\n{text}"
        mark += "_"


def unpack(packed: str) -> Any:
    """Return the value of a packed text."""
    mark, _, text = packed.partition("\n")
    if not mark:
        return json.loads(text)
    return json.loads(
        text,
        object_hook=lambda value: (
            base64.b64decode(value[mark]) if value.keys() == {mark} else value
        ),
    )
