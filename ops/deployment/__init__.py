"""A running deployment, looked at and steered. Import from the modules, so that a command loads only those that it needs.

`overview` is its health, `lag` that of a consumer group, `releases` and `outcomes` their tables, `indexing` the way of a release
to the workers, `acls` the rights of each role, `machine` and `servers` the checks of `marquee doctor`, `settings` the settings
in force, `logs` the log lines of a process.
"""
