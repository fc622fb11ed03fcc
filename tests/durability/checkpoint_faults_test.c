/* checkpoint_faults_test.c - disks that refuse, and disks that flip bits, under checkpoints.
 *
 * Every call to the storage fails once, while checkpoints are written and while they are read:
 * nothing that was acknowledged is lost, and a checkpoint that fails costs nothing but itself. And
 * whatever bit of a checkpoint, of the manifest or of the log is flipped is noticed and named, and
 * never served.
 */
#include "tests/engine/fixture.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/collection.h"
#include "engine/ingest.h"
#include "engine/storage_memory.h"

#define DIM    8u
#define POINTS 900u
#define CHUNK  60u
#define PAGE   4096u
#ifdef __SANITIZE_THREAD__ /* its threads do the same whichever call fails */
#define STRIDE 5u
#else
#define STRIDE 1u
#endif

struct world {
    struct omen_storage *storage;
    struct fixture_engine f;
    omen_collection *c;
    float *rows;
    char told[2048]; /* what the engine told since it was cleared, cut off */
};

static void on_event(void *user, enum omen_event_level level, const char *message)
{
    struct world *w = user;
    const size_t used = strlen(w->told);

    if (level == OMEN_EVENT_INFO) return;
    (void)snprintf(w->told + used, sizeof w->told - used, "%s\n", message);
}

static omen_code open_engine(struct world *w, omen_error *err)
{
    const struct omen_engine_options options = {.data_dir = w->f.dir,
                                                .ingest_threads = 1,
                                                .search_threads = 1,
                                                .storage = w->storage,
                                                .event = on_event,
                                                .event_user = w,
                                                .replay_ms_max = OMEN_REPLAY_MS_OFF};
    omen_code code;

    w->told[0] = '\0';
    w->c = NULL;
    code = omen_engine_open(&options, &w->f.engine, err);
    if (code == OMEN_OK) w->c = fixture_acquire(&w->f, "faulty");
    return code;
}

static void open_or_fail(struct world *w)
{
    omen_error err;

    if (open_engine(w, &err) != OMEN_OK) fail_msg("open: %s", err.message);
}

static void close_engine(struct world *w)
{
    omen_collection_release(w->c);
    omen_engine_close(w->f.engine);
    w->f.engine = NULL;
    w->c = NULL;
}

/* One chunk: points first.., every third of which is deleted again. */
static bool write_chunk(struct world *w, uint32_t first)
{
    const struct omen_stream_options options = {.mode = OMEN_WRITE_INSERT_ONLY,
                                                .sessionless = true};
    struct fixture_stream *s = fixture_stream_open_as(w->c, options);
    omen_chunk *chunk = fixture_chunk(s, CHUNK);
    struct omen_stream_state state;

    for (uint32_t i = 0; i < CHUNK; i++)
        fixture_chunk_add(chunk, i, omen_id_num(first + i), w->rows + (size_t)(first + i) * DIM,
                          DIM, 0);
    for (uint32_t i = 0; i < CHUNK; i += 3) {
        const struct omen_id id = omen_id_num(first + i);

        omen_chunk_delete(chunk, CHUNK + i, &id);
    }
    fixture_push_chunk(s, chunk);
    fixture_wait(s, &state);
    fixture_stream_close(s);
    return state.code == OMEN_OK;
}

static void expect_points(struct world *w, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct omen_id id = omen_id_num(i);
        struct omen_got got;
        float vector[DIM];
        uint64_t position;

        assert_int_equal(omen_collection_get_points(w->c, &id, 1, &got, vector, &position, NULL),
                         OMEN_OK);
        if (got.found != (i % CHUNK % 3 != 0)) fail_msg("point %u is wrong", i);
        if (got.found) assert_memory_equal(vector, w->rows + (size_t)i * DIM, sizeof vector);
    }
}

