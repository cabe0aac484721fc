"""What people do with graphs, step by step: a scenario drives an app, which notes what it sees."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from langgraph.graph import END
from langgraph.types import Command, StateUpdate

from saver import graphs
from saver.apps import App, thread

Scenario: TypeAlias = Callable[[App], Awaitable[None]]
DURABILITIES: Final = ("sync", "async", "exit")


async def a_conversation(app: App) -> None:
    """Three turns, and a look back at all of them."""
    app.use(graphs.chat())
    for turn in range(3):
        await app.invoke({"messages": [graphs.said(turn, "human")]}, thread())
    await app.state(thread())
    for state in await app.history(thread()):
        await app.state(state.config)
    await app.history(thread(), limit=2)
    await app.history(thread(), filter={"source": "input"})
    await app.everything("t")


async def streaming(app: App) -> None:
    """Every mode of streaming, on one thread."""
    app.use(graphs.chat())
    for number, mode in enumerate(("values", "updates", "checkpoints", "tasks")):
        given = {"messages": [graphs.said(number, "human")]}
        await app.stream(given, thread(), stream_mode=mode)
    await app.everything("t")


async def other_keys(app: App) -> None:
    """What a config holds besides the thread comes with every checkpoint's metadata."""
    app.use(graphs.chat())
    config = {**thread("t", user="ada", tries=3), "metadata": {"build": "b1", "long": ["no"]}}
    await app.invoke({"messages": [graphs.said(1, "human")]}, config)  # type: ignore[arg-type]
    await app.history(thread(), filter={"user": "ada", "build": "b1"})
    await app.history(thread(), filter={"user": "bob"})


async def several_interrupts(app: App) -> None:
    """One node asks three times, and is answered one at a time."""
    app.use(graphs.interrupting(3))
    await app.invoke({"log": ["begin"]}, thread())
    for answer in ("a", "b", "c"):
        await app.state(thread())
        await app.invoke(Command(resume=answer), thread())
    await app.history(thread())
    await app.everything("t")


async def parallel_interrupts(app: App) -> None:
    """Two tasks ask at once; they are answered by id, one after the other."""
    app.use(graphs.interrupting_in_parallel())
    await app.invoke({"log": ["begin"]}, thread())
    state = await app.state(thread())
    for found in sorted(state.interrupts, key=lambda found: str(found.value)):
        await app.invoke(Command(resume={found.id: f"to {found.value}"}), thread())
        await app.state(thread())
    await app.everything("t")


async def parallel_interrupts_at_once(app: App) -> None:
    """Two tasks ask at once, and are answered at once, with an update beside it."""
    app.use(graphs.interrupting_in_parallel())
    await app.invoke({"log": ["begin"]}, thread())
    state = await app.state(thread())
    answers = {found.id: str(found.value) for found in state.interrupts}
    await app.invoke(Command(resume=answers, update={"items": ["new"]}), thread())
    await app.everything("t")


async def breakpoints(app: App) -> None:
    """A graph that stops before and after nodes, and is changed while it stands still."""
    app.use(graphs.line("a", "b", "c"), interrupt_before=["b"], interrupt_after=["c"])
    await app.invoke({"log": ["begin"]}, thread())
    await app.update(thread(), {"log": ["changed"]})
    await app.state(thread())
    await app.invoke(None, thread())
    await app.update(thread(), {"log": ["late"]}, as_node="a")
    await app.state(thread())
    await app.invoke(None, thread())
    await app.everything("t")


async def updates(app: App) -> None:
    """The state is set from outside, in every way there is."""
    app.use(graphs.line("a", "b"))
    await app.update(thread("fresh"), {"log": ["from nothing"]}, as_node="a")
    await app.invoke(None, thread("fresh"))
    await app.everything("fresh")
    await app.invoke({"log": ["begin"]}, thread(), interrupt_before=["b"])
    await app.update(thread(), None, as_node=END)
    await app.state(thread())
    await app.update(thread(), {"log": ["input"], "count": 7}, as_node="__input__")
    await app.update(thread(), None, as_node="__copy__")
    copied = await app.update(thread(), {"log": ["node a"]}, as_node="a")
    await app.state(copied)
    await app.invoke(None, thread())
    await app.history(thread())
    await app.everything("t")


async def updates_at_once(app: App) -> None:
    """Several steps of updates in one call."""
    app.use(graphs.line("a", "b"))
    await app.invoke({"log": ["begin"]}, thread())
    first = [StateUpdate({"log": ["one"]}, "a"), StateUpdate({"log": ["two"]}, "b")]
    await app.update_many(thread(), [first, [StateUpdate({"count": 5}, "a")]])
    await app.everything("t")


