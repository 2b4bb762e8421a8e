"""The pages of the API reference: every public name of tdfast, by its module.

`write` makes them, and Sphinx fills in the docstrings. A layer or a model has a page of its own; everything
else stands on the page of its module.
"""

import importlib
import inspect
from pathlib import Path

import tdfast

MODULES = ["layers", "models", "activations", "losses", "metrics", "optimizers", "optimizers.schedules",
           "callbacks", "initializers", "regularizers", "constraints", "saving", "fleet", "sklearn",
           "wrappers", "utils", "preprocessing", "preprocessing.sequence", "preprocessing.text", "datasets",
           *(f"datasets.{name}" for name in tdfast.datasets.__all__),
           "ops", "backend", "random", "config", "runtime", "testing", ""]
MODULES[-1:-1] = [name for name in tdfast._MODULES if name not in MODULES]
"""In the order of the index. Of an object with several names, the first is its home."""

BASES = (tdfast.Layer, tdfast.Loss, tdfast.Metric, tdfast.Optimizer, tdfast.callbacks.Callback,
         tdfast.Initializer, tdfast.Regularizer, tdfast.constraints.Constraint,
         tdfast.optimizers.schedules.LearningRateSchedule)
"""Their methods are described there, and not again for each subclass."""

OWN = ("adapt", "finalize_state", "get_vocabulary", "set_vocabulary", "vocabulary_size", "reset_state",
       "reset_states", "get_initial_state", "compute_output_shape")
"""Methods that some layers have beside those of `Layer`."""

MEMBERS = {
    tdfast.Model: """compile fit evaluate predict summary save streamer profile train_on_batch test_on_batch
        predict_on_batch get_layer layers inputs outputs input output get_weights set_weights
        save_weights load_weights to_json get_config from_config count_params weights trainable_weights
        trainable optimizer metrics metrics_names reset_metrics reset_states add_loss losses train_step
        test_step predict_step compute_loss compute_metrics get_metrics_result stop_training""",
    tdfast.Sequential: "add pop",
    tdfast.Layer: """call build add_weight add_loss forward backward compute_output_shape compute_mask
        passed_mask can_be_prepared sublayers get_config from_config get_weights set_weights count_params
        weights trainable_weights non_trainable_weights trainable losses input output""",
    tdfast.Optimizer: """apply apply_gradients build learning_rate iterations variables add_variable
        add_variable_from_reference update_step update slot_names exclude_from_weight_decay
        finalize_variable_values set_weights get_config from_config""",
    tdfast.models.Functional: "",
    tdfast.models.Subclassed: "",
}
"""What is shown of the classes that have many parts; the rest is for tdfast itself."""

GROUPS = {
    "layers": {
        "recurrent": "Recurrent", "time_distributed": "Over time", "convolution": "Convolution and pooling",
        "attention": "Attention", "normalization": "Normalization", "preprocessing": "Text and tables",
        "regularization": "Dropout and noise", "merging": "Merging", "shaping": "Shapes",
        "": "Further layers",
    },
    "ops": {
        "elementwise": "Element by element", "each": "Element by element, further", "reduction": "Reductions",
        "products": "Products", "linear_algebra": "Linear algebra", "shaping": "Shapes",
        "arranging": "Order and choice", "making": "New arrays", "neural": "Neural networks",
        "windows": "Windows", "statistics": "Statistics", "fourier": "Fourier transforms",
        "control": "Loops and branches", "differentiation": "Derivatives", "composed": "Composed",
        "": "Further functions",
    },
}
"""Headings of long lists, by where the package defines what they hold."""


def public_names(module):
    """``__all__``, or what the module itself defines."""
    named = getattr(module, "__all__", None)
    if named is not None:
        return list(named)
    return [name for name, value in vars(module).items() if not name.startswith("_")
            and not inspect.ismodule(value) and getattr(value, "__module__", None) == module.__name__]


def heading(text, line="="):
    return [text, line * len(text), ""]


def table(names):
    """The names with their first sentences."""
    return [".. autosummary::", "   :nosignatures:", "", *(f"   {name}" for name in names), ""]


