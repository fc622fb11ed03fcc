/* graph.h - the graph's memory: slots, rows, and how readers copy a row without a lock.
 *
 * Slots are dense numbers. Their data lies as a structure of arrays in segments of 16,384 slots
 * that never move: a fixed directory of pointers, so that a reader needs no lock to find a slot. A
 * shard owns stripes of 256 slots; in an epoch's LINK step exactly one thread writes a shard's
 * rows.
 *
 * Publication of links. A row is a count and up to 47 links, all atomic. The writer stores each
 * link with release, then the count with release. The reader loads count and links relaxed and then
 * issues one acquire fence, before it touches anything that a link names.
 *   - Order: a slot's code, meta, id, visibility and own row are written (ADMIT, PROPOSE) before
 *     any link to it is stored (LINK, behind a barrier). So whoever reads a link, and then fences,
 *     reads initialised data behind it.
 *   - The fence alone suffices: release store -> relaxed load of that very value -> acquire fence
 *     is a synchronises-with edge (C17 7.17.4). An acquire on the count alone would not do: a link
 *     under an old count may be newer than that count.
 *   - A row that is pruned while it is copied gives a mix of old and new links. All of them name
 *     valid slots. The cost is the recall of one hop.
 *   - ThreadSanitizer does not model fences: under it, links are loaded with acquire instead.
 */
#ifndef OMEN_GRAPH_H
#define OMEN_GRAPH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/ablation.h"
#include "engine/codes.h"
#include "engine/engine.h"
#include "engine/id.h"

#define OMEN_SLOT_NONE     UINT32_MAX
#define OMEN_CELL_NONE     UINT32_MAX
#define OMEN_EPOCH_NEVER   UINT32_MAX
#define OMEN_SEGMENT_SLOTS 16384u
#define OMEN_STRIPE_SLOTS  256u

struct omen_row {
    _Atomic uint32_t count;
    _Atomic uint32_t links[OMEN_ROW_LINKS];
} __attribute__((aligned(64)));

/* What a slot is, as ADMIT decides (flags), and what the graph knows of it (states). */
#define OMEN_SLOT_LINKED    1u /* carries a node: what stands for all points of one code */
#define OMEN_SLOT_DUPLICATE 2u /* stands in the chain of its home, which is a slot then */
#define OMEN_SLOT_KEYED     4u /* its id is a key (id.h) */
#define OMEN_SLOT_PIVOT     8u
#define OMEN_SLOT_IN_GRAPH  16u /* was handed to the applier to be linked */
#define OMEN_SLOT_NAMELESS  32u /* dead, and from a checkpoint, which leaves out its id */

enum omen_node_state {
    OMEN_NODE_NONE, /* not in the graph */
    OMEN_NODE_LINKED,
    OMEN_NODE_DEAD /* all its points are gone: walked through, never proposed, until the sweep */
};

/* Distances of a row's links from the row's slot, in the same order; padded to the row's size. */
struct omen_row_distances {
    float of[OMEN_ROW_LINKS + 1];
};

/* One segment's arrays; each indexed by slot % OMEN_SEGMENT_SLOTS. The pointers are plain, and need
 * be no more: ADMIT writes them once, before it hands out any slot of the segment, so whoever came
 * to the slot's number by an acquire (a link, a chain, a cell, the published count) sees them. */
struct omen_segment {
    /* Written by ADMIT before the slot can be reached, then fixed. */
    uint8_t *codes; /* stride bytes each */
    struct omen_code_meta *metas;
    uint64_t *ids;             /* a number or a key's address (id.h) */
    float *inverse_lengths;    /* cosine: 1 / |x|; else 1 */
    uint64_t *original_hashes; /* of the bytes of dim floats, as they came */
    uint8_t *flags;            /* OMEN_SLOT_... */

    /* Written by ADMIT, read by anyone. */
    _Atomic uint64_t *visibility; /* born << 32 | died */
    _Atomic uint32_t *expires;    /* Unix seconds; 0: never */
    /* ADMIT only: of a head, the living points of its node. */
    uint32_t *copies;
    /* Written by ADMIT for a new slot, then by the applier (release), read by searches (acquire):
     * the duplicates of a head. */
    _Atomic uint32_t *chain;

    /* Own row: PROPOSE. Others: LINK, by the shard's thread alone. Read by searches. */
    struct omen_row *rows;
    struct omen_row_distances *distances; /* read and written by the row's writer only */

    /* Of a node its cell, ingest threads only. Of a duplicate its head, written by ADMIT. */
    uint32_t *homes;
    float *home_distances;
    uint8_t *states; /* enum omen_node_state; the applier writes between two phases */

