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
static void propose_block(struct omen_step *step, struct omen_worker *w, uint32_t first,
                          uint32_t count);
static void scan_cells(struct omen_step *step, struct omen_worker *w, uint32_t first);
static void fetch_next_cell(const struct omen_step *step, struct omen_worker *w, uint32_t rank);
static void scan_everything(struct omen_step *step, struct omen_worker *w, uint32_t first,
                            uint32_t count);
static void ready_candidates(struct omen_step *step, struct omen_nearest *nearest);
static void write_row(struct omen_step *step, struct omen_worker *w, uint32_t slot,
                      struct omen_nearest *nearest);
static void collect_blocks(void *context, uint32_t worker);
static bool collect_backlinks(struct omen_step *step, struct omen_block *block, uint32_t first,
                              uint32_t count);

omen_code omen_step_propose(struct omen_step *step, omen_error *err)
{
    omen_code code = omen_step_run(step, propose_blocks, err);

    if (code == OMEN_OK) code = omen_step_run(step, collect_blocks, err);
    return code;
}

/* Work number i is the i-th block of points, by step->order. */
static void propose_blocks(void *context, uint32_t worker)
{
    struct omen_step *step = context;
    struct omen_worker *w = &step->workers[worker];

    for (uint32_t b = omen_step_next(step); b < step->block_count; b = omen_step_next(step)) {
        uint32_t first = b * step->block_points;
        uint32_t left = step->point_count - first;

        if (!omen_worker_fit_cells(step, w) ||
            !omen_worker_fit_groups(w, step->collection->cells.count))
            return;
        propose_block(step, w, first, left < step->block_points ? left : step->block_points);
        OMEN_FAULT_POINT("propose");
    }
}

static void propose_block(struct omen_step *step, struct omen_worker *w, uint32_t first,
                          uint32_t count)
{
    const uint32_t *order = step->order + first;

    for (uint32_t p = 0; p < count; p++) {
        w->nearest[p] = (struct omen_nearest){.keys = w->keys + (size_t)p * step->key_buffer,
                                              .keep = step->collection->settings.candidates,
                                              .capacity = step->key_buffer,
                                              .threshold = INFINITY};
        if (!step->small) w->nearest[p].threshold = step->cuts[order[p]];
    }
    if (step->small) {
        scan_everything(step, w, first, count);
    } else {
        omen_group_points(
            w, &(struct omen_groups){step->routes, step->route_counts, order, step->probes, count},
            step->collection->cells.count);
        scan_cells(step, w, first);
    }
    /* A point's candidates are fetched while the one before it chooses among its own. */
    for (uint32_t p = 0; p <= count; p++) {
        if (p < count) ready_candidates(step, &w->nearest[p]);
        if (p > 0) write_row(step, w, step->points[order[p - 1]], &w->nearest[p - 1]);
    }
}

void omen_group_points(struct omen_worker *w, const struct omen_groups *g, uint32_t group_count)
{
    uint32_t *begin = w->cell_begin;

    memset(begin, 0, (group_count + 2) * sizeof *begin);
    for (uint32_t pass = 0; pass < 2; pass++) {
        for (uint32_t p = 0; p < g->points; p++) {
            size_t at = g->order == NULL ? p : g->order[p];
            const uint32_t *groups = g->groups + at * g->stride;

            for (uint32_t j = 0; j < g->counts[at]; j++) {
                if (pass == 0)
                    begin[groups[j] + 2]++;
                else
                    w->cell_points[begin[groups[j] + 1]++] = p;
            }
        }
        for (uint32_t i = 2; pass == 0 && i < group_count + 2; i++)
            begin[i] += begin[i - 1];
    }
}

bool omen_worker_fit_groups(struct omen_worker *w, uint32_t group_count)
{
    if (w->cell_capacity >= group_count + 2) return true;
    omen_free(w->cell_begin);
    w->cell_capacity = 0;
    w->cell_begin = omen_alloc((group_count + 2) * 2 * sizeof *w->cell_begin);
    if (w->cell_begin == NULL) {
        w->code =
            omen_fail(&w->error, OMEN_RESOURCE_EXHAUSTED, "scratch for %u cells", group_count);
        return false;
    }
    w->cell_capacity = (group_count + 2) * 2;
    return true;
}

/* Neighbouring cells one after the other: the same points look into them, and are in the cache. */
static inline uint32_t cell_at(const struct omen_step *step, uint32_t rank)
{
    return step->cell_order == NULL ? rank : step->cell_order[rank];
}

