"""Calls of the Kafka admin client, made in a child process.

librdkafka 2.16 ends its process by a failed assertion where a broker goes away while an admin request waits for it
(`rd_kafka_enq_once_del_source_return`, seen under a load of 100 with a broker that was killed). A worker must not end by
a question about topics, so a child asks; where the child ends, the next call starts another.
"""

import pickle
import select
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Self, TypeVar, cast

from confluent_kafka import KafkaError, KafkaException

from schemas.errors import MarqueeError, UnreachableError

T = TypeVar("T")

# Beyond a call's own limit: for the child to start, on a busy machine.
_START_SECONDS = 10.0


class AdminProcess:
    """Made when first needed. Any number of threads may share it; one call at a time."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._calling = threading.Lock()
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, function: Callable[..., T], *arguments: object, seconds: float) -> T:
        """What a function of a module gives, or raises, in the child; it is to end within `seconds`.

        Raises:
            UnreachableError: the child ended, or did not answer in time; to be repeated.
        """
        with self._calling:
            child = self._running()
            assert child.stdin is not None
            assert child.stdout is not None
            try:
                pickle.dump((function, arguments), child.stdin)
                child.stdin.flush()
                _wait_for(child.stdout, seconds + _START_SECONDS)
                answer, error = pickle.load(child.stdout)
            except (EOFError, OSError, pickle.UnpicklingError):
                self._end()
                raise UnreachableError(
                    "the process that asks Kafka about topics ended; asking again"
                ) from None
        if error is not None:
            raise _received(error)
        return cast(T, answer)

    def close(self) -> None:
        """End the child; a call under way ends with UnreachableError."""
        self._closed = True
        child = self._child
        if child is not None:
            child.kill()
            with self._calling:
                self._end()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._closed:
            raise UnreachableError("this process is ending")
        if self._child is None:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "worker.kafka.aside"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                # Ctrl-C in a terminal goes to the whole group: the parent ends its child itself.
                start_new_session=True,
            )
        return self._child

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with suppress(OSError):  # what was not flushed has nobody to read it
                    pipe.close()


def _wait_for(answers: IO[bytes], seconds: float) -> None:
    """Raise EOFError where none comes in time. An answer is read whole, so nothing of it waits in the buffer."""
    poll = select.poll()
    poll.register(answers, select.POLLIN)
    if not poll.poll(seconds * 1_000):
        raise EOFError


def _sent(error: Exception) -> tuple[int, str] | MarqueeError:
    """An error as it goes through the pipe: the client's own cannot be pickled."""
    if isinstance(error, KafkaException):
        return error.args[0].code(), error.args[0].str()
    return error if isinstance(error, MarqueeError) else MarqueeError(f"{type(error).__name__}: {error}")


def _received(error: tuple[int, str] | MarqueeError) -> Exception:
    return error if isinstance(error, MarqueeError) else KafkaException(KafkaError(*error))


def _serve() -> None:
    """Call what comes in on stdin, until the parent has gone."""
    calls, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # what a library prints is no answer
    while True:
        try:
            function, arguments = pickle.load(calls)
        except EOFError:
            return
        answer = error = None
        try:
            answer = function(*arguments)
        except Exception as raised:  # noqa: BLE001  raised again in the parent
            error = _sent(raised)
        pickle.dump((answer, error), answers)
        answers.flush()


if __name__ == "__main__":
    _serve()
