"""Verifiers and reward terms: how one is declared, looked up, parametrised and called.

A verifier is a factory whose keyword arguments are the YAML `params` and whose closure judges one
`Sample`. It returns a float, or a `Verdict`; it raises `NoAnswer` or `BadGold`. Whatever else it
raises, and every score that is not a finite number, becomes a verdict without a score: 0.0 always
means judged and wrong.
"""

from __future__ import annotations

import functools
import inspect
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrl.answer import BadGold, NoAnswer, extract, tagged
from mmrl.errors import RewardError
from mmrl.judging.params import Factory, builder, typed
from mmrl.project import find_project, import_modules
from mmrl.registry import Registry
from mmrl.types import Row, Sample, StopReason, Verdict, VerifierTerm

if TYPE_CHECKING:
    from mmrl.rubric import Rubric

Judge = Callable[[Sample], Verdict | float]
GroupJudge = Callable[[Sequence[Sample]], Sequence[Verdict | float]]
Gold = Callable[..., str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Verifier:
    """A registered verifier or reward term."""

    name: str
    factory: Factory
    file: Path
    modality: str
    """What it is meant for, in words: `any`, `image`, `video`."""
    paper: str
    """Where the rule comes from; empty for what everybody does."""
    isolated: bool
    """It can hang or explode, so it only runs in the killable pool."""
    term: bool
    """A shared term such as a format: it has no gold answer of its own."""
    group: bool
    """It judges the siblings of a group together."""
    gold: Gold
    """What a right completion looks like for a row."""
    warm: Callable[[], None] | None = None
    """What a worker does once before it judges, such as a slow import."""
    threads: int = 1
    """How many judgements may run at once in this process; more where they wait for others."""
    trusted: tuple[str, ...] = ()
    """Parameters that a data row must not set, because they reach beyond the sample."""
    facts: tuple[str, ...] = ()
    """Keys of the row's extra that it reads, and that only the policy can tell."""

    @property
    def summary(self) -> str:
        """The first sentence or two of the factory's docstring, as one line."""
        return " ".join((inspect.getdoc(self.factory) or "").partition("\n\n")[0].split())

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """The keyword parameters of the factory, by name."""
        return dict(inspect.signature(self.factory).parameters)


_VERIFIERS: Registry[Verifier] = Registry(kind="verifier", error=RewardError)


def gold_of_answer(row: Row) -> str:
    """Return the row's answer in an `<answer>` tag, answers that are not strings as JSON."""
    return tagged(row.answer)


def verifier(
    factory: Factory | None = None,
    *,
    modality: str = "any",
    paper: str = "",
    isolated: bool = False,
    term: bool = False,
    gold: Gold | None = None,
    warm: Callable[[], None] | None = None,
    threads: int = 1,
    trusted: tuple[str, ...] = (),
    facts: tuple[str, ...] = (),
) -> Any:
    """Register a factory of judges under its own name; usable bare or with keyword arguments.

    Args:
        factory: Keyword arguments in, a judge of one `Sample` out. Cheap: load models in the first
            judgement.
        modality: What it is meant for, in words, for `mmrl rewards list`.
        paper: Where the rule comes from.
        isolated: True where a judgement can hang or explode; it then runs in the killable pool.
        term: True for shared terms, such as formats, that have no gold answer of their own.
        gold: How a right completion looks for a row, if not as the row's answer in an `<answer>`
            tag; parameters of the verifier that it depends on are its keyword arguments, of the
            same name.
        warm: What an isolated verifier's worker does once before it judges, such as a slow import.
        threads: How many judgements may run at once, where they wait for a network.
        trusted: Parameters that only the user's own configuration may set, and no data row:
            addresses, paths, names of environment variables.
        facts: Keys of the row's extra that whoever runs the policy fills in for each sample.
    """
    options = {
        "modality": modality,
        "paper": paper,
        "isolated": isolated,
        "term": term,
        "warm": warm,
        "threads": threads,
        "trusted": trusted,
        "facts": facts,
    }
    return _registering(factory, group=False, gold=gold or gold_of_answer, **options)


def group_reward(
    factory: Factory | None = None,
    *,
    modality: str = "any",
    paper: str = "",
    isolated: bool = False,
    facts: tuple[str, ...] = (),
) -> Any:
    """Register a factory of judges that see all siblings of a group at once and return one
    score for each.
    """
    options = {"modality": modality, "paper": paper, "isolated": isolated, "term": True}
    options["facts"] = facts
    return _registering(factory, group=True, gold=gold_of_answer, **options)


def _registering(factory: Factory | None, **options: Any) -> Any:
    if factory is None:
        return functools.partial(_registering, **options)
    name, module = factory.__name__, factory.__module__
    file = Path(getattr(sys.modules.get(module), "__file__", None) or f"<{module}>")
    found = Verifier(name=name, factory=factory, file=file, **options)
    _VERIFIERS.register(name, found, module=module, file=file)
    return factory


def find_verifier(name: str) -> Verifier:
    """Return the verifier or term of that name, from the rewards folder of the project.

    Raises:
        RewardError: there is none of that name.
    """
    _load_project()
    return _VERIFIERS.get(name)


def check_row_term(term: VerifierTerm) -> None:
    """Refuse what a data row must not name: a group term, or a parameter that reaches beyond the
    sample.

    Raises:
        RewardError: it does.
    """
    found = find_verifier(term.name)
    if found.group:
        raise RewardError(f"{term.name!r} judges whole groups: name it in rewards.terms")
    reaching = [key for key in found.trusted if key in term.params]
    if reaching:
        raise RewardError(
            f"a data row must not set {reaching[0]!r} of {term.name!r}: "
            "name it in rewards.terms, or set it in the environment"
        )


def gold_text(row: Row, term: VerifierTerm) -> str:
    """Return a completion that the verifier, with its parameters, has to find right for the row.

    Raises:
        RewardError: there is no such verifier, or the parameters do not fit.
        BadGold: none can be written for this answer.
    """
    found = find_verifier(term.name)
    values = typed(term.name, found.factory, term.params)
    wanted = inspect.signature(found.gold).parameters
    return found.gold(row, **{key: value for key, value in values.items() if key in wanted})


def describe_verifiers() -> list[Verifier]:
    """Return all verifiers and terms of the project, by name."""
    _load_project()
    return [_VERIFIERS.get(name) for name in _VERIFIERS.names()]


def _load_project() -> None:
    root = find_project()
    if _loaded != [root]:
        import_modules(root, "rewards")
        _loaded[:] = [root]


_loaded: list[Path] = []
"""The project whose rewards are imported; one per process at a time."""


def check_params(name: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a verifier with their types put right; a number may be a schedule
    anywhere.

    Raises:
        RewardError: the verifier or a parameter is unknown, or a value does not fit.
    """
    found = find_verifier(name)
    values = typed(name, found.factory, params)
    builder(name, found.factory, values)
    return values


def build_verifier(
    name: str, params: Mapping[str, Any] | None = None
) -> Callable[[Sample], Verdict]:
    """Build the judge of one sample. It runs in this process and never raises.

    Raises:
        RewardError: there is no such verifier, it is a group term, or the parameters do not fit.
    """
    found = find_verifier(name)
    if found.group:
        raise RewardError(
            f"{name!r} judges whole groups: name it in rewards.terms, not as a verifier"
        )
    make = builder(name, found.factory, typed(name, found.factory, params or {}))
    return lambda sample: _judged(name, lambda: make(sample.progress)(sample))


def build_group_reward(
    name: str, params: Mapping[str, Any] | None = None
) -> Callable[[Sequence[Sample]], list[Verdict]]:
    """Build the judge of a group of siblings. It runs in this process and never raises.

    Raises:
        RewardError: there is no such term, it judges single samples, or the parameters do not fit.
    """
    found = find_verifier(name)
    if not found.group:
        raise RewardError(f"{name!r} judges one sample at a time: it is no group term")
    make = builder(name, found.factory, typed(name, found.factory, params or {}))

    def judge(samples: Sequence[Sample]) -> list[Verdict]:
        if not samples:
            return []
        try:
            scores = list(make(samples[0].progress)(samples))
            if len(scores) != len(samples):
                raise ValueError(f"{len(scores)} scores for {len(samples)} siblings")
        except Exception as error:
            return [_failed(name, error)] * len(samples)
        return [_judged(name, lambda score=score: score) for score in scores]

    return judge


def _judged(name: str, judge: Callable[[], Verdict | float]) -> Verdict:
    """Call the judge and return its verdict; what it raises becomes one."""
    try:
        score = judge()
        verdict = score if isinstance(score, Verdict) else Verdict(score=float(score))
    except Exception as error:
        return _failed(name, error)
    return _trusted(name, verdict)


def _failed(name: str, error: Exception) -> Verdict:
    if isinstance(error, NoAnswer):
        return Verdict(score=0.0, status="no_answer", detail=f"{name}: {error}")
    if isinstance(error, BadGold):
        return Verdict(score=None, status="bad_gold", detail=f"{name}: {error}")
    detail = f"{name}: {type(error).__name__}: {error}"
    return Verdict(score=None, status="error", detail=" ".join(detail.split())[:500])


def _trusted(name: str, verdict: Verdict) -> Verdict:
    """Return the verdict, or an error when its numbers contradict its status or are not finite."""
    wrong = ""
    if (verdict.score is None) == (verdict.status in ("ok", "no_answer")):
        wrong = f"status {verdict.status!r} with score {verdict.score!r}"
    elif verdict.score is not None and not math.isfinite(verdict.score):
        wrong = f"score {verdict.score!r}"
    else:
        parts = verdict.parts.items()
        wrong = "".join(
            f"part {k} is {v!r}" for k, v in parts if v is not None and not math.isfinite(v)
        )
    return Verdict(score=None, status="error", detail=f"{name}: {wrong}") if wrong else verdict


def sample_of(
    row: Row, text: str, *, progress: float = 0.0, length: int = 0, stop: StopReason = "eos"
) -> Sample:
    """Return the sample that verifiers judge, with its answer extracted once."""
    answer = extract(text)
    return Sample(row=row, text=text, answer=answer, progress=progress, length=length, stop=stop)


def self_test(rows: Sequence[Row]) -> None:
    """Let each verifier that the rows name judge a few of their gold answers, and wrong ones.

    Raises:
        RewardError: a verifier does not give 1.0 to a gold answer, or as much to all others.
    """
    from mmrl.data.golds import check_golds
    from mmrl.judging.panel import Panel, term_key

    few: dict[str, list[Row]] = {}
    for row in rows:
        for term in row.verifier:
            few.setdefault(term_key(term), []).append(row)
    tried = {row.id: row for same in few.values() for row in same[:_ROWS_EACH]}
    panel = Panel()
    try:
        errors = check_golds(list(tried.values()), panel).errors
    finally:
        panel.close()
    first = next(iter(errors), None)
    if first is not None:
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise RewardError(f"the verifiers fail their self-test: {first}{more}")


_ROWS_EACH = 8
"""Rows of each verifier and parameters that the self-test tries."""


def as_trl(rubric: Rubric, *, eos_token_id: int | None = None) -> list[Callable[..., Any]]:
    """Return the rubric as the `reward_funcs` of TRL's GRPOTrainer; see `mmrl.trl_bridge`."""
    from mmrl.trl_bridge import reward_functions

    return reward_functions(rubric, eos_token_id=eos_token_id)
