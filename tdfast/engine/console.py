"""Where lines for people go: to the standard output, or to Python's logging."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from typing import Any

from tdfast import config
from tdfast.distribution.current import is_writer


def say(text: str, end: str = "\n") -> None:
    """Print a line, or log it as the logger 'tdfast' after `config.disable_interactive_logging`.

    >>> say("Epoch 1/5")
    Epoch 1/5
    """
    if not is_writer():
        return                          # another process says it
    if config.is_interactive_logging_enabled():
        print(text, end=end, flush=True)
    else:
        logging.getLogger("tdfast").info(text.strip("\n"))


def is_terminal() -> bool:
    """Whether what is printed can be written over: a terminal or a notebook.

    >>> type(is_terminal())
    <class 'bool'>
    """
    if not config.is_interactive_logging_enabled():
        return False
    return "ipykernel" in sys.modules or bool(getattr(sys.stdout, "isatty", lambda: False)())


def columns() -> Any:
    """How many characters fit into a line that is written over; None in a notebook, where any number does.

    >>> columns() is None or columns() > 0
    True
    """
    if "ipykernel" in sys.modules:
        return None
    try:
        width = os.get_terminal_size(sys.stdout.fileno()).columns
    except (AttributeError, OSError, ValueError):       # no file, or no terminal
        width = 0
    return (width or shutil.get_terminal_size().columns) - 1        # the last one makes some terminals wrap