static void make_world(struct world *w, uint64_t seed)
{
    const struct omen_collection_settings settings = {.dim = DIM, .metric = OMEN_METRIC_L2};
    struct omen_engine_options options = {
        .ingest_threads = 1, .search_threads = 1, .replay_ms_max = OMEN_REPLAY_MS_OFF};
    omen_error err;

    assert_int_equal(omen_storage_memory_create(seed, &w->storage, &err), OMEN_OK);
    (void)snprintf(w->f.dir, sizeof w->f.dir, "/tmp/omen-test-XXXXXX");
    assert_non_null(mkdtemp(w->f.dir));
    w->rows = fixture_mixture(5, POINTS, DIM, 12);
    options.storage = w->storage;
    options.data_dir = w->f.dir;
    assert_int_equal(omen_engine_open(&options, &w->f.engine, &err), OMEN_OK);
    w->c = fixture_collection(&w->f, "faulty", settings);
}

static void end_world(struct world *w)
{
    fixture_close(&w->f);
    omen_storage_memory_destroy(w->storage);
    free(w->rows);
}

static void checkpoint(struct world *w)
{
    omen_error err;

    if (omen_collection_checkpoint(w->c, &err) != OMEN_OK) fail_msg("checkpoint: %s", err.message);
}

/* ---- calls that fail ----------------------------------------------------------------------- */

static const unsigned calls[] = {OMEN_STORAGE_OPEN,   OMEN_STORAGE_WRITE,    OMEN_STORAGE_SYNC,
                                 OMEN_STORAGE_RENAME, OMEN_STORAGE_TRUNCATE, OMEN_STORAGE_REMOVE,
                                 OMEN_STORAGE_READ};

static void let_fail(struct world *w, unsigned call, uint64_t nth, int code)
{
    const struct omen_storage_faults faults = {
        .fail_calls = call, .fail_at = nth, .fail_errno = code};

    omen_storage_memory_set_faults(w->storage, &faults);
}

static void let_all_pass(struct world *w)
{
    omen_storage_memory_set_faults(w->storage, &(struct omen_storage_faults){.cut_at = 0});
}

/* Two checkpoints and what is written around them, where one call fails. */
static void write_with_fault(unsigned call, uint64_t nth, int code, uint32_t *failures)
{
    struct world w = {.storage = NULL};
    uint32_t written = 0;
    omen_error err = {0};

    make_world(&w, nth);
    for (; written < 3 * CHUNK; written += CHUNK)
        assert_true(write_chunk(&w, written));
    checkpoint(&w);
    for (uint32_t i = 0; i < 2; i++) {
        let_fail(&w, call, nth, code);
        *failures += omen_collection_checkpoint(w.c, &err) != OMEN_OK;
        let_all_pass(&w);
        if (omen_ingest_check(w.c, NULL) == OMEN_OK) {
            if (!write_chunk(&w, written)) break;
            written += CHUNK;
        }
    }
    expect_points(&w, written);
    close_engine(&w);
    if (nth % 2 == 0) assert_int_equal(omen_storage_memory_restart(w.storage, &err), OMEN_OK);
    open_or_fail(&w);
    fixture_assert_sound(w.c);
    expect_points(&w, written);
    assert_true(w.c->checkpoints.manifest.count > 0);
    checkpoint(&w);
    close_engine(&w);
    end_world(&w);
}

static void a_call_that_fails_while_a_checkpoint_is_written_loses_nothing(void **state)
{
    uint32_t failures = 0;
    uint32_t runs = 0;

    (void)state;
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        for (uint64_t nth = 1; nth <= (calls[i] == OMEN_STORAGE_WRITE ? 80 : 24); nth += STRIDE) {
            write_with_fault(calls[i], nth, nth % 3 == 0 ? ENOSPC : EIO, &failures);
            runs++;
        }
    }
    print_message("%u runs, in which %u checkpoints failed\n", runs, failures);
    assert_true(failures > runs / 4);
}

