/* full_disk_test.c - when the disk is full, writes are refused with figures and searches go on;
 * what was acknowledged is there, what was refused is nowhere, and writes go on when there is room.
 * And a disk that fails is not tried again.
 */
#include "tests/engine/fixture.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/log.h"
#include "engine/log_file.h"
#include "engine/storage_memory.h"

#define DIM   1024u /* a row is a block: one that is erased gives its room back */
#define PIECE 4u    /* points of a chunk */
#define KIB   UINT64_C(1024)
#if defined(__SANITIZE_THREAD__)
#define HISTORIES 2u /* its threads do the same in each */
#elif defined(__SANITIZE_ADDRESS__)
#define HISTORIES 12u
#else
#define HISTORIES 60u
#endif
#define POINTS 300u

struct disk {
    struct omen_storage *storage;
    struct fixture_engine f;
    uint64_t reserve;
    sem_t told;          /* once for each call of told_writes() */
    _Atomic int refused; /* the code that it said last */
};

static void told_writes(void *user, omen_code code, const omen_error *why)
{
    struct disk *disk = user;

    assert_int_equal(code == OMEN_OK, why->message[0] == '\0');
    atomic_store(&disk->refused, (int)code);
    (void)sem_post(&disk->told);
}

static void start(struct disk *disk)
{
    const struct omen_engine_options options = {.data_dir = disk->f.dir,
                                                .ingest_threads = 1,
                                                .search_threads = 1,
                                                .storage = disk->storage,
                                                .disk_reserve = disk->reserve,
                                                .writes = told_writes,
                                                .event_user = disk};
    omen_error err = {0};

    if (omen_engine_open(&options, &disk->f.engine, &err) != OMEN_OK)
        fail_msg("open: %s", err.message);
}

static void set_up(struct disk *disk, uint64_t seed, uint64_t reserve)
{
    omen_error err;

    *disk = (struct disk){.reserve = reserve};
    (void)sem_init(&disk->told, 0, 0);
    (void)snprintf(disk->f.dir, sizeof disk->f.dir, "/tmp/omen-test-XXXXXX");
    assert_non_null(mkdtemp(disk->f.dir));
    assert_int_equal(omen_storage_memory_create(seed, &disk->storage, &err), OMEN_OK);
    start(disk);
}

static void tear_down(struct disk *disk)
{
    fixture_close(&disk->f);
    omen_storage_memory_destroy(disk->storage);
    (void)sem_destroy(&disk->told);
}

static void set_free(struct disk *disk, uint64_t bytes)
{
    omen_storage_memory_set_room(disk->storage, omen_storage_memory_used(disk->storage) + bytes);
}

static void wait_until_writes_go_on(struct disk *disk)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 30;
    while (atomic_load(&disk->refused) != OMEN_OK)
        if (sem_timedwait(&disk->told, &until) != 0) fail_msg("nobody found the room");
}

static struct omen_collection_settings settings(void)
{
    return (struct omen_collection_settings){
        .dim = DIM, .metric = OMEN_METRIC_L2, .epoch_points = 40, .checkpoint_bytes = 4096};
}

/* Point i of version v: nobody else's. */
static void fill(float *row, uint32_t i, uint32_t version)
{
    for (uint32_t d = 0; d < DIM; d++)
        row[d] = (float)((i * 31 + d * 7 + version * 13) % 101) + (d == i % DIM ? 500.0f : 0.0f);
}

/* Pushes PIECE points from `first` on, or refuses: then why is in err. */
static omen_code push(omen_stream *stream, uint64_t seq, uint32_t first, uint32_t version,
                      omen_error *err)
{
    omen_chunk *chunk = NULL;
    uint64_t ids[PIECE];

    assert_int_equal(omen_chunk_create(stream, PIECE, &chunk, err), OMEN_OK);
    float *rows = omen_chunk_rows(chunk, PIECE);
    for (uint32_t i = 0; i < PIECE; i++) {
        ids[i] = first + i;
        fill(rows + (size_t)i * DIM, first + i, version);
    }
    omen_chunk_add_many(chunk, PIECE, 0, ids, 0);
    return omen_stream_push(stream, seq, chunk, err);
}

