"""Pictures of a run: cost per step over a chat's length, bytes over its length, and latency bars.

Ours are in colour, the others in grey and told apart by dashes; each line and bar carries its name.
The colours are those of Okabe and Ito, which colour-blind people can tell apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from benchmarks.growth import points_of
from benchmarks.page import digits
from benchmarks.peers import PEERS
from benchmarks.results import Results

COLOURS: Final = {"wren memory": "#009E73", "wren file": "#D55E00", "wren redis": "#0072B2"}
GREY: Final = "#767676"
DASHES: Final = {
    "InMemorySaver": "-",
    "SqliteSaver": "--",
    "PostgresSaver": "-.",
    "ValkeySaver": ":",
    "RedisSaver": (0, (6, 1, 1, 1, 1, 1)),
}
FACE: Final = "sync"
LINE: Final = 0.06
"""A line of text, as a part of the height of a picture."""
Points = list[tuple[float, float]]


def draw(results: Results, folder: Path, kind: str) -> list[Path]:
    """Draw all pictures that there are figures for.

    Args:
        results: of a run.
        folder: where they go; it is made.
        kind: ``"svg"`` or ``"png"``.

    Returns:
        The files.
    """
    matplotlib = import_module("matplotlib")
    matplotlib.use("Agg")
    matplotlib.rcParams.update(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "wren",
            "font.size": 10,
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {"cost-per-step": _cost_per_step, "bytes": _bytes, "latency": _latency}
    drawn = {name: picture(results) for name, picture in pictures.items()}
    paths = []
    for name, figure in drawn.items():
        if figure is not None:
            paths.append(folder / f"{name}.{kind}")
            metadata = {"Date": None} if kind == "svg" else {}
            figure.savefig(paths[-1], metadata=metadata, dpi=110)
    return paths


def _figure(panels: int, height: float = 4.6) -> tuple[Any, Sequence[Any]]:
    figure = import_module("matplotlib.figure").Figure(figsize=(5.6 * panels, height))
    figure.set_layout_engine("constrained")
    return figure, figure.subplots(1, panels, squeeze=False)[0]


# --- lines ----------------------------------------------------------------------------------------


def _cost_per_step(results: Results) -> Any:
    panels = {
        "get_ms": "Reading the latest checkpoint (get_tuple)",
        "put_ms": "Writing the next checkpoint (put)",
    }
    lines = {name: _series(results, name) for name in panels}
    if not any(lines.values()):
        return None
    figure, axes = _figure(2)
    for axis, (name, title) in zip(axes, panels.items(), strict=True):
        _lines(axis, lines[name], "ms")
        axis.set(title=title, xlabel="messages in the chat", ylabel="milliseconds")
    figure.suptitle("What a step costs as a chat grows: lower is better, flat is best")
    return figure


def _bytes(results: Results) -> Any:
    stored = _growing(results, "stored_bytes", 1e6)
    sent = {
        peer: [(x, y + z) for (x, y), (_, z) in zip(points, received[peer], strict=True)]
        for received in [_growing(results, "turn_received_bytes", 1e3)]
        for peer, points in _growing(results, "turn_sent_bytes", 1e3).items()
    }
    if not stored:
        return None
    figure, axes = _figure(2)
    _lines(axes[0], stored, "MB")
    axes[0].set(title="Stored, history kept", ylabel="megabytes")
    _lines(axes[1], sent, "kB")
    axes[1].set(title="On the wire, per turn", ylabel="kilobytes sent and received")
    for axis in axes:
        axis.set_xlabel("messages in the chat")
    figure.suptitle("What a chat takes as it grows: lower is better")
    return figure


def _series(results: Results, name: str) -> dict[str, Points]:
    return {
        one.peer: [(x, y) for x, y in one.points]
        for one in results.series
        if (one.workload, one.face, one.name) == ("chat", FACE, name)
    }


def _growing(results: Results, name: str, unit: float) -> dict[str, Points]:
    """Figures of probes as points."""
    found = {peer.name: points_of(results, peer.name, FACE, name) for peer in PEERS}
    return {
        peer: [(size, value / unit) for size, value in points]
        for peer, points in found.items()
        if len(points) > 1
    }


def _lines(axis: Any, lines: dict[str, Points], unit: str) -> None:
    for peer, points in lines.items():
        style = {"color": COLOURS[peer], "lw": 2.2} if peer in COLOURS else {"color": GREY}
        axis.plot(*zip(*points, strict=True), ls=DASHES.get(peer, "-"), **style)
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axis.grid(visible=True, axis="y", color="#dddddd", lw=0.6)
    axis.set_axisbelow(True)
    if lines:
        end = max(points[-1][0] for points in lines.values())
        axis.set(xlim=(0, end), ylim=(0, None))
        _labels(axis, {peer: points[-1][1] for peer, points in lines.items()}, end, unit)


def _labels(axis: Any, ends: dict[str, float], x: float, unit: str) -> None:
    """Names at the ends of lines, moved apart where they would lie on each other."""
    _, high = axis.get_ylim()
    order = sorted(ends, key=lambda peer: ends[peer])
    heights = _apart([ends[peer] / high for peer in order])
    for peer, height in zip(order, heights, strict=True):
        axis.annotate(
            f"{peer}  {digits(ends[peer])} {unit}",
            (x, ends[peer]),
            xytext=(1.02, height),
            textcoords="axes fraction",
            color=COLOURS.get(peer, "#444444"),
            weight="bold" if peer in COLOURS else "normal",
            va="center",
            annotation_clip=False,
        )


def _apart(heights: Sequence[float]) -> list[float]:
    """Ascending heights, moved so that none is within a line of text of the next, or above 1."""
    found: list[float] = []
    for height in heights:
        found.append(max(height, found[-1] + LINE if found else 0))
    ceiling = 1.0
    for at in reversed(range(len(found))):
        found[at] = min(found[at], ceiling)
        ceiling = found[at] - LINE
    return found


# --- bars -----------------------------------------------------------------------------------------


def _latency(results: Results) -> Any:
    sizes = [one.size for one in results.figures if one.name == "put_ms"]
    if not sizes:
        return None
    size = max(sizes)
    panels = {"get_ms": "get_tuple", "put_ms": "put", "list_10_ms": "list(limit=10)"}
    figure, axes = _figure(len(panels), 3.6)
    for axis, (name, title) in zip(axes, panels.items(), strict=True):
        times = {
            peer.name: value
            for peer in PEERS
            if (value := results.value("chat", peer.name, FACE, size, name)) is not None
        }
        _bars(axis, times)
        axis.set(title=title, xlabel="milliseconds, median")
    figure.suptitle(f"Latency at {size:,} messages: shorter is better")
    return figure


def _bars(axis: Any, times: dict[str, float]) -> None:
    names = sorted(times, key=lambda name: -times[name])
    bars = axis.barh(
        names,
        [times[name] for name in names],
        color=[COLOURS.get(name, "#b0b0b0") for name in names],
    )
    axis.bar_label(bars, [digits(times[name]) for name in names], padding=3)
    axis.margins(x=0.15)
    for label in axis.get_yticklabels():
        label.set_weight("bold" if label.get_text() in COLOURS else "normal")
