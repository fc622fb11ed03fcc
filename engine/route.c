/* route.c - the second and third step of PROPOSE: which cells a point looks into, and which it
 * joins.
 *
 * Routing is one matrix, points x pivots. The nearest pivot's cell becomes the point's home; the P
 * nearest are scanned for candidates. Cells are then extended in slot order.
 */
#include "engine/epoch.h"
#include "engine/memory.h"

static void route_tiles(void *context, uint32_t worker);
static void route_tile(struct omen_step *step, struct omen_worker *w, uint32_t first,
                       uint32_t count);

omen_code omen_step_route(struct omen_step *step, omen_error *err)
{
    omen_collection *c = step->collection;
    omen_code code = omen_step_run(step, route_tiles, err);

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

    for (uint32_t i = 0; i < count; i++) {
        w->nearest[i] = (struct omen_nearest){.keys = w->keys + (size_t)i * step->key_buffer,
                                              .keep = step->probes,
                                              .capacity = step->key_buffer,
                                              .threshold = INFINITY};
        nearest[i] = &w->nearest[i];
    }
    omen_route_points(step, w, step->points + first, nearest, count, c->cells.count);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t slot = step->points[first + i];
        uint32_t *route = step->routes + (size_t)(first + i) * step->probes;
        omen_key home = OMEN_KEY_NONE;

        omen_nearest_cut(nearest[i]);
        for (uint32_t j = 0; j < nearest[i]->count; j++) {
            route[j] = omen_key_slot(nearest[i]->keys[j]);
            if (nearest[i]->keys[j] < home) home = nearest[i]->keys[j];
        }
        step->route_counts[first + i] = nearest[i]->count;
        *omen_graph_home(&c->graph, slot) = omen_key_slot(home);
        *omen_graph_home_distance(&c->graph, slot) = omen_key_distance(home);
    }
}
