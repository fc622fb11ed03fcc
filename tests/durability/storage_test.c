/* storage_test.c - the file system and its stand-in in memory keep the same promises: names,
 * directories, room, mappings; and what of them a power cut leaves.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/storage_memory.h"

#define BLOCK      4096u
#define POWER_CUTS 200u

struct place {
    struct omen_storage *storage;
    char path[64];
    int dir;
};

static void enter(struct place *place, struct omen_storage *storage)
{
    *place = (struct place){.storage = storage, .path = "/tmp/omen-storage-XXXXXX"};
    assert_non_null(mkdtemp(place->path));
    place->dir = storage->ops->open_dir(storage, place->path);
    assert_true(place->dir >= 0);
}

static void leave(struct place *place)
{
    place->storage->ops->close(place->storage, place->dir);
    assert_int_equal(rmdir(place->path), 0);
}

static struct omen_storage *make_memory(uint64_t seed)
{
    struct omen_storage *storage = NULL;
    omen_error err;

    assert_int_equal(omen_storage_memory_create(seed, &storage, &err), OMEN_OK);
    return storage;
}

/* Runs the same on both. */
static void on_both(void (*promise)(struct place *place))
{
    struct omen_storage *memory = make_memory(1);
    struct place place;

    enter(&place, omen_storage_files());
    promise(&place);
    leave(&place);
    enter(&place, memory);
    promise(&place);
    leave(&place);
    omen_storage_memory_destroy(memory);
}

static int open_file(const struct place *place, int dir, const char *name)
{
    const int file = place->storage->ops->open(place->storage, dir, name, O_RDWR | O_CREAT);

    assert_true(file >= 0);
    return file;
}

static omen_code write_bytes(const struct place *place, int file, uint64_t offset, int byte,
                             size_t count, omen_error *err)
{
    unsigned char *bytes = malloc(count);
    struct iovec part = {bytes, count};

    assert_non_null(bytes);
    memset(bytes, byte, count);
    const omen_code code = omen_storage_write_all(place->storage, file, &part, 1, &offset, err);
    free(bytes);
    return code;
}

static bool note(void *user, const char *name)
{
    if (name[0] != '.') (void)strncat(user, name, 30);
    return true;
}

static void expect_names(const struct place *place, int dir, const char *names)
{
    char found[200] = "";

    assert_int_equal(place->storage->ops->list(place->storage, dir, note, found), 0);
    assert_string_equal(found, names);
}

static int open_below(const struct place *place, const char *name)
{
    char path[128];

    (void)snprintf(path, sizeof path, "%s/%s", place->path, name);
    return place->storage->ops->open_dir(place->storage, path);
}

static void directories(struct place *place)
{
    struct omen_storage *s = place->storage;

    assert_int_equal(open_below(place, "a"), -1);
    assert_int_equal(errno, ENOENT);
    assert_int_equal(s->ops->make_dir(s, place->dir, "a"), 0);
    assert_int_equal(s->ops->make_dir(s, place->dir, "a"), -1);
    assert_int_equal(errno, EEXIST);
    const int inside = open_below(place, "a");
    assert_true(inside >= 0);
    s->ops->close(s, open_file(place, inside, "file"));
    assert_int_equal(s->ops->remove_dir(s, place->dir, "a"), -1);
    assert_int_equal(errno, ENOTEMPTY);
    assert_int_equal(s->ops->rename(s, place->dir, "a", "b"), 0);
    expect_names(place, place->dir, "b");
    expect_names(place, inside, "file"); /* a handle goes with its directory */
    assert_int_equal(s->ops->remove(s, inside, "file"), 0);
    s->ops->close(s, inside);
    assert_int_equal(open_below(place, "a"), -1);
    assert_int_equal(s->ops->remove_dir(s, place->dir, "b"), 0);
    expect_names(place, place->dir, "");
}

static void directories_are_names_in_others(void **state)
{
    (void)state;
    on_both(directories);
}

static void mappings(struct place *place)
{
    struct omen_storage *s = place->storage;
    const int file = open_file(place, place->dir, "file");
    unsigned char *bytes;

    assert_int_equal(write_bytes(place, file, 0, 'a', BLOCK, NULL), OMEN_OK);
    bytes = s->ops->map(s, file, 0, (size_t)16 * BLOCK);
    assert_non_null(bytes);
    assert_int_equal(bytes[100], 'a');
    assert_int_equal(write_bytes(place, file, 50, 'b', (size_t)4 * BLOCK, NULL), OMEN_OK);
    assert_int_equal(bytes[49], 'a');
    assert_int_equal(bytes[50], 'b');
    assert_int_equal(bytes[4 * BLOCK + 49], 'b'); /* behind the end that the file had then */
    if (s->ops->punch(s, file, BLOCK, BLOCK) == 0) {
        assert_int_equal(bytes[BLOCK - 1], 'b');
        assert_int_equal(bytes[BLOCK], 0);
        assert_int_equal(bytes[2 * BLOCK], 'b');
    } else {
        assert_int_equal(errno, EOPNOTSUPP);
    }
    s->ops->unmap(s, bytes, (size_t)16 * BLOCK);
    s->ops->close(s, file);
    assert_int_equal(s->ops->remove(s, place->dir, "file"), 0);
}

static void a_mapping_shows_what_is_written_later(void **state)
{
    (void)state;
    on_both(mappings);
}

