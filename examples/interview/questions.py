"""The questions, and which of them comes next.

The choice is a pure function of what was asked and said, so a resumed interview asks what an
uninterrupted one would have asked:

1. The first question opens.
2. After a short answer comes a probe ("Could you say a little more …"), never two in a row.
3. Else the question of the bank that fits best what was said: 3 points for each of its keywords in
   the last answer, 1 for each in an earlier one, 2 less for each time its topic was asked about.
   The first in the bank wins a tie, so somebody who gives no cue is led from topic to topic.

No question is asked twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from analysis import words

SHORT_ANSWER: Final = 5
PROBE: Final = "probe"


@dataclass(frozen=True, slots=True)
class Question:
    """A question of the bank.

    Attributes:
        id: its name in the session.
        topic: what it is about; `PROBE` for those that ask for more about anything.
        text: what the person reads.
        cues: words that lead to it, in the singular, parted by spaces.
    """

    id: str
    topic: str
    text: str
    cues: str = ""

    def heard(self, answer: str) -> list[str]:
        """The words of an answer that lead to this question, in the order they were said."""
        cues = self.cues.split()
        return [word for word in words(answer) if word in cues or word.removesuffix("s") in cues]


# fmt: off
BANK: Final = (
    Question("stayed", "memory", "Which book or story has stayed with you the longest, and why?"),
    Question("companion", "people", "Which character would you spend a day with, and doing what?",
             "character hero heroine friend companion stranger"),
    Question("move-to", "place", "Which place in a book would you move to tomorrow?",
             "place city town village house garden street world"),
    Question("sentence", "language", "What makes you read a sentence twice?",
             "sentence word language style writing poem poetry poet"),
    Question("pages", "pace", "What keeps you turning pages late at night?",
             "plot twist mystery murder detective thriller crime suspense secret"),
    Question("moved", "feeling", "When did a book last make you cry, or laugh out loud?",
             "cry cried tears sad grief laugh laughed funny joy"),
    Question("changed", "ideas", "Which book changed your mind about something?",
             "idea mind believe politics philosophy opinion religion"),
    Question("true-story", "truth", "Which true story deserves to be told better than it was?",
             "history war biography memoir true fact journalist"),
    Question("invented", "wonder", "What must an invented world have before you believe in it?",
             "magic fantasy dragon future space robot myth"),
    Question("child", "memory", "Who read to you, or what did you read, as a child?",
             "child childhood school grandmother grandfather mother father parent aunt uncle"),
    Question("where", "habit", "Where and when do you read best?",
             "train bus bed night morning evening weekend holiday sofa"),
    Question("landscape", "place", "What is it about that landscape that pulls you in?",
             "sea island mountain forest river desert harbour coast ship lighthouse snow"),
    Question("villain", "people", "Tell me of a character you disliked and could not forget.",
             "villain enemy cruel evil monster liar traitor"),
    Question("again", "memory", "What was different when you came back to a book years later?",
             "again reread twice return returned"),
    Question("voice", "language", "What should a narrator's voice sound like for you to trust it?",
             "voice narrator dialogue irony humour joke"),
    Question("slow", "pace", "When do you enjoy a story that takes its time?",
             "slow slowly quiet calm patient silence description"),
    Question("comfort", "feeling", "What do you read when the day was hard?",
             "tired comfort stress worry alone lonely sleep ill"),
    Question("argue", "ideas", "Which writer would you like to argue with, about what?",
             "wrong argue disagree critic essay writer author"),
    Question("understand", "truth", "What would you like to understand by the end of this year?",
             "learn understand science study curious nature animal bird"),
    Question("share", "habit", "Whom do you tell about what you read, and what do you leave out?",
             "club daughter son husband wife sister brother colleague share recommend"),
    Question("unfinished", "habit", "What makes you put a book down for good?",
             "boring bored unfinished abandon abandoned"),
    Question("bend", "wonder", "Which rule of our world would you like a story to bend?",
             "death rule impossible dream ghost"),
    Question("more", PROBE, "Could you say a little more about that?"),
    Question("example", PROBE, "Can you give me an example?"),
    Question("matters", PROBE, "What makes that matter to you?"),
    Question("picture", PROBE, "What do you see when you think of it?"),
)
# fmt: on
OPENING: Final = BANK[0]
TOPICS: Final = {question.id: question.topic for question in BANK}


@dataclass(frozen=True, slots=True)
class Choice:
    """The next question, and the word of the last answer that led to it, if one did."""

    question: Question
    heard: str | None = None

    @property
    def text(self) -> str:
        """What the person reads."""
        lead = f"You mentioned “{self.heard}”. " if self.heard else ""
        return lead + self.question.text


def choose(asked: Sequence[str], answers: Sequence[str]) -> Choice:
    """The next question.

    Args:
        asked: the ids of the questions so far, in order.
        answers: what was said to them, in order.

    Raises:
        LookupError: every question of the bank was asked.
    """
    if not asked:
        return Choice(OPENING)
    probe = _next_probe(asked, answers)
    return Choice(probe) if probe else _best_fit(asked, answers)


def _left(asked: Collection[str], *, probes: bool) -> list[Question]:
    return [q for q in BANK if q.id not in asked and (q.topic == PROBE) is probes]


def _next_probe(asked: Sequence[str], answers: Sequence[str]) -> Question | None:
    was_short = bool(answers) and len(words(answers[-1])) < SHORT_ANSWER
    if not was_short or TOPICS[asked[-1]] == PROBE:
        return None
    return next(iter(_left(asked, probes=True)), None)


def _best_fit(asked: Sequence[str], answers: Sequence[str]) -> Choice:
    left = _left(asked, probes=False)
    if not left:
        raise LookupError(f"all {len(BANK)} questions were asked")
    covered = Counter(TOPICS[name] for name in asked)
    best = max(left, key=lambda question: _score(question, answers, covered))
    heard = best.heard(answers[-1]) if answers else []
    return Choice(best, heard[0] if heard else None)


def _score(question: Question, answers: Sequence[str], covered: Counter[str]) -> int:
    """How well a question fits; `max` takes the first of equals."""
    last = len(set(question.heard(answers[-1]))) if answers else 0
    earlier = len(set(question.heard(" ".join(answers[:-1]))))
    return 3 * last + earlier - 2 * covered[question.topic]


def topics_in(answers: Sequence[str]) -> dict[str, int]:
    """How often the answers touch each topic, most often first, then by name."""
    said = " ".join(answers)
    counts = Counter[str]()
    for question in BANK:
        counts[question.topic] += len(question.heard(said))
    touched = [(topic, count) for topic, count in counts.items() if count]
    return dict(sorted(touched, key=lambda item: (-item[1], item[0])))
