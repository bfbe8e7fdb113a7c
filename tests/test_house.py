"""The rules of the house that a machine can check; CONTRIBUTING.md says why they are there."""

import ast
import importlib.util
import os
import re
import resource
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "neurofm"
SOURCES = sorted(PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}
FILE_LINES, FUNCTION_LINES, CODE_LINES = 400, 60, 45

HEAVY = {"torchvision", "torchaudio", "numba", "jax", "ray", "zarr"}
UNSAFE_CALLS = {"eval", "exec", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "torch.save",
                "os.system"}  # fmt: skip
UNSAFE_KEYWORDS = {"allow_pickle": True, "weights_only": False, "shell": True}
GLOBAL_RANDOM = {"np.random.seed", "numpy.random.seed", "torch.manual_seed", "torch.seed",
                 "torch.cuda.manual_seed", "torch.cuda.manual_seed_all", "random.seed"}  # fmt: skip
MACHINE = re.compile(r"/(?:work|root)/|/(?:home|Users)/\w")
REGISTRY = re.compile(r"py" r"pi\.org|python" r"hosted\.org|registry\." r"npmjs|deb\.debian\.org")
WHEEL_INDEX = re.compile(r"download\.pytorch")
FOLDERS = (".ci", "benchmarks", "constraints", "docs", "examples", "src", "tests")
TEXT = {".py", ".md", ".toml", ".yaml", ".yml", ".txt", ".html", ".css", ".json", ""}
GENERATED = re.compile(r"egg-info|__pycache__|/_build/")
OPEN_ENDS = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|X" r"XX)\b")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def where(path: Path, node: ast.AST) -> str:
    return f"{name_of(path)}:{getattr(node, 'lineno', '?')}"


def nodes() -> Iterator[tuple[Path, ast.AST]]:
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            yield path, node


def texts() -> Iterator[tuple[str, str]]:
    """(name, text) of everything that the project commits and is text."""
    tops = [ROOT / top for top in FOLDERS if (ROOT / top).is_dir()]
    paths = [path for top in tops for path in top.rglob("*") if not GENERATED.search(name_of(path))]
    for path in [*paths, *ROOT.glob("[A-Z]*"), *ROOT.glob("*.toml"), ROOT / ".gitignore"]:
        if path.is_file() and path.suffix in TEXT:
            yield name_of(path), path.read_text(encoding="utf-8")


def test_files_are_short() -> None:
    lines = {name_of(p): p.read_text(encoding="utf-8").count("\n") for p in SOURCES}
    assert {name: n for name, n in lines.items() if n > FILE_LINES} == {}


def function_sizes(node: ast.FunctionDef | ast.AsyncFunctionDef) -> tuple[int, int]:
    """(lines in all, lines without the docstring)."""
    first = node.body[0]
    all_lines = (node.end_lineno or 0) - node.lineno + 1
    if ast.get_docstring(node, clean=False) is None:
        return all_lines, all_lines
    return all_lines, all_lines - ((first.end_lineno or 0) - first.lineno + 1)


def test_functions_are_short() -> None:
    long = {}
    for path, node in nodes():
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            whole, code = function_sizes(node)
            if whole > FUNCTION_LINES or code > CODE_LINES:
                long[f"{where(path, node)} {node.name}"] = (whole, code)
    assert long == {}


def test_every_module_says_what_it_is() -> None:
    bare = [name_of(path) for path, tree in TREES.items() if not ast.get_docstring(tree)]
    assert bare == []


def imported(node: ast.AST) -> list[str]:
    """Top-level packages that a statement imports."""
    if isinstance(node, ast.Import):
        return [alias.name.split(".")[0] for alias in node.names]
    if isinstance(node, ast.ImportFrom) and not node.level:
        return [(node.module or "").split(".")[0]]
    return []


def test_nothing_unpickles_evaluates_or_shells_out() -> None:
    found = []
    for path, node in nodes():
        if {"pickle", "marshal", "shelve", "dill", "cloudpickle"} & set(imported(node)):
            found.append(where(path, node))
        if not isinstance(node, ast.Call):
            continue
        keywords = {
            k.arg: k.value.value for k in node.keywords if isinstance(k.value, ast.Constant)
        }
        unsafe = any(keywords.get(name) is value for name, value in UNSAFE_KEYWORDS.items())
        if ast.unparse(node.func) in UNSAFE_CALLS or unsafe:
            found.append(where(path, node))
    assert found == []


def test_torch_load_is_always_weights_only() -> None:
    loads = [(p, n) for p, n in nodes()
             if isinstance(n, ast.Call) and ast.unparse(n.func) == "torch.load"]  # fmt: skip
    assert [where(p, n) for p, n in loads if "weights_only=True" not in ast.unparse(n)] == []


def test_nothing_touches_global_random_state() -> None:
    found = []
    for path, node in nodes():
        seeded = isinstance(node, ast.Call) and ast.unparse(node.func) in GLOBAL_RANDOM
        if "random" in imported(node) or (seeded and path.name not in {"seeding.py", "seeded.py"}):
            found.append(where(path, node))
    assert found == []