    /* ADMIT only. */
    void *pages; /* all of the above */
    bool huge;
};

/* Who writes an array and when, and so how a checkpoint comes by it (capture.h). */
enum omen_array_writer {
    OMEN_ARRAY_FIXED, /* ADMIT, before the slot can be reached; fixed until it is used again */
    OMEN_ARRAY_ADMIT, /* ADMIT, at any time */
    OMEN_ARRAY_GRAPH  /* the applier and its crew, once ADMIT has placed the slot */
};

/* One of a segment's arrays. */
struct omen_array {
    const char *name;
    uint32_t number; /* in checkpoints, for ever: the number of one that is no more stays unused */
    enum omen_array_writer writer;
    size_t slot_bytes;
    size_t pointer_at; /* in struct omen_segment */
};
#define OMEN_ARRAYS_MAX 32u

struct omen_graph {
    size_t stride;
    size_t segment_bytes;
    uint32_t segment_count;         /* ADMIT only */
    struct omen_segment *directory; /* OMEN_SLOTS_MAX / OMEN_SEGMENT_SLOTS, mapped lazily */
};

OMEN_CHECKED omen_code omen_graph_init(struct omen_graph *graph, uint32_t dim, omen_error *err);
void omen_graph_deinit(struct omen_graph *graph);

/* Makes sure that slots below `end` have memory. ADMIT's thread. Fails: OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_graph_reserve(struct omen_graph *graph, uint32_t end, omen_error *err);

/* Describes all arrays; returns how many there are. */
uint32_t omen_graph_arrays(const struct omen_graph *graph, struct omen_array out[OMEN_ARRAYS_MAX]);

/* Bytes of memory that `slots` slots take. */
uint64_t omen_graph_bytes(const struct omen_graph *graph, uint32_t slots);

static inline const struct omen_segment *omen_graph_segment(const struct omen_graph *graph,
                                                            uint32_t slot)
{
    return &graph->directory[slot / OMEN_SEGMENT_SLOTS];
}
static inline uint32_t omen_graph_offset(uint32_t slot)
{
    return slot % OMEN_SEGMENT_SLOTS;
}
static inline void *omen_segment_array(const struct omen_segment *segment,
                                       const struct omen_array *array)
{
    void *at;

    __builtin_memcpy(&at, (const char *)segment + array->pointer_at, sizeof at);
    return at;
}
static inline uint8_t *omen_graph_code(const struct omen_graph *graph, uint32_t slot)
{
    return omen_graph_segment(graph, slot)->codes + omen_graph_offset(slot) * graph->stride;
}
static inline struct omen_code_meta *omen_graph_meta(const struct omen_graph *graph, uint32_t slot)
{
    return omen_graph_segment(graph, slot)->metas + omen_graph_offset(slot);
}
static inline struct omen_row *omen_graph_row(const struct omen_graph *graph, uint32_t slot)
{
    return omen_graph_segment(graph, slot)->rows + omen_graph_offset(slot);
}
static inline struct omen_row_distances *omen_graph_distances(const struct omen_graph *graph,
                                                              uint32_t slot)
{
    return omen_graph_segment(graph, slot)->distances + omen_graph_offset(slot);
}
static inline uint32_t *omen_graph_home(const struct omen_graph *graph, uint32_t slot)
{
    return omen_graph_segment(graph, slot)->homes + omen_graph_offset(slot);
}
static inline float *omen_graph_home_distance(const struct omen_graph *graph, uint32_t slot)
{
    return omen_graph_segment(graph, slot)->home_distances + omen_graph_offset(slot);
}
static inline uint64_t *omen_graph_id(const struct omen_graph *graph, uint32_t slot)
{
    return omen_graph_segment(graph, slot)->ids + omen_graph_offset(slot);
}
static inline _Atomic uint32_t *omen_graph_chain(const struct omen_graph *graph, uint32_t slot)
{
    return omen_graph_segment(graph, slot)->chain + omen_graph_offset(slot);
}
static inline float *omen_graph_inverse_length(const struct omen_graph *graph, uint32_t slot)
{
    return omen_graph_segment(graph, slot)->inverse_lengths + omen_graph_offset(slot);
}

