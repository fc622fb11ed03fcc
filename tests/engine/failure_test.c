/* failure_test.c - when the system refuses (file descriptors, disk) or streams die, nothing is left
 * behind and nobody waits for ever.
 *
 * What must happen in one group of the log is held together by a gate: a stream whose event
 * callback keeps the log thread until the test lets go.
 */
#include "tests/engine/fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "engine/storage_memory.h"

#define DIM 16u

/* ---- limits of the process ---------------------------------------------------------------- */

static uint32_t count_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    uint32_t count = 0;

    assert_non_null(dir);
    while (readdir(dir) != NULL)
        count++;
    (void)closedir(dir);
    return count;
}

static rlim_t set_limit(int resource, rlim_t value)
{
    struct rlimit limit;
    rlim_t old;

    assert_int_equal(getrlimit((__rlimit_resource_t)resource, &limit), 0);
    old = limit.rlim_cur;
    limit.rlim_cur = value;
    assert_int_equal(setrlimit((__rlimit_resource_t)resource, &limit), 0);
    return old;
}

/* From here on only `spare` more files can be opened. */
static rlim_t limit_descriptors(uint32_t spare)
{
    int lowest = open("/dev/null", O_RDONLY);

    assert_true(lowest >= 0);
    (void)close(lowest);
    return set_limit(RLIMIT_NOFILE, (rlim_t)lowest + spare);
}

static struct omen_collection_settings settings(void)
{
    return (struct omen_collection_settings){.dim = DIM, .metric = OMEN_METRIC_L2};
}

/* ---- the gate ----------------------------------------------------------------------------- */

struct gate {
    omen_stream *stream;
    _Atomic bool only_dead; /* let the other events of the stream pass */
    _Atomic bool entered;
    sem_t known, inside, go;
};

static void gate_event(void *user)
{
    struct gate *gate = user;
    struct omen_stream_state state = {.code = OMEN_OK};

    if (atomic_load(&gate->only_dead)) { /* an event may come before the opening has returned */
        (void)sem_wait(&gate->known);
        (void)sem_post(&gate->known);
        omen_stream_poll(gate->stream, &state);
    }
    if (atomic_load(&gate->only_dead) && state.code == OMEN_OK) return;
    if (atomic_exchange(&gate->entered, true)) return;
    (void)sem_post(&gate->inside);
    (void)sem_wait(&gate->go);
}

/* Opens a stream whose first event (or, only_dead, its death) keeps the log thread. */
static void gate_open(struct gate *gate, omen_collection *c, const uint8_t *session_id,
                      bool only_dead)
{
    struct omen_stream_options options = {
        .mode = OMEN_WRITE_INSERT_ONLY, .event = gate_event, .event_user = gate};
    omen_error err = {0};

    *gate = (struct gate){.stream = NULL};
    atomic_init(&gate->only_dead, only_dead);
    (void)sem_init(&gate->known, 0, 0);
    (void)sem_init(&gate->inside, 0, 0);
    (void)sem_init(&gate->go, 0, 0);
    if (session_id != NULL) memcpy(options.session_id, session_id, sizeof options.session_id);
    assert_int_equal(omen_stream_open(c, &options, &gate->stream, &err), OMEN_OK);
    (void)sem_post(&gate->known);
}

static void gate_wait(struct gate *gate)
{
    (void)sem_wait(&gate->inside);
}

static void gate_let_go(struct gate *gate)
{
    (void)sem_post(&gate->go);
}

static void gate_close(struct gate *gate)
{
    omen_stream_close(gate->stream);
    (void)sem_destroy(&gate->go);
    (void)sem_destroy(&gate->inside);
    (void)sem_destroy(&gate->known);
}

/* ---- streams that count their events ------------------------------------------------------ */

static void count_event(void *user)
{
    atomic_fetch_add((_Atomic uint32_t *)user, 1);
}

/* Does not wait until it is opened. */
static omen_stream *open_counted(omen_collection *c, const uint8_t *session_id,
                                 _Atomic uint32_t *events)
{
    struct omen_stream_options options = {
        .mode = OMEN_WRITE_INSERT_ONLY, .event = count_event, .event_user = events};
    omen_stream *stream = NULL;
    omen_error err = {0};

    if (session_id != NULL) memcpy(options.session_id, session_id, sizeof options.session_id);
    assert_int_equal(omen_stream_open(c, &options, &stream, &err), OMEN_OK);
    return stream;
}

/* ---- tests -------------------------------------------------------------------------------- */

