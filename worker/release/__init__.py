"""A release on disk and in memory: its files, catalogue, features and towers.

Other packages import `store`, `release`, `catalogue`, `features`, `vectors` and, where they need Paddle, `paddle_engine` and `tower`.
"""

__all__ = ["catalogue", "features", "paddle_engine", "release", "store", "tower", "vectors"]
