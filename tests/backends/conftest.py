"""What the tests of the backends share: a face of a store, and a look at the server itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from backends.faces import FACES


@pytest.fixture(params=FACES)
def face(request: pytest.FixtureRequest) -> str:
    """Which methods are called."""
    name: str = request.param
    return name


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """A client that looks at the server itself."""
    with redis.Redis.from_url(redis_url) as client:
        yield client
