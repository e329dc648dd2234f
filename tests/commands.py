"""`marquee …` as a person runs it, to its end."""

import subprocess
import sys

from schemas.settings import Settings
from tests.processes import environment_of


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
