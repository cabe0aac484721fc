"""What the errors about migrations propose, done to the letter."""

from __future__ import annotations

from typing import Any, cast

import pydantic
import pytest
from langgraph.checkpoint.serde.base import CipherProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from remedies.proposals import tries
from values.changing import App, model_kind
from wren_sessions import (
    MemoryStore,
    Migrations,
    SafeSerializer,
    Sessions,
    SessionSaver,
    open_store,
)
from wren_sessions.errors import ConfigurationError, SerializationError
from wren_sessions.serializers.encryption import Encryption


@tries("migrations are for SafeSerializer")
def test_another_serializer() -> None:
    """Another one is passed, or none."""
    store, migrations = MemoryStore(), Migrations()
    with pytest.raises(ConfigurationError, match=r"pass serde=SafeSerializer\(…\), or leave it"):
        SessionSaver(store, serde=JsonPlusSerializer(), migrations=migrations)
    SessionSaver(store, serde=SafeSerializer(), migrations=migrations)
    SessionSaver(store, migrations=migrations)


@tries("hides channels from migrations: encrypt the store instead")
def test_channels_within_another_serializer() -> None:
    """The store encrypts, and the saver sees the channels."""
    safe = SafeSerializer(migrations=Migrations().channel_renamed("a", "b"))
    wrapped = EncryptedSerializer(cast("CipherProtocol", None), safe)
    with pytest.raises(ConfigurationError, match="encrypt the store instead"):
        SessionSaver(MemoryStore(), serde=wrapped)
    keys = Encryption([Encryption.generate_key()])
    with open_store("memory://", encryption=keys, dotenv=False) as store:
        Sessions(store).save("ann", {"a": 1})
        assert Sessions(store, serde=safe).load("ann").state == {"b": 1}


@tries("give the channel another name, or run `wren-sessions migrate` and take the line out")
@pytest.mark.parametrize(
    "migrations", [Migrations().channel_renamed("a", "b"), Migrations().channel_removed("a")]
)
def test_a_channel_under_a_name_that_is_gone(migrations: Migrations) -> None:
    """It would be lost; under another name, or without the line, it is kept."""
    store = MemoryStore()
    with pytest.raises(ConfigurationError, match="'a' of session 'ann' cannot be written"):
        Sessions(store, serde=SafeSerializer(migrations=migrations)).save("ann", {"a": 1, "b": 2})
    assert store.info("ann") is None
    for state, lines in ({"c": 1, "b": 2}, migrations), ({"a": 1, "b": 2}, Migrations()):
        sessions = Sessions(store, serde=SafeSerializer(migrations=lines))
        sessions.save("ann", state)
        assert sessions.load("ann").state == state


@tries("{}, and cannot become {}: say once", "and cannot be removed as well: say once")
def test_a_channel_with_two_lines() -> None:
    """One of them says what becomes of it."""
    migrations = Migrations().channel_renamed("a", "b")
    with pytest.raises(ConfigurationError, match="say once what becomes of it"):
        migrations.channel_renamed("a", "c")
    with pytest.raises(ConfigurationError, match="say once what becomes of it"):
        migrations.channel_removed("a")
    assert Migrations().channel_removed("a").channels("").removed == {"a"}
    assert migrations.channels("").names == {"a": "b"}


@tries("which the class does not have: say what was renamed, or give {} a default")
def test_a_field_that_is_gone_and_one_that_is_new() -> None:
    """The line that is proposed, or a default."""
    app = App()
    stored = SafeSerializer().dumps_typed(app.releases(model_kind(name=""))(kept=1, name="Ann"))
    fields: Any = {"kept": (int, ...), "full_name": (str, ...)}
    newer = app.releases(pydantic.create_model("Changing", **fields))
    with pytest.raises(SerializationError, match="say what was renamed") as caught:
        SafeSerializer().loads_typed(stored)
    proposed = '.field_renamed("changing_app:Changing", name="full_name"), or .migration('
    assert caught.value.line.startswith(proposed)
    migrations = Migrations().field_renamed("changing_app:Changing", name="full_name")
    found = SafeSerializer(migrations=migrations).loads_typed(stored)
    assert found == newer(kept=1, full_name="Ann")
    app.releases(pydantic.create_model("Changing", **fields | {"full_name": (str, "?")}))
    assert SafeSerializer().loads_typed(stored).full_name == "?"


@tries("mend it, and read the value again")
def test_a_function_that_fails() -> None:
    """What is stored is as it was."""
    app = App()
    kind = app.releases(model_kind())
    sessions = Sessions(MemoryStore())
    sessions.save("ann", {"it": kind(kept=1)})

    def loaded(function: Any) -> Any:
        migrations = Migrations()
        migrations.migration(kind, since=1)(function)
        return Sessions(sessions.store, migrations=migrations).load("ann").state["it"]

    with pytest.raises(SerializationError, match="mend it, and read the value again"):
        _ = loaded(lambda fields: fields["gone"]).kept
    assert loaded(lambda fields: {"kept": fields["kept"] + 1}).kept == 2


@tries(
    "the renames of {} go round in a circle: take one of them out",
    "the renames of channel {} go round in a circle: take one of them out",
)
def test_a_circle() -> None:
    """One that is left out ends it."""
    channels = Migrations().channel_renamed("a", "b")
    with pytest.raises(ConfigurationError, match="take one of them out"):
        channels.channel_renamed("b", "a")
    assert channels.channels("").names == {"a": "b"}
    migrations = Migrations().renamed("a:P", "a:Q")
    with pytest.raises(ConfigurationError, match="take one of them out"):
        migrations.renamed("a:Q", "a:P")
    assert migrations.today("a:P") == "a:Q"


@tries(
    "renamed to {}, and one of both names was renamed already: say once",
    "becomes {}, and one of both was renamed already: say once",
)
def test_names_that_were_renamed_already() -> None:
    """Each old name says what it is called today."""
    for rename in (Migrations().field_renamed, Migrations().member_renamed):
        rename("a:P", A="B")
        with pytest.raises(ConfigurationError, match="say once what each old name is called today"):
            rename("a:P", B="C")
    for rename in (Migrations().field_renamed, Migrations().member_renamed):
        rename("a:P", A="C", B="C")


@tries("already: take the next number, and leave what was deployed as it is")
def test_two_functions_of_one_version() -> None:
    """The next one has the next version."""
    migrations = Migrations()
    migrations.migration("a:P", since=1)(dict)
    with pytest.raises(ConfigurationError, match="take the next number"):
        migrations.migration("a:P", since=1)(dict)
    migrations.migration("a:P", since=2)(dict)


@tries("are registered under two of its names: use one")
def test_one_class_under_two_names() -> None:
    """All of it stands under one name, of today or before."""
    migrations = Migrations().renamed("a:P", "a:Q").field_removed("a:P", "x")
    SafeSerializer(migrations=migrations)
    with pytest.raises(ConfigurationError, match="use one"):
        SafeSerializer(migrations=migrations.field_removed("a:Q", "y"))
