/* write_modes_test.c - what upsert, insert-only, update-only and delete do to ids, keys, duplicates
 * and slots, and that Get returns what was sent.
 */
#include "tests/engine/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/collection.h"

#define DIM 6u

static struct fixture_engine f;
static omen_collection *c;
static struct fixture_stream *s;

static void open_stream(omen_write_mode mode)
{
    if (s != NULL) fixture_stream_close(s);
    s = fixture_stream_open_as(c, (struct omen_stream_options){.mode = mode});
}

static void start(omen_metric metric)
{
    fixture_open(&f, 2, 0);
    c = fixture_collection(
        &f, "c",
        (struct omen_collection_settings){.dim = DIM, .metric = metric, .checkpoint_bytes = 4096});
    open_stream(OMEN_WRITE_UPSERT);
}

static void stop(void)
{
    fixture_stream_close(s);
    s = NULL;
    omen_collection_release(c);
    fixture_close(&f);
}

static void restart(void)
{
    uint64_t hash = omen_collection_graph_hash(c);

    fixture_stream_close(s);
    s = NULL;
    omen_collection_release(c);
    fixture_reopen(&f, 1, 0, NULL);
    c = fixture_acquire(&f, "c");
    assert_true(omen_collection_graph_hash(c) == hash);
    open_stream(OMEN_WRITE_UPSERT);
}

/* Row number `value`: no multiple of another. */
static const float *row_of(uint32_t value)
{
    static float rows[8][DIM];
    static uint32_t next;
    float *row = rows[next++ % 8];

    for (uint32_t i = 0; i < DIM; i++)
        row[i] = 1.0f + (float)((value + 1) * (i + 3) * (i + 7) % 101) + (float)value / 8192.0f;
    return row;
}

static void settle(void)
{
    struct omen_stream_state state;

    fixture_wait(s, &state);
    if (state.code != OMEN_OK) fail_msg("%s", state.error.message);
    fixture_assert_sound(c);
}

static void write_point(struct omen_id id, uint32_t value)
{
    omen_chunk *chunk = fixture_chunk(s, 1);

    fixture_chunk_add(chunk, 0, id, row_of(value), DIM, 0);
    fixture_push_chunk(s, chunk);
    settle();
}

static void delete_point(struct omen_id id)
{
    omen_chunk *chunk = fixture_chunk(s, 0);

    omen_chunk_delete(chunk, 0, &id);
    fixture_push_chunk(s, chunk);
    settle();
}

static bool is_there(struct omen_id id, float *vector)
{
    struct omen_got got;
    uint64_t position;
    omen_error err;

    assert_int_equal(omen_collection_get_points(c, &id, 1, &got, vector, &position, &err), OMEN_OK);
    return got.found;
}

static void assert_value(struct omen_id id, uint32_t value)
{
    float vector[DIM];

    assert_true(is_there(id, vector));
    assert_memory_equal(vector, row_of(value), sizeof vector);
}

static void assert_refused(enum omen_refusal refusal)
{
    struct omen_item_error e;
    uint64_t complete;

    assert_int_equal(omen_stream_take_errors(fixture_stream_get(s), &e, 1, &complete),
                     refusal != 0 ? 1 : 0);
    if (refusal != 0) assert_int_equal(e.refusal, refusal);
}

static uint64_t points(void)
{
    struct omen_collection_info info;

    omen_collection_get_info(c, &info);
    return info.points;
}

static void each_mode_takes_and_refuses_what_it_says(void **state)
{
    (void)state;
    start(OMEN_METRIC_L2);
    open_stream(OMEN_WRITE_UPDATE_ONLY);
    write_point(omen_id_num(1), 1);
    assert_refused(OMEN_REFUSED_UNKNOWN);
    assert_false(is_there(omen_id_num(1), NULL));
    open_stream(OMEN_WRITE_INSERT_ONLY);
    write_point(omen_id_num(1), 1);
    assert_refused(0);
    write_point(omen_id_num(1), 2);
    assert_refused(OMEN_REFUSED_EXISTS);
    assert_value(omen_id_num(1), 1);
    open_stream(OMEN_WRITE_UPDATE_ONLY);
    write_point(omen_id_num(1), 3);
    assert_refused(0);
    assert_value(omen_id_num(1), 3);
    delete_point(omen_id_num(1));
    write_point(omen_id_num(1), 4);
    assert_refused(OMEN_REFUSED_UNKNOWN);
    open_stream(OMEN_WRITE_UPSERT);
    write_point(omen_id_num(1), 5);
    write_point(omen_id_num(1), 6);
    assert_refused(0);
    assert_value(omen_id_num(1), 6);
    assert_int_equal(points(), 1);
    stop();
}

