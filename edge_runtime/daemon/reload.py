"""Applies an edit of the configuration to the running daemon, in two steps.

First everything that can fail (models are loaded and self-tested, broker settings checked) is opened in a thread while
the old parts run: that may take longer than the watchdog waits. Then the main thread lets the new parts take over. A
bad edit leaves everything as it was.
"""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import structlog

from edge_runtime.config import Changes, Config, Effect, changes, merge_in_force, must_start_anew
from edge_runtime.daemon.cameras import Cameras
from edge_runtime.daemon.edit_under_way import (
    BY_FILE,
    Commanded,
    CommandedEdit,
    Edits,
    EditUnderWay,
    Opened,
    Promoted,
    close_late,
    stop_all,
)
from edge_runtime.daemon.mended_versions import MendedVersions
from edge_runtime.daemon.model_runtime import ModelRuntime
from edge_runtime.daemon.running import Running
from edge_runtime.daemon.take_over import TakeOver
from edge_runtime.daemon.trust_watch import TrustWatch, describe_new
from edge_runtime.deployment.versions import Skipped
from edge_runtime.errors import CommandError, ConfigError, EdgeRuntimeError, OpeningStopped, StateError
from edge_runtime.messaging.connection import BrokerConnection
from edge_runtime.messaging.delivery import Delivery
from edge_runtime.messaging.events import ConfigApplied, ConfigRefused, Fact, VersionMended
from edge_runtime.system.supervised_thread import Crashes
from edge_runtime.system.systemd import SystemdNotify

log = structlog.get_logger()

DEADLINE_S = 900.0
"""For what one edit opens without a sign of life. A first opening, which has limits as long as its model and pictures
need (``bundles.opening_limits``), gives one whenever it asks whether to stop."""

MADE_ROOM = "the file was edited meanwhile; nothing was done, send it again"