async def copies(app: App) -> None:
    """An old checkpoint is copied, twice, and each copy goes its own way."""
    app.use(graphs.line("a", "b", "c"))
    await app.invoke({"log": ["begin"]}, thread())
    old = (await app.history(thread()))[2]
    for way in ("first", "second"):
        copied = await app.update(old.config, None, as_node="__copy__")
        changed = await app.update(copied, {"log": [way]})
        await app.invoke(None, changed)
    await app.history(thread())
    await app.everything("t")


async def time_travel(app: App) -> None:
    """Old checkpoints are run again, run differently, and changed; nothing is lost."""
    app.use(graphs.chat())
    for turn in range(3):
        await app.invoke({"messages": [graphs.said(turn, "human")]}, thread())
    history = await app.history(thread())
    await app.invoke(None, history[4].config)
    await app.invoke({"messages": [graphs.said(77, "human")]}, history[6].config)
    forked = await app.update(history[5].config, {"messages": [graphs.said(88, "human")]})
    await app.invoke(None, forked)
    await app.state(history[0].config)
    await app.state(forked)
    await app.history(thread())
    await app.everything("t")


async def replayed_interrupts(app: App) -> None:
    """A checkpoint from before an answer is answered differently."""
    app.use(graphs.interrupting(2))
    await app.invoke({"log": ["begin"]}, thread())
    for answer in ("a", "b"):
        await app.invoke(Command(resume=answer), thread())
    asked = next(s for s in await app.history(thread()) if s.next == ("ask",))
    await app.invoke(None, asked.config)
    await app.invoke(Command(resume="other"), thread())
    await app.state(thread())
    await app.everything("t")


def a_subgraph(*, own: bool | None, asks: bool, depth: int) -> Scenario:
    """A graph around a subgraph, over two turns, with a look into the subgraph."""

    async def scenario(app: App) -> None:
        app.use(graphs.outer(own=own, asks=asks, depth=depth))
        for turn in range(2):
            await app.invoke({"log": [f"turn {turn}"]}, thread())
            state = await app.state(thread(), subgraphs=True)
            for task in state.tasks if asks else ():
                inner = task.state if not isinstance(task.state, dict) else None
                if inner is not None and depth == 1:
                    await app.history(inner.config)
                    await app.update(inner.config, {"log": ["from outside"]})
            if asks:
                await app.invoke(Command(resume=f"answer {turn}"), thread())
        await app.history(thread())
        await app.everything("t")

    return scenario


async def replayed_subgraph(app: App) -> None:
    """A graph around a subgraph is run again from before the subgraph, and forked there."""
    app.use(graphs.outer(asks=True))
    await app.invoke({"log": ["begin"]}, thread())
    await app.invoke(Command(resume="first"), thread())
    before = next(s for s in await app.history(thread()) if s.next == ("agent",))
    await app.invoke(None, before.config)
    await app.invoke(Command(resume="again"), thread())
    forked = await app.update(before.config, {"log": ["forked"]})
    await app.invoke(None, forked)
    await app.state(thread(), subgraphs=True)
    await app.invoke(Command(resume="third"), thread())
    await app.everything("t")


async def replayed_memory(app: App) -> None:
    """A subgraph with a memory of its own is run again from an older turn."""
    app.use(graphs.outer(own=True))
    for turn in range(3):
        await app.invoke({"log": [f"turn {turn}"]}, thread())
    states = [s for s in await app.history(thread()) if s.next == ("agent",)]
    await app.invoke(None, states[1].config)
    await app.invoke({"log": ["later"]}, thread())
    await app.everything("t")


async def fan_out(app: App) -> None:
    """Tasks that were sent, and a step that collects them."""
    app.use(graphs.fan_out())
    await app.invoke({"items": list("abcde")}, thread())
    await app.invoke({"items": ["again"]}, thread())
    await app.history(thread())
    await app.everything("t")


async def fan_out_that_fails(app: App) -> None:
    """One of three tasks fails and is run again; which of the others were done is up to timing."""
    app.use(graphs.fan_out(fails=["b"]))
    await app.invoke({"items": list("abc")}, thread())
    state = await app.peek(thread())
    app.note([task.error for task in state.tasks if "cannot work" in str(task.error)])
    await app.invoke(None, thread())
    await app.state(thread())


