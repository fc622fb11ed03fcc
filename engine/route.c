/* route.c - the second and third step of PROPOSE: which cells a point looks into, and which it
 * joins.
 *
 * Points are compared with all tops, then with the pivots of the nearest regions (regions.h): both
 * are matrices, the second one region by region with the points that look into it. Before version
 * 3, and while there are no tops, all pivots are compared. The nearest pivot's cell becomes the
 * point's home; the P nearest are scanned for candidates. Cells are then extended in slot order.
 */
#include "engine/epoch.h"
#include "engine/memory.h"

static void route_tiles(void *context, uint32_t worker);
static void route_tile(struct omen_step *step, struct omen_worker *w, uint32_t first,
                       uint32_t count);
static void route_blocks(void *context, uint32_t worker);
static void find_regions(struct omen_step *step, struct omen_worker *w, uint32_t first,
                         uint32_t count, const struct omen_region *tops);
static void scan_regions(struct omen_step *step, struct omen_worker *w, uint32_t first,
                         const struct omen_region *tops);
static bool gather_rows(struct omen_step *step, struct omen_worker *w,
                        const struct omen_region *table, uint32_t from, uint32_t r,
                        struct omen_members *out);
static void pack_rows(struct omen_step *step, struct omen_worker *w, struct omen_members *members);
static void begin_nearest(const struct omen_step *step, struct omen_worker *w, uint32_t count,
                          uint32_t keep);
static void settle(struct omen_step *step, struct omen_nearest *nearest, uint32_t point);

omen_code omen_step_route(struct omen_step *step, omen_error *err)
{
    omen_collection *c = step->collection;
    bool flat =
        step->epoch->algorithm < 3 || omen_region_count(omen_regions_tops(&c->regions)) == 0;
    omen_code code = omen_step_plan_blocks(step, err);

    if (code == OMEN_OK) code = omen_step_run(step, flat ? route_tiles : route_blocks, err);

    for (uint32_t i = 0; i < step->point_count && code == OMEN_OK; i++) {
        uint32_t slot = step->points[i];

        code =
            omen_cell_add(omen_cells_cell(&c->cells, *omen_graph_home(&c->graph, slot)), slot, err);
    }
    return code;
}

void omen_route_points(struct omen_step *step, struct omen_worker *w, const uint32_t *points,
                       struct omen_nearest *const *nearest, uint32_t count, uint32_t pivots)
{
    const omen_collection *c = step->collection;
    uint32_t cells[OMEN_CELL_SCAN_MAX];

    for (uint32_t from = 0; from < pivots; from += OMEN_CELL_SCAN_MAX) {
        uint32_t n = pivots - from < OMEN_CELL_SCAN_MAX ? pivots - from : OMEN_CELL_SCAN_MAX;
        struct omen_members members = {
            .slots = cells,
            .count = n,
            .packed = c->cells.packed + from * c->graph.stride,
            .bias = c->cells.bias + from,
            .scales = c->cells.scales + from,
            .norms = c->cells.norms + from,
        };

        for (uint32_t i = 0; i < n; i++)
            cells[i] = from + i;
        omen_near_members(step, w, &members, points, nearest, count);
    }
}

/* Work number i is the i-th tile of points. */
static void route_tiles(void *context, uint32_t worker)
{
    struct omen_step *step = context;
    uint32_t tiles = (step->point_count + OMEN_TILE_POINTS - 1) / OMEN_TILE_POINTS;

    for (uint32_t i = omen_step_next(step); i < tiles; i = omen_step_next(step)) {
        uint32_t first = i * OMEN_TILE_POINTS;
        uint32_t left = step->point_count - first;

        route_tile(step, &step->workers[worker], first,
                   left < OMEN_TILE_POINTS ? left : OMEN_TILE_POINTS);
    }
}

