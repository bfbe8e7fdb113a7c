import errno
import json
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from neurofm import files
from neurofm.errors import StoreError

HOLD = """
import sys, time
from pathlib import Path
from neurofm.files import publish
with publish(Path(sys.argv[1])) as folder:
    (folder / "column.npy").write_bytes(b"x" * 100_000)
    print("inside", flush=True)
    time.sleep(60)
"""
WRITE_ON = """
import sys
from itertools import count
from pathlib import Path
from neurofm import files
root = Path(sys.argv[1])
print("started", flush=True)
for n in count():
    with files.publish(root / f"part-{n:05}") as folder:
        for name in "ab":
            (folder / name).write_bytes(bytes([n % 256]) * 50_000)
        files.write_json(folder / "manifest.json", files.manifest_of(folder))
    files.write_json(root / "state.json", {"n": n, "text": "t" * 5_000})
    files.append_line(root / "log.jsonl", '{"n": %d}' % n)
"""


def killed(code: str, argument: Path, after_s: float) -> None:
    """Run code in a process of its own and kill -9 it, some time after its first line."""
    with subprocess.Popen(
        [sys.executable, "-c", code, str(argument)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        time.sleep(after_s)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_a_kill_while_publishing_leaves_nothing_visible(tmp_path: Path) -> None:
    target = tmp_path / "session"
    killed(HOLD, target, after_s=0.0)
    assert visible(tmp_path) == []
    with files.publish(target) as folder:
        (folder / "column.npy").write_bytes(b"whole")
    assert visible(tmp_path) == ["session"]


@pytest.mark.parametrize("after_s", [0.01, 0.05, 0.11, 0.2])
def test_whatever_is_visible_after_a_kill_is_whole(tmp_path: Path, after_s: float) -> None:
    killed(WRITE_ON, tmp_path, after_s)
    parts = [tmp_path / name for name in visible(tmp_path) if name.startswith("part-")]
    for part in parts:
        expected = files.read_json(part / "manifest.json")
        assert expected == {name: files.sha256(part / name) for name in "ab"}
    if (tmp_path / "state.json").exists():
        assert len(files.read_json(tmp_path / "state.json")["text"]) == 5_000


def test_publish_refuses_to_overwrite(tmp_path: Path) -> None:
    (tmp_path / "done").mkdir()
    with pytest.raises(StoreError, match="exists already"), files.publish(tmp_path / "done"):
        pass


def publish_half(target: Path) -> None:
    with files.publish(target) as folder:
        (folder / "half").write_text("half")
        raise ZeroDivisionError


def test_an_error_while_publishing_leaves_nothing_at_all(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        publish_half(tmp_path / "deep" / "x")
    assert list((tmp_path / "deep").iterdir()) == []


def test_what_is_written_has_the_usual_rights(tmp_path: Path) -> None:
    # A store is often shared by a lab; temporary names must not leave it private to one user.
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain.txt").write_text("")
    with files.publish(tmp_path / "folder"):
        pass
    files.write_text(tmp_path / "file.txt", "")
    for ours, usual in (("folder", "plain"), ("file.txt", "plain.txt")):
        modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in (ours, usual)]
        assert modes[0] == modes[1]


def test_write_text_replaces_whole_files(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    files.write_text(path, "long old text")
    files.write_text(path, "µ")
    assert path.read_text(encoding="utf-8") == "µ"
    assert visible(tmp_path) == ["a.txt"] == [p.name for p in tmp_path.iterdir()]


def test_json_has_no_nan_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, {"b": 1, "a": None})
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(path, float("nan"))
    assert files.read_json(path) == {"a": None, "b": 1}
    assert path.read_text().index('"a"') < path.read_text().index('"b"')


@pytest.mark.parametrize(("text", "sentence"), [(None, "is missing"), ('{"a": ', "not readable")])
def test_unreadable_json_is_refused_by_name(
    tmp_path: Path, text: str | None, sentence: str
) -> None:
    path = tmp_path / "manifest.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(StoreError, match=sentence) as caught:
        files.read_json(path)
    assert "manifest.json" in str(caught.value)


@pytest.mark.parametrize(
    ("before", "kept"),
    [
        ("", []),
        ('{"n": 1}\n', [1]),
        ('{"n": 1}\n{"n": 2}', [1, 2]),  # killed before the end of the line: the record is whole
        ('{"n": 1}\n{"n": ', [1]),  # killed inside the record
        ('{"n', []),
    ],
)
def test_a_torn_last_line_never_joins_the_next(
    tmp_path: Path, before: str, kept: list[int]
) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(before)
    files.append_line(path, '{"n": 9}')
    assert [json.loads(line)["n"] for line in path.read_text().splitlines()] == [*kept, 9]


def test_a_manifest_names_every_file_and_notices_a_changed_byte(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "b").write_bytes(b"")
    (tmp_path / "a").write_bytes(b"abc")
    before = files.manifest_of(tmp_path)
    assert before == {
        "a": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "in/b": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    }  # the published digests of "abc" and of nothing
    (tmp_path / "a").write_bytes(b"abd")
    assert files.manifest_of(tmp_path)["a"] != before["a"]


def test_folders_and_the_missing_ones_above_are_made_for_good(tmp_path: Path) -> None:
    files.make(tmp_path / "a" / "b" / "c")
    files.make(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()


def test_a_removed_folder_is_hidden_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "x").write_text("x")
    monkeypatch.setattr(files.shutil, "rmtree", lambda *_, **__: None)  # killed before it was gone
    files.remove(tmp_path / "old")
    assert visible(tmp_path) == []
    (left,) = tmp_path.iterdir()
    assert files.is_leftover(left)
    monkeypatch.undo()
    files.sweep(tmp_path, "old")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_failing_disk_is_explained_and_other_errors_are_not(tmp_path: Path, number: int) -> None:
    with (
        pytest.raises(StoreError, match=r"x could not be written .* make room"),
        files.explained(tmp_path / "x"),
    ):
        raise OSError(number, "reason")
    with pytest.raises(PermissionError), files.explained(tmp_path / "x"):
        raise PermissionError