async def failing(app: App) -> None:
    """A node fails twice; its error is kept with the step, and the step is run again."""
    app.use(graphs.failing(2))
    for given in ({"log": ["begin"]}, None, None):
        await app.invoke(given, thread())
        await app.state(thread())
    await app.history(thread())
    await app.everything("t")


async def retrying(app: App) -> None:
    """A node that is retried at once leaves no trace of it."""
    app.use(graphs.failing(2, retried=True))
    await app.invoke({"log": ["begin"]}, thread())
    await app.everything("t")


async def commanding(app: App) -> None:
    """Nodes that choose the next one and send to it."""
    app.use(graphs.commanding())
    await app.invoke({"log": ["begin"]}, thread())
    await app.invoke(Command(goto="choose", update={"count": 0}), thread())
    await app.everything("t")


def trimming(how: str) -> Scenario:
    """A conversation that takes messages out again."""

    async def scenario(app: App) -> None:
        app.use(graphs.trimming(how))
        for turn in range(12):
            await app.invoke({"messages": [graphs.said(turn, "human")]}, thread())
        history = await app.history(thread())
        await app.invoke({"messages": [graphs.said(99, "human")]}, history[9].config)
        await app.everything("t")

    return scenario


def delta(frequency: int) -> Scenario:
    """A channel that lives in its writes: turns, forks, updates, and a look back."""

    async def scenario(app: App) -> None:
        app.use(graphs.delta(frequency))
        for turn in range(3):
            for durability in DURABILITIES:
                await app.invoke({"log": [f"turn {turn}"]}, thread(), durability=durability)
        history = await app.history(thread())
        await app.invoke(None, history[5].config)
        await app.update(history[8].config, {"log": ["forked"]}, as_node="one")
        await app.invoke({"log": ["on the fork"]}, thread())
        await app.update(thread(), {"log": ["updated"]})
        for state in (await app.history(thread()))[::3]:
            await app.state(state.config)
        await app.invoke({"log": ["fresh"]}, thread("fresh"), durability="exit")
        await app.state(thread("fresh"))

    return scenario


async def functional(app: App) -> None:
    """An entrypoint over two calls, with an interrupt in each, and a memory between them."""
    app.use(graphs.functional if app.blocking else graphs.functional_async)
    for number in (1, 5):
        await app.invoke(number, thread())
        await app.state(thread())
        await app.invoke(Command(resume=number), thread())
    await app.history(thread())


def durable(durability: str) -> Scenario:
    """The same runs as above, with another promise of when they are saved."""

    async def scenario(app: App) -> None:
        app.use(graphs.chat())
        for turn in range(2):
            given = {"messages": [graphs.said(turn, "human")]}
            await app.invoke(given, thread(), durability=durability)
        app.use(graphs.interrupting(2))
        await app.invoke({"log": ["begin"]}, thread("asks"), durability=durability)
        for answer in "ab":
            await app.invoke(Command(resume=answer), thread("asks"), durability=durability)
            await app.state(thread("asks"))
        app.use(graphs.outer(asks=True))
        await app.invoke({"log": ["begin"]}, thread("sub"), durability=durability)
        await app.state(thread("sub"), subgraphs=True)
        await app.invoke(Command(resume="x"), thread("sub"), durability=durability)
        app.use(graphs.outer(own=True))
        for turn in range(2):
            await app.invoke({"log": [f"{turn}"]}, thread("memory"), durability=durability)
        for name in ("t", "asks", "sub", "memory"):
            await app.history(thread(name))
            await app.everything(name)

    return scenario


_SINGLE: Final = (
    a_conversation,
    streaming,
    other_keys,
    several_interrupts,
    parallel_interrupts,
    parallel_interrupts_at_once,
    breakpoints,
    updates,
    updates_at_once,
    copies,
    time_travel,
    replayed_interrupts,
    replayed_subgraph,
    replayed_memory,
    fan_out,
    fan_out_that_fails,
    failing,
    retrying,
    commanding,
    functional,
)
SCENARIOS: Final[dict[str, Scenario]] = {
    **{scenario.__name__: scenario for scenario in _SINGLE},
    **{f"trimming_{how}": trimming(how) for how in ("one", "front", "all", "edit")},
    **{f"durability_{how}": durable(how) for how in DURABILITIES},
    **{
        f"subgraph{'_own' * bool(own)}{'_asks' * asks}_{depth}": a_subgraph(
            own=own, asks=asks, depth=depth
        )
        for own in (None, True)
        for asks in (False, True)
        for depth in (1, 2)
    },
    **{f"delta_{frequency}": delta(frequency) for frequency in (1, 3, 50) if graphs.HAS_DELTA},
}
