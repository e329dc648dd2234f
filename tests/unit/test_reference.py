"""The generated pages are those of the code as it is."""

from pathlib import Path

import pytest

from ops.reference.pages import pages


@pytest.mark.parametrize("path", pages(), ids=lambda path: Path(path).name)
def test_pages_are_up_to_date(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == pages()[path], "stale: run `python -m ops.reference`"
