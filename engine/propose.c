/* propose.c - PROPOSE: candidates by distance matrix, selection, and the new slot's own row.
 *
 * How it departs from the HNSW paper: a point does not walk the graph to find its neighbours. An
 * epoch's points are compared, cell by cell, with all members of the cells that they look into, the
 * epoch's own points among them: one matrix per cell (ParlayANN and Faiss build in batches, too,
 * but walk). The C nearest by (distance, slot) are the candidates, and diversity selection makes
 * links of them.
 *
 * Happy path of a block of points: group "point looks into cell" by cell -> for each cell: members,
 * their codes gathered and packed, matrix, offers to each point -> for each point: cut to C, sort,
 * select, write row -> the back-links of the block, grouped by the target's shard.
 *
 * Nobody else reads the rows written here: no link to these slots exists before LINK.
 */
#include <string.h>

#include "engine/epoch.h"
#include "engine/fault_point.h"
#include "engine/memory.h"

static void propose_blocks(void *context, uint32_t worker);
static bool grow_for_block(struct omen_step *step, struct omen_worker *w);
static void group_by_cell(struct omen_step *step, struct omen_worker *w, uint32_t first,
                          uint32_t count);
static void order_by_home(struct omen_step *step, struct omen_worker *w, uint32_t first,
                          uint32_t count);
static void scan_cells(struct omen_step *step, struct omen_worker *w, uint32_t first);
static void scan_everything(struct omen_step *step, struct omen_worker *w, uint32_t first,
                            uint32_t count);
static void write_row(struct omen_step *step, struct omen_worker *w, uint32_t slot,
                      struct omen_nearest *nearest);
static bool collect_backlinks(struct omen_step *step, struct omen_block *block, uint32_t first,
                              uint32_t count);

omen_code omen_step_propose(struct omen_step *step, omen_error *err)
{
    return omen_step_run(step, propose_blocks, err);
}

/* Work number i is the i-th block of points. */
static void propose_blocks(void *context, uint32_t worker)
{
    struct omen_step *step = context;
    struct omen_worker *w = &step->workers[worker];

    for (uint32_t b = omen_step_next(step); b < step->block_count; b = omen_step_next(step)) {
        uint32_t first = b * step->block_points;
        uint32_t left = step->point_count - first;
        uint32_t count = left < step->block_points ? left : step->block_points;

        if (!grow_for_block(step, w)) return;
        for (uint32_t p = 0; p < count; p++)
            w->nearest[p] = (struct omen_nearest){.keys = w->keys + (size_t)p * step->key_buffer,
                                                  .keep = step->collection->settings.candidates,
                                                  .capacity = step->key_buffer,
                                                  .threshold = INFINITY};
        if (step->small) {
            scan_everything(step, w, first, count);
        } else {
            group_by_cell(step, w, first, count);
            scan_cells(step, w, first);
        }
        order_by_home(step, w, first, count);
        for (uint32_t i = 0; i < count; i++) {
            uint32_t p = w->cell_points[i];

            write_row(step, w, step->points[first + p], &w->nearest[p]);
        }
        OMEN_FAULT_POINT("propose");
        if (!collect_backlinks(step, &step->blocks[b], first, count)) {
            w->code =
                omen_fail(&w->error, OMEN_RESOURCE_EXHAUSTED, "the links of %u points", count);
            return;
        }
    }
}

static bool grow_for_block(struct omen_step *step, struct omen_worker *w)
{
    uint32_t pivots = step->collection->cells.count;

    if (!omen_worker_fit_cells(step, w)) return false;
    if (w->cell_capacity >= pivots + 2) return true;
    omen_free(w->cell_begin);
    w->cell_capacity = 0;
    w->cell_begin = omen_alloc((pivots + 2) * 2 * sizeof *w->cell_begin);
    if (w->cell_begin == NULL) {
        w->code = omen_fail(&w->error, OMEN_RESOURCE_EXHAUSTED, "scratch for %u cells", pivots);
        return false;
    }
    w->cell_capacity = (pivots + 2) * 2;
    return true;
}

/* Counting sort: afterwards the points that look into cell i are
 * cell_points[cell_begin[i] .. cell_begin[i + 1]), numbers within the block, ascending. */
static void group_by_cell(struct omen_step *step, struct omen_worker *w, uint32_t first,
                          uint32_t count)
{
    uint32_t *begin = w->cell_begin;
    uint32_t pivots = step->collection->cells.count;

    memset(begin, 0, (pivots + 2) * sizeof *begin);
    for (uint32_t p = 0; p < count; p++) {
        const uint32_t *route = step->routes + (size_t)(first + p) * step->probes;

        for (uint32_t j = 0; j < step->route_counts[first + p]; j++)
            begin[route[j] + 2]++;
    }
    for (uint32_t i = 2; i < pivots + 2; i++)
        begin[i] += begin[i - 1];
    for (uint32_t p = 0; p < count; p++) {
        const uint32_t *route = step->routes + (size_t)(first + p) * step->probes;

        for (uint32_t j = 0; j < step->route_counts[first + p]; j++)
            w->cell_points[begin[route[j] + 1]++] = p;
    }
}

/* Points of one cell have most of their candidates in common: selected for one after the other,
 * they find the codes in the cache. Fills cell_points[0..count). */
