"""The release commands as an operator types them, with an indexer that carries them out."""

import json
import os
import pty
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from producer.commands import NoOutcomeError, send_command, wait_for_outcome
from schemas.release import ReleaseCommand
from schemas.settings import Settings
from tests.testbed.indexing import TIMEOUT, corrupt, indexer, names, until, view_of, with_store
from tests.testbed.processes import environment_of, marquee
from worker.retrieval.milvus import Milvus


@pytest.fixture
def settings(lite_settings: Settings, two_releases: Path) -> Settings:
    return with_store(lite_settings, two_releases)


def evaluate(settings: Settings, release: str, ndcg: float) -> None:
    folder = Path(settings.store) / "evaluations"
    folder.mkdir(exist_ok=True)
    result = {"metric": "ndcg@10", "split": "users", "data": "d", "value": ndcg}
    (folder / f"{release}.json").write_text(json.dumps({"release": release, "results": [result]}))


def refused(settings: Settings, *arguments: str) -> str:
    """What a command says that ends with exit code 1."""
    done = marquee(settings, *arguments)
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    return done.stderr


def done(settings: Settings, *arguments: str) -> str:
    """What a command says that ends with exit code 0."""
    done = marquee(settings, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def on_a_terminal(settings: Settings, *arguments: str) -> str:
    """What a command writes to standard error where that is a terminal."""
    ours, theirs = pty.openpty()
    environment = environment_of(settings) | {"TERM": "xterm", "COLUMNS": "120"}
    command = [sys.executable, "-m", "ops", *arguments]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=theirs) as child:
        os.close(theirs)
        written = b""
        while True:
            try:
                written += os.read(ours, 4_096)
            except OSError:  # the other end is closed
                break
    os.close(ours)
    assert child.returncode == 0, written
    return written.decode()


def test_they_tell_whether_anybody_is_at_work_when_time_is_up(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ReleaseCommand(action="index", release=names(settings)[0])
    send_command(settings, command, TIMEOUT)
    with pytest.raises(NoOutcomeError, match="see whether `marquee indexer` runs"):
        wait_for_outcome(settings, command, 1.0)

    go_on, finish = threading.Event(), Milvus.finish
    monkeypatch.setattr(Milvus, "finish", lambda *given: (go_on.wait(TIMEOUT), finish(*given)))
    with indexer(settings):
        until(lambda: command.release in view_of(settings).releases)
        with pytest.raises(NoOutcomeError, match="and goes on: follow it"):
            wait_for_outcome(settings, command, 10.0)
        go_on.set()
        assert wait_for_outcome(settings, command, TIMEOUT).outcome == "done"


def test_they_tell_what_became_of_them(settings: Settings) -> None:
    first, second = names(settings)
    with indexer(settings):
        assert "no release is active" in refused(settings, "rollback")
        assert "is not in the store" in refused(settings, "reindex", "20200101T000000-000000", "--wait")

        # A progress bar where somebody can see it.
        shown = on_a_terminal(settings, "reindex", first, "--wait")
        assert f"{first} active" in shown
        assert "100 %" in shown
        assert "expected epoch 0" in refused(settings, "reindex", first, "--wait", "--expected-epoch", "0")

        # One that is worse takes over only by force, which is recorded.
        evaluate(settings, first, 0.4)
        evaluate(settings, second, 0.3)
        worse = "ndcg@10 on users is 0.3000"
        assert worse in refused(settings, "reindex", second, "--wait")
        assert worse in (view_of(settings).releases[second].reason or "")
        assert f"forced, although {worse}" in done(settings, "reindex", second, "--wait", "--force")

        # One that is corrupt changes nothing.
        corrupt(settings, first)
        assert "sha256" in refused(settings, "reindex", first, "--wait")

    table = done(settings, "releases").splitlines()
    heads = table[0].split("  ")
    assert {"Release", "State", "Epoch", "Movies", "Dim", "Metrics", "Size", "Age", "Served by"} <= {
        head.strip() for head in heads
    }
    of = {release: next(line for line in table if release in line) for release in (first, second)}
    assert re.search(r" active +2 +250 +200 +ndcg@10 \(users\) 0\.3000 +\S+ [kM]B +\d+ (s|min) ", of[second])
    assert re.search(r" retired +1 ", of[first])
    assert any("20200101T000000-000000" in line and "rejected" in line for line in table)
