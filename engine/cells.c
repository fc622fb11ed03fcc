/* cells.c - see cells.h. */
#include "engine/cells.h"

#include <string.h>

#include "engine/keys.h"
#include "engine/memory.h"

/* Address space only: pages are committed as pivots come. One slot in 64 is one; 32 is never hit.
 */
#define PIVOTS_MAX (OMEN_SLOTS_MAX / 32)

static omen_code grow(struct omen_cells *cells, size_t stride, omen_error *err);
static void free_cell(struct omen_cell *cell);
static void pack_group(struct omen_cells *cells, const struct omen_graph *graph,
                       const struct omen_kernels *kernels, uint32_t group);

omen_code omen_cells_init(struct omen_cells *cells, omen_error *err)
{
    memset(cells, 0, sizeof *cells);
    cells->pivots = omen_pages_map(PIVOTS_MAX * sizeof *cells->pivots);
    cells->cells = omen_pages_map(PIVOTS_MAX * sizeof *cells->cells);
    if (cells->pivots != NULL && cells->cells != NULL) return OMEN_OK;
    omen_cells_deinit(cells);
    return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "address space for the pivots");
}

void omen_cells_deinit(struct omen_cells *cells)
{
    for (uint32_t i = 0; i < cells->count; i++)
        free_cell(omen_cells_cell(cells, i));
    omen_cells_recycle(cells);
    omen_free(cells->packed);
    omen_free(cells->bias);
    omen_free(cells->scales);
    omen_free(cells->norms);
    omen_pages_unmap(cells->pivots, PIVOTS_MAX * sizeof *cells->pivots);
    omen_pages_unmap(cells->cells, PIVOTS_MAX * sizeof *cells->cells);
    memset(cells, 0, sizeof *cells);
}

static void free_cell(struct omen_cell *cell)
{
    struct omen_cell_block *block = atomic_load_explicit(&cell->first, memory_order_relaxed);

    while (block != NULL) {
        struct omen_cell_block *next = atomic_load_explicit(&block->next, memory_order_relaxed);

        omen_free(block);
        block = next;
    }
    omen_free(cell);
}

omen_code omen_cells_add_pivot(struct omen_cells *cells, const struct omen_graph *graph,
                               const struct omen_kernels *kernels, uint32_t slot, omen_error *err)
{
    uint32_t p = cells->count;
    struct omen_cell *cell = NULL;
    omen_code code = p == cells->capacity ? grow(cells, graph->stride, err) : OMEN_OK;

    if (code != OMEN_OK) return code;
    cell = omen_alloc_zeroed(sizeof *cell);
    if (cell == NULL) return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "the cell of pivot %u", p);
    atomic_store_explicit(&cells->cells[p], cell, memory_order_release);
    atomic_store_explicit(&cells->pivots[p], slot, memory_order_release);
    cells->scales[p] = omen_graph_meta(graph, slot)->scale;
    cells->norms[p] = omen_graph_meta(graph, slot)->norm;
    cells->count = p + 1;
    /* The whole group is packed again: a pivot is rare, and the kernel knows the layout. */
    pack_group(cells, graph, kernels, p / OMEN_PACK_GROUP);
    return OMEN_OK;
}

static void pack_group(struct omen_cells *cells, const struct omen_graph *graph,
                       const struct omen_kernels *kernels, uint32_t group)
{
    uint32_t first = group * OMEN_PACK_GROUP;
    uint32_t count = cells->count - first;
    const uint8_t *codes[OMEN_PACK_GROUP];

    if (count > OMEN_PACK_GROUP) count = OMEN_PACK_GROUP;
    for (uint32_t i = 0; i < count; i++)
        codes[i] = omen_graph_code(graph, omen_cells_pivot(cells, first + i));
    kernels->pack_i8(codes, count, graph->stride, cells->packed + first * graph->stride,
                     cells->bias + first);
}

void omen_cells_remove_pivot(struct omen_cells *cells, uint32_t i)
{
    uint32_t last = --cells->count;
    struct omen_cell *gone = omen_cells_cell(cells, i);

    gone->retired = cells->retired;
    cells->retired = gone;
    atomic_store_explicit(&cells->pivots[i], omen_cells_pivot(cells, last), memory_order_release);
    atomic_store_explicit(&cells->cells[i], omen_cells_cell(cells, last), memory_order_release);
    cells->scales[i] = cells->scales[last];
    cells->norms[i] = cells->norms[last];
    cells->scales[last] = cells->norms[last] = 0.0f;
}

void omen_cells_repack(struct omen_cells *cells, const struct omen_graph *graph,
                       const struct omen_kernels *kernels, uint32_t from)
{
    for (uint32_t group = from / OMEN_PACK_GROUP; group * OMEN_PACK_GROUP < cells->count; group++)
        pack_group(cells, graph, kernels, group);
}

void omen_cells_recycle(struct omen_cells *cells)
{
    while (cells->retired != NULL) {
        struct omen_cell *cell = cells->retired;

        cells->retired = cell->retired;
        free_cell(cell);
    }
}

