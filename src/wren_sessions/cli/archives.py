"""``export`` and ``import``: sessions as files, and files as sessions again."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import typer

from wren_sessions.archives import export_session, import_session, import_sessions
from wren_sessions.archives._files import temporary_for, write_synced
from wren_sessions.archives._paths import folder_name
from wren_sessions.cli._command import Run, command
from wren_sessions.cli._names import (
    WAYS,
    MessagesKey,
    OwnersSessions,
    SomeSessionNames,
    address_of,
    chosen,
)
from wren_sessions.cli._text import block
from wren_sessions.errors import ConfigurationError
from wren_sessions.transcripts._html import Entry, index
from wren_sessions.viewing.overview import transcript_of

SESSION: Final = "session"
FORMATS: Final = {SESSION: ".jsonl", "json": ".json", "markdown": ".md", "html": ".html"}
INDEX: Final = "index.html"


@command(
    examples="""
    wren-sessions export cli_20251108_145739 -o cli_20251108_145739.jsonl
    wren-sessions export cli_20251108_145739 -o conversation.html
    wren-sessions export cli_20251108_145739 --format markdown
    wren-sessions export --all -o backup/
    wren-sessions export --owner ann -o ann/
    wren-sessions export --all --format html -o pages/
    """
)
def export(
    run: Run,
    *,
    sessions: SomeSessionNames = None,
    every: Annotated[bool, typer.Option("--all", help="Export every session.")] = False,
    owner: OwnersSessions = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="session (default): the complete session, as JSON lines for import. json, "
            "markdown or html: the conversation, as conversation.json, as text, or as a "
            "self-contained page. The ending of the output file also sets the format.",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write to this file, which only you can read. For a folder, or a name that ends "
            "with a slash, write one file per session there, and for html also an index.html. "
            "Default: standard output.",
        ),
    ] = None,
    messages: MessagesKey = "messages",
    force: Annotated[bool, typer.Option("--force", help="Replace existing files.")] = False,
) -> None:
    """Export sessions to files: complete, to import them, or as conversations for people.

    A complete export has every checkpoint and value, not encrypted. Protect it as you protect the
    store.
    """
    ids = list(chosen(run.store, sessions, owner, every=every, ways=WAYS))
    form = _format(form, output)
    content = partial(_content, run, form, messages)
    if output is None:
        _check_single(ids, form)
        for id_ in ids:
            _show(run, content(id_), form)
    elif _is_folder(output) and form == "html":
        _save_pages(run, Path(output), ids, messages, force=force)
    elif _is_folder(output):
        for id_ in ids:
            path = _made(output) / f"{folder_name(id_)}{FORMATS[form]}"
            _save(run, path, {id_: content(id_)}, form, force=force)
    else:
        _check_single(ids, form)
        _save(run, Path(output), {id_: content(id_) for id_ in ids}, form, force=force)


def _save_pages(run: Run, folder: Path, ids: list[str], messages: str, *, force: bool) -> None:
    """Write a page for each session, and one that leads to them."""
    first = _made(folder) / INDEX
    _check_free(first, force=force)
    entries = []
    for id_ in ids:
        name = f"{folder_name(id_)}.html"
        path = folder / (name if name != INDEX else "index~.html")  # no other id is called so
        transcript = transcript_of(run.store, id_, None, messages)
        entries.append(Entry.of(path.name, transcript))
        _save(run, path, {id_: iter([transcript.to_html()])}, "html", force=force)
    _write(first, [[index(entries)]])
    if not run.as_json:
        run.screen.line(f"Index of all pages: {first}")


def _made(folder: str | Path) -> Path:
    """A folder, made if it is not there."""
    Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    return Path(folder)


def _is_folder(output: str) -> bool:
    return output.endswith(("/", os.sep)) or Path(output).is_dir()


def _format(form: str | None, output: str | None) -> str:
    if form is None:
        suffix = "" if output is None or _is_folder(output) else Path(output).suffix.lower()
        if suffix and suffix not in FORMATS.values():
            raise ConfigurationError(
                f"-o {output}: no format is called {suffix}: end it in "
                f"{', '.join(FORMATS.values())}, or say --format"
            )
        return next((name for name, ending in FORMATS.items() if ending == suffix), SESSION)
    if form not in FORMATS:
        raise ConfigurationError(f"--format must be one of {', '.join(FORMATS)}, not {form!r}")
    return form


def _check_single(ids: list[str], form: str) -> None:
    if len(ids) > 1 and form != SESSION:
        raise ConfigurationError(
            f"several sessions do not go into one {form} file: name a folder (-o folder/)"
        )


def _content(run: Run, form: str, messages: str, session: str) -> Iterator[str]:
    """The text of a session's file, in parts."""
    if form == SESSION:
        yield from export_session(run.store, session)
        return
    transcript = transcript_of(run.store, session, None, messages)
    if form == "json":
        yield transcript.to_json()
    elif form == "markdown":
        yield transcript.to_markdown()
    else:
        yield transcript.to_html()


