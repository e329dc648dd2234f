"""The shifted clock of the clock scenario is off by the given shift, and changes the length of no wait."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults.scenarios.clock import HOUR_SECONDS, clock_obstacle, wrong_clock

# Waits of Python's locks, of librdkafka's conditions and of the Milvus client's gRPC, each with a deadline of its own kind.
WAITS = """
import datetime, threading, time
import grpc
from confluent_kafka import Consumer

def lock():
    held = threading.Lock()
    held.acquire()
    held.acquire(timeout=0.3)

def call():
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        try:
            channel.unary_unary("/service/method")(b"", timeout=0.3, wait_for_ready=True)
        except grpc.RpcError:
            pass

consumer = Consumer({"group.id": "clock", "log_level": 0})
print(time.time(), datetime.datetime.now(datetime.UTC).timestamp(), time.clock_gettime(time.CLOCK_REALTIME))
for wait in (lock, call, lambda: consumer.poll(0.3)):
    began = time.monotonic()
    wait()
    print(time.monotonic() - began)
"""


@pytest.mark.skipif(bool(clock_obstacle()), reason=str(clock_obstacle()))
@pytest.mark.parametrize("shift_s", [HOUR_SECONDS, -HOUR_SECONDS])
def test_the_clock_is_wrong_and_every_wait_right(shift_s: int, tmp_path: Path) -> None:
    began = time.time()

    said = subprocess.run(
        [sys.executable, "-c", WAITS],
        env=wrong_clock(tmp_path, shift_s),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    clocks, *waits = said.stdout.splitlines()
    for read in clocks.split():
        assert began + shift_s <= float(read) <= time.time() + shift_s
    assert len(waits) == 3
    assert all(0.25 < float(wait) < 30 for wait in waits)
