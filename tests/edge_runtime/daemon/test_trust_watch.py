"""A model that an edit of the trust refuses runs on: the answer to the edit and the health tell of the next start."""

import shutil

import pytest

from edge_runtime.cli.check import check_config
from edge_runtime.daemon.background_look import LOOK_EVERY_S
from edge_runtime.errors import BundleError, ConfigError, Problem
from edge_runtime.messaging.events import ConfigApplied, ConfigRefused
from tests.edge_runtime.daemon.test_daemon import DaemonBench
from tests.support.signed_bundles import Publisher, build_small

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build_small(tmp_path_factory.mktemp("built"))


@pytest.fixture
def publisher(tmp_path):
    return Publisher(tmp_path / "keys")


@pytest.fixture
def bench(tmp_path, built):
    bench = DaemonBench(tmp_path)
    bench.start()
    for runtime in bench.running.models.values():
        runtime.bundle.path = built
    return bench


def trusting(bench, publisher, **keys):
    return bench.config(
        extra=f"trust: {{keys: [{publisher.public}], {', '.join(f'{k}: {v}' for k, v in keys.items())}}}"
    )


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"require_signed": "true"}, "trust.require_signed"),
        ({"min_version": "{small: 2}"}, "trust.min_version.small"),
        ({"manifest_sha256": f"{{small: {'a' * 64}}}"}, "trust.manifest_sha256.small"),
    ],
)
def test_an_edit_that_refuses_what_runs_is_applied_with_a_warning_and_noted(bench, publisher, keys, named):
    wanted = trusting(bench, publisher, **keys)
    before = bench.daemon.reloader.trust.warn_before(wanted)
    fact = bench.edit(wanted)
    assert isinstance(fact, ConfigApplied)
    assert fact.warnings == before
    assert bench.daemon.reloader.trust.warn_before(wanted) == ()
    assert [named in warning for warning in fact.warnings] == [True, True]
    assert {"models.parts", "models.tools"} == {warning.partition(":")[0] for warning in fact.warnings}
    notes = [one for one in bench.reporter.findings() if one.part == "trust parts"]
    assert named in notes[0].reason
    assert bench.edit(trusting(bench, publisher)).warnings == ()
    assert bench.running.distrusted == {}


def test_a_key_that_is_revoked_and_another_key_are_named(bench, publisher, built, tmp_path):
    signed = tmp_path / "small" / "1"
    shutil.copytree(built, signed)
    publisher.sign(signed)
    bench.running.models["parts"].bundle.path = signed
    assert bench.edit(trusting(bench, publisher)).warnings == ()
    (warning,) = bench.edit(trusting(bench, publisher, revoked=f"[{publisher.key_id}]")).warnings
    assert "revoked" in warning
    other = Publisher(tmp_path / "other")
    (warning,) = bench.edit(trusting(bench, other)).warnings
    assert "unknown key" in warning


def test_a_note_ends_when_the_bundle_is_signed_where_it_lies_or_opened_again(
    bench, publisher, built, tmp_path
):
    copies = {}
    for name, runtime in bench.running.models.items():
        copies[name] = runtime.bundle.path = tmp_path / name / "1"
        shutil.copytree(built, copies[name])
    bench.edit(trusting(bench, publisher, require_signed="true"))
    assert set(bench.running.distrusted) == {"parts", "tools"}
    publisher.sign(copies["parts"])
    bench.daemon.tick(LOOK_EVERY_S)
    bench.daemon.tick(LOOK_EVERY_S + 1)
    assert set(bench.running.distrusted) == {"tools"}
    edit = trusting(bench, publisher, require_signed="true")
    again = edit.model_copy(
        update={"models": {**edit.models, "tools": edit.models["tools"].model_copy(update={"threads": 2})}}
    )
    assert bench.edit(again).warnings == ()
    assert bench.running.distrusted == {}


def test_a_look_that_an_edit_has_overtaken_takes_no_note_away(bench, publisher, built, tmp_path):
    signed = tmp_path / "parts" / "1"
    shutil.copytree(built, signed)
    publisher.sign(signed)
    bench.running.models["parts"].bundle.path = signed
    bench.edit(trusting(bench, publisher, require_signed="true"))
    assert set(bench.running.distrusted) == {"tools"}
    bench.opens_at_once = False
    bench.daemon.tick(LOOK_EVERY_S)
    end_look, bench.opens_at_once = bench.open_now, True
    bench.edit(trusting(bench, publisher, require_signed="true", min_version="{small: 2}"))
    assert set(bench.running.distrusted) == {"parts", "tools"}
    end_look()
    bench.daemon.tick(LOOK_EVERY_S + 1)
    assert set(bench.running.distrusted) == {"parts", "tools"}


def test_check_names_a_bundle_that_is_not_trusted_as_an_error(tmp_path, built, publisher):
    path = tmp_path / "box.yaml"
    path.write_text(
        f"device: box\nstate_dir: {tmp_path / 'state'}\nmodels: {{m: {{bundle: {built.parent}}}}}\n"
        f"cameras: {{c: {{path: 'demo:conveyor', model: m}}}}\n"
        f"trust: {{keys: [{publisher.public}], require_signed: true}}\n"
    )
    found = check_config(path, {})
    assert found.exit_code == BundleError.exit_code
    assert "trust.require_signed" in str(found.problems[0])


@pytest.mark.parametrize("is_private", [True, False])
def test_a_key_that_cannot_be_used_is_refused_by_check_and_at_an_edit(bench, publisher, tmp_path, is_private):
    key = publisher.private if is_private else tmp_path / "no.pub"
    if not is_private:
        key.write_text("no key")
    path = tmp_path / "box.yaml"
    path.write_text(
        f"device: box\nstate_dir: {tmp_path / 'state'}\nmodels: {{m: {{bundle: demo:efficientnet-lite0}}}}\n"
        f"cameras: {{c: {{path: 'demo:conveyor', model: m}}}}\ntrust: {{keys: [{publisher.public}, {key}]}}\n"
    )
    (problem,) = check_config(path, {}).problems
    assert isinstance(problem, Problem)
    assert (problem.where, problem.line) == ("trust.keys.1", 5)
    assert str(key) in problem.found
    edit = bench.config(extra=f"trust: {{keys: [{key}]}}")
    with pytest.raises(ConfigError):
        bench.daemon.reloader.trust.warn_before(edit)
    assert isinstance(bench.edit(edit), ConfigRefused)
    assert bench.running.config.trust.keys == ()
