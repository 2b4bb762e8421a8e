"""Errors with a class of their own: a file that cannot be read, a loss that is no number."""


class FileError(ValueError):
    """A file that cannot be read as a model: damaged, unsafe, or made of parts that tdfast lacks.

    The message names the file and, where there is one, the layer, the class or the option at fault.
    Nothing is left half loaded.

    >>> issubclass(FileError, ValueError)
    True
    """


class LossError(FloatingPointError):
    """The loss of a batch is NaN or infinite; the message says where it began.

    >>> issubclass(LossError, FloatingPointError)
    True
    """
