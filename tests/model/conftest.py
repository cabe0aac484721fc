"""The modules of the state machine are full of assertions."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("model.compared", "model.machine", "model.model")
