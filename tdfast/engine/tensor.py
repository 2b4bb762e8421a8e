"""SymbolicTensor: a value between two layers of a graph, before there are numbers."""


class SymbolicTensor:
    """What a layer's call takes or gives in a `tdfast.engine.graph.Graph`.

    Args:
        node: the call that gives it; None for an input of the graph.
        index: which output of that call it is.
        shape: with None for any size; None while it is not known.
        name: for messages.
    """

    __slots__ = ("node", "index", "shape", "name")

    def __init__(self, node=None, index=0, shape=None, name=None):
        self.node, self.index, self.shape, self.name = node, index, shape, name

    def __repr__(self):
        return f"<SymbolicTensor {self.name or ''} shape={self.shape}>"
