import os
import signal

import pytest
import torch

from neurofm.errors import ConfigError, InputError
from neurofm.run import Run
from neurofm.train.ahead import NONE, Ahead, ahead
from neurofm.train.pretrain import PretrainConfig, pretrain

CONFIG = PretrainConfig(
    bin_s=0.02, window_bins=20, windows=4, steps=6, validate_every=3, valid_batches=1,
    precision="fp32", model={"backbone": {"width": 8, "layers": 0, "heads": 1, "mlp": 8}, "kernel": 1},
)  # fmt: skip


def numbered(step):
    return step, os.getpid()


def killed(step):
    if step == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return step, 0


def test_batches_come_in_the_order_of_the_steps_from_other_processes():
    state = torch.get_rng_state()
    for n, how in ((1, "fork"), (2, "fork"), (1, "spawn")):
        with ahead(numbered, range(3, 9), Ahead(n, how)) as made:
            got = [made(step) for step in range(3, 9)]
        assert [step for step, _ in got] == list(range(3, 9))
        processes = {process for _, process in got}
        assert os.getpid() not in processes
        assert len(processes) == n
    assert torch.equal(state, torch.get_rng_state())


def test_without_workers_nothing_is_between():
    with ahead(numbered, range(3), NONE) as made:
        assert made is numbered


def test_processes_end_with_a_run_that_fails():
    seen = []

    def fail():
        with ahead(numbered, range(9), Ahead(1, "fork")) as made:
            seen.append(made(0)[1])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with pytest.raises(ProcessLookupError):
        os.kill(seen[0], 0)


def test_a_worker_that_dies_is_explained():
    with (
        ahead(killed, range(9), Ahead(1, "fork")) as made,
        pytest.raises(InputError, match="--resume"),
    ):
        [made(step) for step in range(9)]


@pytest.mark.parametrize(("n", "how"), [(-1, "fork"), (1, "teleport")])
def test_what_cannot_be_is_refused(n, how):
    with (
        pytest.raises(ConfigError, match="--workers must be 0 or more"),
        ahead(numbered, range(1), Ahead(n, how)),
    ):
        pass


def test_workers_change_no_bit_of_a_curve(sessions, sides, tmp_path):
    def curve(n):
        run = Run(tmp_path / str(n))
        run.folder.mkdir()
        pretrain(sessions, sides, CONFIG, run, device=torch.device("cpu"), say=lambda _: None,
                 workers=Ahead(n, "fork"))  # fmt: skip
        return [row["loss"] for row in run.log_rows() if row["event"] == "step"]

    assert curve(0) == curve(1) == curve(2)
