"""The stages behind the commands."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from neurofm import NeurofmError, pipeline, planning, scoring
from neurofm.commands import main_path
from neurofm.commands.plan import plan


def defaults(function: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


@pytest.mark.parametrize(
    ("command", "stage"),
    [
        (main_path.pretrain, pipeline.pretrain_store),
        (main_path.evaluate, scoring.evaluate_run),
        (plan, planning.plan_store),
    ],
)
def test_a_stage_has_the_defaults_of_its_command(
    command: Callable[..., Any], stage: Callable[..., Any]
) -> None:
    asked, taken = defaults(command), defaults(stage)
    shared = set(asked) & set(taken)
    assert {"device", "splits_file"} <= shared
    assert {k: asked[k] or None for k in shared} == {k: taken[k] or None for k in shared}


def test_a_stage_takes_its_defaults_and_says_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(NeurofmError, match="is not a store"):
        pipeline.pretrain_store(tmp_path / "none", tmp_path / "run")
    with pytest.raises(NeurofmError, match="is not a run"):
        scoring.evaluate_run(tmp_path / "none")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (75, "1:15"), (3_700, "1:01:40"), (-1, "0:00")]
)
def test_time_to_go_is_said_in_minutes(seconds: float, text: str) -> None:
    assert pipeline.clock(seconds) == text
