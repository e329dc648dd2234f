"""Monitoring: health and HTTP, metrics, the client's statistics, the page, threads and failpoints, each in its module."""
