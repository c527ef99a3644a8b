"""Which letters a text names as options, and how strongly it points at each.

Letters that are ruled out ("not A", "B and D are wrong"), the article "A", the pronoun "I", names
such as "point B" and "N/A", and the labels of options that are listed again do not count. Of what
is left, a phrase such as "the answer is" outweighs "it is", and both outweigh a letter that merely
stands there; two that weigh the same are one too many.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

BARE, WEAK, STRONG = 0, 1, 2
"""How strongly a phrase points at a letter."""


class SeveralOptions(Exception):
    """Raised where a text names several options and does not choose."""


@dataclass(frozen=True, slots=True)
class Mention:
    """A letter that stands alone, or a list of letters."""

    start: int
    end: int
    letter: str
    """Empty where a list such as "A or B" names several."""
    weight: int = BARE
    called_right: bool = False
    """Whether words such as "is correct" follow."""


def without_ruled_out(text: str) -> str:
    """Return the text without the letters that it rules out.

    >>> without_ruled_out("Not A. B is wrong, so C").split()
    ['.', ',', 'so', 'C']
    """
    return _NOT.sub(" ", _WRONG.sub(" ", _NOT_AVAILABLE.sub(" ", text)))


def find_mentions(text: str, letters: str, texts: Sequence[str] = ()) -> list[Mention]:
    """Return the letters that a text names, in its order, lists of them as one.

    Args:
        text: Where what is ruled out is gone.
        letters: The options' letters.
        texts: The options' words in lower case; they tell the labels of a list of options.
    """
    mentions: list[Mention] = []
    for match in _ALONE.finditer(text):
        letter, (start, end) = match.group(), match.span()
        if letter not in letters or _is_word(text, letter, start):
            continue
        if mentions and _LIST.fullmatch(text, mentions[-1].end, start):
            last = mentions.pop()
            start, letter = last.start, letter if last.letter == letter else ""
        mentions.append(Mention(start, end, letter))
    weighed = [_weighed(mention, text) for mention in mentions]
    named = [
        m
        for m in weighed
        if m.weight == STRONG or not _NAMED.search(text, max(0, m.start - 20), m.start)
    ]
    return _without_labels(named, text, letters, texts)


def pointed_at(mentions: Sequence[Mention], text: str) -> str:
    """Return the letter that a phrase points at or calls right; empty where no phrase does.

    Raises:
        SeveralOptions: phrases of one weight point at several, or the choice is taken back.
    """
    strong = [mention for mention in mentions if mention.weight == STRONG]
    weak = [mention for mention in mentions if mention.weight == WEAK]
    right = {mention.letter for mention in strong if mention.called_right}
    if not strong and not weak:
        return ""
    if len(right) > 1 or (not strong and len({mention.letter for mention in weak}) > 1):
        raise SeveralOptions
    return settled(strong[-1] if strong else weak[-1], mentions, text)


def settled(chosen: Mention, mentions: Sequence[Mention], text: str) -> str:
    """Return the letter of a mention.

    Raises:
        SeveralOptions: it is a list, or another letter follows it after "or maybe" or "wait".
    """
    later = [m for m in mentions if m.start > chosen.start and m.letter != chosen.letter]
    if not chosen.letter or any(_takes_back(text[chosen.end : m.start]) for m in later):
        raise SeveralOptions
    return chosen.letter


def only_one(mentions: Sequence[Mention], text: str) -> str:
    """Return the only letter that is named, where it begins or ends a line or stands in brackets;
    empty where none does.

    Raises:
        SeveralOptions: several are named.
    """
    letters = {mention.letter for mention in mentions}
    if len(letters) > 1 or "" in letters:
        raise SeveralOptions
    placed = any(_stands_out(mention, text) for mention in mentions)
    return letters.pop() if placed else ""


_LATIN = "0-9A-Za-z_\u00c0-\u024f\u0370-\u04ff"
_ALONE = re.compile(rf"(?<![{_LATIN}'\u2019.-])[A-Z](?![{_LATIN}'\u2019-]|\.\d)")
_NOT_AVAILABLE = re.compile(r"\b[Nn]/[Aa]\b")
_PLAIN_WORD = re.compile(
    r"[AI]\s+(?!(?:is|are|was|and|or|because|since|as|seems|looks|but|so|based|due|given|for|with|"
    r"which|that|from|in|on|at|to|must|would|matches|fits|shows|it|over|instead|ou|oder|et|und|o|y)\b)[a-z]"
)
_NUMERALS = re.compile(r"I[\s,&]{0,3}(?:and |or )?(?:II|III|IV|V)\b|I,\s[a-z]")
_VARIABLE = re.compile(
    r"[A-Z]\s{0,2}(?:\^|=\s{0,2}(?:[-\d(\u221a\u2220]|[^\W_]{1,2}(?![^\W_])))|[A-Z]\s{0,2}=\s{0,2}\w+\^"
)
_FIGURE_SIGNS = ("\u2220", "\u25b3", "\u2299")
_NAMED = re.compile(
    r"\b(?:vitamin|plan|type|section|points?|angles?|vertex|vertices|lines?|sides?|segments?|"
    r"statements?|steps?|part|grade|class|team|group|figure|fig\.|panel|chapter|appendix|room|"
    r"column|row|node|set|event|circle|arc|triangle|blood)\s[(\[]?\Z",
    re.IGNORECASE,
)
_OF_OPTIONS = r"(?:the\s)?(?:(?:correct|right|best|final)\s)?(?:(?:options?|choices?|letters?)\s)?"
_LETTERS = (
    r"[(\[]?[A-Z]\b[)\]]?(?:(?:\s?(?:,|/|\b(?:or|nor|and)\b)){1,2}\s(?:options?\s)?[(\[]?[A-Z]\b"
    r"[)\]]?){0,7}"
)
_NOT = re.compile(
    r"\b(?i:(?:not|cannot|\w{2,6}n['\u2019]t|nor|neither|except|rather than|instead of|over|unlike)"
    r"(?:\sbe)?|eliminat(?:e|es|ed|ing)|exclud(?:e|es|ed|ing)|rul(?:e|es|ed|ing) out|"
    r"discard(?:s|ed|ing)?|reject(?:s|ed|ing)?|(?:anything|all|any) but)\s"
    + _OF_OPTIONS
    + _LETTERS
    # Chinese: not, is not
    + r"|\u4e0d(?:\u662f|\u9009|\u9078|\u80fd\u9009)?\s?"
    + _LETTERS
)
_WRONG = re.compile(
    r"\b(?:[A-Z]\)?(?:,\s?|\s(?:and|or)\s|,\s(?:and|or)\s)\(?){0,7}[A-Z]\)?\s?"
    r"(?:\s(?:is|are|was|were|seems?|looks?|can|could|must|should)(?:\sbe)?\s?(?:(?:all|both|clearly|"
    r"also|therefore|thus)\s)?(?:wrong|incorrect|not|false|impossible|invalid|ruled|eliminated|"
    r"excluded|out|unlikely)\b|\s(?:isn|aren|wasn|weren|can|couldn|doesn|don|didn)['\u2019]t\b|"
    r"\s(?:cannot|does not|do not|did not)\b|:\s(?:wrong|incorrect|false)\b|\?\s[Nn]o\b)"
)
_LIST = re.compile(
    r"[)\]}]?\s{0,3}[(\[{]?(?:,|/|&|\+|\u3001|\u548c|\u6216|\u4e0e|\b(?:or|and|or\s?/\s?and|ou|et|oder|und|o|y|e|\u0438\u043b\u0438|\u0438)\b)"
    r"\s{0,3}(?:(?:or|and|option|maybe|perhaps|possibly|even)\s){0,3}[(\[{]?"
)
_OPENING = (
    r"(?:(?:the|correct|right|option|choice|letter|answer|image|picture|figure|panel|point)\s+){0,4}"
    r"[(\[{]?\Z"
)
_STRONG = re.compile(
    r"\b(?:answers?\b(?:\s(?:is|are|was|be|must|would|should|seems|has|to|here|thus|therefore|then|"
    r"clearly|most likely|probably|likely)){0,4}\W{1,6}"
    r"|(?:correct|right|best)\s(?:option|choice|letter|one)\b(?:\s(?:is|would|must|be)){0,2}\W{1,4}"
    r"|(?:choose|pick|select|go with|going with|conclude|leaves|leaving|settle on)\W{1,3}"
    r"|(?:so|thus|hence|therefore)\W{1,3}(?:it(?:\sis|['\u2019]s|\smust\sbe)\s)?"
    r"|(?:r\u00e9ponse|respuesta|antwort|risposta|resposta|\u043e\u0442\u0432\u0435\u0442)\b"
    r"(?:\s(?:correct[ae]|es|est|ist|\u00e8|\u00e9)){0,3}\W{1,4})"
    + _OPENING
    # Chinese, Japanese and Korean: the answer (is), choose
    + r"|(?:\u7b54\u6848|\u6b63\u89e3|\u7b54\u3048|\uc815\ub2f5|\ub2f5)(?:\u662f|\u4e3a|\u70ba|"
    r"\u306f|\uc740)?\W{0,4}\Z|(?:\u9009|\u9078)(?:\u62e9|\u64c7|\u9879|\u9805)?\W{0,3}\Z",
    re.IGNORECASE,
)
_WEAK = re.compile(
    r"(?:\b(?:is|be|are|think|believe|say|guess|likely|probably|option|choice|letter)|['\u2019]s)"
    r"\W{1,4}" + _OPENING,
    re.IGNORECASE,
)
_RIGHT = re.compile(
    r"[)\]}]?(?:\s?\([^()]{0,40}\))?\s{1,4}(?:(?:is|must be|seems|looks)\s{1,4}(?:(?:the|thus|"
    r"therefore|only|clearly|most|more)\s){0,3}(?:correct|best|true|better|likely|answer|"
    r"right(?!\s(?:of|side|hand|above|below)\b))\b|it is\b|remains\b)"
)
_TAKEN_BACK = re.compile(
    r"\b(?:wait|actually|correction|sorry|hmm|scratch that|second thought|no)\b.{0,60}\Z",
    re.IGNORECASE | re.DOTALL,
)
_HEDGED = re.compile(
    r"\A[^.\n]{0,80}\b(?:or|maybe|perhaps|possibly|alternatively|unless)\b[^.\n]{0,40}\Z",
    re.IGNORECASE,
)


def _is_word(text: str, letter: str, start: int) -> bool:
    """Tell whether the letter is the article "A", the pronoun "I", a numeral or a variable."""
    if _VARIABLE.match(text, start) or text[max(0, start - 2) : start].strip() in _FIGURE_SIGNS:
        return True
    if letter not in "AI":
        return False
    return bool(_PLAIN_WORD.match(text, start) or _NUMERALS.match(text, start))


def _weighed(mention: Mention, text: str) -> Mention:
    before = text[max(0, mention.start - 60) : mention.start]
    right = bool(_RIGHT.match(text, mention.end))
    if right or _STRONG.search(before):
        return replace(mention, weight=STRONG, called_right=right)
    return replace(mention, weight=WEAK if _WEAK.search(before) else BARE)


def _without_labels(
    mentions: list[Mention], text: str, letters: str, texts: Sequence[str]
) -> list[Mention]:
    """Drop the labels of options that are listed: of two or more, those that begin a line or stand
    before their option's own words.
    """
    labels = {m for m in mentions if m.letter and _is_label(m, text, letters, texts)}
    if len({label.letter for label in labels}) < 2:
        return mentions
    return [m for m in mentions if m not in labels or m.weight == STRONG]


def _is_label(mention: Mention, text: str, letters: str, texts: Sequence[str]) -> bool:
    follows = _AFTER_LABEL.match(text, mention.end)
    if not follows:
        return False
    place = letters.index(mention.letter)
    rest = text[follows.end() : follows.end() + 300].casefold()
    own_words = place < len(texts) and bool(texts[place]) and rest.startswith(texts[place])
    return (
        own_words or _LINE_START.search(text, max(0, mention.start - 12), mention.start) is not None
    )


_AFTER_LABEL = re.compile(r"\s?[.):\]\u2013\u2014-]\s{0,3}")
_LINE_START = re.compile(r"(?:\A|\n)[\s(\[-]{0,10}(?:[Oo]ption\s)?\Z")


def _takes_back(between: str) -> bool:
    return bool(_TAKEN_BACK.search(between[-120:]) or _HEDGED.search(between))


def _stands_out(mention: Mention, text: str) -> bool:
    before = text[max(0, mention.start - 12) : mention.start].rpartition("\n")[2].strip()
    after = text[mention.end : mention.end + 12].partition("\n")[0].strip()
    edges = (mention.start <= 12 or "\n" in text[max(0, mention.start - 12) : mention.start]) and (
        not re.search(r"\w", before)
    )
    ends = not re.search(r"\w", after) and (
        mention.end + 12 >= len(text) or "\n" in text[mention.end : mention.end + 12]
    )
    return edges or ends or (before.endswith(("(", "[")) and after.startswith((")", "]")))
