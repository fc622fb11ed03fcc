"""The history is append-only, a file for each kind of machine."""
import subprocess

from comparison import history, machine

EPYC = {"cpu": "AMD EPYC 9R14 96-Core Processor", "features": ["avx2", "avx512_vnni"], "cpus": 2}


def line(when, about=EPYC):
    return history.entry(when, "abc123", False, about, {"run": "quick", "key_figures": {"x": 1.5}})


def test_runs_on_the_same_kind_of_machine_are_in_the_same_file(tmp_path):
    first = history.append(tmp_path, line("2026-01-01T00:00:00Z"))
    before = first.read_bytes()
    second = history.append(tmp_path, line("2026-01-02T00:00:00Z"))
    assert first == second and second.read_bytes().startswith(before)
    assert [entry["time"] for entry in history.read(second)] == ["2026-01-01T00:00:00Z",
                                                                 "2026-01-02T00:00:00Z"]
    assert history.read(second)[0]["key_figures"] == {"x": 1.5}


def test_another_kind_of_machine_has_another_file(tmp_path):
    other = {**EPYC, "features": ["avx2", "avx512_vnni", "amx_int8"]}
    paths = {history.append(tmp_path, line("2026-01-01T00:00:00Z", about))
             for about in (EPYC, other, {**EPYC, "cpus": 64})}
    assert len(paths) == 3
    assert all(path.name.isascii() and " " not in path.name for path in paths)


def test_the_commit_says_whether_the_tree_was_changed(tmp_path):
    def git(*words):
        subprocess.run(["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@t",
                        *words], check=True, capture_output=True)

    (tmp_path / "bench" / "history").mkdir(parents=True)
    (tmp_path / "code").write_text("1")
    (tmp_path / "bench" / "history" / "m.jsonl").write_text("")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    assert machine.commit(tmp_path)[1] is False
    (tmp_path / "bench" / "history" / "m.jsonl").write_text("{}\n")
    assert machine.commit(tmp_path)[1] is False  # measuring is no change of what was measured
    (tmp_path / "code").write_text("2")
    commit, changed = machine.commit(tmp_path)
    assert changed and len(commit) == 12