/* Whatever step it was that failed: the name is free again, also after a restart. */
static void a_creation_that_fails_leaves_nothing_behind(void **state)
{
    struct fixture_engine f;
    uint32_t failures = 0;

    (void)state;
    fixture_open(&f, 1, 1);
    for (uint32_t spare = 0; spare < 8; spare++) {
        struct omen_collection_settings wanted = settings();
        char name[16];
        omen_error err = {0};
        rlim_t old = limit_descriptors(spare);
        omen_code code;

        (void)snprintf(name, sizeof name, "c%u", spare);
        code = omen_collection_create(f.engine, name, &wanted, NULL, &err);
        (void)set_limit(RLIMIT_NOFILE, old);
        if (code == OMEN_OK) continue;
        failures++;
        assert_int_equal(code, OMEN_UNAVAILABLE);
        omen_collection_release(fixture_collection(&f, name, wanted));
    }
    assert_in_range(failures, 3, 7);
    fixture_reopen(&f, 1, 1, NULL);
    for (uint32_t spare = 0; spare < 8; spare++) {
        char name[16];

        (void)snprintf(name, sizeof name, "c%u", spare);
        omen_collection_release(fixture_acquire(&f, name));
    }
    fixture_close(&f);
}

/* Opens the directory of `f`, which is a new one at first, over the storage. */
static void open_over(struct fixture_engine *f, struct omen_storage *storage)
{
    struct omen_engine_options options = {
        .ingest_threads = 1, .search_threads = 1, .storage = storage};
    omen_error err = {0};

    if (f->dir[0] == '\0') {
        (void)snprintf(f->dir, sizeof f->dir, "/tmp/omen-test-XXXXXX");
        assert_non_null(mkdtemp(f->dir));
    }
    options.data_dir = f->dir;
    if (omen_engine_open(&options, &f->engine, &err) != OMEN_OK) fail_msg("open: %s", err.message);
}

static void a_deletion_that_fails_deletes_nothing(void **state)
{
    const enum omen_storage_call calls[] = {OMEN_STORAGE_RENAME, OMEN_STORAGE_SYNC};
    struct omen_storage *storage = NULL;
    struct fixture_engine f = {.engine = NULL};
    struct omen_collection_info info;
    float *rows = fixture_mixture(3, 40, DIM, 2);
    omen_collection *c;
    omen_error err;

    (void)state;
    assert_int_equal(omen_storage_memory_create(1, &storage, &err), OMEN_OK);
    open_over(&f, storage);
    c = fixture_collection(&f, "a", settings());
    for (uint32_t i = 0; i < 2; i++) {
        const struct omen_storage_faults faults = {
            .fail_at = 1, .fail_calls = calls[i], .fail_errno = EIO};

        omen_storage_memory_set_faults(storage, &faults);
        assert_int_equal(omen_collection_delete(f.engine, "a", &err), OMEN_UNAVAILABLE);
        fixture_insert(c, rows, 20 * i, 20, 5);
    }
    omen_collection_release(c);
    omen_engine_close(f.engine);

    open_over(&f, storage);
    c = fixture_acquire(&f, "a");
    omen_collection_get_info(c, &info);
    assert_int_equal(info.points, 40);
    omen_collection_release(c);
    fixture_close(&f);
    omen_storage_memory_destroy(storage);
    free(rows);
}

/* A stream that ends in the very group that the disk refuses holds its collection no longer. */
static void a_failed_write_keeps_no_file_open(void **state)
{
    const uint32_t before = count_descriptors();
    uint64_t ids[20] = {0};
    float *rows = fixture_mixture(4, 20, DIM, 2);
    struct fixture_engine f;
    struct omen_collection_info info;
    struct omen_stream_state after;
    struct fixture_stream *s, *survivor;
    struct gate gate;
    omen_collection *c, *other;
    rlim_t old;

    (void)state;
    (void)signal(SIGXFSZ, SIG_IGN);
    fixture_open(&f, 1, 1);
    c = fixture_collection(&f, "a", settings());
    other = fixture_collection(&f, "gate", settings());
    survivor = fixture_stream_open(c, NULL);
    s = fixture_stream_open(c, NULL);
    gate_open(&gate, other, NULL, false);
    gate_wait(&gate);
    omen_collection_get_info(c, &info);
    fixture_push(s, ids, rows, 20);
    fixture_stream_close(s);
    old = set_limit(RLIMIT_FSIZE, info.log_bytes + 100);
    gate_let_go(&gate);
    do {
        omen_stream_poll(fixture_stream_get(survivor), &after);
    } while (after.code == OMEN_OK);
    assert_int_equal(after.code, OMEN_UNAVAILABLE);
    (void)set_limit(RLIMIT_FSIZE, old);

    gate_close(&gate);
    fixture_stream_close(survivor);
    omen_collection_release(c);
    omen_collection_release(other);
    fixture_close(&f);
    assert_int_equal(count_descriptors(), before);
    free(rows);
}

