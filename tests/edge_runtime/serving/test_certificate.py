"""Certificates that can be used, and what is wrong with the others."""

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from edge_runtime.serving.certificate import (
    SOON_S,
    CertificateFiles,
    CertificateUnusable,
    describe_end,
    open_certificate,
)
from tests.support.mosquitto import TlsFiles, make_tls_files

PAST = datetime(2020, 2, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return make_tls_files(tmp_path_factory.mktemp("tls"))


def test_one_of_an_authority_and_one_of_its_own_can_be_used(files: TlsFiles, tmp_path: Path) -> None:
    files.server_key.chmod(0o600)
    found = open_certificate(files.server_cert, files.server_key)
    assert found.begins_at_wall_s < time.time() < found.ends_at_wall_s
    assert not found.is_key_open
    assert b"PRIVATE KEY" not in repr(found).encode()
    cert, key = tmp_path / "c.pem", tmp_path / "k.pem"
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(cert))
    authority.private_key_pem.write_to_path(str(key))
    assert open_certificate(cert, key).ends_at_wall_s > time.time()


def test_one_that_has_expired_is_read(tmp_path: Path) -> None:
    issued = trustme.CA().issue_cert("box", not_before=PAST - timedelta(days=9), not_after=PAST)
    cert, key = tmp_path / "c.pem", tmp_path / "k.pem"
    issued.cert_chain_pems[0].write_to_path(str(cert))
    issued.private_key_pem.write_to_path(str(key))
    assert open_certificate(cert, key).ends_at_wall_s == PAST.timestamp()


def test_an_end_is_told_of_from_two_weeks_before_it_on() -> None:
    end_s = PAST.timestamp()
    assert describe_end(end_s, end_s - SOON_S - 1) is None
    soon, over = describe_end(end_s, end_s - SOON_S), describe_end(end_s, end_s)
    assert None not in (soon, over)
    assert soon != over


def test_when_the_pair_in_use_ends_follows_the_files_and_is_unknown_without_one(
    files: TlsFiles, tmp_path: Path
) -> None:
    now_s = [0.0]
    cert, key = tmp_path / "c.pem", tmp_path / "k.pem"
    pair = CertificateFiles(cert, key, lambda: now_s[0])
    assert pair.find_end() is None
    cert.write_bytes(files.server_cert.read_bytes())
    key.write_bytes(files.server_key.read_bytes())
    assert pair.find_end() == open_certificate(cert, key).ends_at_wall_s
    key.unlink()
    now_s[0] += 60
    assert pair.find_end() == pair.read().ends_at_wall_s


def test_a_key_that_all_may_read_is_told(files: TlsFiles) -> None:
    files.server_key.chmod(0o644)
    assert open_certificate(files.server_cert, files.server_key).is_key_open


def break_file(files: TlsFiles, folder: Path, name: str) -> tuple[Path, Path]:
    cert, key, broken = files.server_cert, files.server_key, folder / "broken.pem"
    match name:
        case "another key":
            return cert, files.client_key
        case "swapped":
            return key, cert
        case "no certificate":
            return broken, key
        case "a folder":
            broken.mkdir()
            return cert, broken
        case "a pipe":
            os.mkfifo(broken)
            return broken, key
        case "no PEM":
            broken.write_bytes(os.urandom(500))
            return cert, broken
        case "cut":
            broken.write_bytes(cert.read_bytes()[:300])
            return broken, key
        case "a passphrase":
            locked = serialization.load_pem_private_key(key.read_bytes(), None).private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"x1y2"),
            )
            broken.write_bytes(locked)
            return cert, broken
    raise AssertionError(name)


@pytest.mark.parametrize(
    "name",
    ["another key", "swapped", "no certificate", "a folder", "a pipe", "no PEM", "cut", "a passphrase"],
)
def test_files_that_cannot_be_used_are_named(files: TlsFiles, tmp_path: Path, name: str) -> None:
    cert, key = break_file(files, tmp_path, name)
    with pytest.raises(CertificateUnusable) as refused:
        open_certificate(cert, key)
    assert str(cert) in refused.value.problem or str(key) in refused.value.problem


def test_without_a_first_one_there_is_an_error_each_time_until_there_is(
    files: TlsFiles, tmp_path: Path
) -> None:
    cert = tmp_path / "cert.pem"
    now_s = 0.0
    read = CertificateFiles(cert, files.server_key, lambda: now_s)
    for _ in range(2):
        with pytest.raises(CertificateUnusable):
            read.read()
    cert.write_bytes(files.server_cert.read_bytes())
    first = read.read()
    assert read.read() is first
    now_s = 60.0
    assert read.read() is first  # the files are the same
