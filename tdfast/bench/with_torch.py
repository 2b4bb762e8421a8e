"""The models as a PyTorch user writes them: nn modules, Adam, a loop over shuffled batches of tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.bench.cases import HEADS

if TYPE_CHECKING:
    from tdfast.engine.types import Arrays

EPSILON = 1e-7      # Adam's in Keras; PyTorch's own default differs, and so would the weights


class Model:
    """One case in PyTorch.

    Args:
        case: a `tdfast.bench.cases.Case`.
        x, y: arrays of all rows; made into tensors here, before anything is timed.
        threads: for torch.set_num_threads.
    """

    def __init__(self, case: Any, x: Any, y: Any, threads: Any) -> None:
        import torch
        from torch import nn

        torch.set_num_threads(threads)
        self.torch, self.case = torch, case
        self.x, self.y = self.tensor(x), torch.from_numpy(y)
        self.model = _module(torch, nn, case)
        if case.linear:
            self.loss = nn.MSELoss()
        else:
            self.loss = nn.CrossEntropyLoss()
            if not case.soft:
                self.y = self.y.argmax(-1)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.001, eps=EPSILON)

    def tensor(self, x: Any) -> Any:
        """Rows as this library wants them: images with their channels first."""
        x = self.torch.from_numpy(x)
        return x.permute(0, 1, 4, 2, 3).contiguous() if self.case.model == "video" else x

    def set_weights(self, weights: Any) -> None:
        """From Keras's order and layout."""
        weights = [np.asarray(w) for w in weights]
        new = {}
        if self.case.model == "video":
            for i in (0, 3):
                kernel, bias, *weights = weights
                new[f"frames.{i}.weight"], new[f"frames.{i}.bias"] = kernel.transpose(3, 2, 0, 1), bias
            # The features of a frame lie (rows, columns, channels) in Keras, channels first here.
            kernel = weights[0].reshape(6, 6, 32, -1).transpose(2, 0, 1, 3).reshape(1152, -1)
            weights = [kernel, *weights[1:]]
        if self.case.model == "attention":
            self._load(_block_weights(weights))
            return
        for name in self._cells():
            new.update(self._cell_weights(*name, weights[:3]))
            weights = weights[3:]
        new["out.weight"], new["out.bias"] = weights[0].T, weights[1]
        self._load(new)

    def _load(self, new: Any) -> None:
        self.model.load_state_dict({k: self.torch.from_numpy(np.array(v, order="C")) for k, v in new.items()})

    def _cells(self) -> list[tuple[str, str]]:
        """(module, end of the names of its weights) in Keras's order."""
        if self.case.model == "tddense":
            return []
        if self.case.model == "decoder":
            return [("encoder", "l0"), ("decoder", "l0")]
        ways = ("", "_reverse") if self.case.model == "bidirectional" else ("",)
        return [("rnn", f"l{i}{way}") for i in range(self.case.depth) for way in ways]

    def _cell_weights(self, cell: str, end: str, weights: Any) -> dict[str, Any]:
        """Those of one layer of a recurrent module."""
        kernel, recurrent, bias = weights
        if self.case.cell == "GRU":                 # z r h; PyTorch has r z n
            order, bias, other = (1, 0, 2), *bias
        else:                                       # i f c o, as in PyTorch; there are two biases there
            order, other = (0, 1, 2, 3), np.zeros_like(bias)
        return {f"{cell}.{name}_{end}": np.concatenate([np.split(w, len(order), axis=-1)[g] for g in order],
                                                    axis=-1).T
                for name, w in (("weight_ih", kernel), ("weight_hh", recurrent), ("bias_ih", bias),
                                ("bias_hh", other))}

    def first_epoch(self) -> Any:
        """The mean loss of one epoch in the order of the rows, trained as Keras does so that it can be
        compared.

        An LSTM of Keras has one bias, so the second stays as it is; Adam's epsilon is added before the
        second moment is corrected, so here it is divided by that correction, step by step.
        """
        second = [p for name, p in self.model.named_parameters() if "bias_hh_l" in name
                  and self.case.cell == "LSTM"]
        dropouts = [self.model.rnn, self.model.drop] if self.case.dropout else []
        group, steps = self.optimizer.param_groups[0], 0

        def as_keras() -> None:
            nonlocal steps
            steps += 1
            group["eps"] = EPSILON / (1 - group["betas"][1] ** steps) ** 0.5
            for parameter in second:
                parameter.grad = None

        self._set_dropout(dropouts, 0.0)
        loss = self._epoch(self.torch.arange(len(self.x)), as_keras)
        self._set_dropout(dropouts, self.case.dropout)
        group["eps"] = EPSILON
        return loss

    def _set_dropout(self, modules: Any, rate: float) -> None:
        for module in modules:
            setattr(module, "dropout" if module is self.model.rnn else "p", rate)

    def fit(self, epochs: int) -> Any:
        """Epochs as usual, shuffled."""
        for _ in range(epochs):
            self._epoch(self.torch.randperm(len(self.x)))

    def _epoch(self, order: Any, before_step: Any = None) -> Any:
        total = 0.0
        self.model.train()
        for rows in order.split(self.case.B):
            x, y = self.x[rows], self.y[rows]
            self.optimizer.zero_grad()
            out = self.model(x)
            if self.case.model in ("recurrent", "decoder", "bidirectional"):
                out, y = out.flatten(0, 1), y.flatten(0, 1)
            loss = self.loss(out, y)
            loss.backward()
            if before_step is not None:
                before_step()
            self.optimizer.step()
            total += loss.item() * len(rows)
        return total / len(order)

    def predict(self, x: Any) -> Any:
        """The outputs of some rows."""
        x = self.x if len(x) == len(self.x) else self.tensor(x)
        self.model.eval()               # the way of TransformerEncoderLayer for inference
        with self.torch.inference_mode():
            parts = [self.model(rows) for rows in x.split(self.case.B)]
            if not self.case.linear:
                parts = [part.softmax(-1) for part in parts]
            return self.torch.cat(parts).numpy()

    def start_stream(self) -> Any:
        """A function that takes (1, I) and returns (1, O), keeping the state between calls."""
        torch, rnn, out = self.torch, self.model.rnn, self.model.out
        state = [None]

        def step(x: Any) -> Any:
            with torch.inference_mode():
                h, state[0] = rnn(torch.from_numpy(x)[:, None], state[0])
                return out(h[:, -1]).numpy()

        return step


