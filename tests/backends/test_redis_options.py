"""Options of connections to Redis mean the same by keyword and in a URL, as in `open_store`."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any, Final

import pytest

from wren_sessions import ConfigurationError, RedisStore, open_store
from wren_sessions.stores.redis.clients import FAILOVER_S, asyncio_client, blocking_client

DURATIONS: Final = ("socket_timeout", "socket_connect_timeout", "health_check_interval")


@pytest.mark.parametrize("make", [blocking_client, asyncio_client])
@pytest.mark.parametrize("given", ["90s", "1m30s", 90, 90.0, "90", timedelta(seconds=90)])
def test_durations_are_read_as_everywhere(
    make: Callable[[str, dict[str, Any]], Any], given: Any
) -> None:
    """Text with units, seconds or a `timedelta`, by keyword; text also in the URL."""
    url = "redis+cluster://localhost:1"
    by_keyword = dict.fromkeys((*DURATIONS, "failover_timeout"), given)
    made = [make(url, by_keyword)]
    if isinstance(given, str):
        query = "&".join(f"{name}={given}" for name in by_keyword)
        made.append(make(f"{url}?{query}", {}))
    for fleet in made:
        assert [fleet.like.connection_kwargs[name] for name in DURATIONS] == [90.0] * 3
        assert fleet.patience_s == 90.0


WRONG: Final[dict[str, tuple[Any, ...]]] = {
    **dict.fromkeys((*DURATIONS, "failover_timeout"), ("soon", -1, [], True, "1x", float("nan"))),
    **dict.fromkeys(("db", "max_connections", "retries", "protocol"), ("x", -1, 2.5, [], True)),
    "client_name": ("a b", 5),
    "socket_keepalive": ("maybe", 2),
    "ssl_cert_reqs": ("perhaps", 1),
}


@pytest.mark.parametrize("make", [blocking_client, asyncio_client])
@pytest.mark.parametrize("mode", list(ssl.VerifyMode))
def test_how_a_certificate_is_checked_may_be_said_as_ssl_says_it(
    make: Callable[[str, dict[str, Any]], Any], mode: ssl.VerifyMode
) -> None:
    """`ssl.CERT_NONE` and the others are taken, as by redis-py, and mean what the words mean."""
    pool = make("rediss://localhost:1", {"ssl_cert_reqs": mode}).connection_pool
    word = pool.connection_kwargs["ssl_cert_reqs"]
    assert word == mode.name.removeprefix("CERT_").lower()


LOGINS: Final = ("username", "password", "ssl_password", "sentinel_username", "sentinel_password")


@pytest.mark.parametrize("option", [*LOGINS, "credential_provider"])
@pytest.mark.parametrize("wrong", [[], {}, True, object()])
def test_a_login_of_the_wrong_type_is_refused(option: str, wrong: Any) -> None:
    """It would be left out, or refused by the server in other words."""
    for make in (partial(open_store, dotenv=False), RedisStore.from_url):
        url = "rediss+sentinel://localhost:1/service"
        with pytest.raises(ConfigurationError, match=f"option '{option}' must be "):
            make(url, **{option: wrong})


@pytest.mark.parametrize("option", WRONG)
def test_a_wrong_value_is_refused_with_the_name_of_its_option(option: str) -> None:
    """By keyword and in the URL, where it would have failed at the first call or counted as set."""
    kind = "redis+cluster" if option == "failover_timeout" else "redis"
    url = f"{kind}://:sesame@localhost:1"
    for wrong in WRONG[option]:
        ways = [partial(RedisStore.from_url, url, **{option: wrong})]
        if isinstance(wrong, str):
            ways.append(partial(RedisStore.from_url, f"{url}?{option}={wrong}"))
        for way in ways:
            with pytest.raises(ConfigurationError, match=f"option '{option}' must be ") as caught:
                way()
            assert "sesame" not in str(caught.value)


def test_none_leaves_an_option_as_it_is() -> None:
    """None is no limit for a timeout, and the default for everything else."""
    names = (*DURATIONS, "failover_timeout", "retries", "max_connections", "protocol")
    nothing: dict[str, Any] = dict.fromkeys(names)
    with RedisStore.from_url("redis+cluster://localhost:1", **nothing) as store:
        made: Any = store._blocking_client()
    assert made.patience_s == FAILOVER_S
    assert made.like.connection_kwargs["socket_timeout"] is None
    assert made.like.max_connections == 50