static void the_last_write_wins_within_a_chunk_and_deletes_come_after_points(void **state)
{
    omen_chunk *chunk;
    struct omen_id one = omen_id_num(1);
    struct omen_id nobody = omen_id_num(999);

    (void)state;
    start(OMEN_METRIC_L2);
    chunk = fixture_chunk(s, 5);
    for (uint32_t i = 0; i < 3; i++)
        fixture_chunk_add(chunk, i, one, row_of(i), DIM, 0);
    fixture_chunk_add(chunk, 3, omen_id_num(2), row_of(7), DIM, 0);
    fixture_push_chunk(s, chunk);
    settle();
    assert_value(one, 2);
    assert_int_equal(points(), 2);
    chunk = fixture_chunk(s, 1);
    fixture_chunk_add(chunk, 0, one, row_of(9), DIM, 0);
    omen_chunk_delete(chunk, 1, &one);
    omen_chunk_delete(chunk, 2, &one);
    omen_chunk_delete(chunk, 3, &nobody);
    fixture_push_chunk(s, chunk);
    settle();
    assert_refused(0);
    assert_false(is_there(one, NULL));
    assert_value(omen_id_num(2), 7);
    chunk = fixture_chunk(s, 0);
    omen_chunk_delete(chunk, 0, &one);
    fixture_push_chunk(s, chunk);
    write_point(one, 11);
    assert_value(one, 11);
    restart();
    assert_value(one, 11);
    assert_int_equal(points(), 2);
    stop();
}

/* 7 and "7"; keys of 1 and 64 bytes, every byte value, a prefix of another; too short, too long. */
static void keys_of_all_lengths_and_bytes_are_ids_of_their_own(void **state)
{
    uint8_t bytes[256 + OMEN_KEY_BYTES_MAX];
    uint32_t value = 0;

    (void)state;
    for (uint32_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)i;
    start(OMEN_METRIC_COSINE);
    write_point(omen_id_num(7), 1000);
    write_point(omen_id_key("7", 1), 1001);
    assert_value(omen_id_num(7), 1000);
    assert_value(omen_id_key("7", 1), 1001);
    for (uint32_t i = 0; i < 256; i += 32)
        write_point(omen_id_key(bytes + i, OMEN_KEY_BYTES_MAX), value++);
    for (uint32_t n = 1; n <= 8; n++)
        write_point(omen_id_key(bytes, n), value++);
    write_point(omen_id_key(bytes, OMEN_KEY_BYTES_MAX + 1), 0);
    assert_refused(OMEN_REFUSED_KEY_LENGTH);
    delete_point(omen_id_key(bytes, 300));
    assert_refused(OMEN_REFUSED_KEY_LENGTH);
    for (uint32_t again = 0; again < 2; again++) {
        value = 0;
        for (uint32_t i = 0; i < 256; i += 32)
            assert_value(omen_id_key(bytes + i, OMEN_KEY_BYTES_MAX), value++);
        for (uint32_t n = 1; n <= 8; n++)
            assert_value(omen_id_key(bytes, n), value++);
        if (again == 0) restart();
    }
    delete_point(omen_id_key("7", 1));
    assert_value(omen_id_num(7), 1000);
    assert_false(is_there(omen_id_key("7", 1), NULL));
    assert_false(is_there(omen_id_key(bytes, 9), NULL));
    stop();
}