static void a_call_that_fails_while_a_checkpoint_is_read_is_told(void **state)
{
    struct world w = {.storage = NULL};
    uint32_t refused = 0;
    uint32_t older = 0;

    (void)state;
    make_world(&w, 3);
    for (uint32_t n = 0; n < 4; n++) {
        assert_true(write_chunk(&w, n * CHUNK));
        checkpoint(&w);
    }
    close_engine(&w);
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        for (uint64_t nth = 1; nth <= 90; nth += STRIDE) {
            omen_error err = {0};

            let_fail(&w, calls[i], nth, EIO);
            if (open_engine(&w, &err) != OMEN_OK) {
                refused++;
                assert_true(err.message[0] != '\0');
            } else {
                let_all_pass(&w);
                if (w.c->checkpoints.info.damaged > 0) {
                    older++;
                    assert_non_null(strstr(w.told, "checkpoint"));
                }
                expect_points(&w, 4 * CHUNK);
                close_engine(&w);
            }
            let_all_pass(&w);
        }
    }
    print_message("%u starts refused, %u from the older checkpoint\n", refused, older);
    assert_true(refused > 10 / STRIDE && older > 10 / STRIDE);
    open_or_fail(&w);
    expect_points(&w, 4 * CHUNK);
    close_engine(&w);
    end_world(&w);
}

/* ---- bits that flip ------------------------------------------------------------------------ */

static unsigned char *bytes_of(const struct world *w, const char *dir, const char *name,
                               size_t *size)
{
    unsigned char *bytes = omen_storage_memory_bytes(w->storage, dir, name, size);

    assert_non_null(bytes);
    return bytes;
}

/* Points, checkpoints and a tail; two files of the log, as the first was trimmed. */
static void make_damageable(struct world *w, char dir[700], char newest[64], char older[64])
{
    make_world(w, 4);
    for (uint32_t n = 0; n < 3; n++) {
        for (uint32_t i = 0; i < 4; i++)
            assert_true(write_chunk(w, (n * 4 + i) * CHUNK));
        checkpoint(w);
    }
    assert_true(write_chunk(w, 12 * CHUNK));
    (void)snprintf(dir, 700, "%s", w->c->dir);
    omen_checkpoint_name(w->c->checkpoints.manifest.positions[0], newest);
    omen_checkpoint_name(w->c->checkpoints.manifest.positions[1], older);
    close_engine(w);
}

static void a_flipped_bit_in_any_page_of_a_checkpoint_is_named_and_the_older_one_read(void **state)
{
    struct world w = {.storage = NULL};
    char dir[700];
    char newest[64];
    char older[64];
    uint64_t random = 17;
    uint32_t flips = 0;
    size_t size = 0;

    (void)state;
    make_damageable(&w, dir, newest, older);
    (void)bytes_of(&w, dir, newest, &size);
    for (size_t at = 0; at < size; at += flips % 2 == 0 ? PAGE : PAGE / 2) {
        const size_t left = size - at;
        const size_t where = at + fixture_random(&random) % (left < PAGE ? left : PAGE);
        const unsigned char bit = (unsigned char)(1u << fixture_random(&random) % 8);

        bytes_of(&w, dir, newest, &size)[where] ^= bit;
        open_or_fail(&w);
        if (w.c->checkpoints.info.damaged != 1 || strstr(w.told, newest) == NULL ||
            strstr(w.told, "damaged at offset") == NULL)
            fail_msg("bit %u of byte %zu of %zu: %s", bit, where, size, w.told);
        expect_points(&w, 13 * CHUNK);
        close_engine(&w);
        bytes_of(&w, dir, newest, &size)[where] ^= bit;
        flips++;
    }
    open_or_fail(&w);
    assert_int_equal(w.c->checkpoints.info.damaged, 0);
    close_engine(&w);
    print_message("%u bits of %zu bytes\n", flips, size);
    assert_true(flips > 50);
    end_world(&w);
}

static void without_a_whole_checkpoint_a_trimmed_log_is_refused(void **state)
{
    struct world w = {.storage = NULL};
    char dir[700];
    char newest[64];
    char older[64];
    size_t size = 0;
    omen_error err;

    (void)state;
    make_damageable(&w, dir, newest, older);
    bytes_of(&w, dir, newest, &size)[200] ^= 1;
    bytes_of(&w, dir, older, &size)[300] ^= 1;
    assert_int_equal(open_engine(&w, &err), OMEN_DATA_LOSS);
    assert_non_null(strstr(err.message, "no checkpoint is whole"));
    assert_non_null(strstr(w.told, newest));
    assert_non_null(strstr(w.told, older));
    bytes_of(&w, dir, older, &size)[300] ^= 1;
    open_or_fail(&w);
    expect_points(&w, 13 * CHUNK);
    /* The damaged file counts no more: the next one stands beside the one that is whole. */
    checkpoint(&w);
    assert_int_equal(w.c->checkpoints.manifest.count, 2);
    assert_null(omen_storage_memory_bytes(w.storage, dir, newest, &size));
    assert_non_null(omen_storage_memory_bytes(w.storage, dir, older, &size));
    close_engine(&w);
    end_world(&w);
}

