"""The interview example, for the tests: its modules, its sample answers and a way through it."""

# ruff: noqa: E402 -- the modules of a script are found once its folder is on the path

from __future__ import annotations

import sys
from pathlib import Path

EXAMPLE = Path(__file__).parent.parent / "examples" / "interview"
sys.path.append(str(EXAMPLE))

import analysis
import conversation
import demo
import files
import graph
import questions
import run
import terminal

__all__ = [
    "ANSWERS",
    "EXAMPLE",
    "analysis",
    "conversation",
    "demo",
    "files",
    "graph",
    "questions",
    "run",
    "said_by",
    "talk_through",
    "terminal",
]

ANSWERS = (EXAMPLE / "answers.txt").read_text(encoding="utf-8").splitlines()


def talk_through(talk: conversation.Conversation, answers: list[str]) -> list[int]:
    """Give the answer that belongs to each question; the numbers of the questions asked."""
    asked = []
    waiting = talk.waiting()
    while waiting:
        asked.append(waiting["number"])
        waiting = talk.answer(answers[waiting["number"] - 1])
    return asked


def said_by(state: graph.Interview, kind: str) -> list[str]:
    """What the person (human) or the interviewer (ai) said."""
    return [str(message.text) for message in state["messages"] if message.type == kind]