/* Exactly the first `count` points are there, each in its version, and each finds itself. */
static void expect(omen_collection *c, uint32_t count, const uint32_t *versions)
{
    float *row = malloc(DIM * sizeof *row);
    float *got = malloc(DIM * sizeof *got);
    struct omen_collection_info info;
    struct omen_search found;
    omen_error err;

    omen_collection_get_info(c, &info);
    assert_int_equal(info.points, count);
    for (uint32_t i = 0; i < count; i++) {
        const struct omen_id id = omen_id_num(i);
        struct omen_got there;
        uint64_t position;

        assert_int_equal(omen_collection_get_points(c, &id, 1, &there, got, &position, &err),
                         OMEN_OK);
        assert_true(there.found);
        fill(row, i, versions == NULL ? 0 : versions[i]);
        assert_memory_equal(row, got, DIM * sizeof *row);
        if (i % 16 != 0) continue;
        fixture_search(c, row, 1, 1, FIXTURE_EXACT, &found);
        assert_true(found.results[0].hits[0].distance == 0.0f);
        omen_search_deinit(&found);
    }
    fixture_assert_sound(c);
    free(got);
    free(row);
}

/* What is durable. */
struct written {
    uint32_t versions[POINTS];
    uint32_t count;
    uint64_t position; /* of the last record of it */
};

/* Not even the CLOSE of an epoch may have found room: then its points wait. */
static bool expect_if_searchable(omen_collection *c, const struct written *written)
{
    struct omen_collection_info info;

    omen_collection_get_info(c, &info);
    if (info.searchable_position < written->position) return false;
    expect(c, written->count, written->versions);
    return true;
}

static void expect_full(omen_code code, const omen_error *err)
{
    if (code != OMEN_RESOURCE_EXHAUSTED || strcmp(err->reason, "DISK_FULL") != 0)
        fail_msg("code %d, reason '%s': %s", (int)code, err->reason, err->message);
    assert_true(err->retry_ms > 0);
}

/* Pushes chunks of new points until one is refused; returns how many points are durable. */
static uint32_t fill_up(struct fixture_stream *s, uint64_t seq, uint32_t first, omen_error *err)
{
    struct omen_stream_state state;
    omen_code code = OMEN_OK;

    for (uint32_t i = first; i + PIECE <= POINTS && code == OMEN_OK; i += PIECE, seq++) {
        code = push(fixture_stream_get(s), seq, i, 0, err);
        fixture_wait(s, &state); /* a group is refused as a whole */
    }
    if (state.code != OMEN_OK) {
        code = state.code;
        *err = state.error;
    }
    expect_full(code, err);
    return (uint32_t)state.durable_seq * PIECE;
}

/* Everybody hears of it at once. */
static void expect_refusals(struct disk *disk, omen_collection *c)
{
    const struct omen_stream_options options = {.mode = OMEN_WRITE_INSERT_ONLY,
                                                .sessionless = true};
    const struct omen_collection_settings wanted = settings();
    struct omen_collection_info info;
    struct omen_disk_info room;
    omen_stream *stream = NULL;
    omen_error err = {0};

    expect_full(omen_stream_open(c, &options, &stream, &err), &err);
    expect_full(omen_collection_create(disk->f.engine, "another", &wanted, NULL, &err), &err);
    omen_collection_get_info(c, &info);
    expect_full(info.refusal_code, &info.refusal);
    omen_engine_get_disk(disk->f.engine, &room);
    assert_true(room.full && room.reserve == disk->reserve);
    assert_int_equal(atomic_load(&disk->refused), OMEN_RESOURCE_EXHAUSTED);
}

