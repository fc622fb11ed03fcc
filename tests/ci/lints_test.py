#!/usr/bin/env python3
"""Each lint is quiet on a small good tree, and goes red when one fault is planted in it."""
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

CI = pathlib.Path(__file__).resolve().parents[2] / "ci"
sys.path.insert(0, str(CI))
import check_architecture  # noqa: E402
import check_layers  # noqa: E402
import check_style  # noqa: E402

GOOD = {
    "kernels/CMakeLists.txt": "omen_layer(kernels SOURCES ref.c)\n",
    "kernels/kernels.h": "/* kernels.h - the door. */\nint omen_dot(void);\n",
    "kernels/ref.c": '/* ref.c - plain C. */\n#include "kernels/kernels.h"\n#include <math.h>\n',
    "engine/CMakeLists.txt": "omen_layer(engine SOURCES\n  graph.c memory.c)\n",
    "engine/engine.h": "/* engine.h - the door. */\n",
    "engine/graph.h": "/* graph.h - private. */\n",
    "engine/graph.c": '/* graph.c - slots. */\n#include "engine/graph.h"\n'
                      '#include "kernels/kernels.h"\n\nint two(void)\n{\n    return 2;\n}\n',
    "engine/memory.c": "/* memory.c - the allocator. */\n\nvoid *get(void)\n{\n"
                       "    return malloc(1);\n}\n",
    "service/CMakeLists.txt": "omen_layer(service SOURCES listener.c decode.c)\n",
    "service/listener.c": "/* listener.c - the network. */\n#include <grpc/grpc.h>\n"
                          '#include "engine/engine.h"\n',
    "service/decode.c": '/* decode.c - messages. */\n#include "omendb/v1/vector.pb.h"\n'
                        "#include <pb_decode.h>\n",
    "tests/engine/CMakeLists.txt": "add_executable(graph_test graph_test.c)\n",
    "tests/engine/graph_test.c": '/* graph_test.c - what the graph promises. */\n'
                                 '#include "engine/graph.h"\n#include "kernels/kernels.h"\n',
    "ci/deps": "#!/usr/bin/env bash\n# Installs packages.\n",
    "ci/style_exceptions.txt": "# file function: reason\n",
    "ARCHITECTURE.md": "An insert: kernels/ref.c, engine/graph.c (with engine/memory.c), then "
                       "service/listener.c and service/decode.c.\n",
}


def long_function(lines):
    return "\nint long_one(int x)\n{\n" + "    x++;\n" * (lines - 2) + "}\n"


class LintCase(unittest.TestCase):
    def setUp(self):
        self.root = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.root)
        for name, text in GOOD.items():
            self.write(name, text)

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def add(self, name, text):
        self.write(name, (self.root / name).read_text() + text)

    def expect(self, lint, words):
        """Exactly one complaint, with these words."""
        bad = lint.check(self.root)
        self.assertEqual(len(bad), 1, bad)
        self.assertIn(words, bad[0])


