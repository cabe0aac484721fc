"""Three numbers about a person's answers, each between 0 and 1.

``vocabulary_richness``
    The moving-average type-token ratio (Covington and McFall, 2010): over every window of 50
    consecutive words, distinct words divided by words, averaged. A shorter text is one window.
    1 is "never the same word twice". Unlike the plain ratio it does not fall with every turn.
``response_brevity``
    The average over the answers of ``max(0, 1 - words / 40)``: 1 is silence, 0 is forty words or
    more in every answer.
``engagement_index``
    ``0.6 * (1 - response_brevity) + 0.2 * vocabulary_richness + 0.2 * reasons``, where *reasons* is
    the share of answers that give a reason or a feeling (`SIGNS`).

Without a word said, richness and engagement are 0 and brevity is 1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from statistics import fmean
from typing import Final, TypedDict

WINDOW: Final = 50
FULL_ANSWER: Final = 40
SIGNS: Final = (
    "because since reason afraid angry cried enjoy enjoyed feel feeling felt happy hate hated "
    "hope laughed like liked love loved miss missed proud sad surprised wish wonder"
)
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")


class Analysis(TypedDict):
    """The three numbers, rounded to three places."""

    vocabulary_richness: float
    response_brevity: float
    engagement_index: float


def words(text: str) -> list[str]:
    """The words of a text in any alphabet, in lower case; digits are no words."""
    return _WORD.findall(text.casefold())


def measure(answers: Sequence[str]) -> Analysis:
    """The three numbers for a whole interview so far."""
    spoken = [words(answer) for answer in answers]
    rich = richness([word for answer in spoken for word in answer])
    brief = brevity([len(answer) for answer in spoken])
    signs = set(words(SIGNS))
    reasons = fmean(not signs.isdisjoint(answer) for answer in spoken) if spoken else 0.0
    engaged = 0.6 * (1 - brief) + 0.2 * rich + 0.2 * reasons
    return {
        "vocabulary_richness": round(rich, 3),
        "response_brevity": round(brief, 3),
        "engagement_index": round(engaged, 3),
    }


def richness(said: Sequence[str]) -> float:
    """Distinct words by words, averaged over every window of `WINDOW` words."""
    if not said:
        return 0.0
    windows = range(max(1, len(said) - WINDOW + 1))
    size = min(WINDOW, len(said))
    return fmean(len(set(said[start : start + size])) / size for start in windows)


def brevity(lengths: Sequence[int]) -> float:
    """How far the answers, given as numbers of words, stay below `FULL_ANSWER` on average."""
    return fmean(max(0.0, 1 - length / FULL_ANSWER) for length in lengths) if lengths else 1.0
