"""Compression with zstd, for data that is long enough.

Compressed data is marked as such. So old and new data can be read side by side, and reading needs
no setting. The decompressed size is stored in front of the data and is limited, so a few stored
bytes cannot fill the memory.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any, Final

from wren_sessions.errors import ConfigurationError, SerializationError
from wren_sessions.serializers.limits import UNPACKED_FACTOR, budget_for

MAX_BYTES: Final = 256 * 1_048_576
_LEVELS: Final = range(1, 20)
_MUCH_BYTES: Final = 16 * 1_048_576  # what is stored small only as far as it would be read


class Compression:
    """How to compress what is stored.

    Args:
        threshold_bytes: data shorter than this is not compressed.
        level: 1 (fast) to 19 (small).

    Raises:
        ConfigurationError: a number is out of range, or ``zstandard`` is not installed.
    """

    def __init__(self, *, threshold_bytes: int = 512, level: int = 3) -> None:
        if type(threshold_bytes) is not int or threshold_bytes < 1:
            raise ConfigurationError(
                f"threshold_bytes must be a whole number of at least 1, not {threshold_bytes!r}"
            )
        if type(level) is not int or level not in _LEVELS:
            raise ConfigurationError(f"the level must be 1 to 19, not {level!r}")
        self.threshold_bytes = threshold_bytes
        self.level = level
        _zstandard()

    def __repr__(self) -> str:
        return f"Compression(threshold_bytes={self.threshold_bytes}, level={self.level})"

    def compress(self, data: bytes) -> bytes | None:
        """The compressed data; None if compression would save too little."""
        if len(data) < self.threshold_bytes:
            return None
        # One for each call: a compressor is not safe to share between threads.
        packed: bytes = _zstandard().ZstdCompressor(level=self.level).compress(data)
        worth = len(packed) < len(data) <= max(_MUCH_BYTES, UNPACKED_FACTOR * len(packed))
        return packed if worth else None


def decompress(data: bytes, *, max_bytes: int = MAX_BYTES) -> bytes:
    """What `Compression.compress` was given.

    Args:
        data: compressed data, perhaps damaged or hostile.
        max_bytes: how large what comes out may be.

    Raises:
        SerializationError: it is no compressed data, or too large.
        ConfigurationError: ``zstandard`` is not installed.
    """
    zstandard = _zstandard()
    try:
        size = zstandard.get_frame_parameters(data).content_size
        if size > max_bytes:
            raise SerializationError(
                f"compressed data would take {size:,} bytes, and the limit is {max_bytes:,}"
            )
        budget_for(len(data)).unpack(len(data), size)
        found: bytes = zstandard.ZstdDecompressor().decompress(
            data, max_output_size=size or 1, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise SerializationError(f"compressed data are damaged: {error}") from error
    return found


@cache
def _zstandard() -> Any:
    try:
        return import_module("zstandard")
    except ImportError:
        raise ConfigurationError(
            "compressed sessions need zstandard: pip install 'wren-sessions[compression]'"
        ) from None
