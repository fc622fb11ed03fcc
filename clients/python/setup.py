"""The build step that turns proto/ into message classes; everything else is in pyproject.toml.

The messages are generated into the build, never into the repository: omendb_client/_proto. The
.proto files are those of the checkout (../../proto), or the copy that an sdist carries (proto/).
"""
import importlib.resources
import pathlib
import shutil

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = pathlib.Path(__file__).resolve().parent
PROTOS = ["omendb/v1/collection.proto", "omendb/v1/snapshot.proto", "omendb/v1/vector.proto"]


def proto_root() -> pathlib.Path:
    for root in (HERE / "proto", HERE.parent.parent / "proto"):
        if all((root / name).is_file() for name in PROTOS):
            return root
    raise SystemExit("omendb_client: no .proto files beside setup.py or in ../../proto")


def generate(package: pathlib.Path) -> None:
    """Writes the messages of PROTOS into package/_proto."""
    from grpc_tools import protoc

    target = package / "_proto"
    scratch = target / "generated"
    scratch.mkdir(parents=True, exist_ok=True)
    well_known = importlib.resources.files("grpc_tools") / "_proto"
    arguments = ["protoc", f"-I{proto_root()}", f"-I{well_known}"]
    arguments += [f"--python_out={scratch}", f"--pyi_out={scratch}", *PROTOS]
    if protoc.main(arguments) != 0:
        raise SystemExit("omendb_client: protoc failed")
    # The modules move out of their package omendb.v1, and import each other from where they are.
    for made in sorted(scratch.rglob("*_pb2.py*")):
        text = made.read_text().replace("from omendb.v1 import", "from omendb_client._proto import")
        (target / made.name).write_text(text)
    shutil.rmtree(scratch)
    (target / "__init__.py").write_text('"""Messages of omendb.v1, generated from proto/."""\n')


class BuildWithMessages(build_py):
    def run(self) -> None:
        super().run()
        editable = getattr(self, "editable_mode", False)
        generate((HERE / "src" if editable else pathlib.Path(self.build_lib)) / "omendb_client")


class SdistWithProtos(sdist):
    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        super().make_release_tree(base_dir, files)
        for name in PROTOS:
            copy = pathlib.Path(base_dir) / "proto" / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(proto_root() / name, copy)


setup(cmdclass={"build_py": BuildWithMessages, "sdist": SdistWithProtos})
