"""For tests: a clock that waits for nobody, and the contract that every store keeps.

To test a store, subclass `StoreContract` and tell it how to make one; it needs the extra
``testing``::

    class TestMyStore(StoreContract):
        @pytest.fixture
        def clock(self):
            return FakeClock()

        @pytest.fixture
        def make_store(self, clock):
            return lambda *, ttl=None: MyStore(ttl=ttl, clock=clock)

        @pytest.fixture
        def pass_time(self, clock):
            return clock.advance

A store whose clock cannot be set (a server's) makes `StoreContract.tick` short, and its
``pass_time`` sleeps.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from wren_sessions.testing.clock import FakeClock

if TYPE_CHECKING:
    from wren_sessions.testing.contract import MakeStore, PassTime, StoreContract

__all__ = ["FakeClock", "MakeStore", "PassTime", "StoreContract"]

_REWRITTEN: Final = (
    "contract",
    "contract_arena",
    "contract_base",
    "contract_commits",
    "contract_copies",
    "contract_ids",
    "contract_lives",
    "contract_records",
    "contract_sessions",
    "contract_writes",
)


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import pytest  # the clock does without

    pytest.register_assert_rewrite(*(f"{__name__}.{module}" for module in _REWRITTEN))
    return getattr(import_module(f"{__name__}.contract"), name)
