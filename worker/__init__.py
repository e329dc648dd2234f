"""The worker: from profile event to recommendation, and from release to collection."""
