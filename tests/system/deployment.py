"""docker-compose.yml as somebody deploys it: brought up, given a release, scaled, taken down."""

import json
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from ops.local.ports import free_port
from tests.system.engine import Engine

PROJECT = "marquee-test"
ROOT = Path(__file__).parents[2]


class Deployment:
    """The containers of one project, with the published ports where they are free."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        names = ("KAFKA", "MILVUS", "PROMETHEUS", "GRAFANA")
        self._ports = {f"{name}_PORT": str(free_port()) for name in names}

    @property
    def bootstrap_servers(self) -> str:
        return f"127.0.0.1:{self._ports['KAFKA_PORT']}"

    def build(self, context: Path, secrets: dict[str, Path]) -> None:
        """Build our image, and the stand-ins under the names of the published ones."""
        environment = {
            "STANDINS": str(context),
            "PIP_CONFIGURATION": str(secrets["pip"]),
            "AUTHORITIES": str(secrets["ca"]),
        }
        files = [ROOT / "docker-compose.yml", ROOT / "tests/system/build.yml"]
        options = [part for file in files for part in ("--file", str(file))]
        self._engine.compose(*options, "--progress", "plain", "build", environment=environment)

    def up(self, *, workers: int) -> None:
        """Create and start what is missing, and wait until every health check passes."""
        self.compose("up", "--detach", "--pull", "never", "--wait", "--scale", f"worker={workers}")

    def marquee(self, *arguments: str) -> str:
        """Run a command in a container of its own, as the head of docker-compose.yml shows."""
        return self.compose("run", "--rm", "--no-TTY", "indexer", *arguments)

    def inside(self, service: str, *command: str) -> str:
        """Run a program in the service's first container. Raises EngineError where it fails."""
        return self.compose("exec", "--no-TTY", service, *command)

    def compose(self, *arguments: str) -> str:
        """`docker compose` on the file as it is."""
        options = ("--file", str(ROOT / "docker-compose.yml"), "--project-name", PROJECT)
        return self._engine.compose(*options, *arguments, environment=self._ports)

    def containers(self, service: str) -> list[dict[str, Any]]:
        """What the engine knows about each running container of a service (`docker inspect`)."""
        ids = self.compose("ps", "--quiet", service).split()
        return [json.loads(self._engine.docker("inspect", each))[0] for each in ids]

    def exit_code(self, container: str) -> int:
        """Of a container that has ended."""
        return int(self._engine.docker("inspect", "--format", "{{.State.ExitCode}}", container))

    def left_over(self) -> dict[str, list[str]]:
        """Containers, volumes and networks of the project, by kind."""
        label = f"label=com.docker.compose.project={PROJECT}"
        listings = {
            "containers": ("ps", "--all", "--quiet", "--filter", label),
            "volumes": ("volume", "ls", "--quiet", "--filter", label),
            "networks": ("network", "ls", "--quiet", "--filter", label),
        }
        return {kind: self._engine.docker(*listing).split() for kind, listing in listings.items()}

    def query(self, expression: str) -> list[float]:
        """The values of a Prometheus query now."""
        parameters = urllib.parse.urlencode({"query": expression})
        url = f"http://127.0.0.1:{self._ports['PROMETHEUS_PORT']}/api/v1/query?{parameters}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return [float(sample["value"][1]) for sample in json.load(answer)["data"]["result"]]