static void writing_the_same_again_changes_nothing_in_the_graph(void **state)
{
    struct omen_collection_info before;
    struct omen_collection_info after;
    float *rows = fixture_mixture(3, 1500, DIM, 9);
    uint64_t ids[1500];
    uint64_t hash;

    (void)state;
    start(OMEN_METRIC_COSINE);
    for (uint32_t i = 0; i < 1500; i++)
        ids[i] = i;
    fixture_push(s, ids, rows, 1500);
    settle();
    hash = omen_collection_graph_hash(c);
    omen_collection_get_info(c, &before);
    fixture_push(s, ids, rows, 1500);
    settle();
    omen_collection_get_info(c, &after);
    assert_true(omen_collection_graph_hash(c) == hash);
    assert_int_equal(after.slots, before.slots);
    assert_int_equal(after.points, before.points);
    rows[0] += 1.0f;
    fixture_push(s, ids, rows, 1);
    settle();
    assert_true(omen_collection_graph_hash(c) != hash);
    free(rows);
    stop();
}

static void get_returns_the_bytes_that_were_sent(void **state)
{
    static const float odd[DIM] = {1e-15f, -3.0e14f, 0.1f, -0.0f, 1.0f / 3.0f, 7e-9f};
    float got[DIM];

    (void)state;
    for (omen_metric m = OMEN_METRIC_L2; m <= OMEN_METRIC_INNER_PRODUCT; m++) {
        omen_chunk *chunk;

        start(m);
        chunk = fixture_chunk(s, 1);
        fixture_chunk_add(chunk, 0, omen_id_num(UINT64_MAX), odd, DIM, 0);
        fixture_push_chunk(s, chunk);
        settle();
        for (uint32_t again = 0; again < 2; again++) {
            assert_true(is_there(omen_id_num(UINT64_MAX), got));
            assert_memory_equal(got, odd, sizeof odd);
            restart();
        }
        stop();
    }
}

/* Four points with one vector: the node lives as long as any of them, in whatever order they go,
 * each in an epoch of its own or all in one. */
static void duplicates_may_die_in_any_order(void **state)
{
    (void)state;
    for (uint32_t order = 0; order < 4 * 4 * 4 * 4 * 2; order++) {
        uint32_t victims[4] = {order % 4, order / 4 % 4, order / 16 % 4, order / 64 % 4};
        bool at_once = order >= 256;
        bool there[4] = {true, true, true, true};
        omen_chunk *chunk;

        if ((1u << victims[0] | 1u << victims[1] | 1u << victims[2] | 1u << victims[3]) != 15)
            continue;
        start(OMEN_METRIC_L2);
        write_point(omen_id_num(100), 50);
        for (uint32_t i = 0; i < 4; i++)
            write_point(omen_id_num(i), 1);
        chunk = fixture_chunk(s, 0);
        for (uint32_t i = 0; i < 4; i++) {
            struct omen_search found;
            struct omen_id id = omen_id_num(victims[i]);

            omen_chunk_delete(chunk, i, &id);
            there[victims[i]] = false;
            if (at_once && i < 3) continue;
            fixture_push_chunk(s, chunk);
            settle();
            chunk = fixture_chunk(s, 0);
            fixture_search(c, row_of(1), 1, 10, FIXTURE_EXACT, &found);
            assert_int_equal(found.results[0].hit_count,
                             1 + there[0] + there[1] + there[2] + there[3]);
            omen_search_deinit(&found);
        }
        omen_chunk_destroy(chunk);
        for (uint32_t i = 0; i < 4; i++)
            write_point(omen_id_num(i), 1); /* and the node comes back */
        assert_int_equal(points(), 5);
        restart();
        settle();
        assert_value(omen_id_num(3), 1);
        stop();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_mode_takes_and_refuses_what_it_says),
        cmocka_unit_test(the_last_write_wins_within_a_chunk_and_deletes_come_after_points),
        cmocka_unit_test(keys_of_all_lengths_and_bytes_are_ids_of_their_own),
        cmocka_unit_test(writing_the_same_again_changes_nothing_in_the_graph),
        cmocka_unit_test(get_returns_the_bytes_that_were_sent),
        cmocka_unit_test(duplicates_may_die_in_any_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
