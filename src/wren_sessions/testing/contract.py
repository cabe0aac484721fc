"""The complete contract of a store: the rules of `wren_sessions.protocols`, as tests."""

from __future__ import annotations

from wren_sessions.testing.contract_arena import ArenaContract
from wren_sessions.testing.contract_base import MakeStore, MakeTenant, PassTime
from wren_sessions.testing.contract_commits import CommitContract, ConditionContract
from wren_sessions.testing.contract_copies import CopyContract
from wren_sessions.testing.contract_expiry import ExpiryContract
from wren_sessions.testing.contract_ids import IdContract
from wren_sessions.testing.contract_lives import LifeContract, SettingContract
from wren_sessions.testing.contract_owners import OwnerContract
from wren_sessions.testing.contract_prefixes import PrefixContract
from wren_sessions.testing.contract_prunes import PruneContract
from wren_sessions.testing.contract_records import RecordContract, ScanContract
from wren_sessions.testing.contract_sessions import HeaderContract, SessionContract
from wren_sessions.testing.contract_turns import TurnContract
from wren_sessions.testing.contract_writes import WriteContract

__all__ = ["MakeStore", "MakeTenant", "PassTime", "StoreContract"]


class StoreContract(
    RecordContract,
    ScanContract,
    ArenaContract,
    WriteContract,
    CommitContract,
    ConditionContract,
    PruneContract,
    LifeContract,
    SettingContract,
    ExpiryContract,
    SessionContract,
    CopyContract,
    HeaderContract,
    IdContract,
    PrefixContract,
    TurnContract,
    OwnerContract,
):
    """Tests of every behaviour of `SessionStore`, sync and async.

    Subclass it as ``Test…`` and override two fixtures. ``make_store`` is a callable that takes
    ``ttl=`` and returns an empty store. ``pass_time`` is a callable that takes a duration and lets
    it pass for those stores. The tests close the stores. If ``pass_time`` really sleeps, override
    `tick`, too.

    If stores with different prefixes can share one storage, override ``make_tenant`` as well. It is
    a callable that takes a prefix and ``ttl=``, and returns a store on a storage that all stores of
    one test share. Without it, the tests of prefixes are skipped.

    For a store without turns (`protocols.TurnStore`) or without owners (`OwnerStore`), their tests
    are skipped.

    The contract tests only what the protocol says. It looks at no class, no file and no key.
    """
