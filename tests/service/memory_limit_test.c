/* memory_limit_test.c - limits as they are written, and as cgroups have them, in trees of files
 * that stand for /proc and /sys.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "service/memory_limit.h"

#define GIB (UINT64_C(1) << 30)

struct tree {
    char root[64];
};

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
    (void)status;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int plant(void **state)
{
    struct tree *tree = malloc(sizeof *tree);

    assert_non_null(tree);
    (void)snprintf(tree->root, sizeof tree->root, "/tmp/omen-tree-XXXXXX");
    assert_non_null(mkdtemp(tree->root));
    *state = tree;
    return 0;
}

static int fell(void **state)
{
    struct tree *tree = *state;

    (void)nftw(tree->root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(tree);
    return 0;
}

static void put(const struct tree *tree, const char *name, const char *text)
{
    char path[512];
    FILE *file;

    (void)snprintf(path, sizeof path, "%s%s", tree->root, name);
    for (char *at = path + strlen(tree->root) + 1; (at = strchr(at, '/')) != NULL; at++) {
        *at = '\0';
        (void)mkdir(path, 0700);
        *at = '/';
    }
    file = fopen(path, "we");
    assert_non_null(file);
    (void)fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void put_machine(const struct tree *tree)
{
    put(tree, "/proc/meminfo", "MemTotal:       16777216 kB\nMemFree:  1 kB\n"); /* 16 GiB */
}

static void expect(const struct tree *tree, uint64_t bytes, const char *name)
{
    struct omen_memory_source source;

    assert_true(omen_memory_available(tree->root, &source));
    assert_int_equal(source.bytes, bytes);
    assert_string_equal(source.name, name);
}

static void without_groups_the_machine_counts(void **state)
{
    struct tree *tree = *state;
    struct omen_memory_source source;

    assert_false(omen_memory_available(tree->root, &source));
    put_machine(tree);
    expect(tree, 16 * GIB, "/proc/meminfo");
    put(tree, "/proc/self/cgroup", "0::/\n");
    expect(tree, 16 * GIB, "/proc/meminfo");
}

static void version_2_is_read_from_the_group_up(void **state)
{
    struct tree *tree = *state;

    put_machine(tree);
    put(tree, "/proc/self/cgroup", "0::/kube/pod/box\n");
    put(tree, "/sys/fs/cgroup/kube/pod/box/memory.max", "max\n");
    expect(tree, 16 * GIB, "/proc/meminfo");
    put(tree, "/sys/fs/cgroup/kube/pod/box/memory.max", "8589934592\n");
    expect(tree, 8 * GIB, "/sys/fs/cgroup/kube/pod/box/memory.max");
    /* The smallest counts, wherever it stands; what is missing or nonsense is passed over. */
    put(tree, "/sys/fs/cgroup/kube/memory.max", "4294967296\n");
    put(tree, "/sys/fs/cgroup/kube/pod/memory.max", "12x\n");
    expect(tree, 4 * GIB, "/sys/fs/cgroup/kube/memory.max");
    put(tree, "/sys/fs/cgroup/memory.max", "1073741824\n");
    expect(tree, GIB, "/sys/fs/cgroup/memory.max");
}

static void a_container_sees_its_own_group_at_the_top(void **state)
{
    struct tree *tree = *state;

    put_machine(tree);
    put(tree, "/proc/self/cgroup", "0::/\n");
    put(tree, "/sys/fs/cgroup/memory.max", "2147483648");
    expect(tree, 2 * GIB, "/sys/fs/cgroup/memory.max");
}

static void version_1_is_read_where_memory_is_mounted(void **state)
{
    struct tree *tree = *state;

    put_machine(tree);
    put(tree, "/proc/self/cgroup",
        "12:cpuset:/elsewhere\n5:hugetlb,memory:/docker/abc\n1:name=systemd:/docker/abc\n0::/\n");
    put(tree, "/sys/fs/cgroup/memory/elsewhere/memory.limit_in_bytes", "1024\n");
    put(tree, "/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "3221225472\n");
    put(tree, "/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    expect(tree, 3 * GIB, "/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes");
}

/* The path is the host's, and only the top is mounted. */
static void version_1_in_a_container_is_read_at_the_top(void **state)
{
    struct tree *tree = *state;

    put_machine(tree);
    put(tree, "/proc/self/cgroup", "4:memory:/docker/0123456789\n");
    put(tree, "/sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912\n");
    expect(tree, GIB / 2, "/sys/fs/cgroup/memory/memory.limit_in_bytes");
}

static void a_limit_beyond_the_machine_is_none(void **state)
{
    struct tree *tree = *state;

    put_machine(tree);
    put(tree, "/proc/self/cgroup", "garbage\n:\n7:memory\n4:memory:relative\n4:memory:/a\n");
    put(tree, "/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "9223372036854771712\n");
    expect(tree, 16 * GIB, "/proc/meminfo");
}

static void sizes_are_read_with_their_units(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
        uint32_t percent;
    } good[] = {{"1", 1, 0},          {"4096", 4096, 0},    {"64KiB", 65536, 0},
                {"3MiB", 3 << 20, 0}, {"4GiB", 4 * GIB, 0}, {"2TiB", 2048 * GIB, 0},
                {"1%", 0, 1},         {"80%", 0, 80},       {"100%", 0, 100}};
    static const char *const bad[] = {"",
                                      "0",
                                      "0%",
                                      "101%",
                                      "GiB",
                                      "4 GiB",
                                      "4GB",
                                      "-1",
                                      "4gib",
                                      "0x4",
                                      "1.5GiB",
                                      "99999999999999999999",
                                      "20000000TiB",
                                      "80%%"};
    struct omen_memory_size size;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_true(omen_memory_size_parse(good[i].text, &size));
        assert_int_equal(size.bytes, good[i].bytes);
        assert_int_equal(size.percent, good[i].percent);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(omen_memory_size_parse(bad[i], &size));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(without_groups_the_machine_counts, plant, fell),
        cmocka_unit_test_setup_teardown(version_2_is_read_from_the_group_up, plant, fell),
        cmocka_unit_test_setup_teardown(a_container_sees_its_own_group_at_the_top, plant, fell),
        cmocka_unit_test_setup_teardown(version_1_is_read_where_memory_is_mounted, plant, fell),
        cmocka_unit_test_setup_teardown(version_1_in_a_container_is_read_at_the_top, plant, fell),
        cmocka_unit_test_setup_teardown(a_limit_beyond_the_machine_is_none, plant, fell),
        cmocka_unit_test(sizes_are_read_with_their_units),
    };

    return cmocka_run_group_tests_name("the memory limit", tests, NULL, NULL);
}
