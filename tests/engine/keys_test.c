/* keys_test.c - the small sorted things: nearest keys, top hits, the slot table. */
#include "tests/engine/fixture.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/graph.h"
#include "engine/keys.h"
#include "engine/slot_table.h"
#include "engine/top.h"

static int ascending(const void *a, const void *b)
{
    omen_key x = *(const omen_key *)a;
    omen_key y = *(const omen_key *)b;

    return x < y ? -1 : x > y;
}

/* Whatever the order of arrival, what is kept is the smallest, in order; ties go by slot. */
static void nearest_keeps_the_smallest_keys_in_any_order_of_arrival(void **state)
{
    uint64_t seed = 1;

    (void)state;
    for (uint32_t round = 0; round < 200; round++) {
        uint32_t count = 1 + (uint32_t)(fixture_random(&seed) % 1500);
        uint32_t keep = 1 + (uint32_t)(fixture_random(&seed) % 64);
        omen_key all[1500];
        omen_key buffer[256];
        struct omen_nearest nearest = {
            .keys = buffer, .keep = keep, .capacity = 4 * keep, .threshold = INFINITY};
        uint32_t kept;

        for (uint32_t i = 0; i < count; i++) /* few distances: many ties */
            all[i] = omen_key_make((float)(fixture_random(&seed) % 50), i);
        for (uint32_t i = count; i > 1; i--) {
            uint32_t j = (uint32_t)(fixture_random(&seed) % i);
            omen_key t = all[i - 1];

            all[i - 1] = all[j];
            all[j] = t;
        }
        for (uint32_t i = 0; i < count; i++) {
            if (omen_key_distance(all[i]) <= nearest.threshold) omen_nearest_add(&nearest, all[i]);
        }
        kept = omen_nearest_finish(&nearest);
        qsort(all, count, sizeof *all, ascending);
        assert_int_equal(kept, count < keep ? count : keep);
        assert_memory_equal(nearest.keys, all, kept * sizeof *all);
    }
}

static void top_keeps_the_nearest_hits_and_breaks_ties_by_id(void **state)
{
    uint64_t seed = 2;
    struct omen_hit hits[40];
    struct omen_top top = {.hits = hits, .keep = 10, .capacity = 40, .worst = INFINITY};

    (void)state;
    for (uint64_t i = 0; i < 1000; i++)
        omen_top_add(&top, (float)(fixture_random(&seed) % 4) - 2.0f, omen_id_num(5000 - i));
    assert_int_equal(omen_top_finish(&top), 10);
    for (uint32_t i = 0; i < 10; i++) {
        assert_true(top.hits[i].distance == -2.0f);
        if (i > 0) assert_true(top.hits[i - 1].id.num < top.hits[i].id.num);
    }
}

/* Equal hashes stand beside each other, and growing loses none. */
static void slot_table_finds_every_slot_of_a_hash_after_growing(void **state)
{
    struct omen_slot_table table = {0};
    omen_error err;
    uint32_t found = 0;

    (void)state;
    for (uint32_t slot = 0; slot < 5000; slot++) {
        assert_int_equal(omen_slot_table_reserve(&table, 1, &err), OMEN_OK);
        omen_slot_table_add(&table, slot % 1000, slot);
    }
    for (uint32_t hash = 0; hash < 1000; hash++) {
        size_t cursor = hash;
        uint32_t slot;

        while ((slot = omen_slot_array_next(omen_slot_table_array(&table), hash, &cursor)) !=
               OMEN_SLOT_NONE) {
            assert_int_equal(slot % 1000, hash);
            found++;
        }
    }
    assert_int_equal(found, 5000);
    omen_slot_table_deinit(&table);
}

/* Phi squared is a power of two, not below any norm, and never falls. */
static void phi_is_the_next_power_of_two_and_only_grows(void **state)
{
    (void)state;
    assert_true(omen_code_phi_squared(0.0f, 0.7f) == 1.0f);
    assert_true(omen_code_phi_squared(0.0f, 1.0f) == 1.0f);
    assert_true(omen_code_phi_squared(0.0f, 1.5f) == 2.0f);
    assert_true(omen_code_phi_squared(8.0f, 1.5f) == 8.0f);
    assert_true(omen_code_phi_squared(0.0f, 3e-30f) >= 3e-30f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nearest_keeps_the_smallest_keys_in_any_order_of_arrival),
        cmocka_unit_test(top_keeps_the_nearest_hits_and_breaks_ties_by_id),
        cmocka_unit_test(slot_table_finds_every_slot_of_a_hash_after_growing),
        cmocka_unit_test(phi_is_the_next_power_of_two_and_only_grows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