/* The chunk came behind the session's new opening: it is not in, so it is not searchable. */
static void a_chunk_that_lost_its_session_is_never_called_searchable(void **state)
{
    const uint8_t session[OMEN_SESSION_ID_BYTES] = {1};
    uint64_t ids[20] = {0};
    float *rows = fixture_mixture(5, 20, DIM, 2);
    _Atomic uint32_t events = 0;
    struct fixture_engine f;
    struct omen_stream_state lost, kept;
    struct fixture_stream *s, *later;
    omen_stream *thief;
    struct gate gate;
    omen_collection *c, *other;

    (void)state;
    fixture_open(&f, 1, 1);
    c = fixture_collection(&f, "a", settings());
    other = fixture_collection(&f, "gate", settings());
    s = fixture_stream_open(c, session);
    later = fixture_stream_open(c, NULL);
    gate_open(&gate, other, NULL, false);
    gate_wait(&gate);
    thief = open_counted(c, session, &events);
    fixture_push(s, ids, rows, 1);
    ids[0] = 1;
    fixture_push(later, ids, rows, 1);
    gate_let_go(&gate);
    fixture_wait(later, &kept);
    assert_int_equal(kept.searchable_seq, 1);

    omen_stream_poll(fixture_stream_get(s), &lost);
    assert_int_equal(lost.code, OMEN_ABORTED);
    assert_int_equal(lost.durable_seq, 0);
    assert_int_equal(lost.searchable_seq, 0);
    omen_stream_close(thief);
    gate_close(&gate);
    fixture_stream_close(s);
    fixture_stream_close(later);
    omen_collection_release(c);
    omen_collection_release(other);
    fixture_close(&f);
    free(rows);
}

/* Pushes chunks until the collection's backlog is full; nobody asks whether there is room. */
static void fill_backlog(omen_stream *stream, uint32_t dim)
{
    const uint32_t points = OMEN_RECORD_BYTES_MAX / (dim * 4 + 16);
    const uint64_t chunks = OMEN_BACKLOG_BYTES_MAX / omen_chunk_record_bytes(points, dim) + 1;
    uint64_t *ids = calloc(points, sizeof *ids);
    omen_error err = {0};

    assert_non_null(ids);
    for (uint64_t seq = 1; seq <= chunks; seq++) {
        omen_chunk *chunk = NULL;

        assert_int_equal(omen_chunk_create(stream, points, &chunk, &err), OMEN_OK);
        memset(omen_chunk_rows(chunk, points), 0, (size_t)points * dim * sizeof(float));
        omen_chunk_add_many(chunk, points, 0, ids, 0);
        assert_int_equal(omen_stream_push(stream, seq, chunk, &err), OMEN_OK);
    }
    free(ids);
}

/* The backlog of a stream that died is thrown away, and no epoch comes of it. */
static void a_stream_that_waits_for_room_hears_of_it_when_another_dies(void **state)
{
    enum { WIDE = 1024 };
    const uint8_t first[OMEN_SESSION_ID_BYTES] = {1};
    const uint8_t second[OMEN_SESSION_ID_BYTES] = {2};
    struct omen_collection_settings wide = {.dim = WIDE, .metric = OMEN_METRIC_L2};
    _Atomic uint32_t waiting_events = 0;
    _Atomic uint32_t events = 0;
    struct omen_stream_state now;
    struct fixture_engine f;
    struct fixture_stream *heavy;
    struct gate gate, dying;
    omen_stream *waiting, *thieves[2];
    omen_collection *c, *other;
    uint32_t heard;

    (void)state;
    fixture_open(&f, 1, 1);
    c = fixture_collection(&f, "a", wide);
    other = fixture_collection(&f, "gate", settings());
    waiting = open_counted(c, NULL, &waiting_events);
    gate_open(&dying, c, first, true);
    heavy = fixture_stream_open(c, second);
    gate_open(&gate, other, NULL, false);
    gate_wait(&gate);
    thieves[0] = open_counted(c, first, &events);
    thieves[1] = open_counted(c, second, &events);
    gate_let_go(&gate);
    gate_wait(&dying); /* the log thread stands between the two openings */
    fill_backlog(fixture_stream_get(heavy), WIDE);
    omen_stream_poll(waiting, &now);
    assert_true(now.opened);
    assert_false(now.room);
    heard = atomic_load(&waiting_events);
    gate_let_go(&dying);
    for (int i = 0; i < 2; i++) /* when the second is opened, the group of the first has ended */
        fixture_stream_close(fixture_stream_open(c, NULL));
    omen_stream_poll(waiting, &now);
    assert_true(now.room);
    assert_int_equal(atomic_load(&waiting_events), heard + 1);

    omen_stream_close(waiting);
    for (int i = 0; i < 2; i++)
        omen_stream_close(thieves[i]);
    gate_close(&gate);
    gate_close(&dying);
    fixture_stream_close(heavy);
    omen_collection_release(c);
    omen_collection_release(other);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_creation_that_fails_leaves_nothing_behind),
        cmocka_unit_test(a_deletion_that_fails_deletes_nothing),
        cmocka_unit_test(a_failed_write_keeps_no_file_open),
        cmocka_unit_test(a_chunk_that_lost_its_session_is_never_called_searchable),
        cmocka_unit_test(a_stream_that_waits_for_room_hears_of_it_when_another_dies),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
