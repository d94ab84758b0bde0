"""The configuration in force, its models and the connection to the broker; an edit replaces parts of it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from edge_runtime.config import Config
from edge_runtime.config.history import Entry
from edge_runtime.daemon.health import EngineFacts
from edge_runtime.daemon.model_runtime import ModelRuntime
from edge_runtime.deployment.rollout_policy.stages import Command
from edge_runtime.errors import CommandError
from edge_runtime.inference.specs import find_obstacle_to_recalibration
from edge_runtime.messaging.commands.later import Progress
from edge_runtime.messaging.commands.under_way import wait_for
from edge_runtime.messaging.connection import BrokerConnection
from edge_runtime.messaging.mqtt.topics import Topics
from edge_runtime.recalibration.controller import RecalibrationController
from edge_runtime.recalibration.follower import TaskFollower
from edge_runtime.recalibration.task import TaskRequest

ANSWER_TIMEOUT_S = 10.0
NOT_CONNECTED = BrokerConnection(Topics("edge", "device"), None, None, ())


@dataclass(slots=True)
class Running:
    """Written by the main thread only. Other threads read it, and copy ``models`` before they iterate."""

    config: Config
    connection: BrokerConnection = NOT_CONNECTED
    models: dict[str, ModelRuntime] = field(default_factory=dict)
    config_problem: str | None = None
    """Why the last edit was refused, or the box is in safe mode; None after a good one."""
    first_problem: str | None = None
    """The first of several problems in it, and how many more there are."""
    config_entry: Entry | None = None
    """Who made the configuration be in force, and when; None as long as that is not known."""
    distrusted: dict[str, str] = field(default_factory=dict)
    """By model, why the next start does not open what answers now, since an edit of ``trust``; replaced as a whole."""
    listen_problems: Mapping[str, str] = field(default_factory=dict)
    """Why nothing listens for ``http`` or ``grpc``, although it should; replaced as a whole."""
    is_stopping: bool = False

    def set_config_problem(self, problem: str | None, *problems: str) -> None:
        """Note what is wrong with the file, as a whole and one by one."""
        first, more = next(iter(problems), problem), len(problems) - 1
        self.config_problem = problem
        self.first_problem = first if more < 1 else f"{first} (and {more} more)"

    def engine_facts(self) -> tuple[EngineFacts, ...]:
        """For the health verdict and the watchdog."""
        return tuple(
            EngineFacts(
                model=name,
                last_progress_at_s=runtime.pipeline.metrics.last_progress_at_s,
                due_since_s=runtime.pipeline.due_since_s(),
                errors_in_a_row=runtime.pipeline.slot.failures_in_a_row,
            )
            for name, runtime in list(self.models.items())
        )

    def calibration_concerns(self) -> dict[str, str]:
        """By model, why its drift is not watched or not corrected."""
        controllers = {name: runtime.controller for name, runtime in list(self.models.items())}
        concerns = {name: one.concern() for name, one in controllers.items() if one is not None}
        return {name: concern for name, concern in concerns.items() if concern is not None}

    def find_commissioning(self) -> frozenset[str]:
        """The models whose drift will be watched when a task has ended that has begun."""
        controllers = {name: runtime.controller for name, runtime in list(self.models.items())}
        return frozenset(
            name for name, one in controllers.items() if one is not None and one.is_baseline_under_way()
        )

    def request(self, request: TaskRequest, model: str | None) -> dict[str, Any]:
        """Hand a command to a model's recalibration controller and wait for its answer.

        Raises:
            CommandError: unknown model or stream, or not possible now.
        """
        runtime, controller = self._find_controller(model)
        return self._hand_over(request, runtime, controller)

    def follow(
        self, request: TaskRequest, model: str | None, timeout_s: float, progress: Progress
    ) -> dict[str, Any]:
        """Hand a command that begins a task to a model, and wait for the end of this task.

        Gives the answer of :meth:`request` with its ``outcome``, which is ``goes_on`` after ``timeout_s``.

        Raises:
            CommandError: as for :meth:`request`; the daemon ends.
        """
        follower = TaskFollower()
        runtime, controller = self._find_controller(model)
        begun = self._hand_over(replace(request, follower=follower), runtime, controller)
        try:
            end = wait_for(follower.end, timeout_s, progress, lambda: controller.describe_progress(follower))
        except TimeoutError:
            return {**begun, "outcome": "goes_on"}
        return {**begun, **end}

    def steer_rollout(self, model: str | None, action: str, version: int | None = None) -> dict[str, Any]:
        """Carry out a command about the versions of a model; gives their status, or their history.

        Raises:
            CommandError: unknown model, no rollout, or not possible now.
        """
        runtime = self._find_model(model)
        rollout = runtime.rollout
        if rollout is None:
            raise CommandError(
                f"model {runtime.name} has no rollout; add 'rollout: {{}}' to it in the configuration"
            )
        match action:
            case "status":
                return asdict(rollout.status())
            case "history":
                return {"steps": rollout.history()}
            case "retry":
                if version is None:
                    raise CommandError("retry: name the refused version")
                return rollout.retry(version)
        return rollout.command(Command(action))

    def _hand_over(
        self, request: TaskRequest, runtime: ModelRuntime, controller: RecalibrationController
    ) -> dict[str, Any]:
        streams = [name for name, section in self.config.streams.items() if section.model == runtime.name]
        if request.stream is not None and request.stream not in streams:
            raise CommandError(
                f"no stream {request.stream!r} of model {runtime.name}; it has: {', '.join(streams)}"
            )
        answer = controller.request(request)
        try:
            return answer.result(timeout=ANSWER_TIMEOUT_S)
        except TimeoutError as err:
            if answer.cancel():
                raise CommandError("the recalibration loop is busy; nothing was done, try again") from err
        try:  # it has just begun to act, or the answer has come
            return answer.result(timeout=ANSWER_TIMEOUT_S)
        except TimeoutError as err:
            raise CommandError(
                "it is being done and takes longer; ask for the status to see how it ends"
            ) from err

    def _find_controller(self, name: str | None) -> tuple[ModelRuntime, RecalibrationController]:
        runtime = self._find_model(name)
        if runtime.controller is None:
            obstacle = find_obstacle_to_recalibration(runtime.bundle.manifest.preprocess)
            reason = obstacle or "recalibration is turned off for this model in the configuration"
            raise CommandError(reason)
        return runtime, runtime.controller

    def _find_model(self, name: str | None) -> ModelRuntime:
        models = dict(self.models)
        return models[choose_model_name(models, name)]


def choose_model_name(models: Mapping[str, object], wanted: str | None) -> str:
    """The model of a command: the named one, or the only one.

    Raises:
        CommandError: there is no such model, or there are several.
    """
    if not models:
        raise CommandError("no model runs on this device; its status says why")
    if wanted is None and len(models) == 1:
        return next(iter(models))
    if wanted is None or wanted not in models:
        problem = f"no model {wanted!r}; this device has" if wanted else "name a model"
        raise CommandError(f"{problem}: {', '.join(models)}")
    return wanted
