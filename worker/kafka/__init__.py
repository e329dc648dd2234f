"""librdkafka made safe; it knows no recommender. Import from the modules, because two of them also run as child processes.

`errors` is the table of error codes, `producer` the transactional producer,
`leader` the leader election, `reader` the reader of compacted topics, `undecodable` the way past batches that cannot be decoded,
`admin` questions to the admin client, `cluster` admin calls about topics, `topics` the topics of a deployment and `faults` what
their settings break.
"""
