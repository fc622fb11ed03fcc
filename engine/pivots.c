/* pivots.c - the first step of PROPOSE: an epoch's new pivots take over members.
 *
 * Each new pivot looks at the OMEN_TAKEOVER_CELLS cells whose pivots are nearest to it, among the
 * pivots of earlier epochs. A member of such a cell moves to the new pivot that is nearest to it
 * (ties: the older pivot), if that is nearer than its pivot so far. A member stands in one cell,
 * and one thread has the cell: no two write the same member.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/epoch.h"
#include "engine/memory.h"

static void find_cells(void *context, uint32_t worker);
static omen_code group_by_cell(struct omen_step *step, omen_error *err);
static void move_members(void *context, uint32_t worker);
static void move_of_cell(struct omen_step *step, struct omen_worker *w, uint32_t cell_index);
static void find_homes(struct omen_step *step, struct omen_worker *w, uint32_t cell_index,
                       uint32_t n, uint32_t *home);
static void add_move(struct omen_worker *w, uint32_t cell, uint32_t slot);
static omen_code gather_moves(struct omen_step *step, omen_error *err);

omen_code omen_step_take_over(struct omen_step *step, omen_error *err)
{
    struct omen_cells *cells = &step->collection->cells;
    uint32_t new_pivots = cells->count - step->old_pivots;
    omen_code code = OMEN_OK;

    step->move_count = 0;
    if (new_pivots == 0 || step->old_pivots == 0) return OMEN_OK;
    if (step->takeover_capacity < new_pivots) {
        size_t entries = (size_t)new_pivots * OMEN_TAKEOVER_CELLS;

        omen_free(step->takeover);
        omen_free(step->takeover_pivots);
        step->takeover_capacity = 0;
        step->takeover = omen_alloc(entries * sizeof *step->takeover);
        step->takeover_pivots = omen_alloc(entries * sizeof *step->takeover_pivots);
        if (step->takeover == NULL || step->takeover_pivots == NULL)
            return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "%u new pivots", new_pivots);
        step->takeover_capacity = new_pivots;
    }
    code = omen_step_run(step, find_cells, err);
    if (code == OMEN_OK) code = group_by_cell(step, err);
    if (code == OMEN_OK) code = omen_step_run(step, move_members, err);
    if (code == OMEN_OK) code = gather_moves(step, err);
    for (uint32_t i = 0; i < step->move_count && code == OMEN_OK; i++)
        code = omen_cell_add(omen_cells_cell(cells, step->moves[i].cell), step->moves[i].slot, err);
    return code;
}

/* One list in one order, whoever found the moves: LINK goes by it. */
static omen_code gather_moves(struct omen_step *step, omen_error *err)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < step->worker_count; i++)
        count += step->workers[i].move_count;
    omen_code code = omen_step_fit_moves(step, count, err);
    if (code != OMEN_OK) return code;
    for (uint32_t i = 0; i < step->worker_count; i++) {
        struct omen_worker *w = &step->workers[i];

        if (w->move_count > 0)
            memcpy(step->moves + step->move_count, w->moves, w->move_count * sizeof *w->moves);
        step->move_count += w->move_count;
        w->move_count = 0;
    }
#ifndef OMEN_PLANT_TIE_BUG
    if (step->move_count > 0)
        qsort(step->moves, step->move_count, sizeof *step->moves, omen_move_compare);
#else
    (void)omen_move_compare; /* for the test of the determinism test: whoever was first is first */
#endif
    return OMEN_OK;
}

/* Work number i is the i-th new pivot. */
static void find_cells(void *context, uint32_t worker)
{
    struct omen_step *step = context;
    struct omen_worker *w = &step->workers[worker];
    const struct omen_cells *cells = &step->collection->cells;
    uint32_t new_pivots = cells->count - step->old_pivots;

    for (uint32_t i = omen_step_next(step); i < new_pivots; i = omen_step_next(step)) {
        uint32_t slot = omen_cells_pivot(cells, step->old_pivots + i);
        struct omen_nearest nearest = {.keys = w->keys,
                                       .keep = OMEN_TAKEOVER_CELLS,
                                       .capacity = step->key_buffer,
                                       .threshold = INFINITY};
        struct omen_nearest *one = &nearest;

        omen_route_points(step, w, &slot, &one, 1, step->old_pivots);
        omen_nearest_cut(&nearest);
        for (uint32_t j = 0; j < OMEN_TAKEOVER_CELLS; j++)
            step->takeover[i * OMEN_TAKEOVER_CELLS + j] =
                j < nearest.count ? omen_key_slot(nearest.keys[j]) : OMEN_CELL_NONE;
    }
}

