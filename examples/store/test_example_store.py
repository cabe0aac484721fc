"""The example store keeps the contract of stores, and what it says of itself."""

from __future__ import annotations

import pytest

from dictionary import Dictionary
from kv_store import KeyValueStore
from wren_sessions import ConfigurationError, CorruptSessionError, SessionStore, TTLPolicy
from wren_sessions.testing import FakeClock, MakeStore, MakeTenant, PassTime, StoreContract
from wren_sessions.testing.build import SESSION, put


class TestKeyValueStore(StoreContract):
    """Everything the protocol says, by a clock moved by hand."""

    @pytest.fixture
    def clock(self) -> FakeClock:
        """One clock for all stores of a test."""
        return FakeClock()

    @pytest.fixture
    def make_store(self, clock: FakeClock) -> MakeStore:
        """Stores on a dictionary each."""

        def make(*, ttl: TTLPolicy | None = None) -> SessionStore:
            return KeyValueStore(Dictionary(), ttl=ttl, clock=clock)

        return make

    @pytest.fixture
    def make_tenant(self, clock: FakeClock) -> MakeTenant:
        """Stores with a prefix each on one dictionary."""
        service = Dictionary()

        def make(prefix: str, *, ttl: TTLPolicy | None = None) -> SessionStore:
            return KeyValueStore(service, ttl=ttl, prefix=prefix, clock=clock)

        return make

    @pytest.fixture
    def pass_time(self, clock: FakeClock) -> PassTime:
        """Time passes when the test says so."""
        return clock.advance


class Contested(Dictionary):
    """A dictionary in which somebody else is faster, a few times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.left = times

    def swap(self, key: str, old: bytes | None, new: bytes | None) -> bool:
        """Let another store write the same session first."""
        if self.left:
            self.left -= 1
            KeyValueStore(self).commit(put(f"other{self.left}"))
        return super().swap(key, old, new)


def test_what_somebody_else_wrote_is_kept() -> None:
    """An operation that was overtaken is done again, on what is there then."""
    service = Contested(times=3)
    committed = KeyValueStore(service).commit(put("mine"))
    assert (committed.outcome, service.left) == ("done", 0)
    heads = KeyValueStore(service).heads(SESSION)
    assert (committed.life and committed.life.revision, heads) == (4, (("", "other2"),))


def test_a_condition_is_checked_again() -> None:
    """A condition has to hold when the value is put back, not when it was first read."""
    committed = KeyValueStore(Contested(times=1)).commit(put("mine", new=True))
    assert committed.outcome == "exists"


def test_looking_puts_nothing_back() -> None:
    """What only looks at a session, or is refused, leaves its value alone."""
    service = Contested(times=0)
    store = KeyValueStore(service)
    store.commit(put("1"))
    service.left = 1
    store.load(SESSION)
    store.info(SESSION)
    assert store.commit(put("2", new=True)).outcome == "exists"
    assert service.left == 1


def test_an_expired_value_is_removed_by_a_listing() -> None:
    """A listing clears up."""
    clock, service = FakeClock(), Dictionary()
    store = KeyValueStore(service, ttl=TTLPolicy(idle="1h"), clock=clock)
    store.commit(put("1"))
    clock.advance("2h")
    assert store.list_sessions().sessions == ()
    assert service.keys("", "", 10) == []


def test_damaged_values_are_no_misses() -> None:
    """A value that is no session is an error that names the session."""
    service = Dictionary()
    store = KeyValueStore(service)
    service.swap(store.keys.session_key(SESSION), None, b"damaged")
    with pytest.raises(CorruptSessionError) as caught:
        store.load(SESSION)
    assert caught.value.session == SESSION


def test_keys_of_others_are_counted() -> None:
    """A listing leaves out what is no session under its prefix, and says how many that were."""
    service = Dictionary()
    store = KeyValueStore(service)
    store.commit(put("1"))
    service.swap(f"{store.keys.prefix}:something", None, b"else")
    page = store.list_sessions()
    assert ([info.session for info in page.sessions], page.foreign) == ([SESSION], 1)
    with pytest.raises(ConfigurationError, match="cursor"):
        store.list_sessions("something")
