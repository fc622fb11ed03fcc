/* session_test.c - what a client that comes back is told: where its session stands, and each item
 * error once; and when sessions end.
 */
#include "tests/engine/fixture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/collection.h"

#define DIM 3u

static struct fixture_engine f;
static omen_collection *c;

static void start(void)
{
    fixture_open(&f, 1, 0);
    c = fixture_collection(&f, "c",
                           (struct omen_collection_settings){.dim = DIM, .metric = OMEN_METRIC_L2});
}

static void restart(void)
{
    fixture_assert_sound(c);
    omen_collection_release(c);
    fixture_reopen(&f, 1, 0, NULL);
    c = fixture_acquire(&f, "c");
}

static void stop(void)
{
    omen_collection_release(c);
    fixture_close(&f);
}

static struct fixture_stream *open_at(const uint8_t *session_id, uint64_t seen,
                                      struct omen_stream_state *at)
{
    struct omen_stream_options options = {.mode = OMEN_WRITE_INSERT_ONLY, .errors_seen_seq = seen};
    struct fixture_stream *s;

    memcpy(options.session_id, session_id, sizeof options.session_id);
    s = fixture_stream_open_as(c, options);
    omen_stream_poll(fixture_stream_get(s), at);
    return s;
}

/* Point 0 is new, point 1 has a NaN, points 2.. are there already. */
static void push_errors(struct fixture_stream *s, uint64_t id, uint32_t points)
{
    omen_chunk *chunk = fixture_chunk(s, points);
    struct omen_stream_state state;

    for (uint32_t i = 0; i < points; i++) {
        const float vector[DIM] = {(float)id, i == 1 ? NAN : 1.0f, 3.0f};

        fixture_chunk_add(chunk, i, omen_id_num(i == 1 ? 1000000 : id), vector, DIM, 0);
    }
    fixture_push_chunk(s, chunk);
    fixture_wait(s, &state);
    if (state.code != OMEN_OK) fail_msg("%s", state.error.message);
}

static void a_restart_forgets_no_item_error_that_was_not_seen(void **state)
{
    const uint8_t id[OMEN_SESSION_ID_BYTES] = {9};
    struct omen_item_error errors[32];
    struct omen_stream_state at;
    struct fixture_stream *s;
    uint64_t complete;

    (void)state;
    start();
    s = open_at(id, 0, &at);
    assert_int_equal(at.next_seq, 1);
    for (uint64_t seq = 1; seq <= 3; seq++)
        push_errors(s, 100 + seq, 3);
    fixture_stream_close(s);
    for (uint64_t seen = 0; seen <= 3; seen++) {
        restart();
        s = open_at(id, seen, &at);
        assert_int_equal(at.next_seq, 4);
        assert_true(at.errors_from_seq <= seen + 1);
        size_t count = omen_stream_take_errors(fixture_stream_get(s), errors, 32, &complete);
        assert_int_equal(count, 2 * (3 - seen));
        assert_int_equal(complete, 3);
        for (size_t i = 0; i < count; i++) {
            assert_int_equal(errors[i].seq, seen + 1 + i / 2);
            assert_int_equal(errors[i].refusal,
                             i % 2 == 0 ? OMEN_REFUSED_NOT_FINITE : OMEN_REFUSED_EXISTS);
            assert_int_equal(errors[i].index, i % 2 == 0 ? 1 : 2);
            assert_int_equal(errors[i].num, i % 2 == 0 ? 1000000 : 101 + seen + i / 2);
        }
        assert_int_equal(omen_stream_take_errors(fixture_stream_get(s), errors, 32, &complete), 0);
        fixture_stream_close(s);
    }
    s = open_at(id, 0, &at); /* what was seen once stays forgotten */
    assert_int_equal(at.errors_from_seq, 4);
    assert_int_equal(omen_stream_take_errors(fixture_stream_get(s), errors, 32, &complete), 0);
    fixture_stream_close(s);
    stop();
}

static void a_session_keeps_its_latest_errors_and_says_from_where(void **state)
{
    enum { PER_CHUNK = 101, CHUNKS = 15 }; /* 100 errors each */
    const uint8_t id[OMEN_SESSION_ID_BYTES] = {8};
    struct omen_item_error *errors = calloc(2000, sizeof *errors);
    struct omen_stream_state at;
    struct fixture_stream *s;
    uint64_t complete;

    (void)state;
    assert_non_null(errors);
    start();
    s = open_at(id, 0, &at);
    for (uint64_t seq = 1; seq <= CHUNKS; seq++)
        push_errors(s, 100 + seq, PER_CHUNK);
    fixture_stream_close(s);
    for (uint32_t again = 0; again < 2; again++) {
        s = open_at(id, 0, &at);
        assert_int_equal(at.errors_from_seq, CHUNKS - OMEN_SESSION_ERRORS_MAX / 100 + 1);
        size_t count = omen_stream_take_errors(fixture_stream_get(s), errors, 2000, &complete);
        assert_int_equal(count, 100 * (OMEN_SESSION_ERRORS_MAX / 100));
        assert_int_equal(errors[0].seq, at.errors_from_seq);
        assert_int_equal(complete, CHUNKS);
        fixture_stream_close(s);
        restart();
    }
    free(errors);
    stop();
}

