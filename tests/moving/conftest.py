"""Fixtures of the tests of moving: an empty place on every backend."""

from __future__ import annotations

from saver.fixtures import backend, face

__all__ = ["backend", "face"]