omen_code omen_cell_add(struct omen_cell *cell, uint32_t slot, omen_error *err)
{
    uint32_t count = omen_cell_count(cell);
    uint32_t at = count % OMEN_CELL_BLOCK_MEMBERS;
    struct omen_cell_block *block = cell->last;

    if (at == 0) {
        struct omen_cell_block *_Atomic *link = block == NULL ? &cell->first : &block->next;

        block = atomic_load_explicit(link, memory_order_relaxed); /* left from before a shrink */
        if (block == NULL) {
            block = omen_alloc_zeroed(sizeof *block);
            if (block == NULL)
                return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a cell of %u members", count + 1);
            atomic_store_explicit(link, block, memory_order_release);
        }
        cell->last = block;
    }
    atomic_store_explicit(&block->members[at], slot, memory_order_release);
    atomic_store_explicit(&cell->count, count + 1, memory_order_release);
    return OMEN_OK;
}

uint32_t omen_cell_read(const struct omen_cell *cell, uint32_t *out, uint32_t room)
{
#ifdef __SANITIZE_THREAD__
    const memory_order order = memory_order_acquire;
#else
    const memory_order order = memory_order_relaxed;
#endif
    uint32_t count = atomic_load_explicit(&cell->count, memory_order_acquire);
    const struct omen_cell_block *block = atomic_load_explicit(&cell->first, memory_order_acquire);
    uint32_t n = 0;

    if (count > room) count = room;
    while (n < count) {
        uint32_t left = count - n;
        uint32_t here = left < OMEN_CELL_BLOCK_MEMBERS ? left : OMEN_CELL_BLOCK_MEMBERS;

        for (uint32_t i = 0; i < here; i++)
            out[n++] = atomic_load_explicit(&block->members[i], order);
        block = atomic_load_explicit(&block->next, memory_order_acquire);
    }
#ifndef __SANITIZE_THREAD__
    atomic_thread_fence(memory_order_acquire);
#endif
    return count;
}

void omen_cell_shrink(struct omen_cell *cell, const uint32_t *members, uint32_t count)
{
    struct omen_cell_block *block = atomic_load_explicit(&cell->first, memory_order_relaxed);

    cell->last = NULL;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = i % OMEN_CELL_BLOCK_MEMBERS;

        if (at == 0) {
            if (i > 0) block = atomic_load_explicit(&block->next, memory_order_relaxed);
            cell->last = block;
        }
        atomic_store_explicit(&block->members[at], members[i], memory_order_release);
    }
    atomic_store_explicit(&cell->count, count, memory_order_release);
}

uint32_t omen_cell_scan_list(const struct omen_cell *cell, uint32_t epoch, omen_key *scratch,
                             uint32_t *out)
{
    uint32_t count = omen_cell_read(cell, out, UINT32_MAX);

    if (count <= OMEN_CELL_SCAN_MAX) return count;
    for (uint32_t i = 0; i < count; i++)
        scratch[i] = (omen_key)omen_slot_hash(out[i], epoch) << 32 | out[i];
    omen_keys_select(scratch, count, OMEN_CELL_SCAN_MAX);
    for (uint32_t i = 0; i < OMEN_CELL_SCAN_MAX; i++)
        out[i] = omen_key_slot(scratch[i]);
    return OMEN_CELL_SCAN_MAX;
}

uint64_t omen_cells_bytes(const struct omen_cells *cells, size_t stride)
{
    uint64_t bytes = cells->capacity *
                     (stride + sizeof *cells->bias + sizeof *cells->scales + sizeof *cells->norms);

    for (uint32_t i = 0; i < cells->count; i++) {
        uint32_t members = omen_cell_count(omen_cells_cell(cells, i));

        bytes += sizeof(struct omen_cell) + sizeof *cells->cells + sizeof *cells->pivots +
                 (members / OMEN_CELL_BLOCK_MEMBERS + 1) * sizeof(struct omen_cell_block);
    }
    return bytes;
}

/* Doubles every array; what cannot be had leaves all of them as they were. */
static omen_code grow(struct omen_cells *cells, size_t stride, omen_error *err)
{
    uint32_t capacity = cells->capacity == 0 ? 64 : cells->capacity * 2;
    struct omen_cells bigger = *cells;

    bigger.capacity = capacity;
    bigger.packed = omen_alloc_aligned(capacity * stride);
    bigger.bias = omen_alloc_aligned(capacity * sizeof *bigger.bias);
    bigger.scales = omen_alloc_aligned(capacity * sizeof *bigger.scales);
    bigger.norms = omen_alloc_aligned(capacity * sizeof *bigger.norms);
    if (bigger.packed == NULL || bigger.bias == NULL || bigger.scales == NULL ||
        bigger.norms == NULL) {
        omen_free(bigger.packed);
        omen_free(bigger.bias);
        omen_free(bigger.scales);
        omen_free(bigger.norms);
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "tables for %u pivots", capacity);
    }
    memset(bigger.scales, 0, capacity * sizeof *bigger.scales);
    memset(bigger.norms, 0, capacity * sizeof *bigger.norms);
    if (cells->count > 0) {
        memcpy(bigger.packed, cells->packed, cells->count * stride);
        memcpy(bigger.bias, cells->bias, cells->count * sizeof *bigger.bias);
        memcpy(bigger.scales, cells->scales, cells->count * sizeof *bigger.scales);
        memcpy(bigger.norms, cells->norms, cells->count * sizeof *bigger.norms);
    }
    omen_free(cells->packed);
    omen_free(cells->bias);
    omen_free(cells->scales);
    omen_free(cells->norms);
    cells->capacity = capacity;
    cells->packed = bigger.packed;
    cells->bias = bigger.bias;
    cells->scales = bigger.scales;
    cells->norms = bigger.norms;
    return OMEN_OK;
}
