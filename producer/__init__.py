"""Everything that talks to the worker: publish profiles, read recommendations, send release commands."""
