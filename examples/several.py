"""Train one model by several processes, on one machine or on many: the bikes of bikes.py once more.

    python several.py                                           one process
    mpiexec -n 2 python -m tdfast.distribution several.py       two, after pip install 'tdfast[mpi]'

Both print the same numbers to the last bit. Kill it and start it again, with another number of processes if
you like: it goes on from its last epoch, and the numbers are the same again.

    --epochs N       how long to train (default 8)
    --backup FOLDER  where the backup of a training is that was not finished (default several-backup)
"""

import argparse
import hashlib
import time

import bikes
import numpy as np

import tdfast
from tdfast import distribution
from tdfast.callbacks import BackupAndRestore


def main(arguments=None):
    """Train, print the error. Returns it, and a digest of the weights."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--backup", default="several-backup")
    options = parser.parse_args(arguments)

    distribution.initialize()
    tdfast.utils.set_random_seed(1)
    hours, rentals, calendar, weather = bikes.load()
    held_out = int(np.flatnonzero(hours == bikes.HELD_OUT)[0])
    scale = rentals[:held_out].max()
    days = np.arange(bikes.WEEK, held_out - bikes.AHEAD + 1, 4)
    x, y = bikes.windows(days, rentals, calendar, weather, scale)
    test = np.arange(held_out, len(rentals) - bikes.AHEAD + 1, 24)
    x_test, y_test = bikes.windows(test, rentals, calendar, weather, scale)

    model = bikes.encoder_decoder(x["past"].shape[-1], x["known"].shape[-1])
    model.compile(optimizer=tdfast.optimizers.Adam(0.003), loss="mae")
    start = time.perf_counter()
    with distribution.DataParallel(shards=4).scope():
        model.fit(x, y, batch_size=64, epochs=options.epochs, verbose=2,
                  callbacks=[BackupAndRestore(options.backup)])
        forecast = model.predict(x_test, verbose=0)
    error = bikes.mae(forecast - y_test) * scale
    digest = hashlib.sha256(b"".join([w.numpy().tobytes() for w in model.weights])).hexdigest()[:12]
    if distribution.process_id() == 0:
        print(f"{distribution.num_processes()} processes of {tdfast.get_num_threads()} threads: "
              f"{time.perf_counter() - start:.1f} s")
        print(f"mean absolute error: {error:.2f} rentals an hour, weights {digest}", flush=True)
    return error, digest


if __name__ == "__main__":
    main()
