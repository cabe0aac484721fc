"""Coverage-guided fuzzing of what reads stored values: ``python tests/values/fuzz_safe.py``.

Needs atheris (``pip install atheris``: Linux or macOS). Arguments go to libFuzzer:
``-max_total_time=60`` ends it after a minute, and a folder keeps the inputs that reach new code.
The first byte of an input chooses the type tag. Anything but a value or an error of ours is a
finding, and so is a module that was imported, or code of the classes in kinds.py that ran.
"""

from __future__ import annotations

import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[1]))

TAGS: Final = ("safe", "safe", "safe", "msgpack", "json", "bytes", "pickle")


class Target:
    """Reads inputs with every reader, and watches what that does."""

    def __init__(self) -> None:
        from values import hostile_payloads, kinds
        from wren_sessions import Limits, PlainSerializer, SafeSerializer
        from wren_sessions.errors import WrenSessionsError

        limits = Limits(max_value_bytes=1_000_000)
        self._ran = kinds.RAN
        self._ours = WrenSessionsError
        self._readers: Any = [
            SafeSerializer(limits=limits),
            SafeSerializer(allow=[kinds.Note], limits=limits),
            PlainSerializer(limits=limits),
        ]
        self.seeds = hostile_payloads.seeds()
        for kind, data in self.seeds:  # loads the fixed table of langchain and langgraph
            self(bytes([TAGS.index(kind) if kind in TAGS else 0]) + data, checked=False)
        self._ran.clear()
        self._modules: set[str] = set()

    def __call__(self, data: bytes, *, checked: bool = True) -> None:
        """Read one input."""
        if not data:
            return
        if checked and not self._modules:  # not before: the fuzzer itself loads modules
            self._modules = set(sys.modules)
        for reader in self._readers:
            try:
                reader.loads_typed((TAGS[data[0] % len(TAGS)], data[1:]))
            except self._ours:
                continue
        if checked and (self._ran or self._modules != set(sys.modules)):
            raise AssertionError(f"{self._ran} ran, {set(sys.modules) - self._modules} imported")


def main() -> None:
    """Fuzz until libFuzzer ends it."""
    try:
        atheris: Any = import_module("atheris")
    except ImportError:
        sys.exit("fuzz_safe.py needs atheris: pip install atheris")
    with atheris.instrument_imports(include=["wren_sessions.serializers"]):
        target = Target()
    with tempfile.TemporaryDirectory() as corpus:
        for number, (kind, data) in enumerate(target.seeds):
            tag = TAGS.index(kind) if kind in TAGS else 0
            (Path(corpus) / str(number)).write_bytes(bytes([tag]) + data)
        atheris.Setup([*sys.argv, f"-artifact_prefix={tempfile.gettempdir()}/", corpus], target)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