static void a_flipped_bit_of_the_manifest_is_named_and_the_files_looked_at(void **state)
{
    struct world w = {.storage = NULL};
    char dir[700];
    char newest[64];
    char older[64];
    size_t size = 0;

    (void)state;
    make_damageable(&w, dir, newest, older);
    (void)bytes_of(&w, dir, "checkpoints.omen", &size);
    for (size_t at = 0; at < size; at++) {
        bytes_of(&w, dir, "checkpoints.omen", &size)[at] ^= (unsigned char)(1u << at % 8);
        open_or_fail(&w);
        assert_non_null(strstr(w.told, "checkpoints.omen is damaged at offset"));
        assert_int_equal(w.c->checkpoints.manifest.count, 2);
        expect_points(&w, 13 * CHUNK);
        close_engine(&w);
        bytes_of(&w, dir, "checkpoints.omen", &size)[at] ^= (unsigned char)(1u << at % 8);
    }
    end_world(&w);
}

struct logs {
    char names[8][64];
    uint32_t count;
};

static bool note_log(void *user, const char *name)
{
    struct logs *logs = user;

    if (strncmp(name, "log-", 4) == 0 && logs->count < 8)
        (void)snprintf(logs->names[logs->count++], 64, "%s", name);
    return true;
}

/* Behind the last record of the last file stands the mark: a flaw in it costs nothing. */
static void a_flipped_bit_in_any_page_of_the_log_is_named_and_refused(void **state)
{
    struct world w = {.storage = NULL};
    struct logs logs = {.count = 0};
    char dir[700];
    char newest[64];
    char older[64];
    uint64_t random = 18;
    uint32_t flips = 0;

    (void)state;
    make_damageable(&w, dir, newest, older);
    const int handle = w.storage->ops->open_dir(w.storage, dir);
    assert_int_equal(w.storage->ops->list(w.storage, handle, note_log, &logs), 0);
    w.storage->ops->close(w.storage, handle);
    assert_true(logs.count >= 2);
    for (uint32_t i = 0; i < logs.count; i++) {
        size_t size = 0;

        (void)bytes_of(&w, dir, logs.names[i], &size);
        for (size_t at = 0; at + OMEN_RECORD_HEADER_BYTES < size; at += PAGE / 8) {
            const size_t left = size - at - OMEN_RECORD_HEADER_BYTES;
            const size_t where = at + fixture_random(&random) % (left < PAGE / 8 ? left : PAGE / 8);
            omen_error err = {0};

            bytes_of(&w, dir, logs.names[i], &size)[where] ^= 4;
            assert_int_equal(open_engine(&w, &err), OMEN_DATA_LOSS);
            if (strstr(err.message, logs.names[i]) == NULL)
                fail_msg("byte %zu of %s: %s", where, logs.names[i], err.message);
            bytes_of(&w, dir, logs.names[i], &size)[where] ^= 4;
            flips++;
        }
    }
    assert_true(flips > 20);
    open_or_fail(&w);
    expect_points(&w, 13 * CHUNK);
    close_engine(&w);
    end_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_that_fails_while_a_checkpoint_is_written_loses_nothing),
        cmocka_unit_test(a_call_that_fails_while_a_checkpoint_is_read_is_told),
        cmocka_unit_test(a_flipped_bit_in_any_page_of_a_checkpoint_is_named_and_the_older_one_read),
        cmocka_unit_test(without_a_whole_checkpoint_a_trimmed_log_is_refused),
        cmocka_unit_test(a_flipped_bit_of_the_manifest_is_named_and_the_files_looked_at),
        cmocka_unit_test(a_flipped_bit_in_any_page_of_the_log_is_named_and_refused),
    };

    return cmocka_run_group_tests_name("faults under checkpoints", tests, NULL, NULL);
}
