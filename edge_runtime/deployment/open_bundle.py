"""From the configuration to one model's verified bundle and its warm, self-tested engine.

Every model passes these checks, in this order, before it sees a frame:

1. ``versions.list_candidates`` chooses the folder of the version; with ``latest`` there may be several.
2. ``versions.load_from`` checks that the manifest fits the folders it lies in, and ``bundles.verify.load_bundle`` the
   signature, if the configuration trusts keys, then the manifest and the SHA-256 of every file within a limit of size,
   and ``calibration.targets.safe_form`` looks through the model: its format, no other files, bounds. Nothing of it has
   run.
3. ``bundles.sandbox_check.check_in_sandbox`` opens the model and answers the golden pictures in a child process without
   rights: any format can loop for ever or ask for all memory. What passed before is looked up in the state directory.
4. ``bundles.engine.open_bundle_engine`` hands the bytes that were verified to the engine, which opens their safe form
   and warms up.
5. ``bundles.self_test.self_test`` checks the input, then the answers to the golden pictures: repeated, in a batch,
   against the golden outputs, and as the postprocessing reads them.

``bundle verify`` and ``infer`` take the same steps without a configuration. A patched model skips 2 and 3 (its hash is
in its report) and ends with ``self_test.check_same_answers`` instead of 5, as does the base when it is opened again:
everything for the way back is in memory.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from calibration.targets.base import ModelFiles
from edge_runtime.bundles.engine import open_bundle_engine
from edge_runtime.bundles.passed_models import PassedModels
from edge_runtime.bundles.requirements import check_requirements
from edge_runtime.bundles.sandbox_check import check_in_sandbox
from edge_runtime.bundles.self_test import list_compared_inputs, self_test
from edge_runtime.bundles.verify import Bundle
from edge_runtime.config import Config, ModelConfig
from edge_runtime.deployment.bundle_trust import find_trust
from edge_runtime.deployment.opening_notes import find_engine_notes, find_recalibration_notes
from edge_runtime.deployment.start_record import read_starts
from edge_runtime.deployment.stream_input import check_same_windows, check_streams
from edge_runtime.deployment.versions import (
    Skipped,
    find_bundle,
    list_candidates,
    load_from,
    read_versions,
    take_fingerprint,
)
from edge_runtime.errors import (
    BundleError,
    ConfigError,
    EdgeRuntimeError,
    EngineError,
    EngineMismatch,
    EngineMissing,
    Problem,
)
from edge_runtime.inference.engines.base import Engine, EngineSettings, close_on_error
from edge_runtime.inference.engines.factory import place_threads
from edge_runtime.inference.engines.threads import Preference, ThreadPlan, choose_threads
from edge_runtime.inference.specs import PreprocessSpec
from edge_runtime.system.cpu_budget import CpuBudget, cpu_budget
from edge_runtime.system.model_formats import ModelFormat
from edge_runtime.system.sandbox import Protection


@dataclass(frozen=True, slots=True)
class OpenedModel:
    """A model as its bundle holds it, ready to answer."""

    bundle: Bundle
    model: ModelFiles
    """The bundle's model; kept, because going back to the base must not depend on the disk."""
    plan: ThreadPlan
    settings: EngineSettings
    engine: Engine
    answers: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """To the first golden inputs, which ``bundle`` holds in memory, see ``self_test.answer_golden_inputs``."""
    self_test_difference: float | None = None
    """Largest difference from a golden output; None: not tested."""
    notes: tuple[str, ...] = ()
    """Settings of the configuration that have no effect, and a fall-back that was taken."""
    protection: Protection | None = None
    """Of the process that opened it first; None where that found nothing out."""
    skipped: Skipped | None = None
    """Newer versions that could not be used; None when this is the one that was asked for."""
    held_back: str | None = None
    """Why a newer version is not used that a rollout, which is off now, did not finish or refused; None: none is."""
    untried: str | None = None
    """Why a version answers that no rollout tried; None: it was tried, or there is nothing to compare with."""


@contextmanager
def name_model_in_errors(config: Config, name: str) -> Iterator[None]:
    """Add the model's key and its line in the file to every error that is raised inside."""
    try:
        yield
    except EdgeRuntimeError as err:
        err.where, err.line = f"models.{name}", config.line_of("models", name)
        raise


def open_bundle(
    config: Config, name: str, *, should_stop: Callable[[], bool] = lambda: False, may_write: bool = True
) -> OpenedModel:
    """Verify a model's bundle, open its engine and test it; the steps are those of the module's text.

    With ``version: latest`` a version that is damaged, fails, or has a format that this box or its configuration has no
    engine for falls back to the one that ran last, or to an older one.

    Args:
        config: All models and cameras, for they share the processor.
        name: The model.
        should_stop: Asked while that may take long.
        may_write: Whether a model that passed its first opening may be noted in the state directory.

    Raises:
        BundleError: the bundle is damaged or unsafe, takes another input than the streams give, or the model does not
            give the golden answers.
        EngineError: the engine refuses it. One that is not there outranks what was wrong with other versions: a later
            start may find it.
        OpeningStopped: ``should_stop`` said so.
    """
    with name_model_in_errors(config, name):
        root, wanted = config.bundle_root(name), config.models[name].version
        starts = read_starts(config, name, may_write=may_write)
        seen, refused = take_fingerprint(root), list[EdgeRuntimeError]()
        without_engine, trust = dict[ModelFormat, EngineError](), find_trust(config, name)
        for path in list_candidates(root, wanted, starts.order):
            try:
                bundle = load_from(root, path, trust)
                check_requirements(bundle.manifest, path)
                check_streams(config, name, bundle)
                model_format = bundle.manifest.format
                if model_format in without_engine:  # this version would be no better off
                    continue
                try:
                    with starts.count(bundle.manifest.version):
                        opened = _open_version(config, name, bundle, should_stop, may_write=may_write)
                except (EngineMissing, EngineMismatch) as err:
                    without_engine[model_format] = err
                    raise
            except (BundleError, EngineError) as err:
                refused.append(err)
                continue
            if wanted == "latest" and path != root:
                used = bundle.manifest.version
                opened = _note_choice(
                    opened, starts.explain(used, read_versions(root)), starts.find_untried(used)
                )
            return _note_skipped(opened, Skipped(root, refused[0].reason_text, seen)) if refused else opened
        raise next(iter(without_engine.values()), refused[0])


