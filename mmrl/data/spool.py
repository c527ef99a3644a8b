"""Lines on disk that can be read again in any order: memory holds their places only."""

from __future__ import annotations

import tempfile
from array import array
from typing import Any

from mmrl.data.engines import pack, unpack


class Spool:
    """Values in a temporary file, by number; the file goes when the spool is closed."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="mmrl-")  # noqa: SIM115
        self._places = array("Q", [0])

    def __len__(self) -> int:
        return len(self._places) - 1

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, value: Any) -> int:
        """Write a value, which is what JSON can say and bytes; return its number."""
        self._file.seek(self._places[-1])
        written = self._file.write(pack(value).encode())
        self._places.append(self._places[-1] + written)
        return len(self._places) - 2

    def __getitem__(self, number: int) -> Any:
        begin, end = self._places[number], self._places[number + 1]
        self._file.seek(begin)
        return unpack(self._file.read(end - begin).decode())
