"""The indexer: it carries release commands out, builds and checks collections, and sweeps those that are no longer needed.

Import from the modules, because the loop loads Milvus and Paddle: `loop` is the process, `ownership` the owner of a collection,
`retention` the collections that are needed, and `build` the vectors that a build can reuse.
"""
