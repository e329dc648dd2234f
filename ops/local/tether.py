"""Run a command that dies with its parent: `python tether.py PARENT_PID COMMAND [ARGUMENT…]`.

Standard library only, so that it starts in some 20 ms. It becomes the command, so the process id stays the same.
`preexec_fn` needs no second program, but forks a process whose threads (gRPC, librdkafka) may hold locks.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
# Signals that end a process; the parent blocks them while it starts a child.
ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


def main() -> None:
    parent, *command = sys.argv[1:]
    if sys.platform == "linux":
        # Kept across execve. The signal comes when the parent's *thread* that started this process ends.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(parent):  # the parent died before the line above
            sys.exit(1)
    # Python ignores SIGPIPE, and the command would inherit that.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
