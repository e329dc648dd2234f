"""The stream of a worker, from poll to commit. Import from the modules, because one of them also runs as a child process.

`session` is the table of phases, `loop` polls, `changes` carries out the orders of the session, `polling` keeps polled events,
`partitions` assigns partitions at the positions that `offsets` finds from committed offsets, `ends` and `topic_state`; `pipeline`
runs batches and `publisher` transactions. `unreadable` and `crashes` hand suspect batches and events to child processes; `children` runs them,
and `rehearser` is one.
"""
