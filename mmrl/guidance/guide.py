"""Helps the groups of a step: what they are asked with, what verifiers are told, and hints,
prefixes and teachers' traces for those that fail. Whatever is sampled on the way counts.

GHPO (arXiv 2507.10628), Scaf-GRPO (2510.19807), Keye-VL 1.5 (2509.01563), LUFFY (2504.14945), AMPO
(2510.02227), T-GRPO (2503.21776), RLPR (2506.18254).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmrl.config.guidance import (
    AmpoGuidance,
    GhpoGuidance,
    LuffyGuidance,
    NoGuidance,
    PrefixGuidance,
    ScaffoldGuidance,
)
from mmrl.config.schema import GrpoStage
from mmrl.guidance.facts import (
    Draw,
    reference_facts,
    shared_facts,
    shuffled_facts,
    shuffled_rollouts,
)
from mmrl.guidance.monitor import Monitor
from mmrl.guidance.prompts import with_hint, with_prefix
from mmrl.guidance.texts import hints_of, solution_of, traces_of
from mmrl.guidance.traces import (
    as_completion,
    comprehended,
    draw_traces,
    is_right,
    replace_wrong,
)
from mmrl.objectives.hints import is_exempt
from mmrl.prompt import Prompts
from mmrl.rollout import Facts, judge
from mmrl.rubric import Rubric
from mmrl.schedule import Schedule
from mmrl.scoring import Scoring
from mmrl.seeds import derive
from mmrl.types import Aid, Completion, Prompt, Rollout
from mmrl.verify.lengths import MONITORED
from mmrl.verify.reference import BASELINE


@dataclass(frozen=True, kw_only=True, slots=True)
class Looked:
    """What is known of a draw before it is judged."""

    completions_PG: list[list[Completion]]
    """With the traces that stand in every group."""
    facts_PG: Facts
    spent_PG: list[list[Rollout]]
    """What was sampled to find the facts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """Where training stands when a group is drawn."""

    step: int
    """Steps of the stage that are done."""
    progress: float
    seed: int
    """Of the draw."""
    places_P: Sequence[int]
    """Of this process's prompts among those of all processes: luck belongs to them."""


