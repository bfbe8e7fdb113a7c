"""The main path in Python: simulated sessions as NWB files, to a pre-trained model and its page.

python examples/quickstart.py --steps 500 --out quickstart

A minute on one core. So few steps on so little data show the path, not what a model can do.
"""

import argparse
from pathlib import Path

from neurofm.data.ingest import ingest
from neurofm.data.inspect import summary, table
from neurofm.data.splits import split_by_time
from neurofm.data.store import open_store
from neurofm.data.synthetic import SimulationConfig, simulate
from neurofm.data.synthetic_nwb import write_nwb
from neurofm.pipeline import pretrain_store
from neurofm.report import tables
from neurofm.report.page import page
from neurofm.run import open_run
from neurofm.scoring import evaluate_run


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--out", type=Path, default=Path("quickstart"), help="a new folder")
    wanted.add_argument("--steps", type=int, default=500, help="optimiser steps")
    wanted.add_argument("--minutes", type=float, default=5.0, help="length of a session")
    wanted.add_argument("--units", type=int, default=40, help="units a session")
    given = wanted.parse_args()

    # Two animals, one session each, written to NWB with what was planted beside them. Put your own
    # files into this folder instead, and drop `truth` below.
    files = given.out / "nwb"
    config = SimulationConfig(n_animals=2, sessions_per_animal=1, minutes=given.minutes,
                              units_min=given.units, units_max=given.units)  # fmt: skip
    for session in simulate(config, seed=0):
        write_nwb(session, files / f"{session.recording.id}.nwb")

    # Files of any known format become a store, which says what is wrong with each.
    ingest([files], given.out / "store", say=print)
    store = open_store(given.out / "store")
    print(table(summary(store)))

    # The first 70% of each session train the model, the next 10% choose among its checkpoints, and
    # the last 20% are asked about. A gap of a second lies between them; `save` keeps it all.
    splits = split_by_time(store.recordings(), train=0.7, valid=0.1, test=0.2, gap_s=1.0)
    print(splits.table())
    splits.save(given.out / "splits.json")

    # One model over both animals learns to predict cells that are hidden from it.
    check = max(given.steps // 5, 1)
    pretrain_store(
        store.folder,
        given.out / "run",
        config_file="tiny",
        settings=[f"steps={given.steps}", f"validate_every={check}"],
        splits_file=given.out / "splits.json",
        say=print,
        tick=print,
    )

    # The model, two baselines and the planted truth answer the same questions.
    results = evaluate_run(
        given.out / "run",
        tasks="co-smoothing,forward",
        baselines="mean-rate,ridge",
        truth=files,
        tick=print,
    )
    print(tables.table([r for r in results if r.metric == "bps_pooled"]))

    # Everything in the run's folder, drawn on one page.
    print(page(open_run(given.out / "run")))


if __name__ == "__main__":
    main()
