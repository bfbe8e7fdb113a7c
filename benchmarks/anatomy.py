"""The region of a unit, told from its computed embedding in animals that the model never saw.

    python benchmarks/anatomy.py --out DIR

A model that computes rows is pre-trained on some simulated animals and given others without
training (`adapt --how zero-shot`); `neurofm anatomy` then tells the regions of these, each animal
held out in turn, from the encoder's output and from simpler things. Once more with a model that was
never told a region. What is kept in DIR is not done again. `--smoke` is the same at toy size; with
`--record` the results go to benchmarks/results/anatomy.json.
"""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from neurofm import files
from neurofm.adapting import Ways, adapt_run
from neurofm.data.ingest import ingest
from neurofm.data.synthetic import SimulatedSession, SimulationConfig, simulate
from neurofm.data.synthetic_nwb import write_nwb
from neurofm.evaluate.unit_embedding import without_places
from neurofm.mapping import map_run
from neurofm.pipeline import pretrain_store
from neurofm.results import Result

HARDWARE = "AMD EPYC Zen 5, one thread"
RECORD = Path(__file__).parent / "results" / "anatomy.json"
TOLD, NEVER = "regions told in pre-training", "no region told in pre-training"
MASKS = {TOLD: [], NEVER: ["masks.units=0.8", "masks.future=0.2", "masks.intra_region=0",
                           "masks.inter_region=0"]}  # fmt: skip


@dataclass(frozen=True)
class Size:
    """Animals in all, of which the last `n_new` are new; steps of pre-training."""

    simulation: SimulationConfig
    n_new: int
    steps: int
    settings: tuple[str, ...] = ()


FULL = Size(
    SimulationConfig(n_animals=16, sessions_per_animal=1, units_min=40, units_max=60, minutes=4),
    n_new=8, steps=400,
)  # fmt: skip
SMOKE = Size(
    SimulationConfig(n_animals=5, sessions_per_animal=1, units_min=15, units_max=15, minutes=1),
    n_new=3, steps=4, settings=("window_bins=40", "valid_batches=1"),
)  # fmt: skip


def store(out: Path, name: str, sessions: Sequence[SimulatedSession]) -> Path:
    """A store of these sessions, made now or before."""
    made = out / name
    if not made.exists():
        shutil.rmtree(out / "nwb" / name, ignore_errors=True)
        shutil.rmtree(out / f"{name}.tmp", ignore_errors=True)
        (out / "nwb" / name).mkdir(parents=True)
        for session in sessions:
            write_nwb(session, out / "nwb" / name / f"{session.recording.id}.nwb")
        ingest([out / "nwb" / name], out / f"{name}.tmp")
        (out / f"{name}.tmp").rename(made)
    return made


def one(out: Path, size: Size, kind: str, train: Path, new: Path) -> tuple[list[Result], float]:
    """Pre-train, meet the new animals, tell their regions; with the seconds of pre-training."""
    slug = "told" if kind == TOLD else "never"
    run, adapted, kept = out / f"run-{slug}", out / f"new-{slug}", out / f"{slug}.json"
    if kept.exists():
        rows = files.read_json(kept)
        return [Result(**row) for row in rows["results"]], rows["pretrain_s"]
    for folder in (run, adapted):
        shutil.rmtree(folder, ignore_errors=True)
    say = partial(print, f"[{slug}]", file=sys.stderr, flush=True)
    began = time.process_time()
    pretrain_store(
        train, run, config_file="tiny", device="cpu", tick=say,
        settings=["model.rows=inductive", "optim.matrix_rate=0", "optim.rate=1e-3", "windows=16",
                  "precision=fp32", f"steps={size.steps}", f"validate_every={size.steps // 2}",
                  *MASKS[kind], *size.settings],
    )  # fmt: skip
    seconds = time.process_time() - began
    adapt_run(run, new, adapted, Ways("zero-shot", "all", "co-smoothing", "none"), device="cpu",
              say=say, tick=say)  # fmt: skip
    found = [replace(r, run=kind) for r in map_run(adapted, device="cpu", say=say, tick=say)]
    files.write_json(kept, {"pretrain_s": seconds, "results": [r.record() for r in found]})
    return found, seconds


def table(found: Sequence[Result]) -> str:
    """Markdown: macro-F1 by what it was told from, and the gains of both embeddings over each."""
    rows = {(r.run, r.task, r.predictor): r for r in found if r.metric == "macro_f1"}
    gains = {(r.run, r.null): r for r in found if r.metric == "macro_f1_gain"}
    lines = ["| told from | macro-F1 | chance | gain of the embedding, regions told / never told |",
             "|---|---|---|---|"]  # fmt: skip
    for (run, task, name), r in rows.items():
        ours = name == "model" or task == "anatomy:rows"
        if (task == "anatomy:rows" and name == "inductive") or (not ours and run != TOLD):
            continue  # the embedding is what stands for the model; rivals are the same in both
        called = f"{'embedding' if name == 'model' else name} ({run})" if ours else name
        pair = [] if ours else [gains[kind, name] for kind in MASKS]
        text = " / ".join(f"{g.value:+.3f} [{g.low:+.3f}, {g.high:+.3f}]" for g in pair)
        score = f"{r.value:.3f} [{r.low:.3f}, {r.high:.3f}]"
        lines.append(f"| {called} | {score} | {r.chance:.3f} | {text} |")
    return "\n".join(lines)


def command(given: argparse.Namespace) -> str:
    """What makes the record again, wherever its folder lies."""
    smoke = " --smoke" if given.smoke else ""
    return f"python benchmarks/anatomy.py --out DIR{smoke}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--record", action="store_true", help="write benchmarks/results too")
    given = parser.parse_args()
    torch.set_num_threads(1)
    size = SMOKE if given.smoke else FULL
    given.out.mkdir(parents=True, exist_ok=True)
    sessions = simulate(size.simulation, seed=0)
    known, new = sessions[: -size.n_new], sessions[-size.n_new :]
    blind = [replace(s, recording=without_places(s.recording)) for s in known]
    unseen = store(given.out, "new", new)
    found, seconds = [], {}
    for kind, train in ((TOLD, known), (NEVER, blind)):
        at = store(given.out, "train" if kind == TOLD else "train-blind", train)
        results, seconds[kind] = one(given.out, size, kind, at, unseen)
        found += results
    text = json.dumps({
        "date": time.strftime("%Y-%m-%d"), "command": command(given),
        "hardware": HARDWARE, "steps": size.steps, "windows_a_step": 16,
        "simulation": size.simulation.model_dump(mode="json"), "n_new_animals": size.n_new,
        "n_units": sum(len(s.recording.channels) for s in new), "pretrain_s": seconds,
        "results": [r.record() for r in found],
    }, indent=1)  # fmt: skip
    for path in [given.out / "anatomy.json", *([RECORD] if given.record else [])]:
        files.write_text(path, text + "\n")
    print(table(found))


if __name__ == "__main__":
    main()
