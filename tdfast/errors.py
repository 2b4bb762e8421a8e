"""Errors with a class of their own: an unreadable file, a loss that is no number, processes that differ."""


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


class DistributionError(RuntimeError):
    """Processes that train together do not do the same; the message names them.

    >>> issubclass(DistributionError, RuntimeError)
    True
    """