WRITES = {"write_text", "write_bytes", "mkdir", "makedirs", "rename", "unlink", "rmdir", "rmtree",
          "touch", "symlink_to", "hardlink_to", "savez", "savez_compressed", "np.save", "tofile",
          "save_file", "savefig", "move", "copytree", "copyfile", "copy2"}  # fmt: skip
GIVES_A_NAME = {"replacing", "publish", "scratch"}  # of files.py: there a library may write
MAY_WRITE = {
    "data/store.py writing": "the lock, which holds nothing",
    "data/reading.py main": "a pipe",
    "data/reading.py _end_with_parent": "a setting of the kernel",
    "study/sweep.py _command": "the output of a command",
    "study/sweep.py _locked": "a lock",
    "model/checkpoint.py _write": "into the folder that save publishes",
}


def opens_to_write(call: ast.Call) -> bool:
    """`open`, `Path.open`, `h5py.File`, `os.open` with a mode or flag that writes."""
    name = ast.unparse(call.func).rpartition(".")[2]
    if name not in {"open", "File", "fdopen"}:
        return False
    told = [*call.args, *(k.value for k in call.keywords)]
    modes = [str(a.value) for a in told if isinstance(a, ast.Constant)]
    flags = " ".join(map(ast.unparse, told))
    return any(re.fullmatch(r"[rbt]*[wax+][wabx+t]*", m) for m in modes) or "O_CREAT" in flags


def written(
    node: ast.AST, function: str = "", named: bool = False
) -> Iterator[tuple[str, ast.Call]]:
    """(function, call) of everything that writes where `files` gave no name to write to."""
    if isinstance(node, ast.FunctionDef):
        function = node.name
    if isinstance(node, ast.With):
        used = {ast.unparse(i.context_expr.func).rpartition(".")[2]
                for i in node.items if isinstance(i.context_expr, ast.Call)}  # fmt: skip
        named = named or bool(used & GIVES_A_NAME)
    if isinstance(node, ast.Call) and not named:
        owner, _, name = ast.unparse(node.func).rpartition(".")
        writes = owner != "files" and {name, f"{owner}.{name}"} & WRITES
        if writes or opens_to_write(node):
            yield function, node
    for child in ast.iter_child_nodes(node):
        yield from written(child, function, named)


def test_files_are_written_in_one_place() -> None:
    found = {}
    for path, tree in TREES.items():
        for function, call in written(tree):
            place = f"{path.relative_to(PACKAGE).as_posix()} {function}"
            if path.name != "files.py" and place not in MAY_WRITE:
                found[where(path, call)] = ast.unparse(call.func)
    assert found == {}


@pytest.mark.parametrize(
    ("code", "bad"),
    [
        ("path.write_text('x')", True),
        ("shutil.rmtree(folder)", True),
        ("open(path, 'wb')", True),
        ("path.open('a')", True),
        ("h5py.File(path, 'w')", True),
        ("os.open(path, os.O_CREAT | os.O_RDWR)", True),
        ("np.savez(path, **arrays)", True),
        ("path.open('rb')", False),
        ("h5py.File(path, 'r')", False),
        ("with files.replacing(path) as new, h5py.File(new, 'w') as file: pass", False),
        ("files.put(path, data)", False),
        ("text.replace('a', 'b')", False),
    ],
)
def test_the_rule_about_writing_tells_them_apart(code: str, bad: bool) -> None:
    assert any(True for _ in written(ast.parse(code))) is bad


def is_mask(name: str) -> bool:
    return name == "mask" or name.endswith("_mask")


def looks_boolean(node: ast.AST | None) -> bool:
    if isinstance(node, ast.Compare | ast.BoolOp):
        return True
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.Not | ast.Invert)
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.BitAnd | ast.BitOr)
    return (
        node is not None
        and re.search(r"[bB]ool|isfinite|isnan|logical_", ast.unparse(node)) is not None
    )


def boolean_masks(node: ast.AST) -> bool:
    """Whether a statement names a boolean `mask`; a `Mask`, the noun, may be called so."""
    if isinstance(node, ast.arg):
        return is_mask(node.arg) and looks_boolean(node.annotation)
    if isinstance(node, ast.AnnAssign):
        return is_mask(ast.unparse(node.target).split(".")[-1]) and looks_boolean(node.annotation)
    if isinstance(node, ast.Assign):
        names = [ast.unparse(target).split(".")[-1] for target in node.targets]
        return any(is_mask(name) for name in names) and looks_boolean(node.value)
    return False


def test_no_boolean_is_called_mask() -> None:
    assert [where(path, node) for path, node in nodes() if boolean_masks(node)] == []


@pytest.mark.parametrize(
    ("code", "bad"),
    [
        ("mask = x > 3", True),
        ("self.pad_mask = np.zeros(3, dtype=bool)", True),
        ("mask: NDArray[np.bool_] = f()", True),
        ("def f(mask: torch.BoolTensor): ...", True),
        ("def f(mask: NDArray[np.bool_]): ...", True),
        ("def f(mask: Mask): ...", False),
        ("mask = MASKS[name]", False),
        ("hidden = x > 3", False),
    ],
)
def test_the_rule_about_masks_tells_them_apart(code: str, bad: bool) -> None:
    assert any(boolean_masks(node) for node in ast.walk(ast.parse(code))) is bad


