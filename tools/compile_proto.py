"""Compiles ``edge_runtime/grpc/open_inference.proto`` into ``open_inference.binpb``, next to it: the messages as data.

Needs ``grpcio-tools``; the server needs the result only. A test compares the two.
"""

import tempfile
from pathlib import Path

from grpc_tools import protoc

SOURCE = Path(__file__).resolve().parents[1] / "edge_runtime" / "grpc" / "open_inference.proto"
COMPILED = SOURCE.with_suffix(".binpb")


def compile_proto() -> bytes:
    """The file's descriptors, a serialized ``FileDescriptorSet``."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "compiled"
        code = protoc.main(
            ["protoc", f"--proto_path={SOURCE.parent}", f"--descriptor_set_out={target}", SOURCE.name]
        )
        if code:
            raise SystemExit(code)
        return target.read_bytes()


if __name__ == "__main__":
    COMPILED.write_bytes(compile_proto())
