"""The processes that train together. Plain values travel as JSON, never as pickles, and whoever
waits for the others says so, so that waiting has a name, a limit and a clock.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mmrl.errors import ProcessError

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")

_POLL_S = 0.05


@dataclass(kw_only=True, slots=True)
class Ranks:
    """One process among `count`; each has a copy."""

    rank: int = 0
    count: int = 1
    timeout_s: float = 1800.0
    status: Path | None = None
    """Where the process notes what it is doing, for the one that watches over it."""
    step: str = "start"
    waited_s: float = 0.0
    """Seconds that the process has waited for others, or exchanged values with them."""
    waits_since: float | None = None
    waits_for: str = ""
    _store: Any = None
    _turns: int = 0

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    def own(self, items: Sequence[T]) -> list[T]:
        """This process's part of what all of them share out: every `count`-th item."""
        return list(items[self.rank :: self.count])

    def begin(self, step: str) -> None:
        """Note which step begins, and wind the clock back."""
        self.step, self.waited_s = step, 0.0
        self._note(step)

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Enclose an exchange with the other processes.

        Raises:
            ProcessError: they did not answer in time, or one of them is gone.
        """
        if self.count == 1:
            yield
            return
        if what != self.waits_for:
            self._note(f"{self.step}: {what}")
        began = self.waits_since = time.monotonic()
        self.waits_for = what
        try:
            yield
        except (RuntimeError, ConnectionError) as error:
            if not is_lost(error):
                raise
            raise ProcessError(self.lost(error, time.monotonic() - began)) from error
        finally:
            self.waits_since = None
            self.waited_s += time.monotonic() - began

    def lost(self, error: BaseException | None, seconds: float) -> str:
        """One line on other processes that do not answer."""
        reason = f" ({_first_line(error)})" if error is not None else ""
        return (
            f"process {self.rank} of {self.count}, {self.step}, {self.waits_for}: the other "
            f"processes did not answer for {seconds:.0f} s{reason}; see their logs in the run "
            "folder's launch/, or raise launch.timeout_s if they only need longer"
        )

    def gather(self, value: Any, what: str) -> list[Any]:
        """The JSON values of all processes, in their order."""
        if self.count == 1:
            return [value]
        import torch
        import torch.distributed as dist

        with self.waiting(what):
            text = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
            sizes = [torch.zeros(1, dtype=torch.long) for _ in range(self.count)]
            dist.all_gather(sizes, torch.tensor([len(text)]))
            most = max(int(size) for size in sizes)
            parts = [torch.zeros(most, dtype=torch.uint8) for _ in range(self.count)]
            dist.all_gather(parts, torch.nn.functional.pad(text, (0, most - len(text))))
        pairs = zip(parts, sizes, strict=True)
        return [json.loads(part[: int(size)].numpy().tobytes()) for part, size in pairs]

    def merge(self, items: Sequence[Any], what: str) -> list[Any]:
        """What all processes made of their `own` parts, in the order in which it was shared out."""
        return interleave(self.gather(list(items), what))

    def totals(self, values: Sequence[float], what: str) -> list[float]:
        """Sums over all processes."""
        return [sum(column) for column in zip(*self.gather(list(values), what), strict=True)]

    def largest(self, values: Sequence[float], what: str) -> list[float]:
        """The largest over all processes."""
        return [max(column) for column in zip(*self.gather(list(values), what), strict=True)]

    def add_up(self, tensor: Tensor, what: str) -> Tensor:
        """Sum a tensor over all processes, in place."""
        if self.count > 1:
            import torch.distributed as dist

            with self.waiting(what):
                dist.all_reduce(tensor)
        return tensor

    def in_turn(self, work: Callable[[], T], what: str) -> T:
        """Let the first process work, then all others at once: they find what it left on disk."""
        if self.count == 1:
            return work()
        if self.leads:
            result = work()
            self._done(what)
            return result
        self._await(what)
        return work()

    def first_only(self, work: Callable[[], T], what: str) -> T:
        """Let the first process work while the others wait, and tell all of them its result."""
        if self.count == 1:
            return work()
        result: Any = None
        if self.leads:
            result = work()
            self._done(what)
        else:
            self._await(what)
        return self.gather(result, what)[0]

    def _done(self, what: str) -> None:
        self._turns += 1
        with self.waiting(what):
            self._store.set(f"mmrl/{self._turns}", "done")

    def _await(self, what: str) -> None:
        # What the first process does alone may take longer than any exchange, so that this is no
        # collective; whoever watches over the processes ends this one if that one ends.
        self._turns += 1
        self._note(f"{self.step}: waiting for process 0, {what}")
        began = time.monotonic()
        while True:
            with self.waiting(what):
                if self._store.check([f"mmrl/{self._turns}"]):
                    break
            time.sleep(_POLL_S)
        self.waited_s += time.monotonic() - began

    def _note(self, text: str) -> None:
        if self.status is not None:
            # at once, for the process may be killed at any moment, and the file is then read
            fresh = self.status.with_suffix(".new")
            fresh.write_text(text)
            fresh.replace(self.status)


ALONE = Ranks()
"""A process that trains by itself."""


def interleave(parts: Sequence[Sequence[T]]) -> list[T]:
    """Put together again what `Ranks.own` took apart.

    >>> interleave([["a", "c", "e"], ["b", "d"]])
    ['a', 'b', 'c', 'd', 'e']
    """
    count = len(parts)
    return [parts[place % count][place // count] for place in range(sum(map(len, parts)))]


def is_lost(error: BaseException) -> bool:
    """Whether an error says that other processes are gone or do not answer."""
    import torch.distributed as dist

    if isinstance(error, ConnectionError | dist.DistError):
        return True
    text = str(error)
    return any(sign in text for sign in ("gloo", "NCCL", "Connection closed by peer", "Socket"))


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
