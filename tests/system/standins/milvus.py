#!/usr/bin/env python3
"""`milvus run standalone`, by the server that PyPI's package milvus carries."""

import os
import signal
import sys

from milvus import MilvusServer

# This server reads them too, and knows neither this log nor the parts.
FOR_THE_PUBLISHED_IMAGE = ("MQ_TYPE", "ETCD_ENDPOINTS", "MINIO_ADDRESS")


def main() -> None:
    """Serve until SIGTERM, and end with the server if it dies."""
    if sys.argv[1:] != ["run", "standalone"]:
        sys.exit(f"only `run standalone` is known here, not {sys.argv[1:]}")
    for name in FOR_THE_PUBLISHED_IMAGE:
        os.environ.pop(name, None)
    server = MilvusServer(wait_for_started=False)
    server.set_base_dir("/var/lib/milvus")
    server.listen_port = 19530
    server.start()
    signal.signal(signal.SIGTERM, lambda *_: server.server_proc.terminate())
    sys.exit(server.server_proc.wait())


if __name__ == "__main__":
    main()