def entry(name, item):
    """What makes autodoc describe an object, and of a class the methods that its base class does not."""
    if not inspect.isclass(item):
        return [f".. {'autofunction' if inspect.isroutine(item) else 'autodata'}:: {name}", ""]
    lines = [f".. autoclass:: {name}"]
    base = next((base for base in BASES if issubclass(item, base)), None)
    if item in MEMBERS:
        lines += [f"   :members: {', '.join(MEMBERS[item].split())}"] if MEMBERS[item] else []
    elif base is None or item is base:
        lines += ["   :members:", "   :inherited-members:"]
    elif issubclass(item, tdfast.Layer):
        for method in OWN:
            if hasattr(item, method) and not hasattr(tdfast.Layer, method):
                lines += ["", f"   .. automethod:: {method}"]
    return [*lines, ""]


def group_of(module, item):
    """The key of `GROUPS` under which an object stands."""
    parts = getattr(item, "__module__", "").split(".")
    return parts[2] if len(parts) > 2 and parts[2] in GROUPS.get(module, {}) else ""


def described(module, names, title, own_pages):
    """(lines, file name -> text) of a table of names, and of what describes them."""
    here = importlib.import_module(f"tdfast.{module}".rstrip("."))
    lines = [*heading(title, "-"), *table(names)]
    if not own_pages:
        return [*lines, *(line for name in names for line in entry(name, getattr(here, name)))], {}
    top = [":orphan:", "", f".. currentmodule:: {here.__name__}", ""]
    part = [f"In :doc:`{here.__name__} </api/{module}>`{'' if title == 'Classes' else f': {title}'}.", ""]
    pages = {name: [*top, *heading(name), *part, *entry(name, getattr(here, name))] for name in names}
    return lines, {f"{module}/{name}.rst": "\n".join(page) for name, page in pages.items()}


def module_pages(module, homes):
    """File name -> text of the pages of a module; ``homes`` says where objects already have their place."""
    here = importlib.import_module(f"tdfast.{module}".rstrip("."))
    mine, parts, others = {}, [], []
    for name in public_names(here):
        item = getattr(here, name)
        if inspect.ismodule(item):
            parts.append(name)
        elif not isinstance(item, str) and id(item) in homes:
            others.append((name, homes[id(item)]))
        else:
            homes[id(item)] = f"{here.__name__}.{name}"
            kind = "Classes" if inspect.isclass(item) else "Functions"
            title = GROUPS.get(module, {}).get(group_of(module, item), kind)
            mine.setdefault(kind if kind == "Functions" and module == "layers" else title, []).append(name)
    lines = [*heading(here.__name__), f".. automodule:: {here.__name__}", "   :no-members:", "",
             f".. currentmodule:: {here.__name__}", ""]
    out = {}
    order = [*GROUPS.get(module, {}).values(), "Classes", "Functions"]
    for title in sorted(mine, key=order.index):
        own_pages = module in ("layers", "models") and title != "Functions"
        more, pages_of = described(module, mine[title], title, own_pages)
        lines += more
        out.update(pages_of)
    if parts:
        lines += [*heading("Modules", "-"), *(f"- :py:mod:`{here.__name__}.{name}`" for name in parts), ""]
    if others:
        lines += [*heading("Other names", "-"), *(f"- ``{name}`` is `{home}`." for name, home in others), ""]
    return {f"{module or 'top'}.rst": "\n".join(lines), **out}


def pages():
    """File name -> text of every page of the reference."""
    homes, out = {}, {}
    for module in MODULES:
        out.update(module_pages(module, homes))
    names = [f"   {module or 'tdfast'} <{module or 'top'}>" for module in MODULES]
    out["index.rst"] = "\n".join([*heading("API reference"), "Every public name, by module.", "",
                                  ".. toctree::", "   :maxdepth: 1", "", *names, ""])
    return out


def write(folder):
    """Write the pages; those that have not changed stay as they are."""
    for name, text in pages().items():
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf8") != text:
            path.write_text(text, encoding="utf8")