static void scan_cells(struct omen_step *step, struct omen_worker *w, uint32_t first)
{
    const struct omen_cells *cells = &step->collection->cells;

    for (uint32_t rank = 0; rank < cells->count; rank++) {
        uint32_t i = cell_at(step, rank);
        uint32_t begin = w->cell_begin[i];
        uint32_t end = w->cell_begin[i + 1];
        struct omen_members members;
        uint32_t count;

        if (begin == end) continue;
        count = omen_cell_scan_list(omen_cells_cell(cells, i), step->epoch->number, w->cell_keys,
                                    w->cell_list);
        if (count == 0) continue;
        memcpy(w->members, w->cell_list, count * sizeof *w->members);
        fetch_next_cell(step, w, rank);
        omen_gather_members(step, w, count, end - begin >= OMEN_PACK_POINTS_MIN, &members);
        for (uint32_t from = begin; from < end; from += OMEN_TILE_POINTS) {
            uint32_t n = end - from < OMEN_TILE_POINTS ? end - from : OMEN_TILE_POINTS;
            uint32_t points[OMEN_TILE_POINTS];
            struct omen_nearest *nearest[OMEN_TILE_POINTS];

            for (uint32_t p = 0; p < n; p++) {
                points[p] = step->points[step->order[first + w->cell_points[from + p]]];
                nearest[p] = &w->nearest[w->cell_points[from + p]];
                __builtin_prefetch(nearest[p], 1, OMEN_PREFETCH_TO);
            }
            omen_near_members(step, w, &members, points, nearest, n);
        }
    }
}

/* The codes of the next cell that is looked into come while this one is multiplied. */
static void fetch_next_cell(const struct omen_step *step, struct omen_worker *w, uint32_t rank)
{
    const omen_collection *c = step->collection;
    uint32_t next = OMEN_CELL_NONE;
    uint32_t count;

    for (uint32_t at = rank + 1; at < c->cells.count && next == OMEN_CELL_NONE; at++) {
        uint32_t cell = cell_at(step, at);

        if (w->cell_begin[cell] != w->cell_begin[cell + 1]) next = cell;
    }
    if (next == OMEN_CELL_NONE) return;
    count = omen_cell_read(omen_cells_cell(&c->cells, next), w->cell_list, OMEN_CELL_SCAN_MAX);
    for (uint32_t i = 0; i < count; i++)
        omen_graph_prefetch_node(&c->graph, w->cell_list[i]);
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
            uint32_t points[OMEN_TILE_POINTS];

            for (uint32_t p = 0; p < tile; p++) {
                points[p] = step->points[step->order[first + from + p]];
                nearest[p] = &w->nearest[from + p];
            }
            omen_near_members(step, w, &members, points, nearest, tile);
        }
    }
}

/* Cuts and sorts a point's candidates, and fetches what selection reads of them. */
static void ready_candidates(struct omen_step *step, struct omen_nearest *nearest)
{
    const struct omen_graph *graph = &step->collection->graph;
    uint32_t count = omen_nearest_finish(nearest);

    for (uint32_t i = 0; i < count; i++)
        omen_graph_prefetch_node(graph, omen_key_slot(nearest->keys[i]));
}

static void write_row(struct omen_step *step, struct omen_worker *w, uint32_t slot,
                      struct omen_nearest *nearest)
{
    const omen_collection *c = step->collection;
    struct omen_row *row = omen_graph_row(&c->graph, slot);
    struct omen_row_distances *distances = omen_graph_distances(&c->graph, slot);
    uint32_t count = nearest->count;
    /* Full rows give a point or more of recall for 2 % more distances. */
    uint32_t fill = step->epoch->algorithm < 3 ? c->settings.links / 2 : c->settings.links;

    count = omen_select_diverse(step, w, nearest->keys, count, c->settings.links, fill);
    for (uint32_t i = 0; i < count; i++) {
        omen_row_store(row, i, omen_key_slot(nearest->keys[i]));
        distances->of[i] = omen_key_distance(nearest->keys[i]);
    }
    omen_row_set_count(row, count);
}

/* Work number i is the i-th block of points, by slot. */
static void collect_blocks(void *context, uint32_t worker)
{
    struct omen_step *step = context;
    struct omen_worker *w = &step->workers[worker];

    for (uint32_t b = omen_step_next(step); b < step->block_count; b = omen_step_next(step)) {
        uint32_t first = b * step->block_points;
        uint32_t left = step->point_count - first;
        uint32_t count = left < step->block_points ? left : step->block_points;

        if (collect_backlinks(step, &step->blocks[b], first, count)) continue;
        w->code = omen_fail(&w->error, OMEN_RESOURCE_EXHAUSTED, "the links of %u points", count);
        return;
    }
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