/* From "the cells of each new pivot" to "the new pivots of each cell", ascending. */
static omen_code group_by_cell(struct omen_step *step, omen_error *err)
{
    uint32_t new_pivots = step->collection->cells.count - step->old_pivots;
    uint32_t entries = new_pivots * OMEN_TAKEOVER_CELLS;
    uint32_t *begin = step->takeover_begin;

    if (step->takeover_begin_capacity < step->old_pivots + 2) {
        omen_free(begin);
        step->takeover_begin_capacity = 0;
        begin = omen_alloc((step->old_pivots + 2) * 2 * sizeof *begin);
        step->takeover_begin = begin;
        if (begin == NULL)
            return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "%u cells", step->old_pivots);
        step->takeover_begin_capacity = (step->old_pivots + 2) * 2;
    }
    memset(begin, 0, (step->old_pivots + 2) * sizeof *begin);
    for (uint32_t i = 0; i < entries; i++) {
        if (step->takeover[i] != OMEN_CELL_NONE) begin[step->takeover[i] + 2]++;
    }
    for (uint32_t i = 2; i < step->old_pivots + 2; i++)
        begin[i] += begin[i - 1];
    for (uint32_t i = 0; i < entries; i++) {
        uint32_t cell = step->takeover[i];

        if (cell != OMEN_CELL_NONE)
            step->takeover_pivots[begin[cell + 1]++] = step->old_pivots + i / OMEN_TAKEOVER_CELLS;
    }
    return OMEN_OK;
}

/* Work number i is the i-th old cell. */
static void move_members(void *context, uint32_t worker)
{
    struct omen_step *step = context;

    if (!omen_worker_fit_cells(step, &step->workers[worker])) return;
    for (uint32_t i = omen_step_next(step); i < step->old_pivots; i = omen_step_next(step)) {
        if (step->takeover_begin[i] != step->takeover_begin[i + 1])
            move_of_cell(step, &step->workers[worker], i);
    }
}

static void move_of_cell(struct omen_step *step, struct omen_worker *w, uint32_t cell_index)
{
    omen_collection *c = step->collection;
    struct omen_cell *cell = omen_cells_cell(&c->cells, cell_index);
    uint32_t count = omen_cell_read(cell, w->cell_list, w->cell_list_capacity);
    uint32_t stay = 0;

    for (uint32_t from = 0; from < count; from += OMEN_CELL_SCAN_MAX) {
        uint32_t n = count - from < OMEN_CELL_SCAN_MAX ? count - from : OMEN_CELL_SCAN_MAX;
        uint32_t home[OMEN_CELL_SCAN_MAX];

        memcpy(w->members, w->cell_list + from, n * sizeof *w->members);
        find_homes(step, w, cell_index, n, home);
        for (uint32_t i = 0; i < n; i++) {
            if (home[i] == OMEN_CELL_NONE) {
                w->cell_list[stay++] = w->members[i];
                continue;
            }
            *omen_graph_home(&c->graph, w->members[i]) = home[i];
            add_move(w, home[i], w->members[i]);
        }
    }
    if (stay < count) omen_cell_shrink(cell, w->cell_list, stay);
}

/* For worker->members[0..n): the new pivot that is nearer than the home so far, or OMEN_CELL_NONE;
 * their home distances fall accordingly. */
static void find_homes(struct omen_step *step, struct omen_worker *w, uint32_t cell_index,
                       uint32_t n, uint32_t *home)
{
    omen_collection *c = step->collection;
    struct omen_members members;

    omen_gather_members(step, w, n, false, &members);
    for (uint32_t i = 0; i < n; i++)
        home[i] = OMEN_CELL_NONE;
    for (uint32_t t = step->takeover_begin[cell_index]; t < step->takeover_begin[cell_index + 1];
         t++) {
        uint32_t pivot = step->takeover_pivots[t];
        uint32_t slot = omen_cells_pivot(&c->cells, pivot);
        struct omen_prepared point = {.values = w->probes};
        struct omen_probe probe;

        omen_code_prepare(&c->kernels, omen_graph_code(&c->graph, slot),
                          *omen_graph_meta(&c->graph, slot), &point);
        probe = omen_prepared_probe(&point);
        c->kernels.dot_i8_many(members.codes, n, &probe, c->graph.stride, w->dots);
        for (uint32_t i = 0; i < n; i++) {
            struct omen_code_meta meta = {members.scales[i], members.norms[i]};
            float *best = omen_graph_home_distance(&c->graph, w->members[i]);
            float d = omen_code_distance(meta, point.meta, w->dots[i]) +
                      omen_code_augment(step->epoch->phi_squared, meta.norm, point.meta.norm);

            if (d >= *best) continue;
            *best = d;
            home[i] = pivot;
        }
    }
}

static void add_move(struct omen_worker *w, uint32_t cell, uint32_t slot)
{
    if (w->move_count == w->move_capacity) {
        uint32_t capacity = w->move_capacity == 0 ? 256 : w->move_capacity * 2;
        struct omen_move *moves = omen_realloc(w->moves, capacity * sizeof *moves);

        if (moves == NULL) {
            w->code = omen_fail(&w->error, OMEN_RESOURCE_EXHAUSTED, "%u moves", capacity);
            return;
        }
        w->moves = moves;
        w->move_capacity = capacity;
    }
    w->moves[w->move_count++] = (struct omen_move){cell, slot};
}
