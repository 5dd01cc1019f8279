"""Attention maps as pictures: what every head looks at, and how that changed over a training."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from llm_core.train.attention_maps import HeadNumbers, change

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: More layers or heads than these, or more tokens side by side, can't be read in one picture; then some are chosen.
MAX_MAPS, MAX_CELLS = 8, 220
#: What no query may see.
MASKED = "#eceae6"
#: White to a deep blue, through colors that print well in grey.
COLORS = ("#ffffff", "#d9e6f5", "#8fb8de", "#3f7fbf", "#123f7a", "#071a3d")
INK = "#2b2b2b"


def chosen(count: int, most: int) -> list[int]:
    """At most ``most`` of ``count`` things, evenly spread, first and last among them."""
    if count <= most:
        return list(range(count))
    return [round(number * (count - 1) / (most - 1)) for number in range(most)]


def draw_maps(maps: Tensor, words: Sequence[str], title: str, path: Path) -> None:
    """A grid of heat maps, a row for each layer, a column for each head. Rows of a map: who looks; columns: at whom.

    Args:
        maps: (layers, heads, queries, keys)
        words: the tokens, for the axes.
    """
    time = maps.shape[-1]
    gap = max(1, round(0.12 * time))
    pitch = time + gap
    most = min(MAX_MAPS, max(2, MAX_CELLS // pitch))
    layers, heads = chosen(maps.shape[0], most), chosen(maps.shape[1], most)
    # One mosaic instead of an axis for each map: drawn in a tenth of the time.
    mosaic = np.full((len(layers) * pitch - gap, len(heads) * pitch - gap), np.nan, dtype=np.float32)
    masked = np.zeros(mosaic.shape, dtype=bool)
    for row, layer in enumerate(layers):
        for column, head in enumerate(heads):
            at = np.s_[row * pitch : row * pitch + time, column * pitch : column * pitch + time]
            mosaic[at] = maps[layer, head].numpy()
            masked[at] = mosaic[at] == 0  # the softmax of -inf; nothing that may be seen is exactly 0 in practice
    cell = min(0.17, max(0.09, 14 / mosaic.shape[1]))  # inches
    size = mosaic.shape[1] * cell, mosaic.shape[0] * cell
    longest = 0.075 * max(map(len, words))  # inches that the words need beside and below
    with _figure(size[0] + longest + 1.6, size[1] + longest + 1.4, path) as figure:
        axes = _axes(figure, longest + 0.6, longest + 0.35, *size)
        shown = axes.imshow(np.where(masked, np.nan, mosaic), cmap=_colors(), norm=_norm(), zorder=1)
        for row in range(len(layers)):
            for column in range(len(heads)):
                corner = column * pitch - 0.5, row * pitch - 0.5
                axes.add_patch(_square(corner, time, facecolor=MASKED, edgecolor="none", zorder=0))
                axes.add_patch(_square(corner, time, facecolor="none", edgecolor="#b5b1a8", linewidth=0.6, zorder=2))
        font = min(8.0, 72 * cell * 0.95)
        axes.set_yticks([r * pitch + i for r in range(len(layers)) for i in range(time)])
        axes.set_yticklabels([*words] * len(layers), fontsize=font, parse_math=False)
        axes.set_xticks([c * pitch + i for c in range(len(heads)) for i in range(time)])
        axes.set_xticklabels([*words] * len(heads), fontsize=font, rotation=90, parse_math=False)
        _plain(axes)
        for row, layer in enumerate(layers):
            middle = row * pitch + time / 2 - 0.5
            label = f"layer {layer + 1}"
            axes.annotate(label, (-0.5, middle), (-longest * 72 - 20, 0), **_beside(rotation=90, va="center"))
        for column, head in enumerate(heads):
            middle = column * pitch + time / 2 - 0.5
            axes.annotate(f"head {head + 1}", (middle, -0.5), (0, 7), **_beside(ha="center"))
        hidden = (len(layers), len(heads)) != tuple(maps.shape[:2])
        among = f" (of {maps.shape[0]} layers with {maps.shape[1]} heads)" if hidden else ""
        _title(figure, f"Attention, {title}{among}", "row: the token that looks · column: what it looks at")
        _scale(figure, axes, shown, "weight")


def draw_changes(history: dict[int, list[Tensor]], path: Path) -> None:
    """A row for each head, a column for each step looked at; beside each other, how far its maps moved since the step
    before, and on what its attention lies.

    Args:
        history: step -> maps of each sentence, each (layers, heads, queries, keys).
    """
    steps = list(history)
    numbers = [HeadNumbers.of(maps) for maps in history.values()]
    layers, heads = numbers[0].first.shape
    moved = [np.full(layers * heads, np.nan)]
    moved += [change(history[a], history[b]).flatten().numpy() for a, b in pairwise(steps)]
    panels: dict[str, np.ndarray] = {"change since the step before": np.stack(moved, axis=1)} if len(steps) > 1 else {}
    for said, name in (("on the previous token", "previous"), ("on the first token", "first"), ("on itself", "itself")):
        panels[said] = np.stack([getattr(one, name).flatten().numpy() for one in numbers], axis=1)
    tall = min(0.2, 11 / (layers * heads))  # inches a row
    wide = min(0.5, max(0.12, 3.2 / len(steps)))
    height, width = layers * heads * tall, max(1.4, len(steps) * wide)
    with _figure(1.1 + len(panels) * (width + 0.3) + 1.0, height + 1.75, path) as figure:
        for number, (said, values) in enumerate(panels.items()):
            axes = _axes(figure, 0.9 + number * (width + 0.3), 0.65, width, height)
            shown = axes.imshow(values, cmap=_colors(), norm=_norm(), aspect="auto", interpolation="nearest")
            axes.set_facecolor(MASKED)
            axes.set_title(said, fontsize=9, color=INK, pad=6)
            for layer in range(1, layers):
                axes.axhline(layer * heads - 0.5, color="#b5b1a8", linewidth=0.8)
            at = chosen(len(steps), 8)
            axes.set_xticks(at)
            axes.set_xticklabels([f"{steps[i]:,}" for i in at], rotation=90, fontsize=7)
            axes.set_yticks([layer * heads + (heads - 1) / 2 for layer in range(layers)] if number == 0 else [])
            if number == 0:
                axes.set_yticklabels([f"layer {layer + 1}" for layer in range(layers)], fontsize=8)
            _plain(axes)
        _title(figure, "Heads over the training", "one row a head · columns: steps · share of attention, 0 to 1")
        _scale(figure, axes, shown, "")


# ------------------------------------------------------------------------------------------------ the same for both


@contextmanager
def _figure(width: float, height: float, path: Path) -> Iterator[Figure]:
    """A white figure in inches, written to ``path`` at the end. No window system is asked, no global state is kept."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=130, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    yield figure
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a script that the font lacks shows as boxes
        # Without the time and the version that it would write into the file: the same maps give the same bytes.
        canvas.print_png(path, metadata={"Software": None})


