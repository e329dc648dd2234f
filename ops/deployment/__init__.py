"""A running deployment, looked at and steered. Import from the modules, so that a command loads only those that it needs.

`overview` is its health, `lag` that of a consumer group, `releases` and `outcomes` their tables, `indexing` the way of a release
to the workers, `acls` the rights of each role, `machine` and `servers` the checks of `marquee doctor`, `settings` the settings
in force, `logs` and `disk` the log lines and file errors of a process.
"""
