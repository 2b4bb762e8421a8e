"""Keras's functional models that are plain chains, read as `Sequential` models.

Keras describes such a model as a graph: each layer's ``inbound_nodes`` say which tensors it was called on,
and operations that make masks stand between the layers. Here the graph is followed from the output to the
input.
"""

from tdfast.errors import FileError

CLASSES = ("Functional", "Model")
"""The names under which Keras saves such models."""

MAX_LAYERS = 4096


def chain_of(config):
    """(the config of a Sequential model with these layers, the class of each layer in the file's list, their
    places there).

    Args:
        config: the config of a functional model, of Keras 3 or 2.

    Raises:
        FileError: naming the layer at which it is no plain chain.
    """
    graph = _Graph(config)
    names = graph.path()
    place = {name: i for i, name in enumerate(graph.items)}
    sequential = {key: config[key] for key in ("name", "trainable", "dtype") if key in config}
    return (
        {**sequential, "layers": [graph.items[name] for name in names]},
        [item["class_name"] for item in graph.items.values()],
        [place[name] for name in names],
    )


class _Graph:
    """The layers and the operations of a functional model by their names."""

    def __init__(self, config):
        self.name = config.get("name")
        self.items, self.operations = {}, {}
        layers = config.get("layers")
        if not isinstance(layers, list):
            self.refuse("its config has no list of layers")
        if len(layers) > MAX_LAYERS:
            self.refuse(f"it has {len(layers)} layers, more than {MAX_LAYERS}")
        for item in layers:
            name, kind = (item.get("name"),
                          item.get("class_name")) if isinstance(item, dict) else (None, None)
            inner = item.get("config") if isinstance(item, dict) else None
            if name is None and isinstance(inner, dict):
                name = inner.get("name")
            if not isinstance(name, str) or not isinstance(kind, str) or not isinstance(inner, dict):
                self.refuse("the description of one of its layers lacks a name, a class_name or a config")
            if name in self.items or name in self.operations:
                self.refuse(f"it has two layers called '{name}'")
            module = item.get("module")
            (self.operations if isinstance(module, str) and ".ops." in module else self.items)[name] = item
        self.input = self.end(config, "input_layers")
        self.output = self.end(config, "output_layers")

    def refuse(self, why):
        raise FileError(
            f"Model '{self.name}' is a Functional model. tdfast reads one that is a plain chain of layers, "
            "from one input to one "
            f"output, but {why}."
        )

    def label(self, name):
        item = self.items.get(name) or self.operations.get(name)
        return f"layer '{name}' ({item['class_name']})" if item else f"layer '{name}', which is not there,"

    def end(self, config, key):
        """The layer at one end."""
        value = config.get(key)
        if isinstance(value, dict):
            value = list(value.values())
        if isinstance(value, list) and value and isinstance(value[0], list):
            if len(value) != 1:
                self.refuse(f"it has {len(value)} {key.replace('_layers', 's')}")
            value = value[0]
        return self.tensor(value, f"its {key}")

    def tensor(self, history, who):
        """The layer whose first output a tensor is, from [layer, call, output]."""
        if not isinstance(history, list) or len(history) < 3 or not isinstance(history[0], str):
            self.refuse(f"{who} are not described as [layer, call, output]")
        name, call, output = history[:3]
        if call != 0:
            self.refuse(f"{self.label(name)} is called several times")
        if output != 0:
            self.refuse(f"{self.label(name)} gives more than one output")
        return name

    def path(self):
        """The names from the input to the output."""
        found = {self.output: None}         # in order, and quick to search
        name = self.output
        while name != self.input:
            name = self.before(name)
            if name in found:
                self.refuse(f"{self.label(name)} comes after itself")
            found[name] = None
        names = list(found)[::-1]
        if self.input not in self.items or self.items[self.input]["class_name"] != "InputLayer":
            self.refuse(f"its input is {self.label(self.input)}")
        for name in self.items:
            if name not in found:
                self.refuse(f"{self.label(name)} is not on the way from '{self.input}' to '{self.output}'")
        return names

    def before(self, name):
        """The layer whose output a layer was called on, with no other argument that matters."""
        label = self.label(name)
        if name not in self.items:
            self.refuse(f"{label} is an operation" if name in self.operations else f"{label} is called")
        tensors, options = self.call(name)
        if len(tensors) != 1:
            self.refuse(f"{label} has {len(tensors)} inputs")
        for option, value in options.items():
            if option == "mask" and self.history(value) is not None:
                self.check_mask(self.tensor(self.history(value), f"the mask of {label}"), label)
            elif value is not None and value is not False:
                self.refuse(f"{label} is called with {option}={value!r:.80}")
        return self.tensor(tensors[0], f"the inputs of {label}")

    def call(self, name):
        """([the history of each input], {option: value}) of a layer's only call."""
        label = self.label(name)
        nodes = (self.items.get(name) or self.operations[name]).get("inbound_nodes")
        if not isinstance(nodes, list) or len(nodes) != 1:
            self.refuse(f"{label} is called {len(nodes) if isinstance(nodes, list) else 0} times")
        node = nodes[0]
        if isinstance(node, list):                  # Keras 2: [[layer, call, output, options], ...]
            options = node[0][3] if len(node) == 1 and isinstance(node[0], list) and len(node[0]) > 3 else {}
            return node, options if isinstance(options, dict) else {}
        arguments, options = (node.get("args"),
                              node.get("kwargs")) if isinstance(node, dict) else (None, None)
        if not isinstance(arguments, list) or not isinstance(options, dict):
            self.refuse(f"the call of {label} has no args and kwargs")
        if len(arguments) == 1 and isinstance(arguments[0], list):
            arguments = arguments[0]
        tensors = [self.history(value) for value in arguments]
        others = {f"argument {i}": value for i, (value, tensor) in enumerate(zip(arguments, tensors))
                  if tensor is None}
        return [tensor for tensor in tensors if tensor is not None], {**others, **options}

    @staticmethod
    def history(value):
        """[layer, call, output] of a description of a tensor, else None."""
        if (
            isinstance(value, dict)
            and value.get("class_name") == "__keras_tensor__"
            and isinstance(value.get("config"), dict)
        ):
            return value["config"].get("keras_history") or []
        return None

    # ---------------------------------------------------------------- masks
    def check_mask(self, name, label):
        """A mask must be the one that Embedding or Masking makes from its input: the layers here make it
        again."""
        item, any_of = self.operations.get(name), None
        if item is not None and item["class_name"] == "Any":
            any_of = item["config"]
            tensors, _ = self.call(name)
            name = self.tensor(tensors[0],
                               f"the inputs of the mask of {label}") if len(tensors) == 1 else None
            item = self.operations.get(name)
        if item is not None and item["class_name"] == "NotEqual":
            tensors, options = self.call(name)
            if len(tensors) == 1 and len(options) == 1:
                source, value = self.tensor(tensors[0], f"the inputs of '{name}'"), options.get("argument 1")
                for maker, layer in self.items.items():
                    if any_of is None:
                        fits = (
                            layer["class_name"] == "Embedding"
                            and layer["config"].get("mask_zero") is True
                            and value == 0
                        )
                    else:
                        fits = (layer["class_name"] == "Masking"
                                and layer["config"].get("mask_value") == value
                                and any_of.get("axis") in (-1, [-1]) and any_of.get("keepdims") is False)
                    if fits and self.call(maker)[0] == [[source, 0, 0]]:
                        return
        self.refuse(f"{label} has a mask that is none of an Embedding or Masking layer")
