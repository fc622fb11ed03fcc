/* order.c - the order in which PROPOSE takes the points of a round: those that are near each other
 * one after the other, by the region of their home cell, then by the cell; and the cells likewise.
 *
 * It decides what is in the cache, never what is chosen: a block of such points looks into few
 * cells, and has most of its candidates in common; the points that look into one cell look into the
 * next one, too.
 */
#include <string.h>

#include "engine/epoch.h"
#include "engine/memory.h"

/* Fewer are not worth a pass over all cells. */
#define ORDER_POINTS_MIN 64u

static omen_code fit_ranks(struct omen_step *step, omen_error *err);
static void rank_cells(struct omen_step *step);

omen_code omen_step_order(struct omen_step *step, omen_error *err)
{
    const omen_collection *c = step->collection;
    uint32_t cells = c->cells.count;
    uint32_t *begin;
    omen_code code = OMEN_OK;

    step->cell_order = NULL;
    if (!OMEN_TRICK_HOME_ORDER || step->point_count < ORDER_POINTS_MIN) {
        for (uint32_t i = 0; i < step->point_count; i++)
            step->order[i] = i;
        return OMEN_OK;
    }
    code = fit_ranks(step, err);
    if (code != OMEN_OK) return code;
    rank_cells(step);
    begin = step->ranks + 2 * (size_t)cells;
    memset(begin, 0, (cells + 1) * sizeof *begin);
    for (uint32_t i = 0; i < step->point_count; i++)
        begin[step->ranks[*omen_graph_home(&c->graph, step->points[i])] + 1]++;
    for (uint32_t i = 1; i <= cells; i++)
        begin[i] += begin[i - 1];
    for (uint32_t i = 0; i < step->point_count; i++)
        step->order[begin[step->ranks[*omen_graph_home(&c->graph, step->points[i])]]++] = i;
    return OMEN_OK;
}

static omen_code fit_ranks(struct omen_step *step, omen_error *err)
{
    uint32_t cells = step->collection->cells.count;

    if (step->rank_capacity >= 3 * cells + 1) return OMEN_OK;
    omen_free(step->ranks);
    step->rank_capacity = 0;
    step->ranks = omen_alloc((4 * (size_t)cells + 64) * sizeof *step->ranks);
    if (step->ranks == NULL)
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "the order of %u cells", cells);
    step->rank_capacity = 4 * cells + 64;
    return OMEN_OK;
}

/* Without regions, and of a cell that is in none, the number decides. */
static void rank_cells(struct omen_step *step)
{
    const omen_collection *c = step->collection;
    const struct omen_region *tops = omen_regions_tops(&c->regions);
    uint32_t count = omen_region_count(tops);
    uint32_t *by_rank = step->ranks + c->cells.count;
    uint32_t rank = 0;

    for (uint32_t i = 0; i < c->cells.count; i++)
        step->ranks[i] = OMEN_CELL_NONE;
    for (uint32_t r = 0; r < count; r++) {
        const struct omen_region *region = omen_regions_region(tops, r);

        for (uint32_t i = 0; i < region->count; i++) {
            uint32_t cell = region->pivots[i];

            if (c->regions.homes[cell] == r && step->ranks[cell] == OMEN_CELL_NONE)
                step->ranks[cell] = rank++;
        }
    }
    for (uint32_t i = 0; i < c->cells.count; i++) {
        if (step->ranks[i] == OMEN_CELL_NONE) step->ranks[i] = rank++;
        by_rank[step->ranks[i]] = i;
    }
    step->cell_order = by_rank;
}