@dataclass(kw_only=True)
class ConfigReloader:
    """Takes edits from the queue one after the other; all methods are the main thread's."""

    running: Running
    cameras: Cameras
    delivery: Delivery
    notify: SystemdNotify
    edits: Edits
    promoted: Promoted
    """Models whose newer version has passed its rollout, to be opened as the model's own."""
    commanded: Commanded
    """They wait for edits of the file, and make room for them."""
    crashes: Crashes
    open_model: Callable[[Config, str, Callable[[], bool]], ModelRuntime]
    """Load, self-test and wire one model, unless the function says stop; nothing runs yet.

    Raises BundleError, EngineError, StateError, OpeningStopped.
    """
    open_connection: Callable[[Config], BrokerConnection]
    """Broker client, commands and channels, not started. Raises ConfigError, StateError."""
    configure_log: Callable[[Config], None]
    emit: Callable[[Fact, str | None], None]
    """Publishes what has happened to a model, or (None) to the whole device."""
    keep_config: Callable[[Config, str, Changes], None]
    """Remembers a configuration that is in force, who made it so, and what that changed."""
    restart: Callable[[], object]
    """Ends the process for another start; raises CommandError where nobody starts it."""
    prove_start: Callable[[Config], None]
    """Raises EdgeRuntimeError when a start with a configuration would end at once."""
    look_again: Callable[[], None]
    """Has the file handed on once more in a while: what it names may be there by then."""
    trust: TrustWatch
    run_in_background: Callable[[Callable[[], Any]], Future[Any]]
    """Runs the opening at a lower priority than live frames and the main thread."""
    _edit: EditUnderWay | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._take_over = TakeOver(self.running, self.cameras, self.delivery, self.configure_log)
        self._mended = MendedVersions(self.running, self.crashes, self.run_in_background)

    def follow_edits(self, now_s: float) -> None:
        """Begin with the next edit, or end the one under way; never waits for it.

        An edit whose models are still being opened when the next one comes makes room for it. One that is not done
        at its deadline is given up: whatever hangs there must not keep later ones out.
        """
        if self._edit is None and not self.edits.empty():
            self._begin(self.edits.get(), now_s)
        edit = self._edit
        if edit is None:
            if not self.commanded.empty():
                self._begin_commanded(self.commanded.get(), now_s)
            elif not self.promoted.empty():
                self._begin_promoted(self.promoted.get(), now_s)
            else:
                self._begin_mended(self._mended.find(now_s), now_s)
                self.trust.look_again(now_s)
            return
        if not self.edits.empty():
            edit.must_stop.set()
        if edit.is_alive.is_set():
            edit.is_alive.clear()
            edit.deadline_s = now_s + DEADLINE_S
        if edit.opened.done():
            self._edit = None
            self._end(edit)
        elif now_s >= edit.deadline_s:
            self._edit = None
            self._give_up(edit)

    def _begin_commanded(self, edit: CommandedEdit, now_s: float) -> None:
        if edit.done.set_running_or_notify_cancel():  # else its caller has given up
            config = self.running.config
            plan, new = changes(config, edit.config), merge_in_force(config, edit.config)
            if must_start_anew(config, plan):
                self._start_anew(edit.config, plan, edit)
            else:
                self._start(new, plan, now_s, commanded=edit)

    def _begin_promoted(self, name: str, now_s: float) -> None:
        runtime = self.running.models.get(name)
        if runtime is not None and runtime.rollout is not None and runtime.rollout.is_handing_over:
            plan = Changes({f"models.{name}": Effect.REBUILD_MODEL})
            self._start(self.running.config, plan, now_s, promoted=name)

    def _begin_mended(self, mended: Mapping[str, Skipped], now_s: float) -> None:
        if mended:
            plan = Changes({f"models.{name}": Effect.REBUILD_MODEL for name in mended})
            self._start(self.running.config, plan, now_s, mended)

    def stop(self) -> None:
        """Open nothing more; an edit under way is not applied."""
        if self._edit is not None:
            self._edit.must_stop.set()
            if self._edit.commanded is not None:
                self._edit.commanded.done.set_exception(CommandError("the daemon stops; nothing was done"))

    def _give_up(self, edit: EditUnderWay) -> None:
        edit.must_stop.set()
        edit.opened.add_done_callback(close_late)
        problem = f"its models did not open within {DEADLINE_S:g} s; expected models that do"
        log.error("edit given up", reason=problem)
        self._fail(edit, problem, problem)
        self.notify.ready()

    def _begin(self, edit: Config | EdgeRuntimeError, now_s: float) -> None:
        if isinstance(edit, EdgeRuntimeError):
            problems = edit.problems if isinstance(edit, ConfigError) else (edit,)
            self._refuse(str(edit), *map(str, problems))
            return
        plan, new = changes(self.running.config, edit), merge_in_force(self.running.config, edit)
        if must_start_anew(self.running.config, plan):
            self._start_anew(edit, plan)
        else:
            self._start(new, plan, now_s)

    def _start_anew(self, new: Config, plan: Changes, commanded: CommandedEdit | None = None) -> None:
        """Leave safe mode by a start with the file; it stays where that start would fail at once."""
        try:
            self.prove_start(new)
            if commanded is not None:
                commanded.write()
        except EdgeRuntimeError as err:
            if commanded is None:
                self._refuse(str(err), str(err))
            else:
                commanded.done.set_exception(CommandError(str(err)))
            return
        if commanded is not None:
            commanded.done.set_result(plan)
        keys = ", ".join(plan.needs_restart)
        log.info("safe mode ends with a restart", since=keys)
        try:
            self.restart()
        except CommandError:
            problem = f"the file can be used after a restart of the daemon: {keys} count from a start on"
            self._refuse(problem, problem)

    def _start(
        self,
        new: Config,
        plan: Changes,
        now_s: float,
        mended: Mapping[str, Skipped] | None = None,
        promoted: str | None = None,
        commanded: CommandedEdit | None = None,
    ) -> None:
        self.notify.reloading()
        must_stop, is_alive = threading.Event(), threading.Event()

        def should_stop() -> bool:
            is_alive.set()
            return must_stop.is_set()

        opened = self.run_in_background(lambda: self._open(new, plan, should_stop))
        self._edit = EditUnderWay(
            new, plan, now_s + DEADLINE_S, must_stop, is_alive, opened, mended or {}, promoted, commanded
        )

    def _end(self, edit: EditUnderWay) -> None:
        error = edit.opened.exception()
        if error is None and (problem := self._find_other(edit, edit.opened.result())) is not None:
            stop_all(edit.opened.result())
            self._fail(edit, problem, problem)
        elif error is None:
            self._write_and_apply(edit, edit.opened.result())
        elif isinstance(error, OpeningStopped) and edit.promoted is not None:
            self.promoted.put(edit.promoted)  # after the edit that it made room for
        elif isinstance(error, OpeningStopped) and edit.commanded is not None:
            self._fail(edit, MADE_ROOM, MADE_ROOM)
        elif isinstance(error, EdgeRuntimeError):
            self._fail(edit, str(error), str(error))
        else:
            with self.crashes.contain("config-edit"):
                raise error
            problem = f"failed unexpectedly: {error!r}"
            self._fail(edit, problem, f"{problem}; the log says why")
        self.notify.ready()

    def _find_other(self, edit: EditUnderWay, opened: Opened) -> str | None:
        """Why what was opened is not the version that passed its rollout; None when it is, or none was to be."""
        if edit.promoted is None:
            return None
        new, running = opened[0][edit.promoted], self.running.models[edit.promoted]
        if running.rollout is None or running.rollout.has_passed(new.bundle.manifest.sha256):
            return None
        reason = "" if new.skipped is None else f": {new.skipped.reason}"
        return f"its folder is gone or holds something else than was tried; {new.bundle.id} was found{reason}"

    def _write_and_apply(self, edit: EditUnderWay, opened: Opened) -> None:
        commanded = edit.commanded
        if commanded is None:
            self._apply(edit, opened)
            return
        try:
            commanded.write()
        except (CommandError, StateError) as err:
            stop_all(opened)
            self._fail(edit, str(err), str(err))
            return
        # Nothing can fail from here on, and the answer goes over the connection that is left.
        if opened[1] is not None:
            commanded.done.set_result(edit.plan)
        self._apply(edit, opened)
        if opened[1] is None:
            commanded.done.set_result(edit.plan)

    def _apply(self, edit: EditUnderWay, opened: Opened) -> None:
        before = {name: runtime.bundle.id for name, runtime in self.running.models.items()}
        self._take_over.replace(edit.config, edit.plan, opened[0], opened[1])
        for name in edit.plan.models:
            self._mended.forget(name)
        known, self.running.distrusted = self.running.distrusted, opened[2]
        if edit.promoted is not None:
            return
        if edit.mended:
            for name, runtime in opened[0].items():
                if runtime.bundle.id != before.get(name):
                    self.emit(VersionMended(runtime.bundle.id, before[name]), name)
            return
        was_safe_mode, self.running.config = self.running.config.is_safe_mode, edit.config
        if edit.config.is_safe_mode:
            self._stay_in_safe_mode()
            return
        self.running.set_config_problem(None)
        if was_safe_mode:
            log.info("safe mode is over", models=sorted(edit.config.models))
        warnings = describe_new(known, opened[2])
        self.emit(ConfigApplied(tuple(edit.plan), edit.plan.needs_restart, warnings), None)
        self.keep_config(edit.config, BY_FILE if edit.commanded is None else edit.commanded.by, edit.plan)

    def _fail(self, edit: EditUnderWay, problem: str, for_people: str) -> None:
        """Everything stays as it was; a version that cannot be used says nothing about the configuration."""
        runtime = None if edit.promoted is None else self.running.models.get(edit.promoted)
        if edit.promoted is not None:
            log.error("version that passed its rollout cannot be opened", reason=problem)
            if runtime is not None and runtime.rollout is not None:
                runtime.rollout.hand_over_failed(problem)
        elif edit.commanded is not None:
            log.warning("commanded edit refused", by=edit.commanded.by, reason=problem)
            edit.commanded.done.set_exception(CommandError(problem))
        elif edit.mended:
            self._mended.note_unusable(edit.mended)
            log.error("version that was mended cannot be used", reason=problem)
        else:
            self._refuse(problem, for_people)

    def _stay_in_safe_mode(self) -> None:
        """The file took rights away, or an edit was taken back that had ended it."""
        if self.running.config_problem is None:
            problem = "the configuration before the edit that was taken back could not be used either"
            self._refuse(problem, problem)
        self.look_again()

    def _refuse(self, problem: str, *problems: str) -> None:
        is_safe_mode, known = self.running.config.is_safe_mode, self.running.config_problem
        self.running.set_config_problem(problem, *problems)
        if not is_safe_mode or problem != known:
            self.emit(ConfigRefused(problems, is_safe_mode), None)
        if is_safe_mode:
            self.look_again()

    def _open(self, new: Config, plan: Changes, should_stop: Callable[[], bool]) -> Opened:
        """Open the new parts; when one fails, the models opened before it are closed. The old parts are not touched."""
        models: dict[str, ModelRuntime] = {}
        with ExitStack() as opened:
            for name in sorted(plan.models & new.models.keys()):
                models[name] = self.open_model(new, name, should_stop)
                opened.callback(models[name].stop)
            connection = self.open_connection(new) if plan.paths(Effect.RECONNECT) else None
            distrusted = self.trust.find_after(plan, new)
            opened.pop_all()
        return models, connection, distrusted
