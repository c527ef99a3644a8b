"""What the cards of a page are filtered by: task, verdict, status, how, and group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mmrl.evals.finished import Finished, FinishedItem
from mmrl.evals.scoring import headline
from mmrl.evals.viewer_cards import outcome
from mmrl.reporting.markup import text

_ORDER = (
    "A better",
    "B better",
    "both right",
    "both wrong",
    "the same",
    "right",
    "partly",
    "wrong",
)


@dataclass(kw_only=True, slots=True)
class Marks:
    """Gives every value that can be filtered by a class of its own: no text of a record becomes the
    name of a class.
    """

    names: dict[tuple[str, str, str], str] = field(default_factory=dict)
    """The class by dimension, mode (or group key) and value."""
    counts: dict[str, int] = field(default_factory=dict)

    def take(self, dimension: str, mode: str, value: str) -> str:
        """Count one more card of a value, and return the value's class."""
        name = self.names.setdefault((dimension, mode, value), f"f{len(self.names)}")
        self.counts[name] = self.counts.get(name, 0) + 1
        return name


def mark_card(
    marks: Marks, task: str, side: Sequence[FinishedItem], modes: Sequence[str]
) -> list[str]:
    """Return the classes of an item's card, one for each value that it can be found by."""
    found = [marks.take("task", "", task)]
    for mode in modes:
        found.append(marks.take("verdict", mode, outcome(side, mode)))
        scores = [sample[mode] for item in side for sample in item.result.samples]
        for dimension in ("status", "how"):
            words = dict.fromkeys(getattr(score, dimension) for score in scores)
            found += [marks.take(dimension, mode, word) for word in words]
    if len({outcome(side, mode) for mode in modes}) > 1:
        found.append(marks.take("modes", "", "modes differ"))
    for key, values in side[0].result.item.groups.items():
        for value in dict.fromkeys((values,) if isinstance(values, str) else values):
            found.append(marks.take("group", f"{task}: {key}", value))
    return found


def show_filters(marks: Marks, run: Finished) -> str:
    """Return the form: a mode, text to search for, a group, and boxes for all else."""
    modes = list(dict.fromkeys(mode for task in run.tasks.values() for mode in task.modes))
    first = headline(modes)
    chosen = "".join(
        f'<label><input type=radio name=mode value="{text(mode)}"'
        f"{' checked' if mode == first else ''}><span>{text(mode)}</span></label>"
        for mode in modes
    )
    lines = [f"<fieldset class=modes><legend>mode</legend>{chosen}</fieldset>"] if modes[1:] else []
    for dimension in ("task", "verdict", "status", "how"):
        for mode in ["", *modes]:
            lines.append(_chips(marks, dimension, mode, first))
    lines.append(_chips(marks, "modes", "", first))
    return (
        "<form class=filters hidden><div class=row><input type=search id=search "
        'placeholder="Search ids, questions and responses" autocomplete=off>'
        f"{_group_select(marks)}<output id=count></output>"
        f"<button type=reset>Clear</button></div><div class=row>{''.join(lines)}</div></form>"
    )


def _chips(marks: Marks, dimension: str, mode: str, first: str) -> str:
    values = [
        (value, name)
        for (kind, of, value), name in marks.names.items()
        if kind == dimension and of == mode
    ]
    if not values or (len(values) < 2 and dimension != "modes"):
        return ""
    place = {word: number for number, word in enumerate(_ORDER)}
    values.sort(key=lambda pair: (place.get(pair[0], len(place)), -marks.counts[pair[1]]))
    boxes = "".join(
        f"<label><input type=checkbox value={name}><span>{text(value, head=60)} "
        f"<small>{marks.counts[name]:,}</small></span></label>"
        for value, name in values
    )
    hidden = " hidden" if mode and mode != first else ""
    of = f' data-mode="{text(mode)}"' if mode else ""
    legend = "" if dimension == "modes" else f"<legend>{dimension}</legend>"
    return f"<fieldset{of}{hidden}>{legend}{boxes}</fieldset>"


def _group_select(marks: Marks) -> str:
    by_key: dict[str, list[tuple[str, str]]] = {}
    for (kind, key, value), name in marks.names.items():
        if kind == "group":
            by_key.setdefault(key, []).append((value, name))
    if not by_key:
        return ""
    tasks = {key.partition(": ")[0] for key in by_key}
    options = "".join(
        f'<optgroup label="{text(key if len(tasks) > 1 else key.partition(": ")[2])}">'
        + "".join(
            f"<option value={name}>{text(value, head=80)} ({marks.counts[name]:,})</option>"
            for value, name in sorted(values)
        )
        + "</optgroup>"
        for key, values in by_key.items()
    )
    return f"<select id=group><option value=''>all groups</option>{options}</select>"
