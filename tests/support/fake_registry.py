"""A registry in memory that breaks off when it is told to; follows the port of ``bundles.travel.registry``."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager

from edge_runtime.bundles.travel.registry import BlobPart
from edge_runtime.errors import RegistryLost, RegistryRefused


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class FakeRegistry:
    """``fails`` holds, by the name of a method, after how many calls (or bytes, for open_blob) it is away once."""

    def __init__(self, *, has_ranges: bool = True, chunk: int = 10) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, bytes] = {}
        self.uploads: dict[str, bytearray] = {}
        self.has_ranges, self.chunk = has_ranges, chunk
        self.cut_after: list[int] = []
        """Bytes after which a download breaks off, for one download each."""
        self.lose_next: list[str] = []
        """Methods that fail the next time."""
        self.referrers: dict[str, dict[str, object]] | None = None
        """By subject; None: a registry that keeps no lists."""
        self.served = self.received = 0
        self.asked: list[int] = []
        """The place from which each download was asked for."""

    def add(self, data: bytes) -> str:
        self.blobs[digest_of(data)] = data
        return digest_of(data)

    def _fail(self, method: str) -> None:
        if method in self.lose_next:
            self.lose_next.remove(method)
            raise RegistryLost("fake", "away")

    def always_away(self) -> None:
        raise RegistryLost("fake", "away")

    def get_manifest(self, name: str) -> bytes | None:
        self._fail("get_manifest")
        return self.manifests.get(name)

    @contextmanager
    def open_blob(self, digest: str, start: int) -> Iterator[BlobPart]:
        self._fail("open_blob")
        self.asked.append(start)
        if digest not in self.blobs:
            raise RegistryRefused("fake", "no such blob")
        began = start if self.has_ranges else 0
        yield BlobPart(began, self._serve(self.blobs[digest][began:]))

    def _serve(self, data: bytes) -> Iterator[bytes]:
        most = self.cut_after.pop(0) if self.cut_after else None
        for at in range(0, len(data), self.chunk):
            if most is not None and at >= most:
                raise RegistryLost("fake", "broken off")
            self.served += len(data[at : at + self.chunk])
            yield data[at : at + self.chunk]

    def has_blob(self, digest: str) -> bool:
        self._fail("has_blob")
        return digest in self.blobs

    def start_upload(self) -> str:
        self._fail("start_upload")
        name = f"upload-{len(self.uploads)}"
        self.uploads[name] = bytearray()
        return name

    def send_chunk(self, upload: str, start: int, data: bytes) -> str:
        self._fail("send_chunk")
        assert start == len(self.uploads[upload])
        self.uploads[upload] += data
        self.received += len(data)
        self._fail("after_chunk")
        return upload

    def find_upload(self, upload: str) -> tuple[str, int] | None:
        self._fail("find_upload")
        return (upload, len(self.uploads[upload])) if upload in self.uploads else None

    def finish_upload(self, upload: str, digest: str, data: bytes) -> None:
        self._fail("finish_upload")
        whole = bytes(self.uploads.pop(upload)) + data
        self.received += len(data)
        if digest_of(whole) != digest:
            raise RegistryRefused("fake", "another digest")
        self.blobs[digest] = whole

    def put_manifest(self, name: str, data: bytes, media_type: str) -> bool:
        self._fail("put_manifest")
        self.manifests[name] = self.manifests[digest_of(data)] = data
        subject = json.loads(data).get("subject")
        if subject is None or self.referrers is None:
            return False
        entry = {"mediaType": media_type, "digest": digest_of(data), "size": len(data), **json.loads(data)}
        self.referrers.setdefault(subject["digest"], {})[digest_of(data)] = entry
        return True

    def get_referrers(self, digest: str) -> bytes | None:
        self._fail("get_referrers")
        if self.referrers is None:
            return None
        return json.dumps(
            {"schemaVersion": 2, "manifests": list(self.referrers.get(digest, {}).values())}
        ).encode()
