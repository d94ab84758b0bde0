"""Push and pull through a real registry, killed in the middle: resumed and verified, or refused with nothing left."""

import base64
import json
import subprocess
import sys

import pytest

from edge_runtime.bundles.signing.ec_keys import load_public_key
from edge_runtime.bundles.signing.trust import Trust
from edge_runtime.bundles.travel.credentials import Credentials
from edge_runtime.bundles.travel.files import list_files
from edge_runtime.bundles.travel.oras_registry import OrasRegistry
from edge_runtime.bundles.travel.pull import PARTIAL_FOLDER, Order, place_bundle, pull_into
from edge_runtime.bundles.travel.push import CHUNK_BYTES, push_bundle
from edge_runtime.bundles.travel.reference import parse_reference
from edge_runtime.bundles.travel.registry import Patience
from edge_runtime.bundles.verify import load_bundle
from edge_runtime.cli.main import main
from edge_runtime.config import load_config
from edge_runtime.deployment.open_bundle import open_bundle
from edge_runtime.deployment.store.install import Rules, install
from edge_runtime.errors import BundleError, RegistryLost, RegistryRefused
from tests.support.bundle_builds import edit
from tests.support.docker_registry import DockerRegistry
from tests.support.large_bundles import LARGE_BYTES, build_large
from tests.support.signed_bundles import Publisher, build_small
from tests.support.waiting import WAIT_S

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def publisher(tmp_path_factory):
    return Publisher(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, publisher):
    return publisher.sign(build_large(tmp_path_factory.mktemp("large")))


@pytest.fixture
def registry(tmp_path):
    with DockerRegistry(tmp_path / "registry") as running:
        yield running


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


class KillOnce:
    """Kills the registry once some bytes are on their way; it comes back when a caller waits for it."""

    def __init__(self, registry, at_bytes):
        self.registry, self.left, self.kills = registry, at_bytes, 0

    def count(self, count):
        self.left -= count
        if self.left <= 0 and not self.kills:
            self.kills += 1
            self.registry.kill()

    def sleep(self, _):
        if self.registry.is_dead:
            self.registry.start()

    def patience(self):
        return Patience(WAIT_S, sleep=self.sleep)


def opened(registry, name="small:1", credentials=None):
    reference = parse_reference(registry.reference(name))
    client = OrasRegistry(reference, credentials, plain_http=False)
    registry.clients.callback(client.__exit__)
    return reference, client


def push(registry, bundle, killer=None, patience=None):
    reference, client = opened(registry)
    patience = patience or (killer.patience() if killer else Patience(WAIT_S))
    return push_bundle(list_files(bundle), reference, client, patience, *([killer.count] if killer else []))


def pull(registry, out, killer=None, patience=None, name="small:1", **order):
    reference, client = opened(registry, name)
    patience = patience or (killer.patience() if killer else Patience(WAIT_S))
    hooks = [killer.count] if killer else []
    with pull_into(Order(reference, **order), client, out / PARTIAL_FOLDER, patience, *hooks) as pulled:
        return pulled, place_bundle(pulled, out)


def same(one, other):
    read = {path.relative_to(one): path.read_bytes() for path in one.rglob("*") if path.is_file()}
    return read == {path.relative_to(other): path.read_bytes() for path in other.rglob("*") if path.is_file()}


