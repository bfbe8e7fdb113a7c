"""What this machine and environment look like, and where each setting came from.

A setting comes from a flag, else from an environment variable, else from a default. Nothing here
is read at import, and nothing is written. torch is imported only by `report`.
"""

import os
import platform
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from neurofm.errors import ConfigError
from neurofm.run import PACKAGES

NATIVE_BF16 = ("amx_bf16", "avx512_bf16", "bf16")  # x86 twice, then ARM, as the kernel names them
TRUE, FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "")


@dataclass(frozen=True)
class Line:
    """One fact: its topic, name and value, where it came from, and what to do if that is amiss."""

    topic: str
    name: str
    value: str
    source: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Settings:
    """What a user can set outside a configuration, each with its source."""

    home: Path
    home_source: str
    n_threads: int
    n_threads_source: str
    offline: bool
    offline_source: str


def settings(
    *,
    home: Path | None = None,
    n_threads: int | None = None,
    offline: bool | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """The settings in force: flags given here, over `environ`, over defaults.

    NEUROFM_HOME (default: the platform's cache folder), NEUROFM_NUM_THREADS (default:
    OMP_NUM_THREADS, else the cores this process may use), NEUROFM_OFFLINE (implied by
    HF_HUB_OFFLINE). Raises ConfigError that names the variable if one cannot be read.
    """
    env = os.environ if environ is None else environ
    where, where_source = (home, "flag") if home else _home(env)
    count, count_source = (n_threads, "flag") if n_threads else _threads(env)
    closed, closed_source = (offline, "flag") if offline is not None else _offline(env)
    return Settings(where, where_source, count, count_source, closed, closed_source)


def report(chosen: Settings | None = None) -> list[Line]:
    """Versions, devices, threads, folders, settings and extras of this environment."""
    chosen = chosen or settings()
    lines = [*_versions(), *_devices(), *_settings(chosen)]
    return [*lines, *_extras()]


def render(lines: list[Line]) -> str:
    """The lines as aligned text, one block a topic, remedies under what they mend."""
    width = max((len(line.name) for line in lines), default=0)
    out: list[str] = []
    topic = ""
    for line in lines:
        if line.topic != topic:
            out += ["", line.topic] if out else [line.topic]
            topic = line.topic
        source = f"   ({line.source})" if line.source else ""
        out.append(f"  {line.name:<{width}}  {line.value}{source}")
        if line.remedy:
            out.append(f"  {'':<{width}}  -> {line.remedy}")
    return "\n".join(out)


def _home(env: Mapping[str, str]) -> tuple[Path, str]:
    if env.get("NEUROFM_HOME"):
        return Path(env["NEUROFM_HOME"]).expanduser(), "NEUROFM_HOME"
    if env.get("XDG_CACHE_HOME"):
        return Path(env["XDG_CACHE_HOME"]) / "neurofm", "XDG_CACHE_HOME"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "neurofm", "default"
    if sys.platform == "win32" and env.get("LOCALAPPDATA"):
        return Path(env["LOCALAPPDATA"]) / "neurofm" / "Cache", "default"
    return Path.home() / ".cache" / "neurofm", "default"


def _threads(env: Mapping[str, str]) -> tuple[int, str]:
    for name in ("NEUROFM_NUM_THREADS", "OMP_NUM_THREADS"):
        text = env.get(name, "").split(",")[0].strip()  # OpenMP allows a list, one a nesting level
        if not text:
            continue
        if not text.isdecimal() or int(text) < 1:
            raise ConfigError(f"{name}={text!r} must be a whole number of at least 1.")
        return int(text), name
    return _cores(), "default: cores"


def _offline(env: Mapping[str, str]) -> tuple[bool, str]:
    for name in ("NEUROFM_OFFLINE", "HF_HUB_OFFLINE"):
        text = env.get(name, "").strip().lower()
        if text in TRUE:
            return True, name
        if text not in FALSE:
            raise ConfigError(f"{name}={text!r} must be 1 or 0.")
        if text:
            return False, name
    return False, "default"


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _versions() -> Iterator[Line]:
    python = platform.python_version()
    yield Line("versions", "python", f"{python} ({sys.executable})")
    for name in PACKAGES:
        version = _installed(name)
        known = version or "not installed"
        yield Line("versions", name, known)


def _devices() -> Iterator[Line]:
    model, flags = _processor()
    yield Line("devices", "cpu", f"{model}, {_cores()} of {os.cpu_count()} cores usable")
    found = [name for name in NATIVE_BF16 if name in flags]
    bf16 = f"native ({', '.join(found)})" if found else "emulated" if flags else "unknown"
    yield Line("devices", "cpu bf16", bf16)
    yield from _accelerators()


def _processor() -> tuple[str, set[str]]:
    """(model name, instruction flags); the flags are empty where the kernel does not list them."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(encoding="utf-8", errors="replace") if cpuinfo.exists() else ""
    fields = dict(re.findall(r"^(model name|flags|Features)\s*: (.*)$", text, flags=re.MULTILINE))
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    return fields.get("model name") or platform.processor() or platform.machine(), flags


def _accelerators() -> Iterator[Line]:
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a torch whose libraries cannot be loaded
        yield Line("devices", "torch", f"cannot be imported ({error})",
                   remedy="pip install --force-reinstall torch")  # fmt: skip
        return
    n = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for index in range(n):
        about = torch.cuda.get_device_properties(index)
        bf16 = "bf16" if torch.cuda.is_bf16_supported() else "no bf16"
        size = f"{about.total_memory / 2**30:.0f} GiB"
        yield Line("devices", f"cuda:{index}", f"{about.name}, {size}, {bf16}")
    if n == 0:
        built = "torch is built without it" if torch.version.cuda is None else "no device answers"
        yield Line("devices", "cuda", f"none ({built})")
    mps = "available" if torch.backends.mps.is_available() else "none"
    yield Line("devices", "mps", mps)


def _settings(chosen: Settings) -> Iterator[Line]:
    yield Line("settings", "threads", str(chosen.n_threads), chosen.n_threads_source)
    state = "exists" if chosen.home.is_dir() else "not made yet"
    writable = os.access(_nearest(chosen.home), os.W_OK)
    remedy = "" if writable else "not writable: set NEUROFM_HOME to a folder that is."
    yield Line("settings", "home", f"{chosen.home}, {state}", chosen.home_source, remedy)
    yield Line("settings", "offline", "yes" if chosen.offline else "no", chosen.offline_source)
    yield Line("settings", "working folder", str(Path.cwd()))


def _nearest(folder: Path) -> Path:
    """The folder itself, or its nearest parent that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _extras() -> Iterator[Line]:
    try:
        wanted = metadata.requires("neurofm") or []
    except metadata.PackageNotFoundError:
        yield Line("extras", "neurofm", "runs from source, not installed",
                   remedy="pip install -e '.[all]' in its folder")  # fmt: skip
        return
    extras: dict[str, list[str]] = {}
    for text in wanted:
        found = re.match(r"""([\w.-]+)[^;]*;.*extra == ["'](\w+)["']""", text)
        if found and found[1] != "neurofm":
            extras.setdefault(found[2], []).append(found[1])
    for extra, names in extras.items():
        missing = [name for name in names if _installed(name) is None]
        value = f"missing: {', '.join(missing)}" if missing else "present"
        remedy = f"pip install 'neurofm[{extra}]'" if missing else ""
        yield Line("extras", extra, value, remedy=remedy)


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