def _axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a place given in inches."""
    whole = figure.get_size_inches()
    return figure.add_axes((left / whole[0], bottom / whole[1], width / whole[0], height / whole[1]))


def _colors() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("attention", COLORS).with_extremes(bad=(0, 0, 0, 0))


def _norm() -> Any:
    """By the square root, so that small shares can be told apart."""
    from matplotlib.colors import PowerNorm

    return PowerNorm(0.5, 0, 1)


def _square(corner: tuple[float, float], size: float, **style: Any) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle(corner, size, size, clip_on=False, **style)


def _plain(axes: Axes) -> None:
    axes.tick_params(length=0, pad=2, colors=INK)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _beside(**more: Any) -> dict[str, Any]:
    return {"textcoords": "offset points", "fontsize": 9, "color": INK, "annotation_clip": False} | more


def _title(figure: Figure, title: str, subtitle: str) -> None:
    width, height = figure.get_size_inches()
    figure.text(0.15 / width, 1 - 0.28 / height, title, fontsize=12, color=INK, weight="bold", parse_math=False)
    figure.text(0.15 / width, 1 - 0.5 / height, subtitle, fontsize=8, color="#6f6b64")


def _scale(figure: Figure, axes: Axes, shown: Any, label: str) -> None:
    """A color bar at the right of ``axes``, an inch and a half high at most."""
    width, height = figure.get_size_inches()
    box = axes.get_position()
    tall = min(1.5, box.height * height)
    bar = figure.add_axes((box.x1 + 0.2 / width, box.y1 - tall / height, 0.1 / width, tall / height))
    figure.colorbar(shown, cax=bar, ticks=[0, 0.1, 0.5, 1])
    bar.tick_params(labelsize=7, length=2, colors=INK)
    bar.set_title(label, fontsize=8, color=INK)
