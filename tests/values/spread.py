"""One value with something of each kind whose order could depend on the process."""

from __future__ import annotations

from typing import Any

import numpy as np
from langchain_core.messages import AIMessage, HumanMessage

from values import kinds


def value() -> Any:
    """Sets of many kinds, models, messages."""
    words = [f"word {n}" for n in range(50)]
    return {
        "texts": set(words),
        "mixed": {*words, *range(50), 1.5, None, (1, "a"), frozenset(words[:5])},
        "nested": {frozenset({frozenset(words[:3]), "x", n}) for n in range(9)},
        "objects": {kinds.Frozen(word) for word in words} | {kinds.Steady(name="x")},
        "enums": {*kinds.Mood, *kinds.Word, kinds.Access.READ | kinds.Access.RUN},
        "keys": {(1, "a"): {"b"}, frozenset(words): 1, None: 2},
        "open": kinds.Open.model_validate({"b": set(words)}),
        "answer": kinds.Answer(answerText="x", tags=["t"], score=1.0),
        "old": kinds.Old(name="x", tags=["a"]),
        "messages": [
            HumanMessage("hi", id="1", name="Ann", additional_kwargs={"seen": set(words)}),
            AIMessage("x", id="2", response_metadata={"a": 1}, tool_calls=[]),
        ],
        "array": np.arange(5),
    }
