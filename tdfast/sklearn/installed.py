"""The base classes of scikit-learn, which may not be installed."""

from __future__ import annotations

from typing import Any


class _Absent:
    """Stands for a class of scikit-learn's where that is not installed: nothing can be made of it."""

    found = "is not installed"

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        raise ImportError(
            f"{cls.__name__} needs the package scikit-learn, 1.6 or newer, which {cls.found}: "
            "pip install 'tdfast[sklearn]'."
        )


def base_class(name: str) -> Any:
    """The class of ``sklearn.base``, or one whose objects cannot be made: they say what to install.

    Args:
        name: such as "BaseEstimator".

    >>> base_class("BaseEstimator").__name__
    'BaseEstimator'
    """
    try:
        import sklearn
        import sklearn.base
    except ModuleNotFoundError as error:
        if error.name != "sklearn":
            raise
        return type(name, (_Absent,), {})
    if not hasattr(sklearn.base.BaseEstimator, "__sklearn_tags__"):     # since 1.6
        return type(name, (_Absent,), {"found": f"is {sklearn.__version__} here"})
    return getattr(sklearn.base, name)
