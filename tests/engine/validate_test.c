/* validate_test.c - the check of all invariants passes on sound collections, and names each of many
 * planted corruptions.
 */
#include "tests/engine/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/collection.h"

#define ROWS 3000u
#define DIM  20u

static struct fixture_engine f;
static omen_collection *c;
static uint32_t linked_slot, duplicate_slot;

/* 2,400 rows and 600 copies of the first of them. */
static int build(void **state)
{
    float *rows = fixture_mixture(51, ROWS, DIM, 12);

    (void)state;
    for (uint32_t r = 2400; r < ROWS; r++)
        memcpy(rows + (size_t)r * DIM, rows, DIM * sizeof *rows);
    fixture_open(&f, 2, 0);
    c = fixture_collection(&f, "sound",
                           (struct omen_collection_settings){.dim = DIM, .metric = OMEN_METRIC_L2});
    fixture_insert(c, rows, 0, ROWS, 200);
    free(rows);
    duplicate_slot = 2500;
    linked_slot = 1234;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    omen_collection_release(c);
    fixture_close(&f);
    return 0;
}

/* Asserts that the check fails and that its sentence has the words. */
static void assert_names(const char *words)
{
    struct omen_validation v;
    omen_error err = {0};

    assert_int_equal(omen_collection_validate(c, &v, &err), OMEN_DATA_LOSS);
    if (strstr(err.message, words) == NULL) fail_msg("'%s' does not name '%s'", err.message, words);
}

static void assert_sound(void)
{
    struct omen_validation v;
    omen_error err = {0};

    if (omen_collection_validate(c, &v, &err) != OMEN_OK) fail_msg("%s", err.message);
}

static void a_sound_collection_passes_and_is_counted(void **state)
{
    struct omen_validation v;
    omen_error err = {0};

    (void)state;
    if (omen_collection_validate(c, &v, &err) != OMEN_OK) fail_msg("%s", err.message);
    assert_int_equal(v.points, ROWS);
    assert_int_equal(v.linked, 2400);
    assert_true(v.links / v.linked >= 8 && v.links / v.linked <= OMEN_ROW_LINKS);
    print_message("%llu of %llu linked slots are reached by links, mean degree %.1f\n",
                  (unsigned long long)v.reached_by_links, (unsigned long long)v.linked,
                  (double)v.links / (double)v.linked);
    assert_true(v.reached_by_links * 100 >= v.linked * 99);
}

static void damaged_links_are_named(void **state)
{
    struct omen_row *row = omen_graph_row(&c->graph, linked_slot);
    uint32_t first = omen_row_link(row, 0);
    uint32_t second = omen_row_link(row, 1);
    uint32_t count = omen_row_count(row);
    float distance = omen_graph_distances(&c->graph, linked_slot)->of[0];

    (void)state;
    omen_row_store(row, 0, ROWS + 7);
    assert_names("slot 1234: link 0 names slot 3007 of 3000");
    omen_row_store(row, 0, linked_slot);
    assert_names("names the slot itself");
    omen_row_store(row, 0, duplicate_slot);
    assert_names("names the duplicate 2500");
    omen_row_store(row, 0, first);
    omen_row_store(row, 1, first);
    assert_names("links 0 and 1 both name");
    omen_row_store(row, 1, second);
    omen_row_set_count(row, OMEN_ROW_LINKS + 1);
    assert_names("its row has 48 links");
    omen_row_set_count(row, count);
    omen_graph_distances(&c->graph, linked_slot)->of[0] += 1.0f;
    assert_names("is cached at");
    omen_graph_distances(&c->graph, linked_slot)->of[0] = distance;
    omen_row_set_count(omen_graph_row(&c->graph, duplicate_slot), 1);
    assert_names("slot 2500 is a duplicate and has links");
    omen_row_set_count(omen_graph_row(&c->graph, duplicate_slot), 0);
}