@pytest.mark.parametrize("pattern", [MACHINE, REGISTRY, OPEN_ENDS], ids=lambda p: p.pattern[:12])
def test_the_text_speaks_of_the_project_alone(pattern: re.Pattern[str]) -> None:
    allowed = {"tests/test_house.py"} if pattern is MACHINE else set()
    found = [name for name, text in texts() if pattern.search(text) and name not in allowed]
    assert found == []


def test_the_wheel_index_is_named_in_the_makefile_alone() -> None:
    assert [name for name, text in texts() if WHEEL_INDEX.search(text)] == ["Makefile"]


def project_table() -> dict[str, object]:
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert isinstance(table, dict)
    return table


def test_nothing_needs_a_package_that_breaks_beside_cpu_torch() -> None:
    text = str(project_table()) + (ROOT / "constraints/ci.txt").read_text(encoding="utf-8")
    text += (ROOT / "constraints/test-peers.txt").read_text(encoding="utf-8").split("\n\n")[-1]
    wanted = set(re.findall(r"[\w-]+(?=[><=])", text))
    assert len(wanted) > 20
    assert wanted & HEAVY == set()
    paths = [*SOURCES, *(ROOT / "tests").rglob("*.py")]
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in paths]
    found = {name for tree in trees for node in ast.walk(tree) for name in imported(node)}
    assert found & HEAVY == set()


def test_torch_is_a_range_for_users_and_pinned_for_make_alone() -> None:
    assert "torch>=2.10" in project_table()["dependencies"]  # type: ignore[operator]
    pins = re.findall(r"^torch==\S+$", (ROOT / "constraints/ci.txt").read_text(), re.MULTILINE)
    assert len(pins) == 1


def in_tables() -> set[str]:
    """Modules whose names are values of a dict literal in capitals, in the file that imports them."""
    out = set()
    for tree in TREES.values():
        homes = {alias.asname or alias.name: (node.module or "", alias.name)
                 for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
                 for alias in node.names}  # fmt: skip
        for node in tree.body:
            target = (
                node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
            )
            table = getattr(node, "value", None)
            if isinstance(target, ast.Name) and target.id.isupper() and isinstance(table, ast.Dict):
                for value in table.values:
                    used = {n.id for n in ast.walk(value) if isinstance(n, ast.Name)}
                    for module, name in (homes[u] for u in used & set(homes)):
                        out |= {module, f"{module}.{name}"}
    return out


@pytest.mark.parametrize("folder", ["data/readers", "evaluate/baselines", "evaluate/decoders"])
def test_every_file_of_a_kind_is_in_its_table(folder: str) -> None:
    if not (PACKAGE / folder).is_dir():
        pytest.skip(f"no {folder} in this tree")
    files = [p for p in (PACKAGE / folder).glob("*.py") if not p.name.startswith("_")]
    modules = {f"neurofm.{folder.replace('/', '.')}.{path.stem}" for path in files}
    assert modules
    assert modules - in_tables() == set()


def recipes() -> list[Path]:
    return sorted((PACKAGE / "recipes").glob("*.yaml"))


@pytest.mark.skipif(not recipes(), reason="no recipes in this tree")
def test_every_recipe_loads() -> None:
    from neurofm.config import load

    pretrain = importlib.import_module("neurofm.train.pretrain")
    loaded = {path.stem: load(pretrain.PretrainConfig, path) for path in recipes()}
    assert {"tiny", "small", "base"} <= set(loaded)


def cpu_seconds(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.skipif(not (PACKAGE / "cli.py").exists(), reason="no command line in this tree")
def test_help_answers_quickly() -> None:
    command = [sys.executable, "-c", "from neurofm.cli import main; main()", "--help"]
    assert min(cpu_seconds(command) for _ in range(4)) < 0.6


@pytest.mark.tool
@pytest.mark.parametrize(
    "command",
    ["ruff format --check .", "ruff check .", "mypy", "lint-imports --no-logo"],
    ids=["format", "lint", "types", "imports"],
)
def test_the_tools_agree(command: str) -> None:
    name, *arguments = command.split()
    if name == "lint-imports" and not (PACKAGE / "cli.py").exists():
        pytest.skip("its layers are not all in this tree")
    tool = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if tool is None:
        pytest.skip(f"{name} is not installed")
    done = subprocess.run([tool, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_commands_print_names_by_show_alone():
    """`options.show` and `say` leave out what could steer a terminal; JSON escapes it by itself."""
    bare = [
        where(path, node)
        for path, node in nodes()
        if path.parent.name == "commands" and path.name != "options.py"
        and isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
        and ast.unparse(node.args[0]).partition("(")[0] not in ("json.dumps", "as_line")
    ]  # fmt: skip
    assert bare == []
