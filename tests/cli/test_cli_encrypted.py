"""What the command says of an encrypted store where the keys are not those of the app."""

from __future__ import annotations

import pytest

from cli.running import Cli
from remedies.proposals import tries
from wren_sessions import Encryption, Sessions, open_store

KEYS = "k1:" + "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="
OTHERS = "k0:" + "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI="


@tries("set WREN_SESSIONS_ENCRYPTION_KEYS as the app does")
@pytest.mark.parametrize("set_here", [None, OTHERS])
def test_sessions_whose_key_is_not_here(
    cli: Cli, redis_url: str, set_here: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check warns, and a list says why they are unreadable; with the key all is well."""
    with open_store(redis_url, encryption=Encryption([KEYS]), dotenv=False) as store:
        for name in ("a", "b"):
            Sessions(store).save(name, {"turn_count": 1})
    if set_here is not None:
        monkeypatch.setenv("WREN_SESSIONS_ENCRYPTION_KEYS", set_here)
    said = "2 sessions are encrypted, and not with a key that is set here (but 'k1')"
    checked = cli("check", "--json", url=redis_url)
    assert checked.code == 7
    (found,) = [line for line in checked.json if line["finding"] == said]
    assert (found["check"], found["level"]) == ("encryption", "warning")
    listed = cli("list", url=redis_url)
    assert listed.out.count("unreadable") == 2
    assert listed.err.count(said) == 1
    monkeypatch.setenv("WREN_SESSIONS_ENCRYPTION_KEYS", KEYS)
    assert said not in cli("check", url=redis_url).out
    found_again = cli("list", url=redis_url)
    assert "encrypted" not in found_again.err
    assert "unreadable" not in found_again.out
