"""Many small models of one kind, each for data of its own: trained, asked and saved in one call.

>>> from tdfast import fleet
>>> callable(fleet.fit)
True
"""

from tdfast.fleet.fitting import fit
from tdfast.fleet.trained import Fleet, load

__all__ = ["Fleet", "fit", "load"]
