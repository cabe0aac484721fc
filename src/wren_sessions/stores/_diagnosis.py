"""What a store reports about its server or file, for people who look for a problem."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

Trouble: TypeAlias = Literal[
    "host",  # its name is not known
    "network",  # no route to it
    "refused",  # nothing is listening on the port
    "timeout",  # no answer
    "socket",  # no such socket on this machine
    "wants-tls",  # the port speaks TLS, and the URL does not
    "no-tls",  # the URL speaks TLS, and the port does not
    "certificate",  # its certificate is not trusted, or is another host's
    "not-redis",  # something else listens there
    "password",  # user name or password are wrong
    "needless-password",  # one was given, and it has none
    "no-password",  # it wants one, and none was given
    "rights",  # the user may not do what is needed
    "sentinel",  # the Sentinels name no primary that can be used
    "database",  # there is no database of that number
    "loading",  # it is there, and reads its data first
    "other",
]

Fact: TypeAlias = str | int | float | bool | None
# What Redis is told of a user who may do all that this package does, under the default prefix.
RIGHTS: Final = (
    "~langgraph:checkpoint:* +@read +@write +@keyspace +@scripting +@connection -@dangerous "
    "+time +info"
)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found out; nothing was changed.

    Attributes:
        kind: ``"redis"`` or ``"file"``.
        trouble: why the store cannot be used; None if it can.
        detail: the trouble in the words of whoever told it.
        facts: what is known of the place, by name; see the module that found it out. What could
            not be found out is not in it.
    """

    kind: str
    trouble: Trouble | None = None
    detail: str = ""
    facts: Mapping[str, Fact] = field(default_factory=dict)
