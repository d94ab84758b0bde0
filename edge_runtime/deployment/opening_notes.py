"""What a model that was opened does otherwise than its configuration says: a sentence for each; none is an error."""

import re
from collections.abc import Iterator

from edge_runtime.config import ModelConfig
from edge_runtime.inference.engines.base import Engine
from edge_runtime.inference.engines.threads import ThreadPlan
from edge_runtime.inference.postprocess.healthy_threshold import needs_healthy_scores
from edge_runtime.inference.specs import PostprocessSpec, PreprocessSpec, find_obstacle_to_recalibration
from edge_runtime.system.cpu_budget import CpuBudget

_VIRTUAL = ("AUTO", "HETERO", "MULTI", "BATCH")
"""Devices of OpenVINO that are there everywhere and name others."""
_OTHER_NAMES = {"directml": "dml"}


def find_recalibration_notes(
    model: ModelConfig, preprocess: PreprocessSpec, postprocess: PostprocessSpec
) -> Iterator[str]:
    """Why a model is not recalibrated although it should be, and why anomalies will never have a threshold."""
    obstacle = find_obstacle_to_recalibration(preprocess) if model.recalibrate else "is off"
    if obstacle is None:
        return
    if not needs_healthy_scores(postprocess):
        if model.recalibrate:
            yield f"recalibrate: has no effect: {obstacle}"
    else:
        yield (
            f"recalibrate: {obstacle}, so that no baseline is recorded, and the bundle has no number as "
            "postprocess.threshold: nothing is ever anomalous"
        )


def find_engine_notes(
    model: ModelConfig, engine: Engine, plan: ThreadPlan, budget: CpuBudget
) -> tuple[str, ...]:
    """Settings without effect on this box and fall-backs that were taken: none is an error; a sentence for each."""
    runtime = engine.runs_on.partition(" ")[0]
    return (
        *_check_device(model, engine.runs_on),
        *_check_precision(model, runtime, engine.runs_on),
        *_check_rest(model, runtime, engine, plan, budget),
    )


def _check_device(model: ModelConfig, runs_on: str) -> Iterator[str]:
    if len(model.engine.devices) == 1:
        return
    used = next((device for device in model.engine.devices if is_on(device, runs_on)), "another device")
    if used != (first := model.engine.devices[0]):
        yield f"engine.devices: {first} is not there, its fall-back {used} is used"


def is_on(device: str, runs_on: str) -> bool:
    """Whether an engine's words say that it runs on a device: ``GPU.1``, ``CUDA:0``, ``AUTO:GPU,CPU`` (on any)."""
    family = re.split(r"[.:(]", device)[0]
    if family in _VIRTUAL:
        return True
    name = _OTHER_NAMES.get(family.lower(), family.lower())
    return name in re.split(r"[^a-z0-9]+", runs_on.lower())


def _check_precision(model: ModelConfig, runtime: str, runs_on: str) -> Iterator[str]:
    wanted = model.engine.precision
    if wanted in ("f16", "bf16") and f"precision {wanted}" not in runs_on:
        yield f"engine.precision: {wanted} is not what {runtime} calculates in here"


def _check_rest(
    model: ModelConfig, runtime: str, engine: Engine, plan: ThreadPlan, budget: CpuBudget
) -> Iterator[str]:
    if model.engine.cache and runtime != "openvino":
        yield f"engine.cache: has no effect with {runtime}, only with openvino"
    if model.engine.pin_threads and runtime == "openvino":
        yield "engine.pin_threads: has no effect with openvino, which places its threads itself"
    if plan.intra > budget.most_threads:
        yield f"threads: {plan.intra} in a call on {budget.cores:g} CPU(s): they wait for each other ({budget.source})"
    most = model.batch.max_batch_size
    if most > 1 and engine.input.shape[0] == 1:
        yield f"batch.max_batch_size: {most} saves nothing: the model takes one input a call, they run one by one"