static void route_tile(struct omen_step *step, struct omen_worker *w, uint32_t first,
                       uint32_t count)
{
    omen_collection *c = step->collection;
    struct omen_nearest *nearest[OMEN_TILE_POINTS] = {0};

    begin_nearest(step, w, count, step->probes);
    for (uint32_t i = 0; i < count; i++)
        nearest[i] = &w->nearest[i];
    omen_route_points(step, w, step->points + first, nearest, count, c->cells.count);
    for (uint32_t i = 0; i < count; i++)
        settle(step, nearest[i], first + i);
}

/* Work number i is the i-th block of points. */
static void route_blocks(void *context, uint32_t worker)
{
    struct omen_step *step = context;
    struct omen_worker *w = &step->workers[worker];
    const struct omen_region *tops = omen_regions_tops(&step->collection->regions);

    for (uint32_t b = omen_step_next(step); b < step->block_count; b = omen_step_next(step)) {
        uint32_t first = b * step->block_points;
        uint32_t left = step->point_count - first;
        uint32_t count = left < step->block_points ? left : step->block_points;

        if (!omen_worker_fit_groups(w, tops->count)) return;
        find_regions(step, w, first, count, tops);
        omen_group_points(
            w, &(struct omen_groups){w->regions, w->region_counts, NULL, OMEN_ROUTE_REGIONS, count},
            tops->count);
        begin_nearest(step, w, count, step->probes);
        scan_regions(step, w, first, tops);
        for (uint32_t p = 0; p < count; p++)
            settle(step, &w->nearest[p], first + p);
    }
}

/* The regions that each point of a block looks into. */
static void find_regions(struct omen_step *step, struct omen_worker *w, uint32_t first,
                         uint32_t count, const struct omen_region *tops)
{
    begin_nearest(step, w, count, OMEN_ROUTE_REGIONS);
    for (uint32_t from = 0; from < tops->count; from += OMEN_CELL_SCAN_MAX) {
        struct omen_members members;

        if (!gather_rows(step, w, tops, from, OMEN_CELL_NONE, &members)) continue;
        if (count >= OMEN_PACK_POINTS_MIN) pack_rows(step, w, &members);
        for (uint32_t at = 0; at < count; at += OMEN_TILE_POINTS) {
            uint32_t tile = count - at < OMEN_TILE_POINTS ? count - at : OMEN_TILE_POINTS;
            struct omen_nearest *nearest[OMEN_TILE_POINTS];

            for (uint32_t i = 0; i < tile; i++)
                nearest[i] = &w->nearest[at + i];
            omen_near_members(step, w, &members, step->points + first + at, nearest, tile);
        }
    }
    for (uint32_t p = 0; p < count; p++) {
        omen_nearest_cut(&w->nearest[p]);
        w->region_counts[p] = w->nearest[p].count;
        for (uint32_t j = 0; j < w->nearest[p].count; j++)
            w->regions[p * OMEN_ROUTE_REGIONS + j] = omen_key_slot(w->nearest[p].keys[j]);
    }
}

/* Region by region: its pivots are offered to the points that look into it. */
static void scan_regions(struct omen_step *step, struct omen_worker *w, uint32_t first,
                         const struct omen_region *tops)
{
    for (uint32_t r = 0; r < tops->count; r++) {
        const struct omen_region *region = omen_regions_region(tops, r);
        uint32_t begin = w->cell_begin[r];
        uint32_t end = w->cell_begin[r + 1];

        for (uint32_t from = 0; begin < end && from < region->count; from += OMEN_CELL_SCAN_MAX) {
            struct omen_members members;

            if (!gather_rows(step, w, region, from, r, &members)) continue;
            if (end - begin >= OMEN_PACK_POINTS_MIN) pack_rows(step, w, &members);
            for (uint32_t at = begin; at < end; at += OMEN_TILE_POINTS) {
                uint32_t tile = end - at < OMEN_TILE_POINTS ? end - at : OMEN_TILE_POINTS;
                struct omen_nearest *nearest[OMEN_TILE_POINTS];
                uint32_t points[OMEN_TILE_POINTS];

                for (uint32_t i = 0; i < tile; i++) {
                    points[i] = step->points[first + w->cell_points[at + i]];
                    nearest[i] = &w->nearest[w->cell_points[at + i]];
                }
                omen_near_members(step, w, &members, points, nearest, tile);
            }
        }
    }
}

