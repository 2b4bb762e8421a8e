"""Training of one model by several processes, on one machine or on many, with Keras's names.

``mpiexec -n 4 python -m tdfast.distribution train.py`` runs a script in four processes of MPI. See
docs/distributed.md.

>>> from tdfast import distribution
>>> distribution.initialize()
>>> distribution.set_distribution(distribution.DataParallel(shards=8))
>>> distribution.distribution()
<DataParallel shards=8, processes=1, auto_shard_dataset=True>
>>> distribution.set_distribution(None)
"""

from tdfast.compat import absent
from tdfast.distribution.current import (
    distribution,
    get_device_count,
    initialize,
    list_devices,
    num_processes,
    process_id,
    set_distribution,
)
from tdfast.distribution.data_parallel import DataParallel
from tdfast.distribution.engine import Engine

__all__ = ["DataParallel", "Engine", "distribution", "get_device_count", "initialize", "list_devices",
           "num_processes", "process_id", "set_distribution"]

__getattr__ = absent.lookup(__name__)
