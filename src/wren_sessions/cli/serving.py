"""``web``: the sessions of a store in a browser."""

from __future__ import annotations

from typing import Annotated

import typer

from wren_sessions.cli._command import Run, command
from wren_sessions.cli._names import MessagesKey
from wren_sessions.web import check_installed


@command(
    examples="""
    wren-sessions web --open
    wren-sessions web --url redis://localhost:6379/0 --port 8090
    wren-sessions web --write --app app:graph
    """
)
def web(
    run: Run,
    *,
    port: Annotated[
        int,
        typer.Option("--port", metavar="N", min=0, max=65_535, help="The port; 0 for a free one."),
    ] = 0,
    host: Annotated[
        str,
        typer.Option(
            "--host",
            metavar="ADDRESS",
            help="Listen on this address. Other machines can reach every address except 127.0.0.1 "
            "and ::1, so another one requires --token or --behind-proxy.",
        ),
    ] = "127.0.0.1",
    open_browser: Annotated[
        bool, typer.Option("--open", help="Open the address in the browser of this machine.")
    ] = False,
    write: Annotated[
        bool,
        typer.Option("--write", help="Allow changes: answer, fork, edit, pin and delete sessions."),
    ] = False,
    app: Annotated[
        str | None,
        typer.Option(
            "--app",
            metavar="MODULE:NAME",
            help="The graph that continues when a question is answered. It is imported and runs "
            "in this process. Requires --write.",
        ),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            metavar="TEXT",
            help="The secret in the address, instead of a random one.",
        ),
    ] = None,
    behind_proxy: Annotated[
        bool,
        typer.Option(
            "--behind-proxy",
            help="There is a proxy with a login in front: accept any Host header, and require no "
            "token unless --token is given.",
        ),
    ] = False,
    messages: MessagesKey = "messages",
) -> None:
    """Show sessions in a browser: conversations, what they wait for, what each step changed.

    It prints an address that contains a token. Anybody with this address can see all sessions.
    Nothing can be changed without --write, and looking does not count as use of a session. Ctrl-C
    stops it.

    It needs the extra web: pip install 'wren-sessions[web]'.
    """
    check_installed()
    from wren_sessions.errors import ConfigurationError
    from wren_sessions.web._app import Settings
    from wren_sessions.web._serving import Listening, check, opener, serve

    listening = Listening(host, port, token, behind_proxy)
    check(listening)
    graph = None
    if app is not None:
        if not write:
            raise ConfigurationError(
                "--app answers questions, which changes sessions: add --write to allow that"
            )
        from wren_sessions.upgrading._application import imported

        graph = imported(app)
    settings = Settings(write=write, graph=graph, messages=messages)

    def ready(address: str) -> None:
        if run.as_json:
            run.screen.json({"url": address, "write": write})
        else:
            run.screen.line(address)
            run.screen.note(f"Sessions in {run.store.location}; Ctrl-C ends it")
        run.screen.flush()
        if open_browser:
            open_address(address)

    with opener() as open_address:
        serve(run.store, settings, listening, ready)
