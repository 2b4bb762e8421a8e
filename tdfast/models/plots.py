"""Pictures of what a model is made of, with matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdfast.compat.calling import spelled
from tdfast.compat.figures import ARROW, FRAME, INK, PAPER, new_figure, put
from tdfast.models.summary import input_shape_text, is_stack, shape_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tdfast.engine.types import Sizes


@spelled
def plot_model(model: Any, to_file: str = "model.png", show_shapes: bool = False, show_dtype: bool = False,
               show_layer_names: bool = False, rankdir: str = "TB", expand_nested: bool = False,
               dpi: int = 200, show_layer_activations: bool = False, show_trainable: bool = False) -> Any:
    """A model's layers as boxes, from its input to its output.

    Args:
        model: a built model.
        to_file: where the picture goes, a path that ends in .png, .pdf or .svg; None: nowhere.
        show_shapes: the shapes that go in and out, None standing for any size.
        show_dtype: each layer's dtype.
        show_layer_names: each layer's name before its class.
        rankdir: 'TB' from top to bottom, 'LR' from left to right.
        expand_nested: True draws the layers of a model within the model, in a frame.
        dpi: dots per inch.
        show_layer_activations: the activations of the layers that have one.
        show_trainable: whether training changes the layer.

    Returns:
        The matplotlib `Figure`.

    Raises:
        ImportError: without matplotlib; ValueError: for a model that is not built, or another rankdir.

    Source: https://keras.io/api/utils/model_plotting_utils/, which draws with Graphviz.

    >>> from tdfast import Sequential, layers
    >>> model = Sequential([layers.LSTM(8, input_shape=(20, 3)), layers.Dense(1)])
    >>> figure = plot_model(model, to_file=None)
    """
    if not getattr(model, "built", False):
        raise ValueError(
            f"plot_model: model '{model.name}' is not built: call build(input_shape), or the model on data."
        )
    if rankdir not in ("TB", "LR"):
        raise ValueError(f"plot_model: rankdir must be 'TB' or 'LR', got {rankdir!r}.")
    shown = {"shapes": show_shapes, "dtype": show_dtype, "names": show_layer_names,
             "activations": show_layer_activations,
             "trainable": show_trainable}
    if _chains_only(model) if expand_nested else is_stack(model):
        first = [] if model.layers and _is_input(model.layers[0]) else model.input_layers
        boxes = [*(_Box(layer, shown, ()) for layer in first), *_boxes(model, shown, expand_nested, ())]
        _place(boxes, rankdir)
        arrows = [(before, box, False) for before, box in zip(boxes, boxes[1:])]
    else:
        whole = _graph(model, shown, expand_nested, rankdir)
        boxes, arrows = whole.boxes, whole.arrows
    _make_room(boxes, arrows, rankdir)
    right, bottom = (max(b.x + b.width + 0.16 * len(b.frames) for b in boxes),
                     max(b.y + b.height + 0.16 * len(b.frames) for b in boxes))
    bottom = max(bottom, _deepest(arrows, rankdir))
    figure = new_figure(right + 0.25, bottom + 0.25, "plot_model")
    axes = figure.add_axes([0, 0, 1, 1])
    axes.set(xlim=(0, right + 0.25), ylim=(bottom + 0.25, 0))       # in inches, downwards
    axes.axis("off")
    _draw_frames(axes, boxes)
    for before, box, passes in arrows:
        ends = (before.middle(1, rankdir), box.middle(0, rankdir))
        bent = {"connectionstyle": f"arc3,rad={BEND}"} if passes else {}
        axes.annotate("", xytext=ends[0], xy=ends[1], zorder=0.5,         # behind the boxes
                      arrowprops={"arrowstyle": "-|>", "color": ARROW, "linewidth": 1.1, "shrinkA": 0,
                                  "shrinkB": 0, **bent})
    for box in boxes:
        box.draw(axes)
    return put(figure, to_file, dpi)


LINE, LETTER = 0.22, 0.082          # inches: the height of a line of text, the width of a letter
BEND = 0.35
"""How far an arrow that passes a row goes out of its way: half of it, as a share of its length."""


def _make_room(boxes: Any, arrows: Any, rankdir: Any) -> None:
    """Move all boxes to the right where bent arrows would leave the picture on the left."""
    if rankdir == "TB":
        bent = [(a.middle(1, rankdir), b.middle(0, rankdir)) for a, b, passes in arrows if passes]
        left = min([(x + u) / 2 - BEND / 2 * abs(v - y) for (x, y), (u, v) in bent], default=0.25)
        for box in boxes if left < 0.1 else ():
            box.x += 0.1 - left


def _deepest(arrows: Any, rankdir: Any) -> float:
    """How far down bent arrows go."""
    bent = [(a.middle(1, rankdir), b.middle(0, rankdir)) for a, b, passes in arrows if passes]
    if rankdir == "TB":
        return 0.0
    return max([(y + v) / 2 + BEND / 2 * abs(u - x) for (x, y), (u, v) in bent], default=0.0)


class _Box:
    """One layer: its title, the lines below, and where it stands.

    Args:
        frames: the models around it, the outermost first.
    """

    def __init__(self, layer: Any, shown: Any, frames: Any) -> None:
        self.title = type(layer).__name__ + _inner(layer)
        if shown["names"]:
            self.title = f"{layer.name} ({self.title})"
        self.lines: list[Any] = []
        self.frames = frames
        if shown["activations"]:
            name = _activation_of(layer)
            self.lines += [f"activation: {name}"] if name else []
        if shown["shapes"] and not _is_input(layer):
            self.lines += [f"in: {input_shape_text(layer)}", f"out: {shape_text(layer)}"]
        elif shown["shapes"]:
            self.lines += [_text(layer.batch_shape)]
        if shown["dtype"]:
            self.lines.append(f"dtype: {layer.dtype}")
        if shown["trainable"] and not _is_input(layer):
            self.lines.append(f"trainable: {'yes' if layer.trainable else 'no'}" if layer.weights
                              else "no weights")
        letters = max(len(self.title) * 1.08, *(len(line) for line in self.lines), 8)
        self.width, self.height = (
            letters * LETTER + 0.3,
            LINE * (1 + len(self.lines)) + 0.14 + 0.08 * bool(self.lines),
        )
        self.x = self.y = 0.0

    def middle(self, end: Any, rankdir: Any) -> tuple[Any, ...]:
        """The point where an arrow comes in (0) or goes out (1)."""
        if rankdir == "TB":
            return self.x + self.width / 2, self.y + end * self.height
        return self.x + end * self.width, self.y + self.height / 2

    def draw(self, axes: Any) -> None:
        from matplotlib.patches import Rectangle

        head = LINE + 0.14
        axes.add_patch(Rectangle((self.x, self.y), self.width, self.height, facecolor=PAPER, edgecolor=INK,
                                 linewidth=1.1))
        axes.add_patch(Rectangle((self.x, self.y), self.width, head, facecolor=INK, edgecolor=INK,
                                 linewidth=1.1))
        middle = self.x + self.width / 2
        axes.text(middle, self.y + head / 2, self.title, color="white", weight="bold", fontsize=10,
                  ha="center", va="center")
        for i, line in enumerate(self.lines):
            axes.text(middle, self.y + head + 0.04 + LINE * (i + 0.5), line, color=INK, fontsize=9.5,
                      ha="center", va="center")


def _boxes(model: Any, shown: Any, expand: Any, frames: Any) -> Iterator[Any]:
    """A box for each layer; those of inner models in their place where they are to be seen."""
    for layer in model.sublayers():
        if expand and getattr(layer, "layers", None):
            yield from _boxes(layer, shown, expand, (*frames, layer))
        else:
            yield _Box(layer, shown, frames)


def _place(boxes: Any, rankdir: Any) -> None:
    """Give the boxes their places, one after the other along one axis, centered on the other."""
    deepest = max(len(b.frames) for b in boxes)
    margin, at = 0.25 + 0.3 * deepest, 0.25
    widest, highest = max(b.width for b in boxes), max(b.height for b in boxes)
    frames = ()
    for i, box in enumerate(boxes):
        # Room for the arrow, and for the edges of frames between two boxes.
        edges = len(set(map(id, frames)) ^ set(map(id, box.frames)))
        opened = any(id(f) not in set(map(id, frames)) for f in box.frames)
        at += (0.0 if i == 0 else 0.32) + 0.16 * edges + 0.2 * opened
        frames = box.frames
        if rankdir == "TB":
            box.x, box.y = margin + (widest - box.width) / 2, at
            at += box.height
        else:
            box.x, box.y = at, margin + (highest - box.height) / 2
            at += box.width


class _Item:
    """What takes one place in the rows of a graph: a layer's box, or a model with all that is in it.

    Attributes:
        boxes, arrows: all that is drawn; an arrow is (from, to, whether it passes a row in between).
        entries, exits: the boxes that read each input, and the box that gives each output.
        x, y, width, height: where it stands, with its frame.
    """

    def __init__(self, boxes: Any, arrows: Any, entries: Any, exits: Any, room: float = 0.0) -> None:
        self.boxes, self.arrows, self.entries, self.exits, self.room = boxes, arrows, entries, exits, room
        self.left, self.top = min(b.x for b in boxes), min(b.y for b in boxes)
        self.width = max(b.x + b.width for b in boxes) - self.left + 2 * room
        self.height = max(b.y + b.height for b in boxes) - self.top + 2 * room + bool(room) * 0.1
        self.x = self.y = 0.0

    @classmethod
    def of_box(cls, box: _Box) -> _Item:
        return cls([box], [], [[box]], [box])

    def move(self) -> None:
        """Bring the boxes to the item's place."""
        for box in self.boxes:
            box.x += self.x - self.left + self.room
            box.y += self.y - self.top + self.room + bool(self.room) * 0.1


