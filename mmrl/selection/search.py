"""The tree search of ThinkLite-VL (arXiv 2504.07934), which counts how long a row resists.

A node is a way of reasoning, step by step. In each iteration: go down to the leaf that wants most
to be visited, add its children, take one of them at random to its end, and ask whether that is
right. The first right one ends the search; until then nothing is ever rewarded, so a node's wish
depends on visits alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from mmrl.difficulty import tree_priority
from mmrl.selection.config import MctsConfig

Propose = Callable[[Sequence[str], int], str]
"""The next step after some steps; the number tells draws apart."""


@dataclass(slots=True)
class _Node:
    steps: tuple[str, ...]
    parent: _Node | None = None
    children: list[_Node] = field(default_factory=list)
    visits: int = 0


def iterations_to_solve(
    row_id: str,
    propose: Propose,
    is_right: Callable[[Sequence[str]], bool],
    is_final: Callable[[str], bool],
    config: MctsConfig,
) -> int | None:
    """Return the iteration, from 1 on, that finds the first right way; None where none does.

    Args:
        row_id: Seeds what is left to chance, with the configuration's seed.
        propose: Asks the policy.
        is_right: Judges a whole way.
        is_final: Tells whether a step gives an answer.
        config: How wide, how deep and how long.
    """
    rng = Random(f"mcts {config.seed} {row_id}")
    root = _Node(steps=())

    def is_over(steps: Sequence[str]) -> bool:
        return len(steps) >= config.steps or (bool(steps) and is_final(steps[-1]))

    for iteration in range(1, config.iterations + 1):
        node = _leaf(root, config.exploration)
        if not is_over(node.steps):
            node.children = [
                _Node(steps=(*node.steps, propose(node.steps, draw)), parent=node)
                for draw in range(config.children)
            ]
            node = rng.choice(node.children)
        steps = list(node.steps)
        while not is_over(steps):
            # the draws after those of the children are this iteration's own
            steps.append(propose(steps, config.children + iteration))
        if is_right(steps):
            return iteration
        while node is not None:
            node.visits += 1
            node = node.parent
    return None


def _leaf(node: _Node, exploration: float) -> _Node:
    while node.children:
        parent_visits = node.visits
        node = max(
            node.children,
            key=lambda child: tree_priority(
                0.0, child.visits, parent_visits, exploration=exploration
            ),
        )
    return node
