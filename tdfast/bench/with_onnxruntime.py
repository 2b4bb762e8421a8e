"""The models in ONNX Runtime, which only predicts: the graph that an exporter would write."""

from __future__ import annotations

from typing import Any

import numpy as np


class Model:
    """One case in ONNX Runtime; the session is made when the weights are known.

    Args:
        case: a `tdfast.bench.cases.Case`.
        x, y: arrays of all rows.
        threads: of a session.
    """

    def __init__(self, case: Any, x: Any, y: Any, threads: Any) -> None:
        if case.model == "attention":
            raise NotAvailable("a graph with attention is not written for ONNX Runtime")
        self.case, self.x, self.threads = case, x, threads

    def set_weights(self, weights: Any) -> None:
        """From Keras's order and layout."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(_graph(self.case, weights).SerializeToString(), options,
                                                    providers=["CPUExecutionProvider"])

    def predict(self, x: Any) -> Any:
        """The outputs of some rows."""
        run, B = self.session.run, self.case.B
        return np.concatenate([run(None, {"x": x[i : i + B]})[0] for i in range(0, len(x), B)])

    def start_stream(self) -> Any:
        """A function that takes (1, I) and returns (1, O), keeping the state between calls."""
        run = self.session.run
        names = [f"{name}0" for name in _states(self.case)]
        state = [np.zeros((1, 1, self.case.H), np.float32) for _ in names]

        def step(x: Any) -> Any:
            y, *state[:] = run(None, {"x": x[None], **dict(zip(names, state))})
            return y[0]

        return step


def _states(case: Any) -> Any:
    return ("h", "c") if case.cell == "LSTM" else ("h",)


def _graph(case: Any, weights: Any) -> Any:
    """x (B, T, I) to y (B, T, O); a step of a stream is x (1, 1, I), time first, with the states beside
    it."""
    from onnx import TensorProto, helper, numpy_helper

    stream = case.does == "stream"
    nodes, constants, x = [], [], "x"

    def constant(name: str, value: Any) -> Any:
        constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(kind: Any, inputs: Any, outputs: Any, **attributes: Any) -> Any:
        nodes.append(helper.make_node(kind, inputs, outputs, **attributes))
        return outputs[0]

    def info(name: str, *shape: Any) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    states = _states(case)
    if case.model != "tddense":
        kernel, recurrent, bias, *weights = weights
        # Keras: LSTM i f c o, GRU z r h. ONNX: LSTM i o f c, GRU z r h, each matrix transposed.
        order = (0, 3, 1, 2) if case.cell == "LSTM" else (0, 1, 2)

        def gates(w: Any) -> Any:
            return np.concatenate([np.split(w, len(order), axis=-1)[g] for g in order], axis=-1)

        two = (bias, np.zeros_like(bias)) if case.cell == "LSTM" else bias
        constant("W", gates(kernel).T[None])
        constant("R", gates(recurrent).T[None])
        constant("B", np.concatenate([gates(b) for b in two])[None])
        if not stream:
            x = node("Transpose", [x], ["time_first"], perm=(1, 0, 2))
        attributes = {} if case.cell == "LSTM" else {"linear_before_reset": 1}
        starts = ["", *(f"{s}0" for s in states)] if stream else []
        ends = [f"{s}1" for s in states] if stream else []
        x = node(case.cell, [x, "W", "R", "B", *starts], ["hidden", *ends], hidden_size=case.H, **attributes)
        x = node("Squeeze", [x, constant("direction", np.array([1]))], ["sequence"])
        if not stream:
            x = node("Transpose", [x], ["batch_first"], perm=(1, 0, 2))
    x = node("MatMul", [x, constant("kernel", weights[0])], ["product"])
    x = node("Add", [x, constant("bias", weights[1])], ["y" if case.model != "recurrent" else "logits"])
    if case.model == "recurrent":
        node("Softmax", [x], ["y"], axis=-1)
    inputs = [info("x", 1, 1, case.I)] if stream else [info("x", "batch", case.T, case.I)]
    outputs = [info("y", 1, 1, case.O)] if stream else [info("y", "batch", case.T, case.O)]
    if stream:
        inputs += [info(f"{s}0", 1, 1, case.H) for s in states]
        outputs += [info(f"{s}1", 1, 1, case.H) for s in states]
    graph = helper.make_graph(nodes, case.name, inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


class NotAvailable(Exception):
    """This bench has no graph for the case."""
