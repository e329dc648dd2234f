"""`python -m ops`: the `marquee` command for an interpreter without its scripts."""

from ops.cli import main

main()
