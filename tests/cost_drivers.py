"""The drivers of the benchmarks, for the tests of what is stored and sent."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent))

from benchmarks import chat, graph, meters, patterns, report, servers, threads

__all__ = ["chat", "graph", "meters", "patterns", "report", "servers", "threads"]