/* A table's rows from `from` on, as many as a matrix takes; of region `r` those that are not stale.
 * False: none. */
static bool gather_rows(struct omen_step *step, struct omen_worker *w,
                        const struct omen_region *table, uint32_t from, uint32_t r,
                        struct omen_members *out)
{
    const omen_collection *c = step->collection;
    uint32_t left = table->count - from;
    uint32_t rows = left < OMEN_CELL_SCAN_MAX ? left : OMEN_CELL_SCAN_MAX;
    uint32_t n = 0;

    for (uint32_t i = from; i < from + rows; i++) {
        if (r != OMEN_CELL_NONE && c->regions.homes[table->pivots[i]] != r) continue;
        w->codes[n] = table->codes + i * c->graph.stride;
        w->scales[n] = table->scales[i];
        w->norms[n] = table->norms[i];
        w->members[n++] = r == OMEN_CELL_NONE ? i : table->pivots[i];
    }
    for (uint32_t i = n; i % OMEN_PACK_GROUP != 0; i++)
        w->scales[i] = w->norms[i] = 0.0f;
    *out = (struct omen_members){.slots = w->members,
                                 .count = n,
                                 .bias = w->bias,
                                 .scales = w->scales,
                                 .norms = w->norms,
                                 .codes = w->codes};
    return n > 0;
}

static void pack_rows(struct omen_step *step, struct omen_worker *w, struct omen_members *members)
{
    const omen_collection *c = step->collection;

    c->kernels.pack_i8(w->codes, members->count, c->graph.stride, w->packed, w->bias);
    members->packed = w->packed;
}

static void begin_nearest(const struct omen_step *step, struct omen_worker *w, uint32_t count,
                          uint32_t keep)
{
    for (uint32_t i = 0; i < count; i++)
        w->nearest[i] = (struct omen_nearest){.keys = w->keys + (size_t)i * step->key_buffer,
                                              .keep = keep,
                                              .capacity = step->key_buffer,
                                              .threshold = INFINITY};
}

/* Notes a point's cells, its home, and what distance its candidates have at most. A pivot stands
 * for OMEN_CELL_SLOTS points, so the OMEN_ROUTE_CUT nearest ones have several times as many as are
 * wanted within their distance: it spares the buffers most of what they would drop later. */
static void settle(struct omen_step *step, struct omen_nearest *nearest, uint32_t point)
{
    omen_collection *c = step->collection;
    uint32_t slot = step->points[point];
    uint32_t *route = step->routes + (size_t)point * step->probes;
    uint32_t cut = step->epoch->algorithm < 4 ? OMEN_ROUTE_CUT_3 : OMEN_ROUTE_CUT;
    omen_key home = OMEN_KEY_NONE;

    omen_nearest_cut(nearest);
    for (uint32_t j = 0; j < nearest->count; j++) {
        route[j] = omen_key_slot(nearest->keys[j]);
        if (nearest->keys[j] < home) home = nearest->keys[j];
    }
    step->route_counts[point] = nearest->count;
    *omen_graph_home(&c->graph, slot) = omen_key_slot(home);
    *omen_graph_home_distance(&c->graph, slot) = omen_key_distance(home);
    step->cuts[point] = INFINITY;
    if (step->epoch->algorithm < 3 || nearest->count <= cut) return;
    omen_keys_select(nearest->keys, nearest->count, cut);
    step->cuts[point] = omen_key_distance(nearest->keys[cut - 1]);
}
