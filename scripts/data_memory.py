"""How much memory the data commands take for many rows with media on disk, each in its own process.

    python scripts/data_memory.py --rows 100000 --limit-mb 1000

Draws a picture per row, writes a table of them, and runs convert, stats, check, mix and split over
all; the exit code is 1 when one of them takes more than the limit. The peak is the resident set
that the kernel counted (ru_maxrss), the interpreter and libraries included.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Sequence
from pathlib import Path

_PER_FOLDER = 1000
_SIDE = 16


def main() -> int:
    """Draw, run, and print a table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--limit-mb", type=float, default=1000.0)
    parser.add_argument("--folder", type=Path, help="where to work; else a temporary folder")
    parser.add_argument("--engine", default="local", help="local, processes or ray")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as temporary:
        folder = Path(temporary)
        began = time.monotonic()
        draw(folder, given.rows)
        print(f"{given.rows} pictures drawn in {time.monotonic() - began:.0f} s", flush=True)
        peaks = [
            measure(name, arguments, given.rows) for name, arguments in commands(folder, given)
        ]
    return int(max(peaks) > given.limit_mb)


def draw(folder: Path, count: int) -> None:
    """Write a table of questions, each about a picture of its own."""
    with (folder / "table.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "question", "answer", "image"])
        for number in range(count):
            place = f"img/{number // _PER_FOLDER}/{number}.png"
            if number % _PER_FOLDER == 0:
                (folder / place).parent.mkdir(parents=True)
            (folder / place).write_bytes(png(number))
            words = " ".join(f"word{number * 7 % (97 + step)}" for step in range(30))
            writer.writerow([f"r{number}", f"<image>{words}?", str(number % 10), place])


def commands(folder: Path, given: argparse.Namespace) -> list[tuple[str, list[str]]]:
    """Return what is run: a name, and the arguments of `mmrl data`."""
    rows, engine = folder / "rows.jsonl", f"engine={given.engine}"
    return [
        (
            "convert to .jsonl",
            ["convert", "from=csv", f"in={folder}/table.csv", f"out={rows}", engine],
        ),
        ("convert to .parquet", ["convert", f"in={rows}", f"out={folder}/rows.parquet", engine]),
        ("stats", ["stats", str(rows)]),
        ("show, 200 rows", ["show", str(rows), f"out={folder}/page.html"]),
        ("check", ["check", str(rows)]),
        (
            "mix, all rules",
            [
                *("mix", f"in.a={rows}", f"out={folder}/mixed.jsonl", engine),
                "dedup=[content,perceptual,ngrams]",
            ],
        ),
        (
            "split",
            ["split", str(rows), f"out={folder}/parts", "shares.a=9", "shares.b=1", engine],
        ),
    ]


def measure(name: str, arguments: Sequence[str], rows: int) -> float:
    """Run a command, print what it took, and return its peak in megabytes.

    Raises:
        SystemExit: it failed.
    """
    began = time.monotonic()
    code = "import sys; from mmrl.cli import run; sys.exit(run(sys.argv[1:]))"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "data", *arguments], stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - began
    peak = usage.ru_maxrss / 1024
    print(f"{name:20} {peak:6.0f} MB  {seconds:6.1f} s  {rows / seconds:7.0f} rows/s", flush=True)
    if process.returncode:
        raise SystemExit(f"{name}: exit code {process.returncode}")
    return peak


def png(number: int) -> bytes:
    """Return a picture that no other number has, without loading an imaging library."""
    state, lines = number * 2654435761 % 2**32 or 1, b""
    for _ in range(_SIDE):
        line = bytearray()
        for _ in range(3 * _SIDE):
            state = (state * 1103515245 + 12345) % 2**31
            line.append(state >> 16 & 255)
        lines += b"\0" + bytes(line)
    header = _SIDE.to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
        for kind, data in chunks
    )


if __name__ == "__main__":
    sys.exit(main())