static inline uint64_t *omen_graph_original_hash(const struct omen_graph *graph, uint32_t slot)
{
    return omen_graph_segment(graph, slot)->original_hashes + omen_graph_offset(slot);
}
static inline uint8_t *omen_graph_flags(const struct omen_graph *graph, uint32_t slot)
{
    return omen_graph_segment(graph, slot)->flags + omen_graph_offset(slot);
}
/* A key lives as long as the slot. */
static inline struct omen_id omen_graph_id_of(const struct omen_graph *graph, uint32_t slot)
{
    return omen_id_of(*omen_graph_id(graph, slot),
                      (*omen_graph_flags(graph, slot) & OMEN_SLOT_KEYED) != 0);
}
static inline uint8_t *omen_graph_state(const struct omen_graph *graph, uint32_t slot)
{
    return omen_graph_segment(graph, slot)->states + omen_graph_offset(slot);
}
static inline uint32_t *omen_graph_copies(const struct omen_graph *graph, uint32_t slot)
{
    return omen_graph_segment(graph, slot)->copies + omen_graph_offset(slot);
}
static inline _Atomic uint32_t *omen_graph_expires(const struct omen_graph *graph, uint32_t slot)
{
    return omen_graph_segment(graph, slot)->expires + omen_graph_offset(slot);
}

static inline void omen_graph_set_born(const struct omen_graph *graph, uint32_t slot,
                                       uint32_t epoch)
{
    atomic_store_explicit(omen_graph_segment(graph, slot)->visibility + omen_graph_offset(slot),
                          (uint64_t)epoch << 32 | OMEN_EPOCH_NEVER, memory_order_relaxed);
}
static inline uint64_t omen_graph_visibility(const struct omen_graph *graph, uint32_t slot)
{
    return atomic_load_explicit(omen_graph_segment(graph, slot)->visibility +
                                    omen_graph_offset(slot),
                                memory_order_relaxed);
}
static inline uint32_t omen_graph_born(const struct omen_graph *graph, uint32_t slot)
{
    return (uint32_t)(omen_graph_visibility(graph, slot) >> 32);
}
static inline uint32_t omen_graph_died(const struct omen_graph *graph, uint32_t slot)
{
    return (uint32_t)omen_graph_visibility(graph, slot);
}
/* From `epoch` on the slot is not returned. */
static inline void omen_graph_set_died(const struct omen_graph *graph, uint32_t slot,
                                       uint32_t epoch)
{
    atomic_store_explicit(omen_graph_segment(graph, slot)->visibility + omen_graph_offset(slot),
                          (uint64_t)omen_graph_born(graph, slot) << 32 | epoch,
                          memory_order_relaxed);
}
/* Does a search that pinned `epoch` return this slot? */
static inline bool omen_graph_visible(const struct omen_graph *graph, uint32_t slot, uint32_t epoch)
{
    uint64_t word = omen_graph_visibility(graph, slot);

    return (uint32_t)(word >> 32) <= epoch && epoch < (uint32_t)word;
}

static inline uint32_t omen_slot_shard(uint32_t slot, uint32_t shards)
{
    return slot / OMEN_STRIPE_SLOTS % shards;
}

/* Copies a row; see the essay above. `links` has room for OMEN_ROW_LINKS. Returns the count. */
static inline uint32_t omen_row_read(const struct omen_row *row, uint32_t *links)
{
#ifdef __SANITIZE_THREAD__
    const memory_order order = memory_order_acquire;
#else
    const memory_order order = memory_order_relaxed;
#endif
    uint32_t count = atomic_load_explicit(&row->count, order);

    for (uint32_t i = 0; i < count; i++)
        links[i] = atomic_load_explicit(&row->links[i], order);
#ifndef __SANITIZE_THREAD__
    atomic_thread_fence(memory_order_acquire);
#endif
    return count;
}

/* For the row's one writer, who needs no order against himself. */
static inline uint32_t omen_row_count(const struct omen_row *row)
{
    return atomic_load_explicit(&row->count, memory_order_relaxed);
}
static inline uint32_t omen_row_link(const struct omen_row *row, uint32_t i)
{
    return atomic_load_explicit(&row->links[i], memory_order_relaxed);
}
static inline void omen_row_store(struct omen_row *row, uint32_t i, uint32_t slot)
{
    atomic_store_explicit(&row->links[i], slot, memory_order_release);
}
static inline void omen_row_set_count(struct omen_row *row, uint32_t count)
{
    atomic_store_explicit(&row->count, count, memory_order_release);
}

