"""Fixtures: an empty place on every backend, and both faces of it."""

from __future__ import annotations

from saver.fixtures import backend, face

__all__ = ["backend", "face"]
