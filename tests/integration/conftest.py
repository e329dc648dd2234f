"""For tests that start Kafka: Java learns it once, for all of them."""

import pytest

from tests.testbed.aot_cache import ensure_aot_cache


@pytest.fixture(scope="session", autouse=True)
def java_knows_kafka() -> None:
    ensure_aot_cache()
