#!/usr/bin/env python3
"""Starts Kafka as its published image does: KAFKA_NODE_ID=1 becomes `node.id=1` in server.properties."""

import os
import subprocess
from pathlib import Path

PROPERTIES = Path("/tmp/server.properties")
JAVA = ["/opt/java/bin/java", "-Xmx512m", "-cp", "/opt/kafka/libs/*"]


def main() -> None:
    """Write the properties, format the data folder where it is new, and become Kafka."""
    given = {name: value for name, value in os.environ.items() if name.startswith("KAFKA_")}
    lines = [f"{name[6:].lower().replace('_', '.')}={value}\n" for name, value in given.items()]
    PROPERTIES.write_text("".join(lines))
    format_data = ["kafka.tools.StorageTool", "format", "--ignore-formatted", "--config", str(PROPERTIES)]
    subprocess.run([*JAVA, *format_data, "--cluster-id", "5L6g3nShT-eMCtK--X86sw"], check=True)
    os.execv(JAVA[0], [*JAVA, "kafka.Kafka", str(PROPERTIES)])


if __name__ == "__main__":
    main()
