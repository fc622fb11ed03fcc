/* sweep.c - at a boundary: whatever still refers to nodes that are to go is found and mended, so
 * that their slots may be used again after the next boundary (admit.h, grace.h).
 *
 * All rows are gone over, each shard's by one thread, and those that still link to dead nodes are
 * mended (mend.c; repair.c has seen to most of them). Pivots that go leave their number to the last
 * one, and the members of their cells move to their nearest other pivot, in slot order.
 *
 * Searches run on. They may read an old link and pass through a node that has gone: its row and its
 * code stay as they are until its slot is used again, and then they have left.
 */
#include <string.h>

#include "engine/epoch.h"

static omen_code sweep_pivots(struct omen_step *step, omen_error *err);
static omen_code collect_displaced(struct omen_step *step, uint32_t gone, uint32_t *lowest,
                                   omen_error *err);
static void rename_cell(struct omen_step *step, uint32_t cell_index);
static void sweep_rows(void *context, uint32_t worker);
static void sweep_row(struct omen_step *step, struct omen_worker *w, uint32_t slot);

omen_code omen_step_sweep(struct omen_step *step, omen_error *err)
{
    const omen_collection *c = step->collection;
    const struct omen_slots *swept = &step->epoch->swept;
    omen_code code = OMEN_OK;

    omen_cells_recycle(&step->collection->cells);
    omen_regions_recycle(&step->collection->regions);
    if (swept->count == 0) return OMEN_OK;
    code = sweep_pivots(step, err);
    step->point_count = step->epoch->slots_end; /* how much work there is */
    if (code == OMEN_OK) code = omen_step_run(step, sweep_rows, err);
    for (uint32_t i = 0; i < swept->count && code == OMEN_OK; i++)
        *omen_graph_state(&c->graph, swept->slots[i]) = OMEN_NODE_NONE;
    return code;
}

/* ---- pivots -------------------------------------------------------------------------------- */

static bool is_swept(const struct omen_slots *swept, uint32_t slot)
{
    const uint32_t i = omen_slots_find(swept, slot);

    return i < swept->count && swept->slots[i] == slot;
}

static bool pivot_goes(const struct omen_step *step, uint32_t i)
{
    const omen_collection *c = step->collection;
    uint32_t slot = omen_cells_pivot(&c->cells, i);

    return *omen_graph_state(&c->graph, slot) == OMEN_NODE_DEAD &&
           is_swept(&step->epoch->swept, slot);
}

static omen_code sweep_pivots(struct omen_step *step, omen_error *err)
{
    omen_collection *c = step->collection;
    struct omen_slots displaced;
    uint32_t gone = 0;
    uint32_t lowest = 0;
    omen_code code = OMEN_OK;

    for (uint32_t i = 0; i < c->cells.count; i++) {
        uint32_t slot = omen_cells_pivot(&c->cells, i);

        if (pivot_goes(step, i)) {
            gone += omen_cell_count(omen_cells_cell(&c->cells, i));
            lowest = 1;
        } else if (*omen_graph_state(&c->graph, slot) == OMEN_NODE_DEAD) {
            /* It goes on routing; its duplicates are gone. */
            atomic_store_explicit(omen_graph_chain(&c->graph, slot), OMEN_SLOT_NONE,
                                  memory_order_release);
        }
    }
    if (lowest == 0) return OMEN_OK;
    code = collect_displaced(step, gone, &lowest, err);
    if (code != OMEN_OK) return code;
    omen_cells_repack(&c->cells, &c->graph, &c->kernels, lowest);
    omen_regions_forget(&c->regions);
    code = omen_step_update_regions(step, err);
    if (code != OMEN_OK) return code;
    displaced = (struct omen_slots){.slots = step->points, .count = step->point_count};
    omen_slots_sort(&displaced);
    return step->point_count == 0 ? OMEN_OK : omen_step_route(step, err);
}

/* Takes out the cells of pivots that go, the highest first, so that the last one stays; their
 * members become step->points. */
static omen_code collect_displaced(struct omen_step *step, uint32_t gone, uint32_t *lowest,
                                   omen_error *err)
{
    struct omen_cells *cells = &step->collection->cells;
    omen_code code = omen_step_fit_points(step, gone, err);

    step->point_count = 0;
    if (code == OMEN_OK && !omen_worker_fit_cells(step, &step->workers[0])) {
        if (err != NULL) *err = step->workers[0].error;
        code = step->workers[0].code;
    }
    if (code != OMEN_OK) return code;
    for (uint32_t i = cells->count; i-- > 0;) {
        if (!pivot_goes(step, i)) continue;
        step->point_count += omen_cell_read(
            omen_cells_cell(cells, i), step->points + step->point_count, gone - step->point_count);
        omen_cells_remove_pivot(cells, i);
        if (i < cells->count) rename_cell(step, i);
        *lowest = i;
    }
    return OMEN_OK;
}

/* The cell got this number: its members call it their home. */
static void rename_cell(struct omen_step *step, uint32_t cell_index)
{
    const omen_collection *c = step->collection;
    struct omen_worker *w = &step->workers[0];
    uint32_t count =
        omen_cell_read(omen_cells_cell(&c->cells, cell_index), w->cell_list, w->cell_list_capacity);

    for (uint32_t i = 0; i < count; i++)
        *omen_graph_home(&c->graph, w->cell_list[i]) = cell_index;
}

/* ---- rows ---------------------------------------------------------------------------------- */

/* Work number i is the i-th shard: all its stripes. */
static void sweep_rows(void *context, uint32_t worker)
{
    struct omen_step *step = context;
    const struct omen_graph *graph = &step->collection->graph;
    uint32_t end = step->epoch->slots_end;

    for (uint32_t shard = omen_step_next(step); shard < step->shards;
         shard = omen_step_next(step)) {
        for (uint64_t first = (uint64_t)shard * OMEN_STRIPE_SLOTS; first < end;
             first += (uint64_t)step->shards * OMEN_STRIPE_SLOTS) {
            for (uint32_t slot = (uint32_t)first; slot < end && slot < first + OMEN_STRIPE_SLOTS;
                 slot++) {
                if (*omen_graph_state(graph, slot) != OMEN_NODE_NONE)
                    sweep_row(step, &step->workers[worker], slot);
            }
        }
    }
}

static void sweep_row(struct omen_step *step, struct omen_worker *w, uint32_t slot)
{
    const struct omen_graph *graph = &step->collection->graph;
    const struct omen_row *row = omen_graph_row(graph, slot);

    if (*omen_graph_state(graph, slot) == OMEN_NODE_LINKED) {
        omen_mend_row(step, w, slot);
        return;
    }
    if (is_swept(&step->epoch->swept, slot)) return; /* goes, and is read by others */
    for (uint32_t i = omen_row_count(row); i-- > 0;) {
        if (*omen_graph_state(graph, omen_row_link(row, i)) != OMEN_NODE_LINKED)
            omen_row_remove(graph, slot, i);
    }
}
