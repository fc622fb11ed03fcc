/* repair.c - local repair, in the epoch of a death: the neighbours of the dead nodes are mended
 * (mend.c), each once. What else links to a dead node without being its neighbour is found by the
 * sweep.
 */
#include <stdlib.h>

#include "engine/epoch.h"

static omen_code collect_targets(struct omen_step *step, omen_error *err);
static void mend_targets(void *context, uint32_t worker);

omen_code omen_step_repair(struct omen_step *step, omen_error *err)
{
    omen_code code = OMEN_OK;

    if (step->epoch->retired.count == 0) return OMEN_OK;
    code = collect_targets(step, err);
    step->point_count = step->move_count; /* how much work there is */
    return code == OMEN_OK ? omen_step_run(step, mend_targets, err) : code;
}

/* Fills step->moves with (shard, slot) of the living neighbours, sorted; some stand there twice. */
static omen_code collect_targets(struct omen_step *step, omen_error *err)
{
    const struct omen_graph *graph = &step->collection->graph;
    const struct omen_slots *retired = &step->epoch->retired;
    omen_code code = omen_step_fit_moves(step, retired->count * OMEN_ROW_LINKS, err);

    if (code != OMEN_OK) return code;
    step->move_count = 0;
    for (uint32_t i = 0; i < retired->count; i++) {
        const struct omen_row *row = omen_graph_row(graph, retired->slots[i]);
        uint32_t count = omen_row_count(row);

        for (uint32_t j = 0; j < count; j++) {
            uint32_t slot = omen_row_link(row, j);

            if (*omen_graph_state(graph, slot) == OMEN_NODE_LINKED)
                step->moves[step->move_count++] =
                    (struct omen_move){omen_slot_shard(slot, step->shards), slot};
        }
    }
    if (step->move_count > 1)
        qsort(step->moves, step->move_count, sizeof *step->moves, omen_move_compare);
    return OMEN_OK;
}

/* Work number i is the i-th shard. */
static void mend_targets(void *context, uint32_t worker)
{
    struct omen_step *step = context;

    for (uint32_t shard = omen_step_next(step); shard < step->shards;
         shard = omen_step_next(step)) {
        uint32_t low = 0;
        uint32_t high = step->move_count;

        while (low < high) {
            uint32_t middle = low + (high - low) / 2;

            if (step->moves[middle].cell < shard)
                low = middle + 1;
            else
                high = middle;
        }
        for (; low < step->move_count && step->moves[low].cell == shard; low++)
            omen_mend_row(step, &step->workers[worker], step->moves[low].slot);
    }
}