def _module(torch: Any, nn: Any, case: Any) -> Any:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            both = case.model == "bidirectional"
            self.rnn = getattr(nn, case.cell)(case.I, case.H, case.depth, batch_first=True,
                                              bidirectional=both)
            self.out = nn.Linear(2 * case.H if both else case.H, case.O)

        def forward(self, x: Any) -> Arrays:
            h, _ = self.rnn(x)
            return self.out(h)

    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Linear(case.I, case.O)

        def forward(self, x: Any) -> Arrays:
            return self.out(x)

    class Video(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.frames = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.MaxPool2d(2),
                                        nn.Conv2d(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
            self.rnn = nn.LSTM(case.I, case.H, batch_first=True)
            self.out = nn.Linear(case.H, case.O)

        def forward(self, x: Any) -> Arrays:
            frames = self.frames(x.flatten(0, 1))
            h, _ = self.rnn(frames.view(len(x), -1, case.I))
            return self.out(h[:, -1])

    class Forecast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = getattr(nn, case.cell)(case.I, case.H, case.depth, batch_first=True,
                                              dropout=case.dropout)
            self.drop, self.out = nn.Dropout(case.dropout), nn.Linear(case.H, case.O)

        def forward(self, x: Any) -> Arrays:
            h, _ = self.rnn(x)
            return self.out(self.drop(h[:, -1]))

    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.decoder = (nn.LSTM(case.I, case.H, batch_first=True) for _ in range(2))
            self.out = nn.Linear(2 * case.H, case.O)

        def forward(self, x: Any) -> Arrays:
            encoded, state = self.encoder(x)
            decoded, _ = self.decoder(x, state)
            context = nn.functional.scaled_dot_product_attention(decoded, encoded, encoded, scale=1.0)
            return self.out(torch.cat([decoded, context], -1))

    if case.model == "attention":
        return nn.TransformerEncoderLayer(case.I, HEADS, case.H, dropout=0.0, layer_norm_eps=0.001,
                                          batch_first=True)
    return {"tddense": Dense, "video": Video, "decoder": Decoder,
            "forecast": Forecast}.get(case.model, Recurrent)()


def _block_weights(weights: Any) -> dict[str, Any]:
    """Those of TransformerEncoderLayer."""
    parts, (norm1, norm2) = weights[:8], (weights[8:10], weights[14:16])
    I = len(parts[7])  # noqa: E741
    kernels, biases = [w.reshape(I, I).T for w in parts[::2]], [w.reshape(I) for w in parts[1::2]]
    return {
        "self_attn.in_proj_weight": np.concatenate(kernels[:3]),
        "self_attn.in_proj_bias": np.concatenate(biases[:3]),
        "self_attn.out_proj.weight": kernels[3],
        "self_attn.out_proj.bias": biases[3],
        "norm1.weight": norm1[0], "norm1.bias": norm1[1],
        "linear1.weight": weights[10].T, "linear1.bias": weights[11],
        "linear2.weight": weights[12].T, "linear2.bias": weights[13],
        "norm2.weight": norm2[0], "norm2.bias": norm2[1],
    }
