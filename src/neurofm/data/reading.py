"""The disposable process that reads one file after another into unfinished sessions.

A broken file can hang the HDF5 library, crash it, or take all memory, and no Python code can stop
that from within. So files are read in this process, which `children` starts, watches and ends.
It speaks JSON lines: a request comes in on stdin, what happened goes out on stdout.
"""

import contextlib
import ctypes
import json
import math
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from neurofm.data.children import too_big
from neurofm.data.quality import QualityConfig, check, reported
from neurofm.data.readers import READERS, digest_of, parts, reader_for
from neurofm.data.readers.pose import beside, joint, unread, with_pose
from neurofm.data.repair import repair
from neurofm.data.store import stage
from neurofm.errors import NeurofmError
from neurofm.files import sha256

GRACE_S = 10  # how much later than its parent would a child end itself
PR_SET_PDEATHSIG = 1  # Linux, <sys/prctl.h>


def read_into(
    path: Path, folder: Path, quality: QualityConfig, wanted: Callable[[str], bool]
) -> dict[str, Any]:
    """Read, check and repair a file, and stage its recordings in `folder/0`, `folder/1`, ...

    `wanted` is asked, with the SHA-256 of the file, whether to read it at all. The answer has
    `sha256` and `n_recordings`, or `sentence` if the file is refused.
    """
    try:
        read = reader_for(path)
        posed = () if read is READERS["pose"] else beside(path)
        given = posed if quality.pose.frame_hz else ()
        digest = joint(digest_of(path), map(sha256, given))
        n = 0
        if wanted(digest):
            for recording in read(path, **quality.pose.model_dump()):
                whole = recording
                for pose in given:
                    whole = with_pose(whole, pose, **quality.pose.model_dump())
                flags = reported(whole) + [unread(pose) for pose in posed if not given]
                mended, repairs = repair(whole, quality)
                flags += repairs + check(mended, quality)
                stage(mended, folder / str(n), flags, quality.model_dump(mode="json"))
                n += 1
    except NeurofmError as error:
        return {"sentence": str(error)}
    except MemoryError:
        return {"sentence": too_big(path)}
    except Exception as error:  # a file may be broken in ways no reader foresaw; others must go on
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return {"sentence": f"{path} could not be read ({reason}); export it again, or report it."}
    return {"sha256": digest, "n_recordings": n}


def further_bytes(path: Path) -> int:
    """Bytes of the files that are read with one, such as the data beside a header; 0 if it is broken."""
    try:
        return sum(one.stat().st_size for one in (*parts(path), *beside(path)))
    except (NeurofmError, OSError, ValueError):  # its reader says what is wrong
        return 0


def main() -> None:
    """Serve requests until stdin ends, or until a file was refused: it may have done harm here."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a C library prints is no answer
    _end_with_parent()

    def tell(answer: dict[str, Any]) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    def wanted(digest: str) -> bool:
        tell({"hashed": digest})
        return sys.stdin.readline() == "read\n"

    for line in sys.stdin:
        request = json.loads(line)
        tell({"started": request["path"]})
        # The default action of SIGALRM ends a process whose parent is gone, also inside a C call.
        signal.alarm(math.ceil(request["limit_s"]) + GRACE_S)
        limit_memory(request["memory_bytes"])
        if more_s := request["per_mb_s"] * further_bytes(Path(request["path"])) / 1e6:
            tell({"more_s": more_s})
            signal.alarm(math.ceil(request["limit_s"] + more_s) + GRACE_S)
        quality = QualityConfig(**request["quality"])
        answer = read_into(Path(request["path"]), Path(request["folder"]), quality, wanted)
        signal.alarm(0)
        tell(answer)
        if "sentence" in answer:
            return


def limit_memory(n_bytes: float) -> None:
    """On Linux: from now on, `n_bytes` more than now at most; what asks for more gets MemoryError.

    Other systems take such a limit and do not keep it; there the parent watches (`children`).
    """
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most, hard = (
            int(pages * resource.getpagesize() + n_bytes),
            resource.getrlimit(resource.RLIMIT_AS)[1],
        )
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))


def _end_with_parent() -> None:
    """On Linux: end when the parent is killed, and be the first to go when memory runs out."""
    if sys.platform != "linux":
        return
    parent = os.getppid()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main()