class Layers(LintCase):
    def expect_include(self, name, include, words):
        with self.subTest(file=name, include=include):
            before = (self.root / name).read_text()
            self.add(name, f"#include {include}\n")
            self.expect(check_layers, words)
            self.write(name, before)

    def test_good_tree_is_quiet(self):
        self.assertEqual(check_layers.check(self.root), [])

    def test_looking_up_a_layer_is_refused(self):
        up = "may not look up"
        self.expect_include("kernels/ref.c", '"engine/engine.h"', up)
        self.expect_include("engine/graph.c", '"service/service.h"', up)
        self.expect_include("engine/graph.h", '"service/service.h"', up)
        self.expect_include("tests/engine/graph_test.c", '"service/service.h"', up)

    def test_going_around_a_door_is_refused(self):
        self.expect_include("service/decode.c", '"engine/graph.h"', "enter engine through")
        self.expect_include("engine/graph.c", '"kernels/rows.h"', "enter kernels through")
        self.expect_include("tests/engine/graph_test.c", '"kernels/rows.h"', "enter kernels")

    def test_fuzzers_may_look_inside_what_they_feed(self):
        self.write("tests/fuzz/CMakeLists.txt", "add_executable(log_fuzz log_fuzz.c)\n")
        self.write("tests/fuzz/log_fuzz.c", '/* log_fuzz.c - bytes of a log. */\n'
                   '#include "engine/graph.h"\n#include "service/decode.h"\n')
        self.assertEqual(check_layers.check(self.root), [])
        self.expect_include("tests/fuzz/log_fuzz.c", '"kernels/rows.h"', "enter kernels")

    def test_include_without_its_folder_is_refused(self):
        self.expect_include("engine/graph.c", '"graph.h"', "with its folder")

    def test_include_in_a_comment_is_none(self):
        self.add("kernels/ref.c", '/* for example\n#include "engine/engine.h"\n*/\n')
        self.assertEqual(check_layers.check(self.root), [])

    def test_the_world_is_kept_out_of_the_lower_layers(self):
        self.expect_include("engine/graph.c", "<grpc/grpc.h>", "knows no gRPC")
        self.expect_include("engine/graph.c", '"omendb/v1/vector.pb.h"', "knows no gRPC")
        self.expect_include("engine/graph.c", "<pb.h>", "knows no gRPC")
        self.expect_include("engine/graph.c", "<sys/socket.h>", "no sockets")
        self.expect_include("kernels/ref.c", "<pthread.h>", "no files, threads")
        self.expect_include("kernels/ref.c", "<stdlib.h>", "no files, threads")

    def test_grpc_is_known_to_one_file(self):
        self.expect_include("service/decode.c", "<grpc/slice.h>", "belong to one file")

    def test_other_foreign_libraries_have_one_door_each(self):
        for header, library in (("microhttpd.h", "libmicrohttpd"), ("cjson/cJSON.h", "cJSON")):
            self.expect_include("engine/graph.c", f"<{header}>", f"{library}'s header belongs")
            with self.subTest(second=header):
                before = (self.root / "service/listener.c").read_text()
                self.add("service/listener.c", f"#include <{header}>\n")
                self.assertEqual(check_layers.check(self.root), [])
                self.expect_include("service/decode.c", f"<{header}>",
                                    f"{library}'s header belongs")
                self.write("service/listener.c", before)

    def test_generated_headers_are_for_adapters(self):
        for include in ('"omendb/v1/collection.pb-c.h"', "<pb_encode.h>",
                        "<protobuf-c/protobuf-c.h>"):
            self.expect_include("service/listener.c", include, "only the adapters")

    def test_unlisted_source_is_refused(self):
        for name in ("engine/lost.c", "tests/engine/lost_test.c", "bench/lost.c"):
            with self.subTest(file=name):
                self.write(name, "/* lost */\n")
                self.expect(check_layers, "no CMakeLists.txt names it")
                (self.root / name).unlink()

    def test_source_listed_by_a_loop_is_listed(self):
        self.write("tests/engine/CMakeLists.txt", "foreach(subject graph keys)\n"
                   "  add_executable(${subject}_test ${subject}_test.c)\nendforeach()\n")
        self.write("tests/engine/keys_test.c", "/* keys_test.c - in the list. */\n")
        self.assertEqual(check_layers.check(self.root), [])
        self.write("tests/engine/lost_test.c", "/* lost_test.c - not in it. */\n")
        self.expect(check_layers, "tests/engine/lost_test.c: no CMakeLists.txt")

    def test_source_listed_in_a_comment_only_is_refused(self):
        self.write("engine/graph2.c", "/* graph2.c - lost. */\n")
        self.add("engine/CMakeLists.txt", "# graph2.c comes later\n")
        self.expect(check_layers, "engine/graph2.c: no CMakeLists.txt")


class Style(LintCase):
    def test_good_tree_is_quiet(self):
        self.assertEqual(check_style.check(self.root), [])

    def test_faults_of_a_line_are_refused(self):
        for line, words in ((f"/* {'x' * 95} */", "101 columns"), ("int a; ", "blanks at the end"),
                            ("\tint a;", "a tab")):
            with self.subTest(line=line):
                self.write("kernels/kernels.h", f"{GOOD['kernels/kernels.h']}{line}\n")
                self.expect(check_style, words)

    def test_line_of_exactly_100_columns_is_fine(self):
        self.add("kernels/ref.c", f"/* {'x' * 94} */\n")
        self.assertEqual(check_style.check(self.root), [])

    def test_missing_newline_at_the_end_is_refused(self):
        self.add("kernels/ref.c", "int a;")
        self.expect(check_style, "no newline")

    def test_function_of_71_lines_is_refused_and_of_70_not(self):
        self.add("engine/graph.c", long_function(70))
        self.assertEqual(check_style.check(self.root), [])
        self.write("engine/graph.c", GOOD["engine/graph.c"] + long_function(71))
        self.expect(check_style, "long_one has 71 lines")

    def test_function_of_7_parameters_is_refused_and_of_6_not(self):
        head = "\nstatic int six(int a, int (*b)(int, int),\n    int c, int d, int e, int f"
        self.add("engine/graph.c", head + ")\n{\n}\n")
        self.assertEqual(check_style.check(self.root), [])
        self.write("engine/graph.c", GOOD["engine/graph.c"] + head + ", int g)\n{\n}\n")
        self.expect(check_style, "six has 7 parameters")

    def test_prefetches_that_may_be_dropped_are_refused(self):
        body = "prefetch_row(const char *row)\n{\n    __builtin_prefetch(row);\n}\n"
        self.write("engine/graph.h", "/* graph.h - private. */\nOMEN_FETCHES void " + body)
        self.assertEqual(check_style.check(self.root), [])
        self.write("engine/graph.h", "/* graph.h - private. */\nstatic inline void " + body)
        self.expect(check_style, "prefetch_row may be dropped")

    def test_excepted_function_may_be_long_while_it_is(self):
        self.add("ci/style_exceptions.txt", "engine/graph.c long_one: one loop\n")
        self.expect(check_style, "engine/graph.c long_one needs no exception")
        self.add("engine/graph.c", long_function(90))
        self.assertEqual(check_style.check(self.root), [])

    def test_exception_without_a_reason_is_none(self):
        self.add("ci/style_exceptions.txt", "engine/graph.c long_one:\n")
        self.add("engine/graph.c", long_function(90))
        self.assertEqual(len(check_style.check(self.root)), 2)

    def test_banned_calls_are_refused(self):
        for call in ("strcpy(a, b)", "sprintf(a, b)", "strcat(a, b)", "gets(a)", "atoi (a)",
                     "alloca(9)"):
            with self.subTest(call=call):
                self.write("service/decode.c", f"{GOOD['service/decode.c']}int x = {call};\n")
                self.expect(check_style, "is banned")

    def test_words_that_only_look_like_banned_calls_are_fine(self):
        self.add("engine/graph.c", '/* free(x), atoi(x) */ const char *s = "strcpy(";\n'
                                   "int y = my_free(x) + log->free(x);\n")
        self.assertEqual(check_style.check(self.root), [])

    def test_engine_allocates_through_memory_alone(self):
        for call in ("malloc(1)", "free(p)", "calloc(1, 1)", "strdup(s)"):
            with self.subTest(call=call):
                self.write("engine/graph.c", f"{GOOD['engine/graph.c']}void *x = {call};\n")
                self.expect(check_style, "use engine/memory.h")

    def test_names_that_say_nothing_are_refused(self):
        for name in ("utils.h", "common.h", "misc.h", "graph_helpers.h"):
            with self.subTest(name=name):
                self.write(f"engine/{name}", f"/* {name} - what is left. */\n")
                self.expect(check_style, "name the file for what is in it")
                (self.root / "engine" / name).unlink()

    def test_file_without_a_comment_is_refused(self):
        for name, text in (("kernels/ref.c", "int a;\n"), ("kernels/ref.c", "/* Plain C. */\n"),
                           ("kernels/ref.c", "/* avx.c - another file. */\n"),
                           ("ci/deps", "#!/bin/bash\nset -e\n"), ("ci/x.py", "import os\n"),
                           ("proto/omendb/v1/x.proto", 'syntax = "proto3";\n')):
            with self.subTest(file=name, text=text):
                before = GOOD.get(name)
                self.write(name, text)
                self.expect(check_style, "what")
                self.write(name, before) if before else (self.root / name).unlink()

    def test_what_a_build_left_is_not_ours(self):
        self.write("clients/python/build/lib/made.py", "x = 1 \n")
        self.assertEqual(check_style.check(self.root), [])


