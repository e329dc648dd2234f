"""Serving: profiles to ranked lists, batches to records, and the swap of the release that answers."""

from worker.serving.active import ReleaseFollower
from worker.serving.answerer import Answerer
from worker.serving.blocklist import Blocklist
from worker.serving.candidate import Candidate, Serving, Shadow
from worker.serving.heartbeat import Heartbeat
from worker.serving.loader import ReleaseLoader, ServedRelease
from worker.serving.recommender import Recommender

__all__ = [
    "Answerer",
    "Blocklist",
    "Candidate",
    "Heartbeat",
    "Recommender",
    "ReleaseFollower",
    "ReleaseLoader",
    "ServedRelease",
    "Serving",
    "Shadow",
]