def _graph(model: Any, shown: Any, expand: Any, rankdir: Any, frames: Any = ()) -> _Item:
    """A model with branches: what it holds in rows by the longest way from an input."""
    layers = model.sublayers()
    first = [layer for layer in model.input_layers if any(layer is other for other in layers)]
    if not first and not frames:                # a Sequential's input, drawn for the whole model alone
        first = model.input_layers
    items = {}
    for layer in [*first, *layers]:
        inner = expand and getattr(layer, "layers", None)
        items[id(layer)] = _graph(layer, shown, expand, rankdir, (*frames, layer)) if inner else _Item.of_box(
            _Box(layer, shown, frames))
    rows, links, entries = dict.fromkeys(map(id, first), 0), [], []
    for place in range(len(model.graph.inputs)):
        entries.append([items[id(first[place])].entries[0][0]] if first else [])
    inputs = {id(tensor): k for k, tensor in enumerate(model.graph.inputs)}
    for node in model.graph.nodes:
        here, target = 0, items[id(node.layer)]
        for k, tensor in enumerate(node.needs):
            into = target.entries[min(k, len(target.entries) - 1)]
            if id(tensor) not in inputs:
                source, exit_ = tensor.node.layer, tensor.index
            elif first:
                source, exit_ = first[inputs[id(tensor)]], 0
            else:
                entries[inputs[id(tensor)]] += into
                continue
            here = max(here, rows[id(source)] + 1)
            exits = items[id(source)].exits
            links += [(id(source), id(node.layer), exits[min(exit_, len(exits) - 1)], box) for box in into]
        rows[id(node.layer)] = max(here, rows.get(id(node.layer), 0))
    numbers = range(max(rows.values()) + 1)
    _place_rows([[items[key] for key in items if rows.get(key) == row] for row in numbers], rankdir)
    for item in items.values():
        item.move()
    arrows = [arrow for item in items.values() for arrow in item.arrows]
    found = {(id(a), id(b)): (a, b, rows[to] - rows[source] != 1) for source, to, a, b in links}
    exits = []
    for tensor in model.graph.outputs:
        if tensor.node is None or id(tensor) in inputs:
            exits.append(entries[inputs[id(tensor)]][0] if entries[inputs[id(tensor)]] else None)
        else:
            inner_exits = items[id(tensor.node.layer)].exits
            exits.append(inner_exits[min(tensor.index, len(inner_exits) - 1)])
    boxes = [box for item in items.values() for box in item.boxes]
    return _Item(boxes, [*arrows, *found.values()], entries, exits, 0.2 if frames else 0.0)


