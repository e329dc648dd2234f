"""`python -m ops`: the `marquee` command, for whoever has the interpreter and not its scripts."""

from ops.cli import main

main()