def _show(run: Run, parts: Iterable[str], form: str) -> None:
    """Print a file; on a terminal without what a terminal obeys."""
    for part in parts:
        if run.screen.terminal and form != SESSION:
            for line in block(part, len(part)):
                run.screen.block_line(line, width=None, indent=0)
        else:
            run.screen.raw(part)


def _save(
    run: Run, path: Path, contents: dict[str, Iterator[str]], form: str, *, force: bool
) -> None:
    """Write a file of one session or several."""
    _check_free(path, force=force)
    _write(path, contents.values())
    for id_ in contents:
        run.say({"id": id_, "file": str(path), "format": form}, f"{id_}: written to {path}")


def _check_free(path: Path, *, force: bool) -> None:
    if path.exists() and not force:
        raise ConfigurationError(f"{path} is there already: choose another name, or --force")


def _write(path: Path, contents: Iterable[Iterable[str]]) -> None:
    """Write a file atomically."""
    if not path.parent.is_dir():
        raise ConfigurationError(f"there is no folder {path.parent}: make it, or check its name")
    temporary = temporary_for(path)
    try:
        write_synced(temporary, (part.encode() for parts in contents for part in parts))
        temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@command(
    makes=True,
    examples="""
    wren-sessions import cli_20251108_145739.jsonl
    wren-sessions import user_profiles/cli_20251108_145739/session.jsonl --as resumed
    wren-sessions import backup/*.jsonl --replace
    """,
)
def import_(
    run: Run,
    *,
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE",
            help="Files from export or from an archive; - for standard input.",
        ),
    ],
    new_id: Annotated[
        str | None,
        typer.Option("--as", metavar="ID", help="The new id; only for a single session."),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace sessions with the same id.")
    ] = False,
    renew: Annotated[
        bool,
        typer.Option(
            "--renew",
            help="If a session is older than the store's maximum age, count it as created now.",
        ),
    ] = False,
) -> None:
    """Import exported sessions into any store, with their history, age, own timeout and pin.

    Each file is first read and checked completely. A session appears at once, or not at all. Its
    remaining time is counted from now, which also counts as its last write.
    """
    if new_id is not None and len(files) > 1:
        raise ConfigurationError("--as goes with one file")
    for path in files:
        if path != "-" and not Path(path).is_file():
            raise ConfigurationError(f"there is no file {path}: check its name")
    for path in files:
        for id_ in _imported(run, path, new_id, replace=replace, renew=renew):
            run.say({"id": id_, "file": path}, f"{id_}: imported from {path}")


def _imported(
    run: Run, path: str, new_id: str | None, *, replace: bool, renew: bool
) -> Iterator[str]:
    with sys.stdin.buffer if path == "-" else Path(path).open("rb") as file:
        if new_id is not None:
            target = address_of(run.store, new_id).session
            yield import_session(run.store, file, session=target, replace=replace, renew=renew)
        else:
            yield from import_sessions(run.store, file, replace=replace, renew=renew)