static void allocations(struct place *place)
{
    struct omen_storage *s = place->storage;
    const int file = open_file(place, place->dir, "file");

    if (s->ops->allocate(s, file, 0, (uint64_t)3 * BLOCK) == 0)
        assert_int_equal(s->ops->size(s, file), (int64_t)3 * BLOCK);
    else
        assert_int_equal(errno, EOPNOTSUPP);
    assert_true(s->ops->free_bytes(s, place->dir) > 0);
    s->ops->close(s, file);
    assert_int_equal(s->ops->remove(s, place->dir, "file"), 0);
}

static void a_file_is_as_long_as_its_allocation(void **state)
{
    (void)state;
    on_both(allocations);
}

static void the_room_is_given_and_taken_back_by_blocks(void **state)
{
    struct omen_storage *s = make_memory(2);
    struct place place;
    omen_error err;

    (void)state;
    enter(&place, s);
    omen_storage_memory_set_room(s, (uint64_t)10 * BLOCK);
    const int first = open_file(&place, place.dir, "first");
    const int second = open_file(&place, place.dir, "second");
    assert_int_equal(s->ops->allocate(s, first, 0, (uint64_t)6 * BLOCK), 0);
    assert_int_equal(s->ops->free_bytes(s, place.dir), (int64_t)4 * BLOCK);
    assert_int_equal(write_bytes(&place, second, 0, 's', (size_t)5 * BLOCK, &err),
                     OMEN_RESOURCE_EXHAUSTED);
    assert_string_equal(err.reason, "DISK_FULL");
    assert_int_equal(s->ops->size(s, second), (int64_t)4 * BLOCK); /* what fitted */
    /* What has room can be written, nothing else can. */
    assert_int_equal(write_bytes(&place, first, 0, 'f', (size_t)6 * BLOCK, &err), OMEN_OK);
    assert_int_equal(write_bytes(&place, first, (uint64_t)6 * BLOCK, 'f', 1, &err),
                     OMEN_RESOURCE_EXHAUSTED);
    assert_int_equal(s->ops->allocate(s, second, 0, (uint64_t)5 * BLOCK), -1);
    assert_int_equal(errno, ENOSPC);
    /* A block that is punched out needs room again. */
    assert_int_equal(s->ops->punch(s, first, 100, (uint64_t)2 * BLOCK), 0);
    assert_int_equal(s->ops->free_bytes(s, place.dir), (int64_t)BLOCK);
    assert_int_equal(write_bytes(&place, second, (uint64_t)4 * BLOCK, 's', BLOCK, &err), OMEN_OK);
    assert_int_equal(write_bytes(&place, first, BLOCK, 'f', BLOCK, &err), OMEN_RESOURCE_EXHAUSTED);
    /* So do removed files give their room back, once they are closed. */
    assert_int_equal(s->ops->remove(s, place.dir, "second"), 0);
    assert_int_equal(s->ops->free_bytes(s, place.dir), 0);
    s->ops->close(s, second);
    assert_int_equal(s->ops->free_bytes(s, place.dir), (int64_t)5 * BLOCK);
    s->ops->close(s, first);
    leave(&place);
    omen_storage_memory_destroy(s);
}

/* A directory that was made, filled and renamed, with a sync of the one above or without. */
static bool make_and_cut(uint64_t seed, bool sync, bool *renamed)
{
    struct omen_storage *s = make_memory(seed);
    struct place place;
    omen_error err;

    enter(&place, s);
    assert_int_equal(s->ops->make_dir(s, place.dir, "making"), 0);
    const int inside = open_below(&place, "making");
    const int file = open_file(&place, inside, "file");
    assert_int_equal(write_bytes(&place, file, 0, 'x', 10, &err), OMEN_OK);
    assert_int_equal(s->ops->sync(s, file, true), 0);
    assert_int_equal(s->ops->sync(s, inside, true), 0);
    assert_int_equal(s->ops->rename(s, place.dir, "making", "made"), 0);
    if (sync) assert_int_equal(s->ops->sync(s, place.dir, true), 0);
    assert_int_equal(omen_storage_memory_restart(s, &err), OMEN_OK);
    s->ops->close(s, file);
    s->ops->close(s, inside);
    s->ops->close(s, place.dir);

    place.dir = s->ops->open_dir(s, place.path);
    const int made = open_below(&place, "made");
    const int making = open_below(&place, "making");
    assert_true(made < 0 || making < 0);
    if (made >= 0) expect_names(&place, made, "file");
    if (making >= 0) expect_names(&place, making, "file");
    *renamed = made >= 0;
    const bool there = made >= 0 || making >= 0;
    leave(&place);
    omen_storage_memory_destroy(s);
    return there;
}

static void a_power_cut_keeps_a_directory_that_was_synced_and_perhaps_another(void **state)
{
    uint32_t lost = 0;
    uint32_t old = 0;
    bool renamed = false;

    (void)state;
    for (uint64_t seed = 1; seed <= POWER_CUTS; seed++) {
        assert_true(make_and_cut(seed, true, &renamed));
        assert_true(renamed);
        if (!make_and_cut(seed, false, &renamed))
            lost++;
        else
            old += !renamed;
    }
    assert_true(lost > 0 && old > 0 && lost + old < POWER_CUTS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(directories_are_names_in_others),
        cmocka_unit_test(a_mapping_shows_what_is_written_later),
        cmocka_unit_test(a_file_is_as_long_as_its_allocation),
        cmocka_unit_test(the_room_is_given_and_taken_back_by_blocks),
        cmocka_unit_test(a_power_cut_keeps_a_directory_that_was_synced_and_perhaps_another),
    };

    return cmocka_run_group_tests_name("the storage", tests, NULL, NULL);
}
