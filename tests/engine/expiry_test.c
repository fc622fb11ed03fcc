/* expiry_test.c - points that expire: when, which, and the same again after a replay; sessions that
 * were idle for a day.
 */
#include "tests/engine/fixture.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "engine/collection.h"

#define DIM        4u
#define PATIENCE_S 20

static struct fixture_engine f;
static omen_collection *c;

static void start(void)
{
    fixture_open(&f, 2, 0);
    c = fixture_collection(&f, "c",
                           (struct omen_collection_settings){.dim = DIM, .metric = OMEN_METRIC_L2});
}

static void stop(void)
{
    omen_collection_release(c);
    fixture_close(&f);
}

static struct omen_got get(uint64_t id)
{
    struct omen_id name = omen_id_num(id);
    struct omen_got got;
    uint64_t position;
    omen_error err;

    assert_int_equal(omen_collection_get_points(c, &name, 1, &got, NULL, &position, &err), OMEN_OK);
    return got;
}

static void add(omen_chunk *chunk, uint32_t index, uint64_t id, float x, uint32_t ttl_s)
{
    const float vector[DIM] = {x, 1.0f, 2.0f, (float)id};

    fixture_chunk_add(chunk, index, omen_id_num(id), vector, DIM, ttl_s);
}

static void push_and_wait(struct fixture_stream *s, omen_chunk *chunk)
{
    struct omen_stream_state state;

    fixture_push_chunk(s, chunk);
    fixture_wait(s, &state);
    if (state.code != OMEN_OK) fail_msg("%s", state.error.message);
}

/* Until the point is gone; fails when it does not go. */
static void wait_until_gone(uint64_t id)
{
    time_t end = time(NULL) + PATIENCE_S;

    while (get(id).found) {
        const struct timespec moment = {.tv_nsec = 5000000};

        assert_true(time(NULL) < end);
        (void)nanosleep(&moment, NULL); /* a poll, not a guess: the deadline above decides */
    }
}

static void points_expire_when_their_time_has_come_and_no_others(void **state)
{
    struct fixture_stream *s;
    struct omen_collection_info info;
    uint64_t hash;
    uint32_t now = (uint32_t)time(NULL);
    omen_chunk *chunk;

    (void)state;
    start();
    s = fixture_stream_open_as(c, (struct omen_stream_options){.mode = OMEN_WRITE_UPSERT});
    chunk = fixture_chunk(s, 8);
    add(chunk, 0, 1, 1.0f, 2);          /* goes */
    add(chunk, 1, 2, 2.0f, 0);          /* never */
    add(chunk, 2, 3, 3.0f, 3600);       /* not yet */
    add(chunk, 3, 4, 4.0f, 2);          /* kept by an upsert of the same vector without a time */
    add(chunk, 4, 5, 5.0f, 2);          /* kept by an upsert of another vector */
    add(chunk, 5, 6, 6.0f, 2);          /* deleted, and written again without a time */
    add(chunk, 6, 7, 7.0f, UINT32_MAX); /* beyond what a clock can say */
    add(chunk, 7, 8, 8.0f, 0);          /* gets a time later */
    push_and_wait(s, chunk);
    assert_in_range(get(1).expires_s, now + 2, now + 2 + PATIENCE_S);
    assert_int_equal(get(2).expires_s, 0);
    assert_in_range(get(3).expires_s, now + 3600, now + 3600 + PATIENCE_S);
    assert_true(get(7).expires_s > now + 3600);
    chunk = fixture_chunk(s, 4);
    add(chunk, 0, 4, 4.0f, 0);
    add(chunk, 1, 5, 55.0f, 0);
    add(chunk, 2, 8, 8.0f, 1);
    struct omen_id six = omen_id_num(6);
    omen_chunk_delete(chunk, 3, &six);
    push_and_wait(s, chunk);
    chunk = fixture_chunk(s, 1);
    add(chunk, 0, 6, 6.0f, 0);
    push_and_wait(s, chunk);
    assert_int_equal(get(4).expires_s, 0);
    wait_until_gone(1);
    wait_until_gone(8);
    assert_true((uint32_t)time(NULL) >= now + 2);
    for (uint64_t id = 2; id < 8; id++) {
        if (!get(id).found) fail_msg("%llu is gone", (unsigned long long)id);
    }
    fixture_stream_close(s);
    fixture_assert_sound(c);
    hash = omen_collection_graph_hash(c);
    omen_collection_release(c);
    fixture_reopen(&f, 1, 0, NULL);
    c = fixture_acquire(&f, "c");
    assert_true(omen_collection_graph_hash(c) == hash);
    omen_collection_get_info(c, &info);
    assert_int_equal(info.points, 6);
    assert_true(get(7).expires_s > now + 3600);
    fixture_assert_sound(c);
    stop();
}

/* The engine was down when the time came. */
static void what_expired_while_nobody_was_there_goes_at_the_next_start(void **state)
{
    struct fixture_stream *s;
    omen_chunk *chunk;
    time_t due;

    (void)state;
    start();
    s = fixture_stream_open_as(c, (struct omen_stream_options){.mode = OMEN_WRITE_UPSERT});
    chunk = fixture_chunk(s, 2);
    add(chunk, 0, 1, 1.0f, 1);
    add(chunk, 1, 2, 2.0f, 0);
    push_and_wait(s, chunk);
    due = (time_t)get(1).expires_s;
    fixture_stream_close(s);
    omen_collection_release(c);
    omen_engine_close(f.engine);
    f.engine = NULL;
    while (time(NULL) <= due) {
        const struct timespec moment = {.tv_nsec = 5000000};

        (void)nanosleep(&moment, NULL);
    }
    fixture_reopen(&f, 1, 0, NULL);
    c = fixture_acquire(&f, "c");
    wait_until_gone(1);
    assert_true(get(2).found);
    fixture_assert_sound(c);
    stop();
}

/* By ADMIT's own door, since a day is long: nobody writes meanwhile. */
static void sessions_idle_for_a_day_are_forgotten_and_no_younger_ones(void **state)
{
    struct omen_epoch_list complete = {NULL, NULL};
    struct fixture_stream *s;
    struct omen_stream_state at;
    omen_error err;
    uint32_t clock;

    (void)state;
    start();
    s = fixture_stream_open(c, NULL);
    omen_stream_poll(fixture_stream_get(s), &at);
    fixture_push_chunk(s, fixture_chunk(s, 0));
    fixture_wait(s, &at);
    fixture_stream_close(s);
    fixture_assert_sound(c);
    (void)pthread_mutex_lock(&c->admit_mutex);
    clock = c->admit.clock_s;
    assert_true(clock > 0);
    assert_int_equal(
        omen_admit_expire(c, c->admit.position, clock + OMEN_SESSION_IDLE_S - 1, &complete, &err),
        OMEN_OK);
    assert_non_null(omen_session_find(&c->admit.sessions, at.session_id));
    assert_int_equal(
        omen_admit_expire(c, c->admit.position, clock + OMEN_SESSION_IDLE_S, &complete, &err),
        OMEN_OK);
    assert_null(omen_session_find(&c->admit.sessions, at.session_id));
    assert_null(complete.first);
    (void)pthread_mutex_unlock(&c->admit_mutex);
    stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(points_expire_when_their_time_has_come_and_no_others),
        cmocka_unit_test(what_expired_while_nobody_was_there_goes_at_the_next_start),
        cmocka_unit_test(sessions_idle_for_a_day_are_forgotten_and_no_younger_ones),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
