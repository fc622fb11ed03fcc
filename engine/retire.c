/* retire.c - the first step of an epoch: what died in it leaves cells and chains.
 *
 * A dead node stays in the graph as a tombstone: walks still pass through it, and its row says
 * where to (until the sweep). But it is no candidate any more, for new points nor for repairs, so
 * it leaves its cell. A dead pivot goes on routing. A duplicate whose node lives on leaves the
 * node's chain.
 *
 * A search that pinned an earlier epoch may miss a point here that it should still see: it costs
 * recall in the moment of an epoch's change, and only of points that are just being deleted.
 */
#include <stdlib.h>

#include "engine/epoch.h"

static omen_code leave_cells(struct omen_step *step, omen_error *err);
static void leave_cell(struct omen_step *step, uint32_t cell_index);
static omen_code leave_chains(struct omen_step *step, omen_error *err);
static void clean_chain(struct omen_step *step, uint32_t head);

omen_code omen_step_retire(struct omen_step *step, omen_error *err)
{
    omen_code code = leave_cells(step, err);

    return code == OMEN_OK ? leave_chains(step, err) : code;
}

/* Fills step->moves with (home, slot), sorted. */
static omen_code sort_by_home(struct omen_step *step, const struct omen_slots *slots,
                              omen_error *err)
{
    omen_code code = omen_step_fit_moves(step, slots->count, err);

    if (code != OMEN_OK) return code;
    for (uint32_t i = 0; i < slots->count; i++)
        step->moves[i] = (struct omen_move){
            *omen_graph_home(&step->collection->graph, slots->slots[i]), slots->slots[i]};
    step->move_count = slots->count;
    if (slots->count > 1)
        qsort(step->moves, step->move_count, sizeof *step->moves, omen_move_compare);
    return OMEN_OK;
}

static omen_code leave_cells(struct omen_step *step, omen_error *err)
{
    const struct omen_slots *retired = &step->epoch->retired;
    omen_code code = sort_by_home(step, retired, err);

    if (code != OMEN_OK || retired->count == 0) return code;
    if (!omen_worker_fit_cells(step, &step->workers[0])) {
        if (err != NULL) *err = step->workers[0].error;
        return step->workers[0].code;
    }
    for (uint32_t i = 0; i < retired->count; i++)
        *omen_graph_state(&step->collection->graph, retired->slots[i]) = OMEN_NODE_DEAD;
    for (uint32_t i = 0; i < step->move_count; i++) {
        if (i == 0 || step->moves[i].cell != step->moves[i - 1].cell)
            leave_cell(step, step->moves[i].cell);
    }
    return OMEN_OK;
}

static void leave_cell(struct omen_step *step, uint32_t cell_index)
{
    const omen_collection *c = step->collection;
    struct omen_worker *w = &step->workers[0];
    struct omen_cell *cell = omen_cells_cell(&c->cells, cell_index);
    uint32_t count = omen_cell_read(cell, w->cell_list, w->cell_list_capacity);
    uint32_t stay = 0;

    for (uint32_t i = 0; i < count; i++) {
        if (*omen_graph_state(&c->graph, w->cell_list[i]) == OMEN_NODE_LINKED)
            w->cell_list[stay++] = w->cell_list[i];
    }
    omen_cell_shrink(cell, w->cell_list, stay);
}

static omen_code leave_chains(struct omen_step *step, omen_error *err)
{
    omen_code code = sort_by_home(step, &step->epoch->leavers, err);

    for (uint32_t i = 0; i < step->move_count && code == OMEN_OK; i++) {
        if (i == 0 || step->moves[i].cell != step->moves[i - 1].cell)
            clean_chain(step, step->moves[i].cell);
    }
    return code;
}

/* A reader that stands on one that leaves goes on by its link: the slot is not used again before
 * the reader has gone. */
static void clean_chain(struct omen_step *step, uint32_t head)
{
    const struct omen_graph *graph = &step->collection->graph;
    _Atomic uint32_t *link = omen_graph_chain(graph, head);
    uint32_t slot = atomic_load_explicit(link, memory_order_relaxed);

    while (slot != OMEN_SLOT_NONE) {
        _Atomic uint32_t *next = omen_graph_chain(graph, slot);
        uint32_t after = atomic_load_explicit(next, memory_order_relaxed);

        /* ADMIT may be ahead: who dies in a later epoch stays for now. */
        if (omen_graph_died(graph, slot) <= step->epoch->number)
            atomic_store_explicit(link, after, memory_order_release);
        else
            link = next;
        slot = after;
    }
}
