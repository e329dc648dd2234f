"""Marquee's own processes, as an operator starts them, for tests that stop, kill or watch them."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from pydantic import SecretStr

from ops.local.ports import free_port
from schemas.settings import Settings

T = TypeVar("T")


def environment_of(settings: Settings) -> dict[str, str]:
    """The MARQUEE_… variables of a test's settings, on top of this process' environment."""
    client = settings.kafka.client
    return os.environ | {
        "MARQUEE_PREFIX": settings.prefix,
        "MARQUEE_STORE": settings.store,
        "MARQUEE_MILVUS__URI": settings.milvus.uri,
        **{
            f"MARQUEE_KAFKA__{name.upper()}": str(
                value.get_secret_value() if isinstance(value, SecretStr) else value
            )
            for name, value in settings.kafka.model_dump(exclude_defaults=True, exclude={"client"}).items()
        },
        **({"MARQUEE_KAFKA__CLIENT": json.dumps(client)} if client else {}),
    }


def wait_for(what: str, look: Callable[[], T | None], seconds: float = 60.0) -> T:
    """Look again and again until there is something; fails with `what` was waited for."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {seconds:g} s")


class Process:
    """`marquee ROLE …` as a process of its own, with a port of its own and its output in a file."""

    def __init__(
        self,
        role: str,
        settings: Settings,
        folder: Path,
        *arguments: str,
        sources: Path | None = None,
        **variables: str,
    ) -> None:
        """`sources` holds another version's packages, which run in place of ours."""
        self.port = free_port()
        self.log = folder / f"{role}-{self.port}.log"
        environment = environment_of(settings) | {"MARQUEE_HTTP__PORT": str(self.port)} | variables
        with self.log.open("wb") as log:
            self.child = subprocess.Popen(
                [sys.executable, "-m", "ops", role, *arguments],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=sources,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            print(f"--- {self.log.name}\n{self.output[-5_000:]}")
        self.kill()

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL, also where it is stopped by SIGSTOP."""
        self.child.kill()
        self.child.wait()

    def stop(self, seconds: float = 30.0) -> int:
        """SIGTERM; the exit code."""
        self.child.send_signal(signal.SIGTERM)
        return self.child.wait(seconds)

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a page of its port; status 0 while nothing listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def readiness(self) -> dict[str, Any]:
        """What /health/ready says; empty while nothing listens."""
        body = self.get("/health/ready")[1]
        return json.loads(body) if body else {}

    def wait_ready(self, seconds: float = 60.0) -> None:
        wait_for(f"{self.log.name} ready", lambda: self.get("/health/ready")[0] == 200, seconds)

    def metric(self, sample: str) -> float:
        """Value of a sample by its name and labels as /metrics prints them; 0 where there is none."""
        lines = self.get("/metrics")[1].splitlines()
        return next((float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{sample} ")), 0.0)


def marquee(
    settings: Settings, *arguments: str, text: str | None = None, seconds: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run a command with a test's settings, `text` on its standard input; no traceback is ever right."""
    done = subprocess.run(
        [sys.executable, "-m", "ops", *arguments],
        env=environment_of(settings),
        input=text,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done