static void a_full_disk_refuses_writes_until_there_is_room(void **state)
{
    const uint8_t session[OMEN_SESSION_ID_BYTES] = {1};
    struct omen_stream_state now;
    struct omen_collection_info info;
    struct omen_disk_info room;
    struct fixture_stream *s;
    struct disk disk;
    omen_error err = {0};
    omen_code code = OMEN_OK;

    (void)state;
    set_up(&disk, 1, 256 * KIB);
    omen_collection *c = fixture_collection(&disk.f, "full", settings());
    set_free(&disk, (256 + 900) * KIB);
    s = fixture_stream_open(c, session);
    const uint32_t durable = fill_up(s, 1, 0, &err);
    assert_in_range(durable, 40, POINTS - PIECE);
    assert_int_equal(err.figures.limit, 256 * KIB);
    assert_true(err.figures.needed > 0 &&
                err.figures.used < err.figures.limit + err.figures.needed);
    fixture_stream_close(s);

    expect_refusals(&disk, c);
    omen_engine_get_disk(disk.f.engine, &room);
    assert_true(room.free >= room.reserve / 2); /* the reserve is there still */
    expect(c, durable, NULL);                   /* searches go on */

    /* A restart needs no room: what it writes has its own. */
    omen_collection_release(c);
    omen_engine_close(disk.f.engine);
    set_free(&disk, 0);
    start(&disk);
    assert_int_equal(atomic_load(&disk.refused), OMEN_RESOURCE_EXHAUSTED);
    c = fixture_acquire(&disk.f, "full");
    expect(c, durable, NULL);

    /* A little room is not enough: the two marks are apart. */
    set_free(&disk, 256 * KIB + 10 * KIB);
    expect_refusals(&disk, c);
    set_free(&disk, 64 << 20);
    wait_until_writes_go_on(&disk);
    s = fixture_stream_open(c, session);
    omen_stream_poll(fixture_stream_get(s), &now);
    assert_int_equal(now.next_seq, durable / PIECE + 1); /* nothing of the refused is known */
    for (uint32_t i = durable; i + PIECE <= POINTS && code == OMEN_OK; i += PIECE)
        code = push(fixture_stream_get(s), i / PIECE + 1, i, 0, &err);
    assert_int_equal(code, OMEN_OK);
    fixture_wait(s, &now);
    assert_int_equal(now.code, OMEN_OK);
    fixture_stream_close(s);
    expect(c, POINTS, NULL);
    omen_collection_get_info(c, &info);
    assert_int_equal(info.refusal_code, OMEN_OK);
    omen_collection_release(c);

    omen_engine_close(disk.f.engine);
    start(&disk);
    c = fixture_acquire(&disk.f, "full");
    expect(c, POINTS, NULL);
    omen_collection_release(c);
    tear_down(&disk);
}

/* Writes points, new ones and those that are there in a new version, so that slots are used again,
 * until a write is refused. Notes what is durable. */
static void churn(omen_collection *c, struct written *w, uint64_t *random)
{
    struct omen_stream_options options = {.mode = OMEN_WRITE_UPSERT};
    struct fixture_stream *s = fixture_stream_open_as(c, options);
    struct omen_stream_state state;
    omen_error err = {0};
    omen_code code = OMEN_OK;

    for (uint64_t seq = 1; seq < 200 && code == OMEN_OK; seq++) {
        const bool grow =
            w->count == 0 || (w->count + PIECE <= POINTS && fixture_random(random) % 3 == 0);
        const uint32_t first =
            grow ? w->count : PIECE * (uint32_t)(fixture_random(random) % (w->count / PIECE));
        const uint32_t version = grow ? 0 : w->versions[first] + 1;

        code = push(fixture_stream_get(s), seq, first, version, &err);
        if (code != OMEN_OK) break;
        fixture_wait(s, &state);
        code = state.code;
        err = state.error;
        if (state.durable_seq < seq) break;
        w->position = state.log_position;
        for (uint32_t i = 0; i < PIECE; i++)
            w->versions[first + i] = version;
        if (grow) w->count += PIECE;
    }
    fixture_stream_close(s);
    if (code != OMEN_OK) expect_full(code, &err);
}

/* Without a reserve every kind of call meets the disk's end: log, originals, holes that are used
 * again, the log thread's own records. */
static void whatever_call_finds_no_room_nothing_is_lost_and_nothing_half_done(void **state)
{
    uint32_t refused = 0;
    uint32_t restarts = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= HISTORIES; seed++) {
        struct written written = {.count = 0};
        uint64_t random = seed;
        struct disk disk;

        set_up(&disk, seed, 0);
        omen_collection *c = fixture_collection(&disk.f, "churn", settings());
        churn(c, &written, &random);
        for (uint32_t life = 0; life < 4; life++) {
            set_free(&disk, fixture_random(&random) % (300 * KIB));
            churn(c, &written, &random);
            refused += atomic_load(&disk.refused) != OMEN_OK;
            expect_if_searchable(c, &written);
            if (life % 2 == 0) {
                omen_collection_release(c);
                omen_engine_close(disk.f.engine);
                /* It writes deleted rows once more, to erase them again: those need room. */
                set_free(&disk, 2 * POINTS * DIM * sizeof(float));
                start(&disk);
                restarts++;
                c = fixture_acquire(&disk.f, "churn");
                expect_if_searchable(c, &written);
            }
            set_free(&disk, 64 << 20);
            wait_until_writes_go_on(&disk);
            while (!expect_if_searchable(c, &written)) /* the log thread closes the epoch */
                (void)sched_yield();
        }
        omen_collection_release(c);
        tear_down(&disk);
    }
    print_message("%u times full, %u restarts\n", refused, restarts);
    assert_true(refused > HISTORIES);
}