/* Puts another link in the place of link i. The row's writer. */
static inline void omen_row_replace(const struct omen_graph *graph, uint32_t slot, uint32_t i,
                                    uint32_t link, float distance)
{
    omen_graph_distances(graph, slot)->of[i] = distance;
    omen_row_store(omen_graph_row(graph, slot), i, link);
}
/* Takes link i out; the last one takes its place. The row's writer. */
static inline void omen_row_remove(const struct omen_graph *graph, uint32_t slot, uint32_t i)
{
    struct omen_row *row = omen_graph_row(graph, slot);
    uint32_t last = omen_row_count(row) - 1;

    omen_row_replace(graph, slot, i, omen_row_link(row, last),
                     omen_graph_distances(graph, slot)->of[last]);
    omen_row_set_count(row, last);
}

/* The hash that makes a slot a pivot, and picks members of large cells: fixed by the log alone. */
static inline uint32_t omen_slot_hash(uint32_t slot, uint32_t salt)
{
    uint64_t x = ((uint64_t)salt << 32 | slot) + 0x9e3779b97f4a7c15u; /* splitmix64 */

    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)((x ^ x >> 31) >> 32);
}

/* Level 1 by its number or not: one slot in `share` (OMEN_CELL_SLOTS), and the first four; level 2
 * likewise, one in OMEN_REGION_PIVOTS of those. */
static inline bool omen_slot_hashes_to_pivot(uint32_t slot, uint32_t share)
{
    return slot < 4 || omen_slot_hash(slot, 0) < UINT32_MAX / share;
}
static inline bool omen_slot_hashes_to_top(uint32_t slot)
{
    return omen_slot_hashes_to_pivot(slot, OMEN_CELL_SLOTS * OMEN_REGION_PIVOTS);
}

/* Prefetches go into the second cache (locality 2). Into the first one, a core of AMD's drops what
 * exceeds the dozen or so of misses that it can have under way, and a row's neighbours are two
 * hundred lines: most codes were waited for after all. Measured on an EPYC 9004: 192 lines
 * fetched ahead cost 70 cycles a code to read when fetched for the first cache, 24 for the second;
 * queries/s at a recall of 0.95 rose by 1.6. */
#define OMEN_PREFETCH_TO (OMEN_TRICK_PREFETCH_L2 ? 2 : 3)

/* Prefetches a code, up to so many bytes. Nothing else fetches the rest in time: with 512 of 768
 * bytes, queries/s fell to 0.75 at a recall of 0.95 and to 0.67 at 0.99. */
#define OMEN_PREFETCH_BYTES 1536u
/* A function that only prefetches has no effect that GCC knows of: where it does not become part of
 * its caller, the call is dropped. So it must. */
#define OMEN_FETCHES static inline __attribute__((always_inline))

/* What a distance needs. Selection took 1.8 times as long at a million points while it fetched
 * the codes of a point's candidates ahead, and not what belongs to them. */
OMEN_FETCHES void omen_graph_prefetch_node(const struct omen_graph *graph, uint32_t slot)
{
    const uint8_t *code = omen_graph_code(graph, slot);
    size_t bytes = graph->stride < OMEN_PREFETCH_BYTES ? graph->stride : OMEN_PREFETCH_BYTES;

    if (!OMEN_TRICK_PREFETCH) return;
    for (size_t i = 0; i < bytes; i += 64)
        __builtin_prefetch(code + i, 0, OMEN_PREFETCH_TO);
    __builtin_prefetch(omen_graph_meta(graph, slot), 0, OMEN_PREFETCH_TO);
}
OMEN_FETCHES void omen_graph_prefetch_row(const struct omen_graph *graph, uint32_t slot)
{
    const char *row = (const char *)omen_graph_row(graph, slot);

    if (!OMEN_TRICK_PREFETCH) return;
    __builtin_prefetch(row, 0, OMEN_PREFETCH_TO);
    __builtin_prefetch(row + 64, 0, OMEN_PREFETCH_TO);
    __builtin_prefetch(row + 128, 0, OMEN_PREFETCH_TO);
}

/* What an answer needs of a slot beside its original. */
OMEN_FETCHES void omen_graph_prefetch_answer(const struct omen_graph *graph, uint32_t slot)
{
    const struct omen_segment *segment = omen_graph_segment(graph, slot);
    uint32_t at = omen_graph_offset(slot);

    if (!OMEN_TRICK_PREFETCH) return;
    __builtin_prefetch(&segment->chain[at], 0, OMEN_PREFETCH_TO);
    __builtin_prefetch(&segment->visibility[at], 0, OMEN_PREFETCH_TO);
    __builtin_prefetch(&segment->inverse_lengths[at], 0, OMEN_PREFETCH_TO);
    __builtin_prefetch(&segment->ids[at], 0, OMEN_PREFETCH_TO);
    __builtin_prefetch(&segment->flags[at], 0, OMEN_PREFETCH_TO);
}

#endif