def open_newer(
    config: Config, name: str, version: int, should_stop: Callable[[], bool], active: PreprocessSpec
) -> OpenedModel:
    """The same for one version, while another one answers, whose input is ``active``.

    Raises:
        BundleError, EngineError: it cannot be used.
        OpeningStopped: ``should_stop`` said so.
    """
    root = config.bundle_root(name)
    path = find_bundle(root, version)
    bundle = load_from(root, path, find_trust(config, name))
    check_requirements(bundle.manifest, path)
    check_streams(config, name, bundle)
    check_same_windows(config, name, active, bundle)
    return _open_version(config, name, bundle, should_stop, may_write=True)


def _note_choice(opened: OpenedModel, held_back: str | None, untried: str | None) -> OpenedModel:
    notes = tuple(f"version: {reason}" for reason in (held_back, untried) if reason is not None)
    return replace(opened, notes=(*notes, *opened.notes), held_back=held_back, untried=untried)


def _note_skipped(opened: OpenedModel, skipped: Skipped) -> OpenedModel:
    used = opened.bundle.manifest.version
    note = f"version: {used} is used until one that comes before it can be: {skipped.reason}"
    return replace(opened, notes=(note, *opened.notes), skipped=skipped)


def _open_version(
    config: Config, name: str, bundle: Bundle, should_stop: Callable[[], bool], *, may_write: bool
) -> OpenedModel:
    settings, budget = find_engine_settings(config, name), cpu_budget()
    plan = place_threads(plan_threads(config, name, budget), bundle.manifest.format, settings)
    model = bundle.model_files
    passed = PassedModels(config.state_dir / "cache" / "opened", may_write)
    protection = check_in_sandbox(
        bundle,
        settings=settings,
        memory_mib=config.models[name].engine.opening_mib,
        passed=passed,
        should_stop=should_stop,
    )
    engine = open_bundle_engine(bundle, plan, settings, model)
    with close_on_error(engine):
        tested = self_test(bundle, engine)
        bundle = bundle.keep(list_compared_inputs(bundle))
        notes = (
            *find_engine_notes(config.models[name], engine, plan, budget),
            *find_recalibration_notes(
                config.models[name], bundle.manifest.preprocess, bundle.manifest.postprocess
            ),
        )
    return OpenedModel(bundle, model, plan, settings, engine, tested.answers, tested.worst, notes, protection)


def load_model_bundle(config: Config, name: str) -> Bundle:
    """The verified bundle of a model; with ``version: latest`` the best one that is whole, as at a start.

    Raises:
        BundleError: there is none, or it is not as its manifest says.
    """
    trust, starts = find_trust(config, name), read_starts(config, name, may_write=False)
    root = config.bundle_root(name)
    first, *others = list_candidates(root, config.models[name].version, starts.order)
    try:
        return load_from(root, first, trust)
    except BundleError:
        for path in others:
            with suppress(BundleError):
                return load_from(root, path, trust)
        raise


def plan_threads(
    config: Config,
    name: str,
    budget: CpuBudget,
    *,
    preference: int | Preference | None = None,
    streams: int | None = None,
) -> ThreadPlan:
    """Plan the threads of a model that shares the box with the other models of the configuration.

    ``preference`` is instead of the configured one, ``streams`` instead of the number of the model's cameras.
    """
    used = count_streams(config)
    before = list(config.models)[: list(config.models).index(name)]
    return choose_threads(
        budget,
        used[name] if streams is None else streams,
        config.models[name].threads if preference is None else preference,
        other_streams=used.total() - used[name],
        streams_before=sum(used[other] for other in before),
    )


def count_streams(config: Config) -> Counter[str]:
    """Enabled streams by model."""
    return Counter(section.model for section in config.streams.values() if section.enabled)


def find_engine_settings(config: Config, name: str) -> EngineSettings:
    """The settings of a model's engine; its cache is in the state directory."""
    return make_engine_settings(config.models[name], config.state_dir / "cache" / "openvino")


def make_engine_settings(model: ModelConfig, cache_dir: Path | None = None) -> EngineSettings:
    """The settings of a model's engine; ``cache_dir`` is used if ``engine.cache`` is on."""
    engine = model.engine
    return EngineSettings(
        runtime=engine.runtime,
        devices=engine.devices,
        precision=engine.precision,
        pin_threads=engine.pin_threads,
        cache_dir=cache_dir if engine.cache else None,
        max_batch=model.batch.max_batch_size,
    )


def choose_model(config: Config, source: Path, wanted: str | None) -> str:
    """The model of a command: the named one, or the only one.

    Raises:
        ConfigError: there is no such model, or there are several.
    """
    names = ", ".join(config.models)
    if wanted is None and len(config.models) == 1:
        return next(iter(config.models))
    if wanted is None or wanted not in config.models:
        found = "no model named" if wanted is None else f"no model {wanted!r}"
        raise ConfigError(str(source), (Problem("models", None, found, f"--model with one of: {names}"),))
    return wanted