static void a_failed_sync_is_not_tried_again(void **state)
{
    const struct omen_storage_faults faults = {
        .fail_at = 1, .fail_calls = OMEN_STORAGE_SYNC, .fail_errno = EIO};
    struct omen_collection_info info;
    struct omen_stream_state now;
    struct fixture_stream *s;
    struct disk disk;
    omen_error err = {0};
    omen_stream *stream = NULL;
    struct omen_stream_options options = {.mode = OMEN_WRITE_UPSERT, .sessionless = true};

    (void)state;
    set_up(&disk, 3, 0);
    omen_collection *c = fixture_collection(&disk.f, "failed", settings());
    s = fixture_stream_open(c, NULL);
    assert_int_equal(push(fixture_stream_get(s), 1, 0, 0, &err), OMEN_OK);
    fixture_wait(s, &now);
    omen_storage_memory_set_faults(disk.storage, &faults);
    assert_int_equal(push(fixture_stream_get(s), 2, PIECE, 0, &err), OMEN_OK);
    fixture_wait(s, &now);
    assert_int_equal(now.code, OMEN_UNAVAILABLE);
    assert_int_equal(now.durable_seq, 1);
    fixture_stream_close(s);
    /* The next sync would succeed: nobody asks for one. */
    assert_int_equal(omen_stream_open(c, &options, &stream, &err), OMEN_UNAVAILABLE);
    assert_string_equal(err.reason, "READ_ONLY");
    assert_non_null(strstr(err.message, "sync the log"));
    omen_collection_get_info(c, &info);
    assert_int_equal(info.refusal_code, OMEN_UNAVAILABLE);
    assert_int_equal(atomic_load(&disk.refused), OMEN_UNAVAILABLE);
    expect(c, PIECE, NULL);
    omen_collection_release(c);
    omen_engine_close(disk.f.engine);

    start(&disk); /* reads and checks every record */
    c = fixture_acquire(&disk.f, "failed");
    omen_collection_get_info(c, &info);
    assert_true(info.points == PIECE || info.points == 2 * PIECE);
    expect(c, (uint32_t)info.points, NULL);
    fixture_stream_close(fixture_stream_open(c, NULL));
    omen_collection_release(c);
    tear_down(&disk);
}

static void a_failed_collection_that_is_dropped_holds_no_writes_up(void **state)
{
    const struct omen_storage_faults faults = {
        .fail_at = 1, .fail_calls = OMEN_STORAGE_SYNC, .fail_errno = EIO};
    struct omen_stream_state now;
    struct fixture_stream *s;
    struct disk disk;
    omen_error err = {0};

    (void)state;
    set_up(&disk, 4, 0);
    omen_collection *c = fixture_collection(&disk.f, "failed", settings());
    s = fixture_stream_open(c, NULL);
    omen_storage_memory_set_faults(disk.storage, &faults);
    assert_int_equal(push(fixture_stream_get(s), 1, 0, 0, &err), OMEN_OK);
    fixture_wait(s, &now);
    fixture_stream_close(s);
    omen_collection_release(c);
    assert_int_equal(atomic_load(&disk.refused), OMEN_UNAVAILABLE);
    assert_int_equal(omen_collection_delete(disk.f.engine, "failed", &err), OMEN_OK);
    assert_int_equal(atomic_load(&disk.refused), OMEN_OK);
    tear_down(&disk);
}

/* A checkpoint that found no room is tried again; the log is whole meanwhile. */
static void a_checkpoint_without_room_is_not_begun(void **state)
{
    struct fixture_stream *s;
    struct disk disk;
    omen_error err = {0};
    uint64_t seq = 0;

    (void)state;
    set_up(&disk, 5, 64 * KIB);
    omen_collection *c = fixture_collection(&disk.f, "full", settings());
    s = fixture_stream_open(c, NULL);
    for (uint32_t i = 0; i + PIECE <= 100; i += PIECE) {
        struct omen_stream_state now;

        assert_int_equal(push(fixture_stream_get(s), ++seq, i, 0, &err), OMEN_OK);
        fixture_wait(s, &now);
    }
    set_free(&disk, 100 * KIB); /* for writes, but a checkpoint has more than 140 KiB */
    assert_int_equal(omen_collection_checkpoint(c, &err), OMEN_RESOURCE_EXHAUSTED);
    assert_string_equal(err.reason, "DISK_FULL");
    expect(c, 100, NULL);
    set_free(&disk, 64 << 20);
    assert_int_equal(omen_collection_checkpoint(c, &err), OMEN_OK);
    fixture_stream_close(s);
    omen_collection_release(c);
    omen_engine_close(disk.f.engine);
    start(&disk);
    c = fixture_acquire(&disk.f, "full");
    expect(c, 100, NULL);
    omen_collection_release(c);
    tear_down(&disk);
}