static void a_newer_stream_takes_the_session_and_the_older_ones_chunks_mean_nothing(void **state)
{
    const uint8_t id[OMEN_SESSION_ID_BYTES] = {7};
    const float vector[DIM] = {1.0f, 2.0f, 3.0f};
    const uint64_t one = 1;
    struct omen_stream_state at;
    struct omen_collection_info info;
    struct fixture_stream *old;
    struct fixture_stream *new;
    omen_chunk *chunk;
    omen_error err;

    (void)state;
    start();
    old = open_at(id, 0, &at);
    chunk = fixture_chunk(old, 1);
    fixture_chunk_add(chunk, 0, omen_id_num(one), vector, DIM, 0);
    new = open_at(id, 0, &at);
    assert_int_equal(omen_stream_push(fixture_stream_get(old), 1, chunk, &err), OMEN_ABORTED);
    omen_stream_poll(fixture_stream_get(old), &at);
    assert_int_equal(at.code, OMEN_ABORTED);
    assert_string_equal(at.error.reason, "SESSION_TAKEN");
    omen_collection_get_info(c, &info);
    assert_int_equal(info.points, 0);
    fixture_push(new, &one, vector, 1);
    fixture_wait(new, &at);
    assert_int_equal(at.code, OMEN_OK);
    fixture_stream_close(old);
    fixture_stream_close(new);
    fixture_assert_sound(c);
    stop();
}

/* By ADMIT's own door: a record whose generation is not the session's, or that is not its next. */
static void a_chunk_of_an_old_generation_or_out_of_turn_has_no_effect(void **state)
{
    const uint8_t id[OMEN_SESSION_ID_BYTES] = {6};
    struct omen_stream_state at;
    struct fixture_stream *s;

    (void)state;
    start();
    s = open_at(id, 0, &at);
    fixture_push_chunk(s, fixture_chunk(s, 0));
    fixture_wait(s, &at);
    fixture_assert_sound(c);
    (void)pthread_mutex_lock(&c->admit_mutex);
    struct omen_session *session = omen_session_find(&c->admit.sessions, id);
    assert_non_null(session);
    for (uint32_t i = 0; i < 3; i++) {
        struct omen_epoch_list complete = {NULL, NULL};
        omen_chunk *chunk = fixture_chunk(s, 0);
        omen_error err;

        memcpy(chunk->session_id, id, sizeof chunk->session_id);
        chunk->generation = session->generation - (i == 0);
        chunk->seq = i == 0 ? 2 : i == 1 ? 1 : 3;
        assert_int_equal(omen_admit_chunk(c, c->admit.position, chunk, NULL, &complete, &err),
                         OMEN_OK);
        assert_int_equal(session->last_seq, 1);
        assert_null(complete.first);
        omen_chunk_destroy(chunk);
    }
    (void)pthread_mutex_unlock(&c->admit_mutex);
    fixture_stream_close(s);
    stop();
}

static void a_stream_without_a_session_leaves_none_behind(void **state)
{
    const float vector[DIM] = {1.0f, 2.0f, 3.0f};
    struct omen_collection_info before;
    struct omen_collection_info after;
    struct omen_stream_state at;
    struct fixture_stream *s;
    const uint64_t one = 1;

    (void)state;
    start();
    omen_collection_get_info(c, &before);
    s = fixture_stream_open_as(
        c, (struct omen_stream_options){.mode = OMEN_WRITE_UPSERT, .sessionless = true});
    omen_collection_get_info(c, &after);
    assert_int_equal(after.log_position, before.log_position);
    fixture_push(s, &one, vector, 1);
    fixture_wait(s, &at);
    fixture_stream_close(s);
    fixture_assert_sound(c);
    assert_int_equal(c->admit.sessions.count, 0);
    restart();
    assert_int_equal(c->admit.sessions.count, 0);
    omen_collection_get_info(c, &after);
    assert_int_equal(after.points, 1);
    stop();
}

static void the_longest_idle_of_too_many_sessions_is_forgotten(void **state)
{
    struct omen_sessions sessions = {.tree = NULL};
    struct omen_session *session;
    omen_error err;

    (void)state;
    for (uint32_t i = 1; i <= OMEN_SESSIONS_MAX + 2; i++) {
        uint8_t id[OMEN_SESSION_ID_BYTES] = {(uint8_t)i, (uint8_t)(i >> 8), 1};

        if (i == OMEN_SESSIONS_MAX + 1) { /* number 1 is used again: it is not the oldest now */
            uint8_t first[OMEN_SESSION_ID_BYTES] = {1, 0, 1};

            assert_int_equal(omen_session_touch(&sessions, first, 5, &session, &err), OMEN_OK);
        }
        assert_int_equal(omen_session_touch(&sessions, id, 5, &session, &err), OMEN_OK);
    }
    assert_int_equal(sessions.count, OMEN_SESSIONS_MAX);
    for (uint32_t i = 1; i <= 5; i++) {
        uint8_t id[OMEN_SESSION_ID_BYTES] = {(uint8_t)i, 0, 1};

        assert_int_equal(omen_session_find(&sessions, id) == NULL, i == 2 || i == 3);
    }
    omen_sessions_deinit(&sessions);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_restart_forgets_no_item_error_that_was_not_seen),
        cmocka_unit_test(a_session_keeps_its_latest_errors_and_says_from_where),
        cmocka_unit_test(a_newer_stream_takes_the_session_and_the_older_ones_chunks_mean_nothing),
        cmocka_unit_test(a_chunk_of_an_old_generation_or_out_of_turn_has_no_effect),
        cmocka_unit_test(a_stream_without_a_session_leaves_none_behind),
        cmocka_unit_test(the_longest_idle_of_too_many_sessions_is_forgotten),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
