"""Records whose channels were renamed since: what `Migrations` declares about names. Pure.

A record is *read* under today's names: its values, versions, what nodes have seen, its pending
writes, and what else LangGraph notes about channels. If a value is unchanged, the next record
refers to the same bytes under today's name.

A record is *written* under both names, with the same version. So code from before the change finds
the channel, and may change it. If a record has both names, the higher version counts. Pending
writes have no versions. Each is written a second time under the earlier name, with an index above
all others (`MIRRORS`). Code that knows of the rename ignores these.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar

from wren_sessions.checkpoints.channels import INPUT
from wren_sessions.checkpoints.codec import CheckpointRecord, WriteBody
from wren_sessions.checkpoints.versions import Version
from wren_sessions.errors import ConfigurationError
from wren_sessions.serializers._channels import GraphChannels

T = TypeVar("T")

MIRRORS: Final = 1_000_000  # where the indexes of such writes begin
COUNTERS: Final = "counters_since_delta_snapshot"  # in metadata: of channels that live in writes
_UPDATED: Final = "updated_channels"


# --- reading --------------------------------------------------------------------------------------


def to_today(body: CheckpointRecord, channels: GraphChannels) -> None:
    """Bring a record that was read to today's names."""
    body.encoded = None
    for name in channels.removed & body.values.keys():
        del body.values[name]
    for old in channels.names.keys() & (body.values.keys() | body.versions.keys()):
        new = channels.names[old]
        value, version = body.values.pop(old, None), body.versions.pop(old, None)
        is_there = new in body.values or new in body.versions
        if not is_there or _is_higher(version, body.versions.get(new)):
            body.values.pop(new, None)
            body.values |= {} if value is None else {new: value}
            body.versions |= {} if version is None else {new: version}
    for seen in body.seen.values():
        for old in channels.names.keys() & seen.keys():
            version, new = seen.pop(old), channels.names[old]
            if new not in seen or _is_higher(version, seen[new]):
                seen[new] = version


def renamed_in(body: CheckpointRecord, channels: GraphChannels) -> dict[str, str]:
    """Which channels `to_today` brings to another name, and to which: empty if they are dropped."""
    found = dict.fromkeys(channels.removed & body.values.keys(), "")
    for old in channels.names.keys() & body.versions.keys():
        new = channels.names[old]
        if new not in body.versions or _is_higher(body.versions[old], body.versions[new]):
            found[old] = new
    return found


def _is_higher(old: Version | None, new: Version | None) -> bool:
    """Whether code before the change has written a channel since."""
    return old is not None and new is not None and old > new  # type: ignore[operator] # alike


def about_today(rest: dict[str, Any], metadata: dict[str, Any], channels: GraphChannels) -> None:
    """Bring what LangGraph notes of channels to today's names."""
    if rest.get(_UPDATED):
        rest[_UPDATED] = list(_named_today(dict.fromkeys(rest[_UPDATED]), channels))
    if metadata.get(COUNTERS):
        counters = {n: c for n, c in metadata[COUNTERS].items() if n not in channels.removed}
        metadata[COUNTERS] = _named_today(counters, channels)


def values_today(values: dict[str, Any], channels: GraphChannels) -> None:
    """Bring a graph's input that has not been taken yet to today's names."""
    if type(values.get(INPUT)) is dict:
        values[INPUT] = _named_today(values[INPUT], channels)


def writes_today(writes: Iterable[WriteBody], channels: GraphChannels) -> list[WriteBody]:
    """Pending writes under today's names, each once, without those to channels that are gone."""
    found = []
    for write in writes:
        new = channels.names.get(write.channel)
        if write.channel not in channels.removed and not (new and write.index >= MIRRORS):
            found.append(replace(write, channel=new) if new else write)
    return found


def _named_today(given: Mapping[str, T], channels: GraphChannels) -> dict[str, T]:
    """A mapping by channel under today's names: where both are there, they are alike."""
    found = {name: item for name, item in given.items() if name not in channels.names}
    for old in channels.names.keys() & given.keys():
        found.setdefault(channels.names[old], given[old])
    return found


# --- writing --------------------------------------------------------------------------------------


def to_both(body: CheckpointRecord, channels: GraphChannels) -> CheckpointRecord:
    """A record in today's names as it is to be written: under both."""
    if not channels.names:
        return body
    return replace(
        body,
        values=_under_both(body.values, channels),
        versions=_under_both(body.versions, channels),
        seen={node: _under_both(seen, channels) for node, seen in body.seen.items()},
    )


def about_both(
    rest: Mapping[str, Any], metadata: Mapping[str, Any], channels: GraphChannels
) -> list[dict[str, Any]]:
    """What LangGraph notes of channels as it is to be written: under both names."""
    found = [dict(rest), dict(metadata)]
    if rest.get(_UPDATED):
        found[0][_UPDATED] = list(_under_both(dict.fromkeys(rest[_UPDATED]), channels))
    if metadata.get(COUNTERS):
        found[1][COUNTERS] = _under_both(metadata[COUNTERS], channels)
    return found


def check_names(session: str, names: Iterable[str], channels: GraphChannels) -> None:
    """Refuse to write a channel under a name that is read as another, or dropped.

    Raises:
        ConfigurationError: it would be lost.
    """
    for name in names:
        new = channels.names.get(name)
        if new is None and name not in channels.removed:
            continue
        line = (
            f"channel_removed({name!r})" if new is None else f"channel_renamed({name!r}, {new!r})"
        )
        raise ConfigurationError(
            f"channel {name!r} of session {session!r} cannot be written: the migrations have "
            f"{line}, so it would be {'dropped' if new is None else f'read as {new!r}'}; give the "
            "channel another name, or run `wren-sessions migrate` and take the line out",
        )


def values_to_write(values: Mapping[str, Any], channels: GraphChannels) -> dict[str, Any]:
    """Values as they are to be written: with their versions, and an input under both names."""
    found = {name: channels.versioned(name, value) for name, value in values.items()}
    if type(found.get(INPUT)) is dict:
        found[INPUT] = _under_both(found[INPUT], channels)
    return found


def _under_both(given: Mapping[str, T], channels: GraphChannels) -> dict[str, T]:
    found = dict(given)
    for new in channels.earlier.keys() & given.keys():
        found |= dict.fromkeys(channels.earlier[new], given[new])
    return found