/* ---- the log alone, with files so small that many of them are begun -----------------------------
 */

static omen_code count_record(void *user, const struct omen_record *record, omen_error *err)
{
    uint64_t *count = user;

    (void)err;
    assert_int_equal(record->position, ++*count);
    return OMEN_OK;
}

static void a_log_without_room_goes_on_when_there_is_some(void **state)
{
    static unsigned char payload[1600];
    uint32_t refusals = 0;
    uint32_t lost = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 20 * HISTORIES; seed++) {
        const char *dir = "/omen-full-log";
        struct omen_storage *storage = NULL;
        struct omen_log_report report;
        uint64_t found = 0;
        uint64_t random = seed;
        uint64_t synced = 0;
        omen_log *log = NULL;
        omen_error err;

        assert_int_equal(omen_storage_memory_create(seed, &storage, &err), OMEN_OK);
        assert_int_equal(omen_log_file_open_sized(storage, dir, 8192, &log, &report, &err),
                         OMEN_OK);
        for (uint32_t i = 0; i < 60; i++) {
            const uint64_t next = omen_log_last_position(log) + 1;
            /* Now and then a small one, which fits where a larger one was refused. */
            const bool small = fixture_random(&random) % 4 == 0;
            struct iovec part = {payload,
                                 8 + (size_t)(fixture_random(&random) % (small ? 8 : 1500))};
            uint64_t position = 0;

            if (fixture_random(&random) % 8 == 0)
                omen_storage_memory_set_room(storage, omen_storage_memory_used(storage) +
                                                          fixture_random(&random) % 3 * 4096);
            const omen_code code =
                omen_log_append(log, OMEN_RECORD_CHUNK, 2, &part, 1, &position, &err);
            if (code == OMEN_OK) {
                assert_int_equal(position, next);
            } else { /* nothing of it is there, and the log goes on */
                assert_int_equal(code, OMEN_RESOURCE_EXHAUSTED);
                assert_string_equal(err.reason, "DISK_FULL");
                assert_int_equal(omen_log_last_position(log), next - 1);
                refusals++;
                if (fixture_random(&random) % 2 == 0)
                    omen_storage_memory_set_room(storage, UINT64_MAX);
            }
            if (fixture_random(&random) % 3 != 0) continue;
            assert_int_equal(omen_log_sync(log, &err), OMEN_OK);
            synced = omen_log_last_position(log);
        }
        const uint64_t last = omen_log_last_position(log);
        assert_int_equal(omen_storage_memory_restart(storage, &err), OMEN_OK);
        omen_log_close(log);
        omen_storage_memory_set_room(storage, UINT64_MAX);
        if (omen_log_file_open_sized(storage, dir, 8192, &log, &report, &err) != OMEN_OK)
            fail_msg("seed %" PRIu64 ": %s", seed, err.message);
        assert_int_equal(omen_log_read(log, 1, count_record, &found, &err), OMEN_OK);
        assert_in_range(found, synced, last);
        lost += found < last;
        omen_log_close(log);
        omen_storage_memory_destroy(storage);
    }
    assert_true(refusals > 20 * HISTORIES && lost > HISTORIES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_disk_refuses_writes_until_there_is_room),
        cmocka_unit_test(whatever_call_finds_no_room_nothing_is_lost_and_nothing_half_done),
        cmocka_unit_test(a_failed_sync_is_not_tried_again),
        cmocka_unit_test(a_failed_collection_that_is_dropped_holds_no_writes_up),
        cmocka_unit_test(a_checkpoint_without_room_is_not_begun),
        cmocka_unit_test(a_log_without_room_goes_on_when_there_is_some),
    };

    return cmocka_run_group_tests_name("a full disk", tests, NULL, NULL);
}
