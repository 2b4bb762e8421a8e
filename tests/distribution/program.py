"""A program for several processes, ``python program.py WHAT [ARGUMENTS]``: process 0 prints the result."""

import os
import signal
import sys
import threading

import models
import numpy as np

import tdfast
from tdfast import distribution
from tdfast.callbacks import BackupAndRestore, Callback, CSVLogger, ModelCheckpoint


def say(*words):
    if distribution.process_id() == 0:
        print(*words, flush=True)


def digests():
    """That of each model."""
    say(" ".join(f"{name}={models.together(name)[0]}" for name in models.MODELS))


class Killed(Callback):
    """Ends this process at a batch, counted over all epochs."""

    def __init__(self, batch):
        super().__init__()
        self.left = batch

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def killed(folder, rank, batch):
    """A training of which one process is killed at a batch; rank -1: none."""
    callbacks = [BackupAndRestore(folder, save_freq=2)]
    if distribution.process_id() == int(rank):
        callbacks.append(Killed(int(batch)))
    say("digest", models.together("masked", epochs=4, callbacks=callbacks)[0])


def killed_at(folder, rank, seconds):
    """A longer training of which one process is killed after so many seconds, wherever it is."""
    if distribution.process_id() == int(rank):
        timer = threading.Timer(float(seconds), os.kill, (os.getpid(), signal.SIGKILL))
        timer.daemon = True
        timer.start()
    say("digest", models.together("blog", epochs=150, callbacks=[BackupAndRestore(folder, save_freq=3)])[0])


def files(folder):
    """Callbacks that write."""
    models.together("blog", callbacks=[CSVLogger(f"{folder}/log.csv"), ModelCheckpoint(
        folder + "/{epoch}-{val_loss:.4f}.keras")])
    say("done")


def raises(rank):
    """One process raises."""
    class Raises(Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise ZeroDivisionError("here it is")

    callbacks = [Raises()] if distribution.process_id() == int(rank) else []
    models.together("blog", callbacks=callbacks)


def exits(rank):
    """One process ends itself."""
    if distribution.process_id() == int(rank):
        sys.exit("no more")
    models.together("blog")


def not_a_number():
    """A loss that is NaN in all processes, from rows of one of them."""
    model, (x, y) = models.compiled("blog"), models.data("blog")
    tdfast.config.set_check_finite(False)
    x[-1] = np.nan
    with distribution.DataParallel(shards=8).scope():
        model.fit(x, y, batch_size=70, epochs=2, verbose=0)


def other_data():
    """Processes with other data."""
    model, (x, y) = models.compiled("blog"), models.data("blog")
    with distribution.DataParallel(shards=8).scope():
        model.fit(x + distribution.process_id(), y, batch_size=32, verbose=0, shuffle=False)


def prints():
    """A progress bar and lines of a callback."""
    with distribution.DataParallel(shards=8).scope():
        model, (x, y) = models.compiled("blog"), models.data("blog")
        model.fit(x, y, batch_size=32, epochs=2, verbose=2,
                  callbacks=[tdfast.callbacks.EarlyStopping("loss", patience=9, verbose=1)])


if __name__ == "__main__":
    distribution.initialize(engine=os.environ.get("ENGINE"))
    globals()[sys.argv[1]](*sys.argv[2:])
