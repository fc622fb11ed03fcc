/* cells.c - see cells.h. */
#include "engine/cells.h"

#include <string.h>

#include "engine/keys.h"
#include "engine/memory.h"

/* Address space only: pages are committed as pivots come. One slot in 128 is one; 64 is never hit. */
#define PIVOTS_MAX (OMEN_SLOTS_MAX / 64)
#define CELL_CAPACITY_MIN 32u

static omen_code grow(struct omen_cells *cells, size_t stride, omen_error *err);

omen_code omen_cells_init(struct omen_cells *cells, omen_error *err)
{
    memset(cells, 0, sizeof *cells);
    cells->pivots = omen_pages_map(PIVOTS_MAX * sizeof *cells->pivots);
    if (cells->pivots == NULL)
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "address space for the pivots");
    return OMEN_OK;
}

void omen_cells_deinit(struct omen_cells *cells)
{
    for (uint32_t i = 0; i < cells->count; i++)
        omen_free(cells->cells[i].members);
    omen_free(cells->cells);
    omen_free(cells->packed);
    omen_free(cells->bias);
    omen_free(cells->scales);
    omen_free(cells->norms);
    omen_pages_unmap(cells->pivots, PIVOTS_MAX * sizeof *cells->pivots);
    memset(cells, 0, sizeof *cells);
}

omen_code omen_cells_add_pivot(struct omen_cells *cells, const struct omen_graph *graph,
                               const struct omen_kernels *kernels, uint32_t slot, omen_error *err)
{
    size_t stride = graph->stride;
    uint32_t p = cells->count;
    uint32_t group = p / OMEN_PACK_GROUP * OMEN_PACK_GROUP;
    const uint8_t *codes[OMEN_PACK_GROUP];
    omen_code code = p == cells->capacity ? grow(cells, stride, err) : OMEN_OK;

    if (code != OMEN_OK) return code;
    cells->pivots[p] = slot;
    cells->cells[p] = (struct omen_cell){NULL, 0, 0};
    cells->scales[p] = omen_graph_meta(graph, slot)->scale;
    cells->norms[p] = omen_graph_meta(graph, slot)->norm;
    /* The whole group is packed again: a pivot is rare, and the kernel knows the layout. */
    for (uint32_t i = group; i <= p; i++)
        codes[i - group] = omen_graph_code(graph, cells->pivots[i]);
    kernels->pack_i8(codes, p - group + 1, stride, cells->packed + group * stride,
                     cells->bias + group);
    cells->count = p + 1;
    return OMEN_OK;
}

omen_code omen_cell_add(struct omen_cell *cell, uint32_t slot, omen_error *err)
{
    if (cell->count == cell->capacity) {
        uint32_t capacity = cell->capacity == 0 ? CELL_CAPACITY_MIN : cell->capacity * 2;
        uint32_t *members = omen_realloc(cell->members, capacity * sizeof *members);

        if (members == NULL)
            return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a cell of %u members", capacity);
        cell->members = members;
        cell->capacity = capacity;
    }
    cell->members[cell->count++] = slot;
    return OMEN_OK;
}

uint32_t omen_cell_scan_list(const struct omen_cell *cell, uint32_t epoch, omen_key *scratch,
                             uint32_t *out)
{
    if (cell->count <= OMEN_CELL_SCAN_MAX) {
        memcpy(out, cell->members, cell->count * sizeof *out);
        return cell->count;
    }
    for (uint32_t i = 0; i < cell->count; i++)
        scratch[i] = (omen_key)omen_slot_hash(cell->members[i], epoch) << 32 | cell->members[i];
    omen_keys_select(scratch, cell->count, OMEN_CELL_SCAN_MAX);
    for (uint32_t i = 0; i < OMEN_CELL_SCAN_MAX; i++)
        out[i] = omen_key_slot(scratch[i]);
    return OMEN_CELL_SCAN_MAX;
}

uint64_t omen_cells_bytes(const struct omen_cells *cells, size_t stride)
{
    uint64_t bytes = cells->capacity * (stride + sizeof *cells->bias + sizeof *cells->scales +
                                        sizeof *cells->norms + sizeof *cells->cells);

    for (uint32_t i = 0; i < cells->count; i++)
        bytes += cells->cells[i].capacity * sizeof(uint32_t);
    return bytes;
}

/* Doubles every array; what cannot be had leaves all of them as they were. */
static omen_code grow(struct omen_cells *cells, size_t stride, omen_error *err)
{
    uint32_t capacity = cells->capacity == 0 ? 64 : cells->capacity * 2;
    struct omen_cells bigger = *cells;

    bigger.capacity = capacity;
    bigger.cells = omen_alloc(capacity * sizeof *bigger.cells);
    bigger.packed = omen_alloc_aligned(capacity * stride);
    bigger.bias = omen_alloc_aligned(capacity * sizeof *bigger.bias);
    bigger.scales = omen_alloc_aligned(capacity * sizeof *bigger.scales);
    bigger.norms = omen_alloc_aligned(capacity * sizeof *bigger.norms);
    if (bigger.cells == NULL || bigger.packed == NULL || bigger.bias == NULL ||
        bigger.scales == NULL || bigger.norms == NULL) {
        omen_free(bigger.cells);
        omen_free(bigger.packed);
        omen_free(bigger.bias);
        omen_free(bigger.scales);
        omen_free(bigger.norms);
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "tables for %u pivots", capacity);
    }
    memset(bigger.scales, 0, capacity * sizeof *bigger.scales);
    memset(bigger.norms, 0, capacity * sizeof *bigger.norms);
    if (cells->count > 0) {
        memcpy(bigger.cells, cells->cells, cells->count * sizeof *bigger.cells);
        memcpy(bigger.packed, cells->packed, cells->count * stride);
        memcpy(bigger.bias, cells->bias, cells->count * sizeof *bigger.bias);
        memcpy(bigger.scales, cells->scales, cells->count * sizeof *bigger.scales);
        memcpy(bigger.norms, cells->norms, cells->count * sizeof *bigger.norms);
    }
    omen_free(cells->cells);
    omen_free(cells->packed);
    omen_free(cells->bias);
    omen_free(cells->scales);
    omen_free(cells->norms);
    cells->capacity = capacity;
    cells->cells = bigger.cells;
    cells->packed = bigger.packed;
    cells->bias = bigger.bias;
    cells->scales = bigger.scales;
    cells->norms = bigger.norms;
    return OMEN_OK;
}