def test_a_registry_that_is_killed_during_a_push_and_a_pull(registry, bundle, out, publisher):
    killer = KillOnce(registry, LARGE_BYTES // 2)
    pushed = push(registry, bundle, killer)
    total = sum(list_files(bundle).sizes.values())
    assert killer.kills == 1
    assert pushed.sent_bytes <= total + 2 * CHUNK_BYTES  # it went on at the last whole chunk
    killer = KillOnce(registry, LARGE_BYTES // 2)
    trust = Trust((load_public_key(publisher.public),), require_signed=True)
    pulled, path = pull(registry, out, killer, trust=trust)
    assert killer.kills == 1
    assert pulled.counts.downloaded == total  # not one byte twice
    assert pulled.bundle.signed_by == publisher.key_id
    assert same(path, bundle)
    assert sorted(one.name for one in out.iterdir()) == ["small"]


def test_a_pull_that_ended_goes_on_the_next_time(registry, bundle, out):
    push(registry, bundle)
    killer = KillOnce(registry, LARGE_BYTES // 2)
    with pytest.raises(RegistryLost):
        pull(registry, out, killer, Patience(0))
    kept = sum(path.stat().st_size for path in (out / PARTIAL_FOLDER).iterdir())
    assert kept >= LARGE_BYTES // 2
    assert sorted(one.name for one in out.iterdir()) == [PARTIAL_FOLDER]
    registry.start()
    pulled, path = pull(registry, out)
    total = sum(list_files(bundle).sizes.values())
    assert pulled.counts.kept == kept
    assert pulled.counts.downloaded == total - kept
    assert same(path, bundle)


def test_a_push_that_ended_sends_only_what_is_missing(registry, bundle, out):
    killer = KillOnce(registry, LARGE_BYTES + 1)  # after the large file
    with pytest.raises(RegistryLost):
        push(registry, bundle, killer, Patience(0))
    registry.start()
    _, client = opened(registry)
    assert client.get_manifest("1") is None
    assert push(registry, bundle).sent_bytes < LARGE_BYTES
    assert same(pull(registry, out)[1], bundle)


def test_a_pulling_process_that_is_killed_goes_on(registry, bundle, out):
    """kill -9 in the middle of a blob."""
    push(registry, bundle)
    reference = registry.reference("small:1")
    done = subprocess.run(
        [sys.executable, "-c", KILLED, reference, str(out), str(LARGE_BYTES // 2)], timeout=WAIT_S
    )
    assert done.returncode == -9
    pulled, path = pull(registry, out)
    assert pulled.counts.kept >= LARGE_BYTES // 2
    assert same(path, bundle)
    assert sorted(one.name for one in out.iterdir()) == ["small"]


KILLED = """
import os, signal, sys
from pathlib import Path
from edge_runtime.bundles.travel.oras_registry import OrasRegistry
from edge_runtime.bundles.travel.pull import Order, pull_into
from edge_runtime.bundles.travel.reference import parse_reference
from edge_runtime.bundles.travel.registry import Patience
reference, left = parse_reference(sys.argv[1]), int(sys.argv[3])
def count(bytes):
    global left
    left -= bytes
    if left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
client = OrasRegistry(reference, None, plain_http=False)
with pull_into(Order(reference), client, Path(sys.argv[2]) / ".pulling", Patience(0), count):
    pass
"""


def nothing_left(out):
    return not out.exists() or not list(out.iterdir())


def test_a_changed_byte_in_the_registry_is_refused(registry, bundle, out):
    push(registry, bundle)
    large = next(path for path in registry.blobs if path.stat().st_size == LARGE_BYTES)
    with large.open("r+b") as file:
        file.seek(LARGE_BYTES // 3)
        file.write(b"changed")
    with pytest.raises(BundleError):
        pull(registry, out)
    assert nothing_left(out)


def test_a_wrong_digest_an_unsigned_and_a_revoked_bundle_are_refused(registry, out, publisher, tmp_path):
    signed = publisher.sign(build_small(tmp_path / "signed"))
    digest = push(registry, signed).digest
    key = load_public_key(publisher.public)
    with pytest.raises(RegistryRefused):
        pull(registry, out, name="small@sha256:" + "0" * 64)
    with pytest.raises(BundleError, match="revoked"):
        pull(registry, out, trust=Trust((key,), revoked=frozenset({key.id})))
    unsigned = build_small(tmp_path / "unsigned", version=2)
    reference, client = opened(registry, "small:2")
    push_bundle(list_files(unsigned), reference, client, Patience(WAIT_S))
    with pytest.raises(BundleError, match="unsigned"):
        pull(registry, out, name="small:2", trust=Trust((key,), require_signed=True))
    assert nothing_left(out)
    assert pull(registry, out, name=f"small@{digest}")[0].digest == digest


def test_a_tag_that_is_there_with_other_content_is_not_replaced(registry, tmp_path):
    push(registry, build_small(tmp_path / "one"))
    other = build_small(tmp_path / "two")
    edit(other, lambda data: data.update(tolerance=0.5))
    with pytest.raises(RegistryRefused):
        push(registry, other)


def test_a_rotated_key_signs_a_version_again_everywhere(registry, publisher, tmp_path, out):
    made = publisher.sign(build_small(tmp_path / "made"))
    push(registry, made)
    newer = Publisher(tmp_path / "newer")
    keys = tuple(load_public_key(one.public) for one in (publisher, newer))
    store, rules = tmp_path / "store", Rules(trust=Trust(keys, require_signed=True))
    _, pulled = pull(registry, out, trust=rules.trust)
    install(pulled, store, rules)
    newer.sign(made)
    push(registry, made)
    assert pull(registry, out, trust=rules.trust)[1] == pulled
    assert install(pulled, store, rules).outcome == "already installed"
    only_new = Trust(keys, require_signed=True, revoked=frozenset({publisher.key_id}))
    for folder in (pulled, store / "small" / "1"):
        assert load_bundle(folder, only_new).signed_by == newer.key_id


def test_files_that_two_versions_share_travel_once(registry, tmp_path):
    push(registry, build_small(tmp_path / "one"))
    second = build_small(tmp_path / "two", version=2)
    reference, client = opened(registry, "small:2")
    done = push_bundle(list_files(second), reference, client, Patience(WAIT_S))
    assert done.already_there == len(list_files(second).sizes) - 1  # all but bundle.yaml


PASSWORD = "correct-horse-battery"
HTPASSWD = "joe:$2y$05$abcdefghijklmnopqrstuuSnF5tLPqPFqc0z9CY0HcSLFbSRlL67u"
"""bcrypt of it, the only form that this registry reads."""


@pytest.fixture
def closed(tmp_path):
    with DockerRegistry(tmp_path / "closed", htpasswd=f"{HTPASSWD}\n") as running:
        yield running


def test_credentials_of_docker_are_used_and_never_shown(closed, tmp_path):
    bundle, home = build_small(tmp_path), tmp_path / "home"
    reference = closed.reference("small:1")

    def run(*arguments, **more):
        environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path), "HOME": str(home), **more}
        command = [sys.executable, "-m", "edge_runtime", "bundle", *map(str, arguments), "--wait", "1"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=WAIT_S)

    done = run("push", bundle, reference)
    assert done.returncode == 76
    assert "docker login" in done.stderr
    (home / ".docker").mkdir(parents=True)
    kept = {"auths": {closed.host: {"auth": base64.b64encode(f"joe:{PASSWORD}".encode()).decode()}}}
    (home / ".docker" / "config.json").write_text(json.dumps(kept))
    texts = [done.stderr]
    for done in (run("push", bundle, reference), run("pull", reference, "--out", tmp_path / "out", "--json")):
        assert done.returncode == 0, done.stderr
        texts += [done.stdout, done.stderr]
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps({"auths": {closed.host: {"username": "joe", "password": "hunter2-wrong"}}}))
    done = run("pull", reference, "--out", tmp_path / "other", REGISTRY_AUTH_FILE=str(wrong))
    assert done.returncode == 76
    texts += [done.stdout, done.stderr]
    inline = reference.replace("oci://", f"oci://joe:{PASSWORD}@")
    done = run("pull", inline, "--out", tmp_path / "other")
    assert done.returncode == 64
    texts += [done.stdout, done.stderr]
    assert not [text for text in texts if PASSWORD in text or "hunter2" in text]
    assert load_bundle(tmp_path / "out" / "small" / "1")


def test_a_user_and_password_open_it_directly(closed, tmp_path):
    reference, client = opened(closed, credentials=Credentials("joe", PASSWORD))
    push_bundle(list_files(build_small(tmp_path)), reference, client, Patience(WAIT_S))
    assert client.get_manifest("1")


def test_a_registry_that_is_away_is_told_apart_from_one_that_refuses(registry, out):
    registry.kill()
    with pytest.raises(RegistryLost, match="refused"):
        pull(registry, out, patience=Patience(0))
    assert nothing_left(out)


CONFIG = """\
device: box
state_dir: {folder}
models: {{small: {{bundle: small}}}}
cameras: {{belt: {{path: demo:conveyor, model: small}}}}
trust: {{keys: [{key}], require_signed: true}}
"""


def test_a_box_installs_from_a_registry_what_it_trusts(registry, publisher, tmp_path, capsys):
    config = tmp_path / "box.yaml"
    config.write_text(CONFIG.format(folder=tmp_path / "state", key=publisher.public))
    store = tmp_path / "state" / "bundles"

    def install(version):
        with pytest.raises(SystemExit) as ended:
            main(
                [
                    "bundle",
                    "install",
                    registry.reference(f"small:{version}"),
                    "--config",
                    str(config),
                    "--json",
                ]
            )
        return ended.value.code

    def publish(version, *, signed):
        made = build_small(tmp_path / f"made-{version}", version)
        reference, client = opened(registry, f"small:{version}")
        if signed:
            publisher.sign(made)
        push_bundle(list_files(made), reference, client, Patience(WAIT_S))
        return made

    first = publish(1, signed=True)
    publish(2, signed=False)
    publish(3, signed=True)
    assert install(1) == 0
    assert json.loads(capsys.readouterr().out)["outcome"] == "installed"
    assert same(store / "small" / "1", first)
    assert install(1) == 0
    assert json.loads(capsys.readouterr().out)["outcome"] == "already installed"
    assert install(2) == 65
    assert "unsigned" in capsys.readouterr().err
    assert install(3) == 0
    assert install(9) == 76
    loaded = load_config(config, {})
    opened_model = open_bundle(loaded, "small")
    opened_model.engine.close()
    assert opened_model.bundle.signed_by == publisher.key_id
    assert opened_model.bundle.manifest.version == 3
    assert sorted(path.name for path in store.iterdir() if path.is_dir()) == ["small"]
    assert sorted(path.name for path in (store / "small").iterdir()) == ["1", "3"]


def test_an_installation_goes_on_after_the_registry_was_killed(registry, bundle, tmp_path, capsys):
    push(registry, bundle)
    store = tmp_path / "store"
    killer = KillOnce(registry, LARGE_BYTES // 2)
    with pytest.raises(RegistryLost):
        pull(registry, store, killer, Patience(0))  # in the folder where an installation keeps it
    registry.start()
    before = len(registry.requests())
    with pytest.raises(SystemExit) as ended:
        main(["bundle", "install", registry.reference("small:1"), "--root", str(store)])
    assert ended.value.code == 0
    assert same(store / "small" / "1", bundle)
    sizes = [
        int(line.split('" ')[1].split()[1]) for line in registry.requests()[before:] if "/blobs/" in line
    ]
    assert sum(sizes) <= sum(list_files(bundle).sizes.values()) - LARGE_BYTES // 2
    assert not (store / PARTIAL_FOLDER).exists()


def test_a_patch_and_a_bill_of_materials_are_attached(registry, tmp_path, capsys):
    digest = push(registry, build_small(tmp_path)).digest
    (tmp_path / "p3.safetensors").write_bytes(b"patch")
    (tmp_path / "sbom.json").write_text("{}")

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["bundle", *map(str, arguments), "--json"])
        assert ended.value.code == 0
        return json.loads(capsys.readouterr().out)

    call("attach", registry.reference("small:1"), tmp_path / "p3.safetensors", "--kind", "patch")
    call("attach", registry.reference(f"small@{digest}"), tmp_path / "sbom.json", "--kind", "sbom")
    found = call("attached", registry.reference("small:1"), "--out", tmp_path / "got")
    assert {one["kind"]: one["name"] for one in found["attached"]} == {
        "patch": "p3.safetensors",
        "sbom": "sbom.json",
    }
    assert {path.read_bytes() for path in (tmp_path / "got").iterdir()} == {b"patch", b"{}"}
    assert pull(registry, tmp_path / "out")[0].digest == digest
