"""No password in any error, traceback, repr or log, whichever way it was given, and to whom."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, Final

import pytest
from redis.credentials import CredentialProvider

from backends.faces import FACES, face_of
from recording import CANARY, assert_no_canary
from servers import RedisServer, start_server
from wren_sessions import Settings, open_store
from wren_sessions.errors import ConfigurationError, WrenSessionsError

pytestmark = pytest.mark.redis_server

ENGINES: Final = ("redis", "rediss", "valkey", "valkeys")
FORMS: Final = {
    **{scheme: f"{scheme}://LOGIN127.0.0.1:1/0?retries=0" for scheme in ENGINES},
    **{
        f"{scheme}+sentinel": f"{scheme}+sentinel://LOGIN127.0.0.1:1,127.0.0.1:2/main/0?retries=0"
        for scheme in ENGINES
    },
    **{
        f"{scheme}+cluster": f"{scheme}+cluster://LOGIN127.0.0.1:1,127.0.0.1:2?failover_timeout=0"
        for scheme in ENGINES
    },
    "unix": "unix://LOGIN/no/such.sock?retries=0",
}


class Provider(CredentialProvider):
    """Gives a password."""

    def get_credentials(self) -> tuple[str, str]:
        """User and password."""
        return "me", CANARY

    async def get_credentials_async(self) -> tuple[str, str]:
        """The same, awaited."""
        return self.get_credentials()


def given(form: str, way: str) -> tuple[str, dict[str, Any]]:
    """A URL, and the arguments that go with it."""
    login = f"me:{CANARY}@" if way == "url" else ""
    options: dict[str, Any] = {}
    if way == "arguments":
        options |= {"username": "me", "password": CANARY}
    if way == "provider":
        options |= {"credential_provider": Provider()}
    if "sentinel" in form:
        options["sentinel_password"] = CANARY
    if form.startswith(("rediss", "valkeys")):
        options["ssl_password"] = CANARY
    return FORMS[form].replace("LOGIN", login), options


# redis-py 5.0 leaves a socket that it could not connect to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("way", ["url", "arguments", "provider"])
@pytest.mark.parametrize("form", FORMS)
async def test_a_server_that_is_not_there(
    form: str, way: str, face: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What nobody answers: the error and its traceback, reprs, logs and the diagnosis."""
    caplog.set_level(logging.DEBUG)
    url, options = given(form, way)
    with open_store(url, **options) as opened:
        store: Any = opened
        with pytest.raises(WrenSessionsError) as caught:
            await face_of(store, face).heads("session")
        diagnosis = store.diagnose()
        await store.aio.close()
    assert_no_canary(caught.value)
    shown = [repr(store), repr(store.aio), store.location, repr(Settings(url=url)), repr(diagnosis)]
    assert CANARY not in " ".join([*shown, caplog.text])


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A server that wants another password."""
    with start_server("--requirepass", "another") as found:
        yield found


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("way", ["url", "arguments", "provider"])
@pytest.mark.parametrize("form", ["redis", "valkey", "redis+cluster"])
async def test_a_server_that_refuses_the_password(
    server: RedisServer, form: str, way: str, face: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What the driver sent stands in its frames while it logs in."""
    caplog.set_level(logging.DEBUG)
    url, options = given(form, way)
    url = url.replace(",127.0.0.1:2", "").replace("127.0.0.1:1", f"127.0.0.1:{server.port}")
    with open_store(url, **options) as opened:
        store: Any = opened
        with pytest.raises(WrenSessionsError) as caught:
            await face_of(store, face).heads("session")
        shown = repr(store.diagnose())
        await store.aio.close()
    assert_no_canary(caught.value)
    assert CANARY not in f"{shown} {caplog.text}"


@pytest.mark.parametrize("form", FORMS)
def test_an_option_that_cannot_work(form: str) -> None:
    """A configuration that is refused says nothing of the password beside it."""
    url, options = given(form, "url")
    with pytest.raises(ConfigurationError) as caught:
        open_store(f"{url}&socket_timeout=soon", **options)
    assert_no_canary(caught.value)
