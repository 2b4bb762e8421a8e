"""``python -m tdfast.distribution script.py arguments``: a script in each of several processes.

An error in one of them, an exit with a code other than 0 too, ends all of them, with the traceback of the
process that it happened in.
"""

from __future__ import annotations

import os
import runpy
import sys

USAGE = """usage: mpiexec -n 4 python -m tdfast.distribution [--shards N] script.py [arguments]

Runs a script in each process that mpiexec, srun or torchrun started. An error in one of them ends them all.

  --shards N  train every model of the script by all processes, as set_distribution(DataParallel(shards=N))
              does: a script that says nothing of processes needs no change
"""


def main(arguments: list[str]) -> int:
    """Run the script; the exit code where there is none to run."""
    from tdfast import distribution
    from tdfast.distribution import current

    shards = None
    if arguments[:1] == ["--shards"] and len(arguments) > 1:
        shards, arguments = arguments[1], arguments[2:]
    if not arguments or arguments[0].startswith("-"):
        asked = arguments in (["-h"], ["--help"])
        print(USAGE, end="", file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 2
    try:
        distribution.initialize()
        if shards is not None:
            if not shards.isdigit():
                raise ValueError(f"--shards must be a whole number of at least 1, got {shards!r}.")
            distribution.set_distribution(distribution.DataParallel(shards=int(shards)))
        sys.argv = arguments
        sys.path[0] = os.path.dirname(os.path.abspath(arguments[0]))
        runpy.run_path(arguments[0], run_name="__main__")
    except SystemExit as error:
        if error.code not in (None, 0) and current.engine().size > 1:
            if isinstance(error.code, str):
                print(error.code, file=sys.stderr, flush=True)
            current.engine().abort(error.code if isinstance(error.code, int) else 1)
        raise
    except BaseException as error:
        if current.engine().size > 1:
            current.report(current.engine(), type(error), error, error.__traceback__)
            current.engine().abort(1)
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