static void order_by_home(struct omen_step *step, struct omen_worker *w, uint32_t first,
                          uint32_t count)
{
    const struct omen_graph *graph = &step->collection->graph;
    uint32_t *begin = w->cell_begin;
    uint32_t pivots = step->collection->cells.count;

    for (uint32_t p = 0; p < count; p++)
        w->cell_points[p] = p;
    if (!OMEN_TRICK_HOME_ORDER) return;
    memset(begin, 0, (pivots + 2) * sizeof *begin);
    for (uint32_t p = 0; p < count; p++)
        begin[*omen_graph_home(graph, step->points[first + p]) + 1]++;
    for (uint32_t i = 1; i < pivots + 1; i++)
        begin[i] += begin[i - 1];
    for (uint32_t p = 0; p < count; p++)
        w->cell_points[begin[*omen_graph_home(graph, step->points[first + p])]++] = p;
}

static void scan_cells(struct omen_step *step, struct omen_worker *w, uint32_t first)
{
    const struct omen_cells *cells = &step->collection->cells;

    for (uint32_t i = 0; i < cells->count; i++) {
        uint32_t begin = w->cell_begin[i];
        uint32_t end = w->cell_begin[i + 1];
        struct omen_members members;
        uint32_t count;

        if (begin == end) continue;
        count = omen_cell_scan_list(omen_cells_cell(cells, i), step->epoch->number, w->cell_keys,
                                    w->cell_list);
        if (count == 0) continue;
        memcpy(w->members, w->cell_list, count * sizeof *w->members);
        omen_gather_members(step, w, count, end - begin >= OMEN_PACK_POINTS_MIN, &members);
        for (uint32_t from = begin; from < end; from += OMEN_TILE_POINTS) {
            uint32_t n = end - from < OMEN_TILE_POINTS ? end - from : OMEN_TILE_POINTS;
            uint32_t points[OMEN_TILE_POINTS];
            struct omen_nearest *nearest[OMEN_TILE_POINTS];

            for (uint32_t p = 0; p < n; p++) {
                points[p] = step->points[first + w->cell_points[from + p]];
                nearest[p] = &w->nearest[w->cell_points[from + p]];
            }
            omen_near_members(step, w, &members, points, nearest, n);
        }
    }
}

/* A small collection: every linked slot is a candidate of every point. */
static void scan_everything(struct omen_step *step, struct omen_worker *w, uint32_t first,
                            uint32_t count)
{
    for (uint32_t at = 0; at < step->everything_count; at += OMEN_CELL_SCAN_MAX) {
        uint32_t n = step->everything_count - at;
        struct omen_members members;

        if (n > OMEN_CELL_SCAN_MAX) n = OMEN_CELL_SCAN_MAX;
        memcpy(w->members, step->everything + at, n * sizeof *w->members);
        omen_gather_members(step, w, n, count >= OMEN_PACK_POINTS_MIN, &members);
        for (uint32_t from = 0; from < count; from += OMEN_TILE_POINTS) {
            uint32_t tile = count - from < OMEN_TILE_POINTS ? count - from : OMEN_TILE_POINTS;
            struct omen_nearest *nearest[OMEN_TILE_POINTS];

            for (uint32_t p = 0; p < tile; p++)
                nearest[p] = &w->nearest[from + p];
            omen_near_members(step, w, &members, step->points + first + from, nearest, tile);
        }
    }
}

static void write_row(struct omen_step *step, struct omen_worker *w, uint32_t slot,
                      struct omen_nearest *nearest)
{
    const omen_collection *c = step->collection;
    struct omen_row *row = omen_graph_row(&c->graph, slot);
    struct omen_row_distances *distances = omen_graph_distances(&c->graph, slot);
    uint32_t count = omen_nearest_finish(nearest);

    count = omen_select_diverse(step, w, nearest->keys, count, c->settings.links,
                                c->settings.links / 2);
    for (uint32_t i = 0; i < count; i++) {
        omen_row_store(row, i, omen_key_slot(nearest->keys[i]));
        distances->of[i] = omen_key_distance(nearest->keys[i]);
    }
    omen_row_set_count(row, count);
}

/* Points in slot order, so that within a shard the sources ascend. */
static bool collect_backlinks(struct omen_step *step, struct omen_block *block, uint32_t first,
                              uint32_t count)
{
    const omen_collection *c = step->collection;
    const struct omen_graph *graph = &c->graph;
    uint32_t needed = count * c->settings.links;
    uint32_t *begin = block->shard_begin;

    if (block->capacity < needed) {
        omen_free(block->links);
        block->capacity = 0;
        block->links = omen_alloc(needed * sizeof *block->links);
        if (block->links == NULL) return false;
        block->capacity = needed;
    }
    memset(begin, 0, (step->shards + 2) * sizeof *begin);
    for (uint32_t pass = 0; pass < 2; pass++) {
        for (uint32_t p = 0; p < count; p++) {
            uint32_t source = step->points[first + p];
            const struct omen_row *row = omen_graph_row(graph, source);
            const struct omen_row_distances *distances = omen_graph_distances(graph, source);
            uint32_t links = omen_row_count(row);

            for (uint32_t i = 0; i < links; i++) {
                uint32_t target = omen_row_link(row, i);
                uint32_t shard = omen_slot_shard(target, step->shards);

                if (pass == 0)
                    begin[shard + 2]++;
                else
                    block->links[begin[shard + 1]++] =
                        (struct omen_backlink){target, source, distances->of[i]};
            }
        }
        for (uint32_t i = 2; pass == 0 && i < step->shards + 2; i++)
            begin[i] += begin[i - 1];
    }
    return true;
}