static void damaged_codes_are_named(void **state)
{
    uint8_t *code = omen_graph_code(&c->graph, linked_slot);
    struct omen_code_meta *meta = omen_graph_meta(&c->graph, linked_slot);
    struct omen_code_meta sound = *meta;
    uint8_t byte = code[3];

    (void)state;
    code[3] = 0;
    assert_names("slot 1234: code byte 3 is 0");
    code[3] = byte;
    code[DIM] = 129;
    assert_names("slot 1234: code byte 20 is 129");
    code[DIM] = OMEN_CODE_ZERO;
    meta->norm *= 2.0f;
    assert_names("slot 1234: its norm is");
    *meta = sound;
    code[3] = byte == 200 ? 201 : 200;
    assert_names("slot 1234");
    code[3] = byte;
}

static void damaged_cells_and_pivots_are_named(void **state)
{
    uint32_t *home = omen_graph_home(&c->graph, linked_slot);
    uint32_t sound = *home;
    struct omen_cell *cell = omen_cells_cell(&c->cells, sound);
    uint32_t count = omen_cell_count(cell);
    uint32_t *members = calloc(count, sizeof *members);
    uint32_t pivot = omen_cells_pivot(&c->cells, 5);

    (void)state;
    assert_non_null(members);
    *home = sound == 0 ? 1 : 0;
    assert_names("whose home is another");
    *home = sound;
    (void)omen_cell_read(cell, members, count);
    for (uint32_t i = 0; i < count; i++) {
        if (members[i] == linked_slot) {
            members[i] = members[count - 1];
            break;
        }
    }
    omen_cell_shrink(cell, members, count - 1);
    assert_names("slot 1234 is in no cell and in no chain");
    assert_int_equal(omen_cell_add(cell, linked_slot, NULL), OMEN_OK);
    assert_int_equal(omen_cell_add(cell, linked_slot, NULL), OMEN_OK);
    assert_names("slot 1234 stands in cell");
    members[count - 1] = linked_slot;
    omen_cell_shrink(cell, members, count);
    atomic_store(&c->cells.pivots[5], pivot + 1);
    assert_names("pivot 5 is slot");
    atomic_store(&c->cells.pivots[5], pivot);
    free(members);
}

static void damaged_chains_are_named(void **state)
{
    _Atomic uint32_t *link = omen_graph_chain(&c->graph, duplicate_slot);
    uint32_t next = atomic_load(link);

    (void)state;
    atomic_store(link, linked_slot);
    assert_names("which is no duplicate");
    atomic_store(link, duplicate_slot);
    assert_names("slot 2500 stands in a chain twice");
    atomic_store(link, OMEN_SLOT_NONE);
    assert_names("is in no cell and in no chain");
    atomic_store(link, next);
}

static void damaged_tables_and_counts_are_named(void **state)
{
    uint64_t *id = omen_graph_id(&c->graph, linked_slot);
    uint64_t points = atomic_load(&c->published.points);

    (void)state;
    *id += 1000000;
    assert_names("slot 1234 has an id that the id table gives to slot -1");
    *id -= 1000000;
    atomic_store(&c->published.points, points + 1);
    assert_names("3000 points are visible, 3001 counted");
    atomic_store(&c->published.points, points);
    omen_graph_set_born(&c->graph, linked_slot, OMEN_EPOCH_NEVER);
    assert_names("slot 1234 is not visible");
    omen_graph_set_born(&c->graph, linked_slot, 1);
    c->admit.ids.count++;
    assert_names("the id table has 3001 entries for 3000 slots");
    c->admit.ids.count--;
    assert_sound();
}

/* ADMIT's thread counts the dead when it is through with its last group. `more` 0: none are left.
 */
static void add_dead(struct omen_slots *dead, uint32_t more)
{
    (void)pthread_mutex_lock(&c->admit_mutex);
    if (more > 0)
        omen_slots_add(dead, linked_slot);
    else
        dead->count = 0;
    (void)pthread_mutex_unlock(&c->admit_mutex);
}

