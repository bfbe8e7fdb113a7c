"""The network of features, a linear reader and networks of raw traces averaged, on the draws of people of `people_emg.py`.

    python benchmarks/people_traces.py ../shared/data/emg-myo-gestures --out benchmarks/results/people-emg.json

A window is answered from itself alone, by people that it was not trained on. Pieces `traces N DRAW` go into the file of the
others, and what is done is kept. `--among` asks ten of the 30 training people instead, which is what the average was chosen by.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from people_cnn import DRAWS, Asked, drawn, work
from people_cnn import read as read_traces
from people_emg import HELD_OUT, LINEAR_C, Windows, inductive, read, scores

from neurofm import files
from neurofm.evaluate.trial_readout import sorter
from neurofm.seeding import generator
from neurofm.train.crowd_traces import TracesConfig, fit_traces


def answered(w: Windows, raw: Any, some: np.ndarray, others: np.ndarray, draw: int) -> dict[str, Any]:  # fmt: skip
    """Scores of `others` by readers of `some`, each by itself and averaged."""
    rest, theirs = (w.take(np.isin(w.person, who)) for who in (some, others))
    seen, asked = (Asked.of(raw.take(who)) for who in (some, others))
    assert (asked.person == theirs.person).all()
    assert (asked.label == theirs.label).all()
    crowd, line = inductive(rest, draw), sorter(rest.plain, rest.label, LINEAR_C)
    network = crowd(theirs.plain).astype(np.float64)
    linear = line.model.predict_proba((theirs.plain - line.mean) / line.scale)
    traces = fit_traces(seen.x[:, 0], seen.label, TracesConfig(), draw)(asked.x[:, 0])
    features = np.sqrt(network * linear)
    together = np.sqrt(features / features.sum(axis=1, keepdims=True) * traces)
    made = {"traces": traces, "inductive with linear and traces": together}
    return {name: scores(theirs, crowd.labels, chance) for name, chance in made.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", type=int, nargs="*", help="numbers of training people")
    parser.add_argument("--among", action="store_true", help="ask ten of the 30")
    args = parser.parse_args()
    w, raw = read(args.data), read_traces(args.data)
    for n, draw in work(args.only or DRAWS):
        done = json.loads(args.out.read_text()) if args.out.exists() else {}
        if (name := f"{'among' if args.among else 'traces'} {n} {draw}") in done:
            continue
        some, others = drawn(raw, n, draw), np.array(HELD_OUT)
        if args.among:
            every = np.unique(raw.person[~np.isin(raw.person, HELD_OUT)])
            order = generator(100 + draw, "people asked among the 30", n).permutation(every)
            some, others = order[:n], order[n : n + 10]
        made = answered(w, raw, some, others, draw)
        done = json.loads(args.out.read_text()) if args.out.exists() else {}
        files.write_text(args.out, json.dumps(done | {name: made}, indent=0, sort_keys=True))
        said = ", ".join(f"{k} {np.mean(list(v['window'].values())):.3f}" for k, v in made.items())
        print(f"{name}  {said}  {time.process_time():.0f} s", flush=True)


if __name__ == "__main__":
    main()
