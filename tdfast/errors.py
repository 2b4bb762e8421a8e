"""FileError: what is wrong with a file, or what it holds that tdfast does not know."""


class FileError(ValueError):
    """A file that cannot be read as a model: damaged, unsafe, or made of parts that tdfast lacks.

    The message names the file and, where there is one, the layer, the class or the option at fault.
    Nothing is left half loaded.
    """
