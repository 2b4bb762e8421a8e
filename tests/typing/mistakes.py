"""Mistakes that a type checker must find: mypy fails where one of these comments has no error to hold back.

Never run."""

from __future__ import annotations

import tdfast
from tdfast import callbacks, layers, losses, metrics, optimizers

layers.Dens(3)  # type: ignore[attr-defined]
layers.Dense()  # type: ignore[call-arg]
layers.Dense("3")  # type: ignore[arg-type]
layers.Dense(3, activation=3)  # type: ignore[arg-type]
layers.LSTM(3, use_bias="yes")  # type: ignore[arg-type]
print(layers.Dense(3).kernle)  # type: ignore[attr-defined]
layers.Dense(3).build()  # type: ignore[call-arg]

model = tdfast.Sequential([layers.Dense(1)])
model.fit([[1.0]], [[1.0]], epoch=3)  # type: ignore[call-arg]
model.fit([[1.0]], [[1.0]], epochs="3")  # type: ignore[arg-type]
model.fit([[1.0]], [[1.0]], callbacks="stop")  # type: ignore[arg-type]
model.compile(optimiser="adam")  # type: ignore[call-arg]
model.compile(optimizer=3)  # type: ignore[arg-type]
model.sumary()  # type: ignore[attr-defined]
model.save(3)  # type: ignore[arg-type]

losses.Huber(delt=1.0)  # type: ignore[call-arg]
losses.Huber(delta="1")  # type: ignore[arg-type]
metrics.AUC(num_treshold=3)  # type: ignore[call-arg]
optimizers.Adam(learning_rate="fast")  # type: ignore[arg-type]
optimizers.Adam(clipnrom=1.0)  # type: ignore[call-arg]
optimizers.AdamW(use_ema="yes")  # type: ignore[arg-type]
callbacks.EarlyStopping(patience="2")  # type: ignore[arg-type]
callbacks.EarlyStoping()  # type: ignore[attr-defined]
tdfast.set_num_threads("4")  # type: ignore[arg-type]
tdfast.activations.relv([1.0])  # type: ignore[attr-defined]


class Silent(layers.Layer):
    def get_config(self) -> int:  # type: ignore[override]
        return 3
