#!/usr/bin/env python3
"""Refuses includes that go up a layer or around a door, and sources that no CMakeLists.txt names.

    ci/check_layers.py [ROOT]

kernels <- engine <- service. Another folder is entered through its own header alone
(kernels/kernels.h, engine/engine.h); tests of a folder may look inside it, and fuzzers inside all
that they feed. gRPC is known to one
file, generated protobuf code to the service's adapters.
"""
import re
import sys

import lint

ORDER = ["kernels", "engine", "service"]
# Which layers' private headers the tests of a folder may use; none above the last.
TESTED = {"kernels": ["kernels"], "engine": ["engine"], "durability": ["engine"],
          "service": ["service"], "fuzz": ["engine", "service"]}
# The files of service/ that translate between messages and the engine's structs.
ADAPTERS = re.compile(r"((decode|reply)(_\w+)?|wire|health|reflection)\.[ch]")
INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]', re.M)
GENERATED = re.compile(r"\.pb(-c)?\.h$|^pb(_\w+)?\.h$|^(google/)?protobuf-c/")
# Foreign libraries of which each belongs to one file of service/.
ONE_DOOR = {"libmicrohttpd": re.compile(r"^microhttpd\.h$"),
            "cJSON": re.compile(r"^(cjson/)?cJSON\.h$")}
GRPC = re.compile(r"^grpc(\+\+|pp)?/(?!.*\.pb(-c)?\.h$)")
SOCKETS = re.compile(r"^(sys/socket|sys/un|netdb|arpa/inet|netinet/\w+)\.h$")
# The kernels are pure functions: no files, no threads, no allocation.
IMPURE = re.compile(r"^(stdio|stdlib|unistd|fcntl|pthread|threads|malloc|mimalloc|sys/mman)\.h$")


def sources(root, folder, patterns):
    for pattern in patterns:
        for path in sorted((root / folder).rglob(pattern)):
            if "build" not in path.relative_to(root).parts[:-1]:
                yield path


def includes(path):
    """(quoted, name) of each include; the name of a file that a comment quotes is not one."""
    text = re.sub(r"/\*.*?\*/", "", path.read_text(errors="replace"), flags=re.S)
    return [(mark == '"', name) for mark, name in INCLUDE.findall(text)]


def check_direction(root, path, here, inside):
    """`here`: the highest layer that may be used; `inside`: those whose private headers may."""
    where = path.relative_to(root)
    for quoted, name in includes(path):
        folder, _, rest = name.partition("/")
        if quoted and not rest and not GENERATED.search(name):
            beside = (path.parent / name).is_file() and where.parts[0] not in ORDER
            if not beside:
                yield f'{where}: write "{path.parent.name}/{name}", with its folder'
        if folder not in ORDER or folder in inside:
            continue
        if ORDER.index(folder) > ORDER.index(here):
            yield f"{where}: {here} may not look up into {folder} ({name})"
        elif rest != f"{folder}.h":
            yield f"{where}: enter {folder} through {folder}/{folder}.h, not {name}"


def check_foreign(root, path, layer):
    """What a layer must not know of the world."""
    where = path.relative_to(root)
    for _, name in includes(path):
        if layer != "service" and (GRPC.search(name) or GENERATED.search(name)):
            yield f"{where}: {layer} knows no gRPC and no protobuf ({name})"
        if layer != "service" and SOCKETS.search(name):
            yield f"{where}: {layer} knows no sockets ({name})"
        if layer == "kernels" and IMPURE.search(name):
            yield f"{where}: kernels know no files, threads or allocation ({name})"
        if layer == "service" and GENERATED.search(name) and not ADAPTERS.fullmatch(path.name):
            yield f"{where}: only the adapters include generated or protobuf headers ({name})"


def check_grpc_door(root):
    users = {path.relative_to(root) for path in sources(root, "service", ["*.c", "*.h"])
             if any(GRPC.search(name) for _, name in includes(path))}
    if len(users) > 1:
        names = ", ".join(str(user) for user in sorted(users))
        yield f"gRPC's headers belong to one file of service/, not to {names}"


def check_one_door(root):
    for library, header in ONE_DOOR.items():
        users = [path.relative_to(root) for folder in ORDER
                 for path in sources(root, folder, ["*.c", "*.h"])
                 if any(header.match(name) for _, name in includes(path))]
        if len(users) > 1 or any(user.parts[0] != "service" for user in users):
            names = ", ".join(str(user) for user in sorted(users))
            yield f"{library}'s header belongs to one file of service/, not to {names}"


def check_listed(root):
    """A file that no list names is neither built nor tested, and nobody notices."""
    for folder in [*ORDER, "proto", "tests", "bench"]:
        for path in sources(root, folder, ["*.c", "*.S"]):
            if not any(is_named(root / parent / "CMakeLists.txt", path)
                       for parent in path.relative_to(root).parents):
                yield f"{path.relative_to(root)}: no CMakeLists.txt names it"


def is_named(listing, path):
    if not listing.is_file():
        return False
    words = re.sub(r"#.*", "", listing.read_text())
    name = path.relative_to(listing.parent).as_posix()
    if re.search(rf"(?<![\w./-]){re.escape(name)}(?![\w.-])", words):
        return True
    # A loop: "${subject}_test.c", with the subject's name in the loop's list.
    for before, after in re.findall(r"([\w./-]*)\$\{\w+\}([\w.-]+)", words):
        loop = re.fullmatch(rf"{re.escape(before)}(\w+){re.escape(after)}", name)
        if loop and re.search(rf"(?<![\w./-]){loop.group(1)}(?![\w./-])", words):
            return True
    return False


def check(root):
    bad = []
    for layer in ORDER:
        for path in sources(root, layer, ["*.c", "*.h"]):
            bad += check_direction(root, path, layer, [layer])
            bad += check_foreign(root, path, layer)
    for path in sources(root, "tests", ["*.c", "*.h"]):
        folder = path.relative_to(root).parts[1]
        inside = TESTED.get(folder, [])
        bad += check_direction(root, path, inside[-1] if inside else "service", inside)
    for path in sources(root, "bench", ["*.c", "*.h"]):
        bad += check_direction(root, path, "service", [])
    bad += check_grpc_door(root)
    bad += check_one_door(root)
    bad += check_listed(root)
    return bad


if __name__ == "__main__":
    sys.exit(lint.main(check))
