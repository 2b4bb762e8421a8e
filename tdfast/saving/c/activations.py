"""Activations in C: a function of ``n`` numbers in place for each."""

from __future__ import annotations

from tdfast.engine.activation_table import TABLE

_LOOP = """\
    int j;

    for (j = 0; j < n; j++) {
        const $real v = x[j];
        x[j] = %s;
    }
"""


def _body(expression: str | None) -> str | None:
    return None if expression is None else _LOOP % expression


BODIES = {name: row.c_row or _body(row.c) for name, row in TABLE.items()}
BODIES.update({f"{name} with": _body(row.c_with) for name, row in TABLE.items() if row.c_with})
"""By name: the body of the function; None where there is nothing to do. Those "with" parameters hold
their names."""

ACTIVATION = """\
    int j;

    for (j = 0; j < $N; j++) y[j] = x[j];
    $activation
"""
"""The stage that is an activation alone: see `tdfast.saving.c.source`."""
