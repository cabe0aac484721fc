"""For tests: a fake clock, and the contract that every store must pass.

To test a store, subclass `StoreContract` and tell it how to create one. This needs the extra
``testing``::

    class TestMyStore(StoreContract):
        @pytest.fixture
        def clock(self):
            return FakeClock()

        @pytest.fixture
        def make_store(self, clock):
            return lambda *, ttl=None: MyStore(Service(), ttl=ttl, clock=clock)

        @pytest.fixture
        def make_tenant(self, clock):
            service = Service()  # all stores of a test share it
            return lambda prefix, *, ttl=None: MyStore(service, prefix, ttl=ttl, clock=clock)

        @pytest.fixture
        def pass_time(self, clock):
            return clock.advance

If you cannot set the store's clock (such as a server's), make `StoreContract.tick` short, and let
``pass_time`` sleep.

To test an application, add `wren_sessions.testing.fixtures` to its pytest plugins.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

from wren_sessions.testing.clock import FakeClock

if TYPE_CHECKING:
    from wren_sessions.testing.contract import MakeStore, MakeTenant, PassTime, StoreContract

__all__ = ["FakeClock", "MakeStore", "MakeTenant", "PassTime", "StoreContract"]

if "pytest" in sys.modules:  # the clock does without
    import pytest

    _asserting = (each.name for each in iter_modules(__path__) if each.name != "clock")
    pytest.register_assert_rewrite(*(f"{__name__}.{name}" for name in _asserting))


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.contract"), name)
