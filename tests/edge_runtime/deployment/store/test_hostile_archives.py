"""Archives of an attacker: a clear error, nothing outside is touched, the store stays as it was."""

import gzip
import io
import os
import resource
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

from edge_runtime.deployment.store.folder_writer import Limits
from edge_runtime.deployment.store.install import Outcome, Rules, install
from edge_runtime.errors import BundleError
from tests.support.bundle_store import look, make_bundle, pack
from tests.support.paths import ROOT
from tests.support.waiting import WAIT_S

pytestmark = pytest.mark.integration

BLOCK = 512


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("whole") / "b", version=2)


@pytest.fixture
def box(tmp_path):
    """A store with version 1, and something outside that must not change."""
    install(make_bundle(tmp_path / "one"), tmp_path / "bundles")
    (tmp_path / "outside").write_text("untouched")
    return tmp_path


def member(name, content=b"x", **facts):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in facts.items():
        setattr(info, key, value)
    return info, content


def header(name, size, kind=tarfile.REGTYPE, **facts):
    """A header alone, which may promise what does not follow."""
    info, _ = member(name, size=size, type=kind, **facts)
    return info.tobuf(tarfile.GNU_FORMAT)


def archive_of(bundle, *members, first=b"", after=b""):
    """The whole bundle, with members, with raw blocks before the first one and after the last one."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as target:
        target.add(bundle, "photos/2")
        for info, content in members:
            target.addfile(info, io.BytesIO(content))
        end = target.offset
    data = buffer.getvalue()
    return first + data[:end] + after + bytes(2 * BLOCK)


def pax(records, kind=tarfile.XHDTYPE):
    """An extended header with that raw content."""
    return header("pax", len(records), kind) + records + bytes(-len(records) % BLOCK)


def record(key, value):
    text = f" {key}={value}\n"
    length = len(text) + 1
    while len(f"{length}{text}") != length:
        length += 1
    return f"{length}{text}".encode()


LINK = {"type": tarfile.SYMTYPE, "size": 0}
DEEP = "/".join("abcdefghij")
ATTACKS = {
    "a path upwards": lambda b: archive_of(b, member("photos/2/../../../outside")),
    "a path upwards alone": lambda b: archive_of(b, member("..", type=tarfile.DIRTYPE, size=0)),
    "an absolute path": lambda b: archive_of(b, member("/tmp/edge-runtime-outside")),
    "an absolute folder": lambda b: archive_of(b, member("/etc", type=tarfile.DIRTYPE, size=0)),
    "a path with backslashes": lambda b: archive_of(b, member("photos\\..\\outside")),
    "a name with a line break": lambda b: archive_of(b, member("photos/2/a\nb")),
    "a name that is not UTF-8": lambda b: archive_of(b, after=header("photos/2/\udcff", 0)),
    "a name of great length": lambda b: archive_of(b, member("photos/2/" + "n" * 300)),
    "an empty name": lambda b: archive_of(b, member("./.")),
    "a symbolic link": lambda b: archive_of(b, member("photos/2/l", b"", **LINK, linkname="../../../outside")),
    "a symbolic link in place of a folder": lambda b: (
        archive_of(b, member("photos/3", b"", **LINK, linkname="../.."), member("photos/3/outside"))
    ),
    "a hard link": lambda b: archive_of(b, member("photos/2/l", b"", type=tarfile.LNKTYPE, linkname="outside")),
    "a hard link inside": lambda b: (
        archive_of(b, member("photos/2/l", b"", type=tarfile.LNKTYPE, linkname="photos/2/bundle.yaml"))
    ),
    "a device": lambda b: archive_of(b, member("photos/2/d", b"", type=tarfile.CHRTYPE, devmajor=1, devminor=5)),
    "a block device": lambda b: archive_of(b, member("photos/2/d", b"", type=tarfile.BLKTYPE)),
    "a pipe": lambda b: archive_of(b, member("photos/2/p", b"", type=tarfile.FIFOTYPE)),
    "an unknown kind": lambda b: archive_of(b, after=header("photos/2/u", 0, b"Z")),
    "the same file twice": lambda b: archive_of(b, member("photos/2/bundle.yaml")),
    "the same file by another name": lambda b: archive_of(b, member("./photos//2/./bundle.yaml")),
    "a file in place of a folder": lambda b: archive_of(b, member("photos/2/golden")),
    "a folder in place of a file": lambda b: (
        archive_of(b, member("photos/2/bundle.yaml", b"", type=tarfile.DIRTYPE))
    ),
    "a file below a file": lambda b: archive_of(b, member("photos/2/bundle.yaml/x")),
    "an unlisted file": lambda b: archive_of(b, member("photos/2/extra.bin")),
    "a hidden file": lambda b: archive_of(b, member("photos/2/.hidden")),
    "a file next to the bundle": lambda b: archive_of(b, member("photos/3")),
    "folders too deep": lambda b: archive_of(b, member(DEEP)),
    "10 GB promised": lambda b: archive_of(b, after=header("photos/2/big", 10 * 10**9)),
    "10 GB promised by an extended header": lambda b: (
        archive_of(b, after=pax(record("size", 10 * 10**9)) + header("photos/2/big", 5))
    ),
    "a negative size": lambda b: archive_of(b, after=pax(record("size", -5)) + header("photos/2/big", 5)),
    "10 GB of holes": lambda b: (
        archive_of(b, after=pax(
            record("GNU.sparse.major", 1) + record("GNU.sparse.minor", 0)
            + record("GNU.sparse.name", "photos/2/holes") + record("GNU.sparse.realsize", 10 * 10**9)
        ) + header("photos/2/h", BLOCK) + b"1\n0\n0\n".ljust(BLOCK, b"\0"))
    ),
    "an old sparse file": lambda b: archive_of(b, after=header("photos/2/h", 0, tarfile.GNUTYPE_SPARSE)),
    "a long name of 10 GB": lambda b: (
        archive_of(b, after=header("././@LongLink", 10 * 10**9, tarfile.GNUTYPE_LONGNAME))
    ),
    "a long name of 100 MB": lambda b: (
        archive_of(b, after=header("././@LongLink", 10**8, tarfile.GNUTYPE_LONGNAME) + b"n" * 10**8)
    ),
    "an extended header of 100 MB": lambda b: (
        archive_of(b, first=header("pax", 10**8, tarfile.XHDTYPE) + b"1" * 10**8)
    ),
    "a thousand extended headers": lambda b: archive_of(b, first=pax(record("a", "b")) * 1000),
    "many headers for all": lambda b: (
        archive_of(b, first=b"".join(pax(record(f"k{n}", "v"), tarfile.XGLTYPE) + header(f"d{n}/", 0, tarfile.DIRTYPE)
                                     for n in range(200)))
    ),
    "too many folders": lambda b: (
        archive_of(b, *(member(f"photos/2/f{n}", b"", type=tarfile.DIRTYPE) for n in range(2100)))
    ),
    "one folder for ever": lambda b: archive_of(b, first=header("photos/", 0, tarfile.DIRTYPE) * 3100),
    "too many files": lambda b: archive_of(b, *(member(f"photos/2/f{n}", b"") for n in range(1100))),
    "nothing": lambda b: b"",
    "zeros": lambda b: bytes(10 * BLOCK),
    "noise": lambda b: bytes(range(256)) * 20,
    "a page": lambda b: b"<html>404 not found</html>" * 100,
    "a broken gzip header": lambda b: b"\x1f\x8b\x08\x00broken",
    "gzip of nothing": lambda b: gzip.compress(b""),
    "gzip with a flipped bit": lambda b: flip(gzip.compress(archive_of(b))),
    "zstd": lambda b: b"\x28\xb5\x2f\xfd" + bytes(100),
    "xz": lambda b: b"\xfd7zXZ\0" + bytes(100),
    "bzip2": lambda b: b"BZh9" + bytes(100),
}  # fmt: skip


def flip(data):
    changed = bytearray(data)
    changed[len(data) // 2] ^= 8
    return bytes(changed)


@pytest.mark.parametrize("kind", ["tar", "tar.gz"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_refused_and_leaves_the_store_as_it_was(box, bundle, attack, kind):
    data, path = ATTACKS[attack](bundle), box / f"a.{kind}"
    path.write_bytes(data if kind == "tar" or data[:2] == b"\x1f\x8b" else gzip.compress(data, 1))
    before, files = look(box / "bundles"), sorted(box.iterdir())
    with pytest.raises(BundleError) as caught:
        install(path, box / "bundles")
    assert look(box / "bundles") == before
    assert caught.value.path.startswith(str(path))
    assert len(str(caught.value)) < 1000
    assert str(caught.value).isprintable()
    assert (box / "outside").read_text() == "untouched"
    assert sorted(box.iterdir()) == files


def test_without_an_attack_the_same_archive_is_installed(box, bundle):
    (box / "a.tar").write_bytes(archive_of(bundle, member("photos", b"", type=tarfile.DIRTYPE)))
    assert install(box / "a.tar", box / "bundles").outcome is Outcome.INSTALLED


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_form_that_programs_write_is_taken(box, bundle, form):
    deep = "photos-" + "n" * 120
    with tarfile.open(box / "a.tgz", "w:gz", format=form, pax_headers={"comment": "0123abcd"}) as target:
        target.add(bundle, f"{deep}/2" if form != tarfile.USTAR_FORMAT else "photos/2")
    assert install(box / "a.tgz", box / "bundles").outcome is Outcome.INSTALLED


@pytest.mark.parametrize("kind", ["tar", "tar.gz"])
def test_an_archive_that_is_cut_off_anywhere_is_refused(box, bundle, kind):
    whole, before = pack(bundle, box / f"whole.{kind}", "photos/2").read_bytes(), look(box / "bundles")
    end = len(whole) if kind == "tar.gz" else whole.rstrip(b"\0").__len__()
    for cut in sorted({0, 1, 100, BLOCK, BLOCK + 1, *range(0, end - 8, max(1, end // 12))}):
        (box / "cut").write_bytes(whole[:cut])
        with pytest.raises(BundleError):
            install(box / "cut", box / "bundles")
        assert look(box / "bundles") == before


@pytest.mark.parametrize(
    "limits",
    [Limits(file_bytes=2000), Limits(total_bytes=5000), Limits(files=2), Limits(folders=1), Limits(depth=0)],
)
@pytest.mark.parametrize("kind", ["folder", "tar", "tar.gz"])
def test_limits_hold_for_folders_and_archives_and_bytes_are_counted(box, bundle, limits, kind):
    source = bundle if kind == "folder" else pack(bundle, box / f"a.{kind}")
    before = look(box / "bundles")
    with pytest.raises(BundleError):
        install(source, box / "bundles", Rules(limits=limits))
    assert look(box / "bundles") == before


def test_a_small_file_that_inflates_to_a_gigabyte_takes_neither_memory_nor_disk(box):
    """In a process of its own, whose files and memory are bounded."""
    with gzip.open(box / "bomb.tar.gz", "wb", 1) as bomb:
        bomb.write(header("photos/2/big", 2**30))
        for _ in range(1100):  # a file may have 1 GiB: the next one is what is too much
            bomb.write(bytes(2**20))
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from edge_runtime.deployment.store.folder_writer import Limits\n"
        "from edge_runtime.deployment.store.install import Rules, install\n"
        "from edge_runtime.errors import BundleError\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: install(Path(sys.argv[1]), Path(sys.argv[2]), Rules(limits=Limits(total_bytes=30_000_000)))\n"
        "except BundleError: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    command = [sys.executable, "-c", code, str(box / "bomb.tar.gz"), str(box / "bundles")]
    done = subprocess.run(
        command, cwd=ROOT, timeout=WAIT_S, capture_output=True, text=True, check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 2**20, 64 * 2**20)),
    )  # fmt: skip
    assert int(done.stdout) < 64 * 1024  # KiB


def spoil(name):
    def act(path):
        if name == "a symbolic link":
            (path / "labels.txt").unlink()
            (path / "labels.txt").symlink_to("/etc/hostname")
        elif name == "a linked folder":
            (path / "golden").rename(path.parent / "elsewhere")
            (path / "golden").symlink_to(path.parent / "elsewhere")
        elif name == "a pipe":
            os.mkfifo(path / "pipe")
        elif name == "an unlisted file":
            (path / "extra").touch()
        elif name == "folders too deep":
            (path / DEEP).mkdir(parents=True)
        else:
            (path / "labels.txt").unlink()

    return act


@pytest.mark.parametrize(
    "name",
    [
        "a symbolic link",
        "a linked folder",
        "a pipe",
        "an unlisted file",
        "folders too deep",
        "a missing file",
    ],
)
def test_a_folder_with_what_no_bundle_has_is_refused(box, bundle, name):
    source = shutil.copytree(bundle, box / "in" / "b")
    spoil(name)(source)
    before = look(box / "bundles")
    with pytest.raises(BundleError):
        install(source, box / "bundles")
    assert look(box / "bundles") == before


def test_a_zip_file_is_told_how_to_be_unpacked(box):
    with zipfile.ZipFile(box / "a.zip", "w") as target:
        target.writestr("bundle.yaml", "x")
    with pytest.raises(BundleError) as caught:
        install(box / "a.zip", box / "bundles")
    assert "unzip" in caught.value.fix