@dataclass(kw_only=True, slots=True)
class Guide:
    """The help of a stage, and what it remembers.

    It is asked while every process holds all weights, and exchanges nothing with the others, who
    may have more or fewer groups to help: so none waits for another.
    """

    stage: GrpoStage
    prompts: Prompts
    rubric: Rubric
    own_rubric: Rubric
    """The rows' own verifiers only."""
    scoring: Scoring
    asks_reference: bool = False
    """Whether a verifier goes by the probability of the reference."""
    monitor: Monitor | None = None
    """How long answers are; None where no verifier asks for it."""
    baselines: dict[str, float] = field(default_factory=dict)
    """By row: the mean probability of its reference without reasoning, when it was first met."""

    @property
    def own_size(self) -> int:
        """Completions of a group that are sampled; the others are traces."""
        guidance = self.stage.guidance
        traces = guidance.count if isinstance(guidance, LuffyGuidance) else 0
        return self.stage.rollout.group_size - traces

    @property
    def scores(self) -> bool:
        """Whether the policy itself is asked about single prompts, besides by the engine."""
        return self.asks_reference or isinstance(self.stage.guidance, AmpoGuidance)

    @property
    def looks(self) -> bool:
        """Whether something is found out between sampling and judging."""
        return (
            self.asks_reference
            or self.monitor is not None
            or self.stage.contrast is not None
            or not isinstance(self.stage.guidance, NoGuidance)
        )

    def first_aid(self, moment: Moment) -> Aid | None:
        """What every group is given at once."""
        guidance = self.stage.guidance
        if isinstance(guidance, GhpoGuidance) and moment.step < guidance.cold_steps:
            return "hint"
        if isinstance(guidance, PrefixGuidance) and guidance.always:
            return "prefix"
        return None

    def ask(self, prompts_P: Sequence[Prompt], moment: Moment) -> list[Prompt]:
        """The prompts as the groups are asked first."""
        aid = self.first_aid(moment)
        return [self._aided(prompt, 0, moment) if aid else prompt for prompt in prompts_P]

    def look(
        self,
        prompts_P: Sequence[Prompt],
        completions_PG: Sequence[Sequence[Completion]],
        draw: Draw,
        moment: Moment,
    ) -> Looked:
        """Add the traces that stand in every group, and find out what verifiers have to know."""
        groups = [list(completions_G) for completions_G in completions_PG]
        if isinstance(self.stage.guidance, LuffyGuidance):
            for prompt, group in zip(prompts_P, groups, strict=True):
                group += self._own_traces(prompt, self.stage.guidance, moment)
        spent_PG: list[list[Rollout]] = [[] for _ in prompts_P]
        if self.stage.contrast is not None:
            spent_PG = shuffled_rollouts(
                self.prompts.policy,
                prompts_P,
                self.own_rubric,
                draw,
                group_size=self.stage.contrast.group_size,
                seed=moment.seed,
                places_P=moment.places_P,
                progress=moment.progress,
            )
        facts_PG = [
            self._facts(prompt, group, shuffled_facts(spent))
            for prompt, group, spent in zip(prompts_P, groups, spent_PG, strict=True)
        ]
        return Looked(completions_PG=groups, facts_PG=facts_PG, spent_PG=spent_PG)

    def help(
        self,
        prompts_P: Sequence[Prompt],
        groups: Sequence[Sequence[Rollout]],
        looked: Looked,
        draw: Draw,
        moment: Moment,
    ) -> list[list[Rollout]]:
        """The groups with the help that they need; what nothing is learned from stands last.
        `prompts_P` are those without any help.
        """
        found = [list(rollouts_G) for rollouts_G in groups]
        spent = [list(rollouts_G) for rollouts_G in looked.spent_PG]
        self._note(found, looked, moment)
        if not isinstance(self.stage.guidance, NoGuidance | LuffyGuidance):
            self._help(prompts_P, found, spent, draw, moment)
        for rollouts_G in spent:
            for rollout in rollouts_G:
                rollout.spent = True
        return [[*group, *rest] for group, rest in zip(found, spent, strict=True)]

    def observe(self, everything_PG: Sequence[Sequence[Rollout]], *, step: int) -> None:
        """Hear of all groups of a step, those of all processes; `step` counts from 1."""
        for rollout in (rollout for group in everything_PG for rollout in group):
            if BASELINE in rollout.facts:
                self.baselines.setdefault(rollout.prompt.row.id, rollout.facts[BASELINE])
        if self.monitor is not None:
            self.monitor.observe(everything_PG, step=step)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""
        found: dict[str, Any] = {"baselines": dict(self.baselines)} if self.baselines else {}
        return found | ({"monitor": self.monitor.state_dict()} if self.monitor else {})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.baselines = dict(state.get("baselines", {}))
        if self.monitor is not None and "monitor" in state:
            self.monitor.load_state_dict(state["monitor"])

    def _note(self, found: Sequence[Sequence[Rollout]], looked: Looked, moment: Moment) -> None:
        """Write down what was known before judging, and what was given to all."""
        aid = self.first_aid(moment)
        for rollouts_G, facts_G in zip(found, looked.facts_PG, strict=True):
            for place, (rollout, facts) in enumerate(zip(rollouts_G, facts_G, strict=True)):
                rollout.facts = shared_facts(facts)
                if place >= self.own_size:
                    rollout.aid, rollout.imitated = "trace", True
                elif aid:
                    rollout.aid, rollout.level = aid, int(aid == "hint")

    def _help(
        self,
        prompts_P: Sequence[Prompt],
        found: list[list[Rollout]],
        spent: list[list[Rollout]],
        draw: Draw,
        moment: Moment,
    ) -> None:
        guidance = self.stage.guidance
        if isinstance(guidance, AmpoGuidance):
            self._teach(prompts_P, found, spent, guidance, moment)
        elif not isinstance(guidance, ScaffoldGuidance):
            self._draw_again(prompts_P, found, spent, draw, moment)
        elif not is_exempt(moment.progress, share=guidance.exempt):
            self._scaffold(prompts_P, found, spent, guidance, draw, moment)

    def _draw_again(
        self,
        prompts_P: Sequence[Prompt],
        found: list[list[Rollout]],
        spent: list[list[Rollout]],
        draw: Draw,
        moment: Moment,
    ) -> None:
        """Draw whole groups again with more and more help, until they have a right completion."""
        last = isinstance(self.stage.guidance, GhpoGuidance)
        for level in range(int(bool(self.first_aid(moment))), self._levels(prompts_P)):
            places = self._failing(found, prompts_P, level)
            size = self.stage.rollout.group_size
            redrawn = self._draw(prompts_P, places, draw, moment, level, size=size)
            for place, rollouts_G in zip(places, redrawn, strict=True):
                # GHPO trains on what was drawn last; else a group stays its own where no help helps
                if last or not self._fails(rollouts_G):
                    found[place], rollouts_G = rollouts_G, found[place]
                spent[place] += rollouts_G

    def _scaffold(
        self,
        prompts_P: Sequence[Prompt],
        found: list[list[Rollout]],
        spent: list[list[Rollout]],
        guidance: ScaffoldGuidance,
        draw: Draw,
        moment: Moment,
    ) -> None:
        """Try one completion with more and more help; the first right one replaces a failed one."""
        for level in range(self._levels(prompts_P)):
            places = self._failing(found, prompts_P, level)
            redrawn = self._draw(prompts_P, places, draw, moment, level, size=1)
            for place, tried in zip(places, redrawn, strict=True):
                if self._fails(tried):
                    spent[place] += tried
                    continue
                if guidance.learns_with == "question":
                    tried[0].prompt = prompts_P[place]
                spent[place].append(found[place].pop())
                found[place] = self._judged_again(prompts_P[place], [*found[place], *tried], moment)

    def _teach(
        self,
        prompts_P: Sequence[Prompt],
        found: list[list[Rollout]],
        spent: list[list[Rollout]],
        guidance: AmpoGuidance,
        moment: Moment,
    ) -> None:
        """Replace wrong completions by right traces of teachers."""
        for place, prompt in enumerate(prompts_P):
            luck = random.Random(derive(moment.seed, "teach", prompt.row.id))
            if luck.random() >= guidance.also and not self._fails(found[place]):
                continue
            completions = self._traces(prompt, traces_of(prompt.row, guidance))
            [traces] = judge(self.rubric, [prompt], [completions], progress=moment.progress)
            worth = comprehended(self.prompts.policy, prompt, completions, self.scoring)
            group, gone = replace_wrong(
                found[place], traces, worth, guidance, seed=luck.getrandbits(63)
            )
            if gone:
                found[place] = self._judged_again(prompt, group, moment)
                spent[place] += gone

    def _draw(
        self,
        prompts_P: Sequence[Prompt],
        chosen: Sequence[int],
        draw: Draw,
        moment: Moment,
        level: int,
        *,
        size: int,
    ) -> list[list[Rollout]]:
        """Groups of so many completions of the chosen prompts with help, judged."""
        if not chosen:
            return []
        asked_P = [self._aided(prompts_P[index], level, moment) for index in chosen]
        completions_PG = draw(
            asked_P,
            group_size=size,
            seed=derive(moment.seed, "help", level),
            places=[moment.places_P[index] for index in chosen],
        )
        facts_PG = [self._facts(*pair, {}) for pair in zip(asked_P, completions_PG, strict=True)]
        groups = judge(
            self.rubric, asked_P, completions_PG, progress=moment.progress, facts_PG=facts_PG
        )
        prefix = isinstance(self.stage.guidance, PrefixGuidance)
        for rollouts_G in groups:
            for rollout in rollouts_G:
                rollout.aid, rollout.level = ("prefix", 0) if prefix else ("hint", level + 1)
        return groups

    def _judged_again(
        self, prompt: Prompt, rollouts_G: Sequence[Rollout], moment: Moment
    ) -> list[Rollout]:
        """The group as siblings: terms that compare them see who stands there now."""
        completions_G = [rollout.completion for rollout in rollouts_G]
        facts = [self._facts(prompt, completions_G, {})]
        [judged] = judge(
            self.rubric, [prompt], [completions_G], progress=moment.progress, facts_PG=facts
        )
        for rollout, again in zip(rollouts_G, judged, strict=True):
            rollout.verdict = again.verdict
        return list(rollouts_G)

    def _aided(self, prompt: Prompt, level: int, moment: Moment) -> Prompt:
        guidance, row = self.stage.guidance, prompt.row
        if isinstance(guidance, PrefixGuidance):
            share = Schedule.of(guidance.share).at(moment.progress)
            tokenizer = self.prompts.policy.processor.tokenizer
            return with_prefix(prompt, tokenizer, solution_of(row, guidance), share=share)
        return with_hint(self.prompts, prompt, hints_of(row, guidance)[level])

    def _levels(self, prompts_P: Sequence[Prompt]) -> int:
        return max((self._levels_of(prompt) for prompt in prompts_P), default=0)

    def _levels_of(self, prompt: Prompt) -> int:
        guidance = self.stage.guidance
        if isinstance(guidance, PrefixGuidance):
            return 1
        return len(hints_of(prompt.row, guidance))

    def _failing(
        self, found: Sequence[Sequence[Rollout]], prompts_P: Sequence[Prompt], level: int
    ) -> list[int]:
        """The places of the groups that fail and have so much help left."""
        return [
            place
            for place, (rollouts_G, prompt) in enumerate(zip(found, prompts_P, strict=True))
            if self._fails(rollouts_G) and level < self._levels_of(prompt)
        ]

    def _fails(self, rollouts_G: Sequence[Rollout]) -> bool:
        at = getattr(self.stage.guidance, "right", 1.0)
        return not any(is_right(rollout, at) for rollout in rollouts_G)

    def _own_traces(
        self, prompt: Prompt, guidance: LuffyGuidance, moment: Moment
    ) -> list[Completion]:
        traces = traces_of(prompt.row, guidance)
        seed = derive(moment.seed, "traces", prompt.row.id)
        return self._traces(prompt, draw_traces(traces, guidance.count, seed=seed))

    def _traces(self, prompt: Prompt, traces: Sequence[str]) -> list[Completion]:
        longest = self.stage.rollout.max_new_tokens
        policy = self.prompts.policy
        return [as_completion(policy, prompt.row, trace, longest=longest) for trace in traces]

    def _facts(
        self,
        prompt: Prompt,
        completions_G: Sequence[Completion],
        shuffled: Mapping[str, Any],
    ) -> list[dict[str, Any]]:
        lengths = {MONITORED: self.monitor.known} if self.monitor else {}
        facts_G = [{**shuffled, **lengths} for _ in completions_G]
        if self.asks_reference:
            found = reference_facts(
                self.prompts.policy,
                prompt,
                completions_G,
                self.scoring,
                baseline=self.baselines.get(prompt.row.id),
            )
            facts_G = [one | other for one, other in zip(facts_G, found, strict=True)]
        return facts_G