static void damage_by_deletes_is_named(void **state)
{
    uint8_t *node = omen_graph_state(&c->graph, linked_slot);
    struct omen_slots *dead = &c->admit.dead;
    omen_error err;

    (void)state;
    assert_sound();
    *omen_graph_copies(&c->graph, linked_slot) = 2;
    assert_names("slot 1234 carries 1 points and counts 2");
    *omen_graph_copies(&c->graph, linked_slot) = 1;
    *node = OMEN_NODE_DEAD;
    assert_names("has slot 1234, whose home is another, or which is dead");
    *node = OMEN_NODE_NONE;
    assert_names("slot 1234");
    *node = OMEN_NODE_LINKED;
    omen_graph_set_died(&c->graph, linked_slot, 1);
    assert_names("slot 1234 carries 0 points and counts 1");
    omen_graph_set_died(&c->graph, linked_slot, OMEN_EPOCH_NEVER);
    omen_graph_set_died(&c->graph, duplicate_slot, 1);
    assert_names("slot 2500 is not visible, and in no list of dead ones");
    omen_graph_set_died(&c->graph, duplicate_slot, OMEN_EPOCH_NEVER);
    assert_int_equal(omen_slots_reserve(dead, 2, &err), OMEN_OK);
    add_dead(dead, 1);
    assert_names("slot 1234 is not visible, and in no list of dead ones, or the opposite");
    add_dead(dead, 1);
    assert_names("slot 1234 is in two lists of dead and free ones");
    add_dead(dead, 0);
    atomic_store(omen_graph_expires(&c->graph, linked_slot), 4000000000u);
    assert_names("slot 1234 expires, but no clock knows it");
    atomic_store(omen_graph_expires(&c->graph, linked_slot), 0);
    c->admit.living_pivots--;
    assert_names("of them living; ADMIT counts");
    c->admit.living_pivots++;
    c->admit.codes.count++;
    assert_names("the code table has 2401 entries for 2400 nodes");
    c->admit.codes.count--;
    assert_sound();
}

/* The hard data, and a restart, give sound collections, too. */
static void collections_of_every_metric_are_sound_live_and_after_replay(void **state)
{
    static const omen_metric metrics[] = {OMEN_METRIC_L2, OMEN_METRIC_COSINE,
                                          OMEN_METRIC_INNER_PRODUCT};

    (void)state;
    for (size_t m = 0; m < 3; m++) {
        float *rows = fixture_mixture(60 + m, 5000, 33, 40);
        struct fixture_engine other;
        struct omen_validation v;
        omen_error err = {0};
        omen_collection *o;

        fixture_open(&other, 2, 0);
        o = fixture_collection(&other, "o",
                               (struct omen_collection_settings){.dim = 33, .metric = metrics[m]});
        fixture_insert(o, rows, 0, 5000, 100);
        if (omen_collection_validate(o, &v, &err) != OMEN_OK) fail_msg("live: %s", err.message);
        omen_collection_release(o);
        fixture_reopen(&other, 1, 0, NULL);
        o = fixture_acquire(&other, "o");
        if (omen_collection_validate(o, &v, &err) != OMEN_OK) fail_msg("replayed: %s", err.message);
        omen_collection_release(o);
        fixture_close(&other);
        free(rows);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sound_collection_passes_and_is_counted),
        cmocka_unit_test(damaged_links_are_named),
        cmocka_unit_test(damaged_codes_are_named),
        cmocka_unit_test(damaged_cells_and_pivots_are_named),
        cmocka_unit_test(damaged_chains_are_named),
        cmocka_unit_test(damaged_tables_and_counts_are_named),
        cmocka_unit_test(damage_by_deletes_is_named),
        cmocka_unit_test(collections_of_every_metric_are_sound_live_and_after_replay),
    };

    return cmocka_run_group_tests(tests, build, tear_down);
}
