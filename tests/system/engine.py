"""A container engine of the tests' own: its data, socket and process id apart from any other, and gone afterwards."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0


class EngineError(Exception):
    """A command of the engine failed; the message ends with what it said."""


class Engine:
    """dockerd, with `docker` and `docker compose` that talk to it. The storage driver is whatever works here."""

    def __init__(self, data: Path, compose: Path) -> None:
        """`data` is emptied before and after; `compose` is the program docker-compose."""
        self._data = data
        self._compose = compose
        # Not in pytest's folder: a socket's path has 107 bytes at most.
        self._folder = Path(tempfile.mkdtemp(prefix="marquee-engine-"))
        self._log = self._folder / "log"
        self._daemon: subprocess.Popen[bytes] | None = None
        self._firewall: bytes | None = None
        self.host = f"unix://{self._folder}/sock"
        self._environment = os.environ | {
            "DOCKER_HOST": self.host,
            # Neither the user's credentials nor a plug-in of theirs.
            "DOCKER_CONFIG": str(self._folder),
            "COMPOSE_BAKE": "false",
            "COMPOSE_ANSI": "never",
        }

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self) -> None:
        shutil.rmtree(self._data, ignore_errors=True)
        self._data.mkdir(parents=True)
        # The engine sets a policy and chains in the firewall, and leaves them there.
        saved = subprocess.run(["iptables-save"], capture_output=True, check=True)
        self._firewall = saved.stdout
        command = ["dockerd", f"--data-root={self._data}", f"--exec-root={self._folder}/exec"]
        command += [f"--pidfile={self._folder}/pid", f"--host={self.host}"]
        # Compose makes networks of its own, so another engine's docker0 is left alone.
        command += ["--bridge=none"]
        with self._log.open("wb") as log:
            self._daemon = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._daemon.poll() is not None or time.monotonic() > deadline:
                raise EngineError(f"dockerd did not start:\n{self._log.read_text()[-2_000:]}")
            time.sleep(0.2)

    def _answers(self) -> bool:
        command = ["docker", "version"]
        return (
            subprocess.run(command, env=self._environment, capture_output=True, check=False).returncode == 0
        )

    def stop(self) -> None:
        """End the engine, and with it every container; remove what it kept."""
        if self._daemon is not None:
            self._daemon.terminate()
            try:
                self._daemon.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._daemon.kill()
                self._daemon.wait()
        if self._firewall is not None:
            subprocess.run(["iptables-restore"], input=self._firewall, check=True)
        shutil.rmtree(self._data, ignore_errors=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def docker(self, *arguments: str) -> str:
        """Run `docker`, and give what it printed.

        Raises:
            EngineError: it failed.
        """
        return self._run(["docker", *arguments], {})

    def compose(self, *arguments: str, environment: dict[str, str], timeout_s: float = 600) -> str:
        """Run `docker compose` in the working directory, with more variables, and give what it printed.

        Raises:
            EngineError: it failed.
        """
        return self._run([str(self._compose), *arguments], environment, timeout_s)

    def _run(self, command: list[str], environment: dict[str, str], timeout_s: float = 600) -> str:
        done = subprocess.run(
            command,
            env=self._environment | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if done.returncode != 0:
            said = f"{done.stdout[-4_000:]}\n{done.stderr[-8_000:]}"
            raise EngineError(f"{' '.join(command)} ended with {done.returncode}:\n{said}")
        return done.stdout
