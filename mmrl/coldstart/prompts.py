"""What the kinds of asking steps ask where the chain does not say it in its own words."""

from __future__ import annotations

CAPTION = (
    "Describe what you are shown so fully and exactly that someone who cannot see or hear it could "
    "answer any question about it: objects, their number, places, sizes and relations, all text, "
    "numbers, labels and symbols, in plain sentences."
)
PSEUDO_COT = (
    "First describe what you are shown as far as the question needs it. Then reason step by step "
    "to an answer.\n\nQuestion: {question}\n\n"
    "Write two parts with these headings:\nCaption:\nReasoning:"
)
DESCRIPTION = (
    "Below is a question about what you are shown, and a first attempt with a caption and a "
    "reasoning.\n\nQuestion: {question}\n\nAttempt:\n{pseudo_cot}\n\n"
    "Write one description of what you are shown, with every detail that the question and the "
    "reasoning need, so that the question can be answered from your text alone. Do not answer it."
)
REASON = (
    "You cannot see or hear the material, but here is a description of it.\n\n"
    "Description:\n{caption}\n\nQuestion: {question}\n\n"
    "Think step by step, and give the final answer in <answer> </answer> tags."
)
REWRITE = (
    "The text below was written from a description. Change as few words as you can, so that it "
    "reads as if its writer had looked at the material itself: 'the description' or 'the caption' "
    "becomes 'the image'. Change no step, no number and no answer, and keep all tags. Return the "
    "text only.\n\n{reason}"
)

PRESETS: dict[str, tuple[str | None, bool]] = {
    "ask": (None, False),
    "caption": (CAPTION, True),
    "pseudo_cot": (PSEUDO_COT, True),
    "description": (DESCRIPTION, True),
    "reason": (REASON, False),
    "rewrite": (REWRITE, False),
}
"""Prompt, and whether the row's media are shown, by kind of step."""
