#!/usr/bin/env python3
"""Answers every GET with 200: enough for a health check, and for nothing else."""

import argparse
from http.server import BaseHTTPRequestHandler, HTTPServer


class Healthy(BaseHTTPRequestHandler):
    """Says yes."""

    def do_HEAD(self) -> None:
        """Say so without a body."""
        self.send_response(200)
        self.end_headers()

    do_GET = do_HEAD  # noqa: N815  the library's name


def main() -> None:
    """Serve; other arguments are those of the program whose place this takes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=9000)
    port = parser.parse_known_args()[0].port
    HTTPServer(("", port), Healthy).serve_forever()


if __name__ == "__main__":
    main()
