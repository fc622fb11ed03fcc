/* cells.h - level 1 of the hierarchy: pivots, and the cells of slots around them.
 *
 * The departure from the HNSW paper (Malkov & Yashunin, 2016): upper layers are small and dense, so
 * they are searched by one distance matrix (points x pivots) instead of being walked by links.
 * There is no entry point and no upper link list. A slot is a pivot by its hash
 * (omen_slot_is_pivot); every linked slot is a member of the cell of its nearest pivot.
 *
 * A search starts from the members of the nearest cells, not from the pivots alone. That makes
 * entry independent of links: a group of points with no pivot of its own, which diversity selection
 * leaves without a link from outside, is in the cell of the pivot nearest to it, and a query near
 * the group looks there.
 *
 * Readers take no lock. A cell is a list of blocks that are never moved; members and counts are
 * atomic. A member is stored with release after its slot's data was written (ADMIT); the reader
 * loads relaxed and issues one acquire fence, as for rows (graph.h). A reader beside a take-over
 * may see a member twice or miss one: it costs an entry point, never safety.
 *
 * When a pivot is swept, the last pivot and its cell take its number, so that the numbers stay
 * dense (sweep.c). A reader with the old numbers reads another cell, or one beyond the new count,
 * and both are there: a cell that has gone is freed at the next boundary, when its readers have
 * left (grace.h).
 *
 * The order of a cell's members means nothing to the build: whatever is chosen from them is chosen
 * by (distance, slot) or (hash, slot).
 */
#ifndef OMEN_CELLS_H
#define OMEN_CELLS_H

#include <stdint.h>

#include "engine/codes.h"
#include "engine/graph.h"

#define OMEN_CELL_BLOCK_MEMBERS 62u /* and a pointer: 256 bytes */

struct omen_cell_block {
    struct omen_cell_block *_Atomic next;
    _Atomic uint32_t members[OMEN_CELL_BLOCK_MEMBERS];
};

struct omen_cell {
    struct omen_cell *retired; /* the applier's list of cells that have gone */
    /* Written by the ingest thread that has the cell in this step (release), read by searches. */
    _Atomic uint32_t count;
    struct omen_cell_block *_Atomic first;
    /* That thread only. */
    struct omen_cell_block *last; /* the block that member `count` goes to, or the one before it */
};

struct omen_cells {
    /* Ingest threads only: one between two steps, all of them reading within a step. */
    uint32_t count;    /* pivots, those of the epoch in work included */
    uint32_t capacity; /* of the arrays below, a multiple of 16 */
    int8_t *packed;    /* the pivots' codes, as the block kernel wants them */
    int32_t *bias;
    float *scales;
    float *norms;

    struct omen_cell *retired; /* since the last boundary */

    /* Written by the applier (release) before `published` covers them, and when a pivot is swept;
     * read by searches (acquire). */
    _Atomic uint32_t *pivots; /* slots */
    struct omen_cell *_Atomic *cells;
    /* Written by the applier (release), read by searches (acquire). */
    _Atomic uint32_t published;
};

OMEN_CHECKED omen_code omen_cells_init(struct omen_cells *cells, omen_error *err);
void omen_cells_deinit(struct omen_cells *cells);

/* Adds a pivot with an empty cell. Applier, between steps. Fails: OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_cells_add_pivot(struct omen_cells *cells,
                                            const struct omen_graph *graph,
                                            const struct omen_kernels *kernels, uint32_t slot,
                                            omen_error *err);

static inline uint32_t omen_cells_pivot(const struct omen_cells *cells, uint32_t i)
{
    return atomic_load_explicit(&cells->pivots[i], memory_order_acquire);
}
static inline struct omen_cell *omen_cells_cell(const struct omen_cells *cells, uint32_t i)
{
    return atomic_load_explicit(&cells->cells[i], memory_order_acquire);
}

/* Removes pivot i: the last one gets its number. The cell waits for the next boundary. The packed
 * codes are right again after omen_cells_repack(). Applier, between steps. */
void omen_cells_remove_pivot(struct omen_cells *cells, uint32_t i);
/* Packs the codes of all pivots from number `from` on. */
void omen_cells_repack(struct omen_cells *cells, const struct omen_graph *graph,
                       const struct omen_kernels *kernels, uint32_t from);
/* A boundary: frees the cells that have gone by the last one. Applier. */
void omen_cells_recycle(struct omen_cells *cells);

/* Adds a member. The cell's one writer of the step. Fails: OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_cell_add(struct omen_cell *cell, uint32_t slot, omen_error *err);

/* Copies up to `room` members; returns how many. Any thread. */
uint32_t omen_cell_read(const struct omen_cell *cell, uint32_t *out, uint32_t room);

/* Makes `members` the cell's members; they are no more than there were. The cell's one writer. */
void omen_cell_shrink(struct omen_cell *cell, const uint32_t *members, uint32_t count);

static inline uint32_t omen_cell_count(const struct omen_cell *cell)
{
    return atomic_load_explicit(&cell->count, memory_order_relaxed);
}

/* The members to scan: all, or of a large cell the OMEN_CELL_SCAN_MAX with the smallest
 * hash(slot, epoch). `out` and `scratch` have room for all of the cell's members; returns how many.
 * Ingest threads. */
uint32_t omen_cell_scan_list(const struct omen_cell *cell, uint32_t epoch, omen_key *scratch,
                             uint32_t *out);

uint64_t omen_cells_bytes(const struct omen_cells *cells, size_t stride);

#endif
