"""The messages of ``open_inference.proto``, made from its compiled form.

They lie in a pool of their own: Google's default pool refuses a second file with the package ``inference``, which the
stock client's messages have, too.
"""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.message import DecodeError

from edge_runtime.serving.refusals import Refusal

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"


@cache
def _open_pool() -> Any:
    pool = descriptor_pool.DescriptorPool()
    compiled = files("edge_runtime.grpc").joinpath("open_inference.binpb").read_bytes()
    for one in descriptor_pb2.FileDescriptorSet.FromString(compiled).file:
        pool.AddSerializedFile(one.SerializeToString())
    return pool


@cache
def find_message(name: str) -> Any:
    """The class of a message."""
    return message_factory.GetMessageClass(_open_pool().FindMessageTypeByName(f"{PACKAGE}.{name}"))


def find_calls() -> tuple[str, ...]:
    """The names of all calls; of ``X`` the messages are ``XRequest`` and ``XResponse``."""
    return tuple(one.name for one in _open_pool().FindServiceByName(SERVICE).methods)


def parse(name: str, data: bytes) -> Any:
    """A message that came.

    Raises:
        Refusal: it is none such.
    """
    try:
        return find_message(name).FromString(data)
    except DecodeError as err:
        raise Refusal(400, f"no {name} ({err})") from err


def make(name: str, values: Mapping[str, Any]) -> bytes:
    """A message from plain values, by the names of its fields."""
    made: bytes = json_format.ParseDict(values, find_message(name)()).SerializeToString()
    return made
