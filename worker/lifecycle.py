"""How a process of ours ends, whatever its work is."""

import logging
import signal

log = logging.getLogger(__name__)


def end_quietly() -> None:
    """All is done: a second signal, while the interpreter ends, must not turn exit code 0 into another."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    log.info("stopped")
