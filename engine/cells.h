/* cells.h - level 1 of the hierarchy: pivots, and the cells of slots around them.
 *
 * The departure from the HNSW paper (Malkov & Yashunin, 2016): upper layers are small and dense, so
 * they are searched by one distance matrix (points x pivots) instead of being walked by links. There
 * is no entry point and no upper link list. A slot is a pivot by its hash (omen_slot_is_pivot); every
 * linked slot is a member of the cell of its nearest pivot.
 *
 * The order of a cell's members means nothing: whatever is chosen from them is chosen by (distance,
 * slot) or (hash, slot).
 */
#ifndef OMEN_CELLS_H
#define OMEN_CELLS_H

#include <stdint.h>

#include "engine/codes.h"
#include "engine/graph.h"

struct omen_cell {
    uint32_t *members;
    uint32_t count;
    uint32_t capacity;
};

struct omen_cells {
    /* Ingest threads only: one between two steps, all of them reading within a step. */
    uint32_t count;           /* pivots, those of the epoch in work included */
    uint32_t capacity;        /* of the arrays below, a multiple of 16 */
    struct omen_cell *cells;
    int8_t *packed;           /* the pivots' codes, as the block kernel wants them */
    int32_t *bias;
    float *scales;
    float *norms;

    /* Written by the applier before `published` covers them, then fixed; read by searches. */
    uint32_t *pivots; /* slots */
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

/* Adds a member. The cell's one writer of the step. Fails: OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_cell_add(struct omen_cell *cell, uint32_t slot, omen_error *err);

/* The members to scan: all, or of a large cell the OMEN_CELL_SCAN_MAX with the smallest
 * hash(slot, epoch). `out` has room for OMEN_CELL_SCAN_MAX; returns how many. `scratch` has room
 * for `cell->count` keys. */
uint32_t omen_cell_scan_list(const struct omen_cell *cell, uint32_t epoch, omen_key *scratch,
                             uint32_t *out);

uint64_t omen_cells_bytes(const struct omen_cells *cells, size_t stride);

#endif