def _place_rows(rows: Any, rankdir: Any) -> None:
    """Give the boxes of each row their places beside each other, the rows one after the other."""
    gap, down = 0.3, rankdir == "TB"

    def along(box: Any) -> Any:
        return box.width if down else box.height

    def across(box: Any) -> Any:
        return box.height if down else box.width

    lengths = [sum(map(along, row)) + gap * (len(row) - 1) for row in rows]
    at = 0.25
    for row, length in zip(rows, lengths):
        place = 0.4 + (max(lengths) - length) / 2
        for box in row:
            box.x, box.y = (place, at) if down else (at, place)
            place += along(box) + gap
        at += max(map(across, row), default=0) + 0.45


def _chains_only(model: Any) -> bool:
    """Whether a model and all models within it are stacks."""
    return is_stack(model) and all(
        _chains_only(layer) for layer in model.sublayers() if getattr(layer, "layers", None))


def _draw_frames(axes: Any, boxes: Any) -> None:
    """Around the layers of each inner model a frame with the model's name."""
    from matplotlib.patches import FancyBboxPatch

    inner = {id(frame): (depth, frame) for box in boxes for depth, frame in enumerate(box.frames)}
    for depth, frame in inner.values():
        within = [box for box in boxes if any(frame is f for f in box.frames)]
        room = 0.16 * (max(len(box.frames) for box in within) - depth)
        left, top = min(b.x for b in within) - room, min(b.y for b in within) - room - 0.1
        width = max(b.x + b.width for b in within) + room - left
        height = max(b.y + b.height for b in within) + room - top
        axes.add_patch(FancyBboxPatch((left, top), width, height, boxstyle="round,pad=0,rounding_size=0.08",
                                      linestyle="--",
                                      facecolor="none", edgecolor=FRAME, linewidth=1.1))
        axes.text(left + 0.08, top + 0.02, frame.name, fontsize=8, style="italic", va="top")


def _inner(layer: Any) -> Any:
    """`` of Dense`` for a wrapper: the class of the layer within."""
    inner = getattr(layer, "layer", None) or getattr(layer, "forward_layer", None)
    return f" of {type(inner).__name__}{_inner(inner)}" if inner is not None else ""


def _activation_of(layer: Any) -> Any:
    """The name of a layer's activation, or of that of the layer within; None if there is none."""
    activation = getattr(layer, "activation", None)
    if activation is None:
        inner = getattr(layer, "layer", None) or getattr(layer, "forward_layer", None)
        return None if inner is None else _activation_of(inner)
    return activation if isinstance(activation, str) else getattr(activation, "__name__", None) or getattr(
        activation, "name", type(activation).__name__)


def _is_input(layer: Any) -> bool:
    return type(layer).__name__ == "InputLayer"


def _text(shape: Sizes) -> str:
    return f"({', '.join(map(str, shape))})"
