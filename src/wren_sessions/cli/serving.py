"""``web``: the sessions of a store in a browser."""

from __future__ import annotations

from typing import Annotated

import typer

from wren_sessions.cli._command import Run, command
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
            help="Listen on this address. Other machines reach any but 127.0.0.1 and ::1, so it "
            "takes --token or --behind-proxy.",
        ),
    ] = "127.0.0.1",
    open_browser: Annotated[
        bool, typer.Option("--open", help="Open the address in the browser of this machine.")
    ] = False,
    write: Annotated[
        bool,
        typer.Option(
            "--write", help="Sessions can be answered, forked, edited, pinned and deleted."
        ),
    ] = False,
    app: Annotated[
        str | None,
        typer.Option(
            "--app",
            metavar="MODULE:NAME",
            help="The graph that goes on when a question is answered; it is imported and runs "
            "here. Takes --write.",
        ),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            metavar="TEXT",
            help="The secret that the address has in it, instead of a random one.",
        ),
    ] = None,
    behind_proxy: Annotated[
        bool,
        typer.Option(
            "--behind-proxy",
            help="A proxy with a login stands before it: any name in Host is taken, and no token "
            "is needed unless one is given.",
        ),
    ] = False,
    messages: Annotated[
        str,
        typer.Option("--messages", metavar="NAME", help="What the list of messages is called."),
    ] = "messages",
) -> None:
    """Show the sessions in a browser: conversations, who waits for what, what each step changed.

    The address that is printed has a token in it: whoever has it sees all sessions. Nothing is
    changed without --write, and looking does not count as use of a session. Ctrl-C ends it.

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
