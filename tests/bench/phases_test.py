"""Each sample belongs to one phase: that of the innermost function which the table knows."""
from conftest import build_folder
from profiling.phases import TABLE, Frame, Table, divide, read_files, read_stacks, sentence

RULES = """
build  select  engine/select.c
build  matrix  engine/propose.c
build  ack     sym:^tell_receipts$
search walk    engine/propose.c
both   wire    dso:libgrpc
"""
FILES = {"omen_select": "engine/select.c", "propose": "engine/propose.c",
         "dot": "kernels/vnni.c", "tell_receipts": "engine/propose.c"}
SCRIPT = """
omendb-server
\t    55d0a1 dot+0x10 (/b/omendb-server)
\t    55d0a2 omen_select.part.0+0x4 (/b/omendb-server)
\t    55d0a3 propose (/b/omendb-server)

omendb-server
\t    7f0001 grpc_core::(anonymous namespace)::Run(int)+0x1 (/usr/lib/libgrpc.so.29)
\t    7f0002 [unknown] ([unknown])
"""


def stack(*names):
    return [Frame(name, "/b/omendb-server") for name in names]


def test_a_kernel_belongs_to_who_called_it():
    table = Table("build", RULES, FILES)
    assert table.phase_of(stack("dot", "omen_select", "propose")) == "select"
    assert table.phase_of(stack("dot", "propose")) == "matrix"


def test_modes_have_phases_of_their_own():
    assert Table("search", RULES, FILES).phase_of(stack("propose")) == "walk"
    assert Table("search", RULES, FILES).phase_of(stack("omen_select")) == "other"


def test_a_named_function_wins_over_its_file():
    assert Table("build", RULES, FILES).phase_of(stack("tell_receipts")) == "ack"


def test_stacks_of_perf_are_read_and_divided():
    stacks = read_stacks(SCRIPT)
    assert [len(s) for s in stacks] == [3, 2]
    profile = divide(stacks, Table("build", RULES, FILES))
    assert profile.phases == {"select": 1, "wire": 1}
    assert "bottleneck of the build is select: 50%" in sentence("build", profile)


def test_the_table_names_only_files_that_exist_and_finds_their_functions():
    root = TABLE.parents[2]
    text = TABLE.read_text(encoding="utf-8")
    tokens = [word for line in text.splitlines() if not line.startswith("#")
              for word in line.split()[2:] if ":" not in word]
    assert tokens and all((root / token).is_file() for token in tokens)
    files = read_files(build_folder())
    assert files["omen_select_diverse"] == "engine/select.c"
    table = Table("build", text, files)
    assert table.phase_of(stack("omen_step_propose")) == "matrix"


# What no insert and no search of a benchmark runs through, or only on behalf of its caller.
NO_PHASE = {"checkpoint_read", "checkpoint_scan", "collection", "cpus", "directory", "engine",
            "estimate", "fault_point", "get", "load_checkpoint", "log_scan", "log_walk", "memory",
            "offline", "recover", "restore", "settings", "snapshot", "snapshot_file", "snapshots",
            "status", "storage_memory", "validate", "verify"}


def test_every_file_of_the_engine_has_a_phase_or_belongs_to_its_callers():
    text = TABLE.read_text(encoding="utf-8")
    strangers = {path.stem for path in (TABLE.parents[2] / "engine").glob("*.c")
                 if f"engine/{path.name}" not in text} - NO_PHASE
    assert not strangers, f"give them a phase in {TABLE.name}: {strangers}"
