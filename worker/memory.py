"""The garbage collector's pace in a process that makes and drops a hundred thousand small objects a second.

Almost all of them die by their reference count. By Python's own thresholds the collector would look for cycles among them
every 700, and now and then through a whole catalogue: a tenth of the worker's CPU, and pauses that grow with the catalogue.
"""

import gc

# Some batches of 1,024 events; rarer would only let what has cycles (a traceback, a closed connection) live longer.
_YOUNG, _MIDDLE, _OLD = 50_000, 20, 50


def settle() -> None:
    """Leave what there is by now out of all collections, and collect what comes after at a worker's pace."""
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)
