#!/usr/bin/env python3
"""Makes Python modules for embergrid's gRPC interface from proto/ into a build folder.

    python3 examples/python/generate.py target/python-stubs
"""

import pathlib
import sys

import grpc_tools
from grpc_tools import protoc

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]

# The services that clients use; peer.proto is between nodes only.
FILES = ["entry.proto", "cache.proto", "tickets.proto", "transactions.proto", "cluster.proto"]


def generate(folder: pathlib.Path) -> None:
    """Writes the modules; raises where a file cannot be compiled."""
    folder.mkdir(parents=True, exist_ok=True)
    well_known = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    arguments = [
        "protoc",
        f"--proto_path={REPOSITORY / 'proto'}",
        f"--proto_path={well_known}",
        f"--python_out={folder}",
        f"--grpc_python_out={folder}",
        *[f"embergrid/v1/{name}" for name in FILES],
    ]
    if protoc.main(arguments) != 0:
        raise RuntimeError("the files under proto/ could not be compiled")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    generate(pathlib.Path(sys.argv[1]))
