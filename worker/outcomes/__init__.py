"""The outcomes worker: it joins results with feedback, and counts by release, rank and segment.

Import from the modules: `loop` is the process.
"""
