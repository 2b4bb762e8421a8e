"""Where lines for people go: to the standard output, or to Python's logging."""

import logging
import sys

from tdfast import config


def say(text, end="\n"):
    """Print a line, or log it as the logger 'tdfast' after `config.disable_interactive_logging`.

    >>> say("Epoch 1/5")
    Epoch 1/5
    """
    if config.is_interactive_logging_enabled():
        print(text, end=end, flush=True)
    else:
        logging.getLogger("tdfast").info(text.strip("\n"))


def is_terminal():
    """Whether what is printed can be written over: a terminal or a notebook.

    >>> type(is_terminal())
    <class 'bool'>
    """
    if not config.is_interactive_logging_enabled():
        return False
    return "ipykernel" in sys.modules or bool(getattr(sys.stdout, "isatty", lambda: False)())
