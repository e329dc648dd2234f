"""The engine and the images, made once a session. What is slow to make is kept in the repository's ignored .cache."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.system.base_image import BASE_IMAGE, base_archive
from tests.system.compose_plugin import compose_plugin
from tests.system.deployment import ROOT, Deployment
from tests.system.engine import Engine
from tests.system.pip_secrets import pip_secrets
from tests.system.standin_context import standin_context

CACHE = ROOT / ".cache/system"


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """A container engine that holds the base image."""
    with ThreadPoolExecutor() as pool:
        archive, plugin = pool.submit(base_archive, CACHE), pool.submit(compose_plugin, CACHE)
    with Engine(CACHE / "engine", plugin.result()) as started:
        started.docker("import", str(archive.result()), BASE_IMAGE)
        yield started


@pytest.fixture(scope="session")
def deployment(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """The compose file with its images built, not yet up; taken down afterwards."""
    made = Deployment(engine)
    context = standin_context(tmp_path_factory.mktemp("standins"))
    made.build(context, pip_secrets(tmp_path_factory.mktemp("secrets")))
    yield made
    made.compose("down", "--volumes")


@pytest.fixture(scope="session")
def deployed(deployment: Deployment) -> Deployment:
    """Everything up with one worker, and a release that was trained, indexed and activated in containers."""
    deployment.up(workers=1)
    deployment.marquee(
        *("data", "generate", "/store/data", "--users", "300", "--movies", "250", "--ratings", "20000")
    )
    deployment.marquee("train", "--data", "/store/data", "--epochs", "2", "--batch", "1024")
    deployment.marquee("reindex", "--wait")
    return deployment
