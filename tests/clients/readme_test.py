"""The Python examples of the READMEs, run as a reader would: in order, against a real server."""
import pathlib
import re
import subprocess
import sys

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
DOCUMENTS = ["README.md", "clients/python/README.md", "docs/snapshots.md"]
FENCE = re.compile(r"^```python\n(.*?)^```$", re.M | re.S)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_example_runs_and_prints_what_it_promises(server, tmp_path, document):
    examples = FENCE.findall((REPOSITORY / document).read_text(encoding="utf-8"))
    assert examples, f"{document} shows no Python"
    for number, example in enumerate(examples):
        assert "localhost:7420" in example
        script = tmp_path / f"example{number}.py"
        script.write_text(example.replace("localhost:7420", server.target), encoding="utf-8")
        run = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True,
                             text=True, timeout=120)
        assert run.returncode == 0, f"{document}, example {number + 1}:\n{run.stderr}"
        # A comment "# -> text" promises that line of output.
        for promise in re.findall(r"# -> (.*)$", example, re.M):
            assert promise in run.stdout.splitlines(), f"{promise!r} not in:\n{run.stdout}"