class Architecture(LintCase):
    def test_good_tree_is_quiet(self):
        self.assertEqual(check_architecture.check(self.root), [])

    def test_missing_page_is_refused(self):
        (self.root / "ARCHITECTURE.md").unlink()
        self.expect(check_architecture, "is missing")

    def test_named_file_that_is_gone_is_refused(self):
        self.add("ARCHITECTURE.md", "And `engine/gone.h`.\n")
        self.expect(check_architecture, "engine/gone.h does not exist")

    def test_source_that_is_not_named_is_refused(self):
        for name in ("engine/graph2.c", "service/new.c", "kernels/neon.c"):
            with self.subTest(file=name):
                self.write(name, "")
                self.expect(check_architecture, f"{name} is not named")
                (self.root / name).unlink()


class Commands(LintCase):
    """The scripts themselves: what they print and how they exit."""

    def run_lint(self, name):
        return subprocess.run([sys.executable, str(CI / name), str(self.root)],
                              capture_output=True, text=True, check=False)

    def test_exit_status_follows_the_complaints(self):
        for name, broken in (("check_layers.py", "engine/lost.c"),
                             ("check_style.py", "engine/utils.h"),
                             ("check_architecture.py", "engine/lost.c")):
            with self.subTest(lint=name):
                self.assertEqual(self.run_lint(name).returncode, 0)
                self.write(broken, "int a;\n")
                done = self.run_lint(name)
                self.assertEqual(done.returncode, 1)
                self.assertIn(broken, done.stdout)
                (self.root / broken).unlink()

    def test_format_names_the_file_that_is_not_formatted(self):
        for name in ("format", "requirements.txt"):
            shutil.copy(CI / name, self.root / "ci" / name)
        shutil.copy(CI.parent / ".clang-format", self.root)
        for folder in ("tests", "bench"):
            (self.root / folder).mkdir(exist_ok=True)
        venv = CI.parent / "build" / "venv"
        if venv.is_dir():
            (self.root / "build").mkdir()
            (self.root / "build" / "venv").symlink_to(venv)
        command = [str(self.root / "ci" / "format"), "--check"]
        good = subprocess.run(command, capture_output=True, text=True, check=False)
        if good.returncode == 77:
            self.skipTest(good.stdout)
        self.assertEqual(good.returncode, 0, good.stdout + good.stderr)
        self.add("engine/graph.c", "int   three( void );\n")
        bad = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual(bad.returncode, 1)
        self.assertEqual(bad.stdout, "engine/graph.c: run ci/format\n")
        subprocess.run(command[:1], check=True)
        self.assertTrue((self.root / "engine/graph.c").read_text().endswith("int three(void);\n"))


if __name__ == "__main__":
    unittest.main()
