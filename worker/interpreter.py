"""Python's own pace, set for a process that makes and drops a hundred thousand small objects a second in some threads."""

import gc
import sys

# Almost all objects die by their reference count. By Python's own thresholds the collector would look for cycles among them
# every 700, and now and then through a whole catalogue: a tenth of the worker's CPU, and pauses that grow with the
# catalogue. These are some batches of 1,024; rarer would only let what has cycles (a traceback) live longer.
_YOUNG, _MIDDLE, _OLD = 50_000, 20, 50
# How long a thread that comes back from Kafka or Milvus waits for one that encodes or decodes. By Python's own 5 ms, a call
# of 1 ms beside a busy thread took 8 to 10 ms more, with this 2 to 3; a batch comes back some ten times.
_SWITCH_SECONDS = 0.0005


def settle() -> None:
    """Leave what there is by now out of all collections, and go on at a worker's pace."""
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)
    sys.setswitchinterval(_SWITCH_SECONDS)
