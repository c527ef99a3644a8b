"""Processes beside this one that end when it does, however that ends, and what is said between
them: messages of a length and so many bytes. Nothing heavy is imported, since not every child needs
torch.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO

_LENGTH = struct.Struct(">Q")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Child:
    """A process that `start` started."""

    process: subprocess.Popen[bytes]
    answers: IO[bytes]
    """What it says."""
    asked: IO[bytes]
    """What it is told."""
    life: IO[bytes]
    """Held open as long as this process lives; the child ends when it closes."""

    def tell(self, body: bytes) -> None:
        """Send a message; one that has ended does not hear it, which `hear` will show."""
        with contextlib.suppress(BrokenPipeError):
            send(self.asked, body)

    def hear(self) -> bytes | None:
        """Wait for a message; None when the child has ended."""
        return receive(self.answers)

    def has_said(self, wait_s: float) -> bool:
        """Whether a message, or the child's end, comes within so many seconds."""
        return _readable(self.answers, wait_s)

    def stop(self) -> None:
        """Have it killed, with all that it started; `end` says what became of it."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def end(self) -> int:
        """Kill it unless it has ended, and return how it did."""
        self.stop()
        code = self.process.wait()
        for file in (self.asked, self.answers, self.life):
            with contextlib.suppress(OSError):
                file.close()
        return code


def start(
    module: str, *, files: tuple[int, ...] = (), env: Mapping[str, str], quiet: bool = False
) -> Child:
    """Start `python -m module LIFE_FD PARENT_PID [FD ...]`, in a session of its own.

    Args:
        module: Calls `attach` first.
        files: Numbers of open files that it shares with this process.
        env: Beside the environment of this process.
        quiet: Whether what it writes to standard error is lost.
    """
    end, life = os.pipe()
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    numbers = [str(number) for number in (end, os.getpid(), *files)]
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *numbers],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if quiet else None,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **env},
            pass_fds=(end, *files),
            start_new_session=True,
        )
    except BaseException:
        os.close(life)
        raise
    finally:
        os.close(end)
    if process.stdin is None or process.stdout is None:
        raise ValueError("a process was started without pipes")
    return Child(
        process=process, asked=process.stdin, answers=process.stdout, life=os.fdopen(life, "wb")
    )


def attach() -> tuple[IO[bytes], IO[bytes], list[int]]:
    """In a child: end when the parent does, and take the pipes away from `sys.stdin` and
    `sys.stdout`, so that no print can garble them.

    Returns:
        What it is told, where it answers, and the numbers of the files that it shares.
    """
    life, parent, *files = map(int, sys.argv[1:])
    threading.Thread(target=_end_with, args=(life, parent), daemon=True).start()
    told, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    return told, answers, files


def send(stream: IO[bytes], body: bytes) -> None:
    """Write a message."""
    stream.write(_LENGTH.pack(len(body)))
    stream.write(body)
    stream.flush()


def receive(stream: IO[bytes]) -> bytes | None:
    """Return a message, or None when the other side is gone."""
    header = stream.read(_LENGTH.size)
    if len(header) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(header)
    body = stream.read(length)
    return body if len(body) == length else None


def describe_end(code: int) -> str:
    """How a process ended, in words."""
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _end_with(life: int, parent: int) -> None:
    """The end of the life pipe is the parent's; so is a change of the parent, where somebody else
    holds the pipe open.
    """
    while os.getppid() == parent:
        if _readable(life, 1.0):
            break
    os._exit(0)


def _readable(file: IO[bytes] | int, wait_s: float) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(file, selectors.EVENT_READ)
        return bool(selector.select(wait_s))
