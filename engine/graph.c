/* graph.c - see graph.h: the segments. */
#include "engine/graph.h"

#include <stddef.h>
#include <string.h>

#include "engine/memory.h"

#define SEGMENTS_MAX (OMEN_SLOTS_MAX / OMEN_SEGMENT_SLOTS)

/* A collection of this many full segments is no small one: its later segments start huge. */
#define SMALL_SEGMENTS 2u

/* Each array with its number in checkpoints, its bytes of one slot, and its writer; in the order in
 * which a segment lays them out: the hot ones first, each a multiple of 64 bytes long because
 * 16,384 slots are. */
#define SLOT_ARRAYS(X)                                                                             \
    X(codes, 1, graph->stride, OMEN_ARRAY_FIXED)                                                   \
    X(rows, 2, sizeof(struct omen_row), OMEN_ARRAY_GRAPH)                                          \
    X(metas, 3, sizeof(struct omen_code_meta), OMEN_ARRAY_FIXED)                                   \
    X(visibility, 4, sizeof(uint64_t), OMEN_ARRAY_ADMIT)                                           \
    X(chain, 5, sizeof(uint32_t), OMEN_ARRAY_GRAPH)                                                \
    X(ids, 6, sizeof(uint64_t), OMEN_ARRAY_FIXED)                                                  \
    X(flags, 7, sizeof(uint8_t), OMEN_ARRAY_ADMIT)                                                 \
    X(states, 8, sizeof(uint8_t), OMEN_ARRAY_GRAPH)                                                \
    X(inverse_lengths, 9, sizeof(float), OMEN_ARRAY_FIXED)                                         \
    X(expires, 10, sizeof(uint32_t), OMEN_ARRAY_ADMIT)                                             \
    X(copies, 11, sizeof(uint32_t), OMEN_ARRAY_ADMIT)                                              \
    X(homes, 12, sizeof(uint32_t), OMEN_ARRAY_GRAPH)                                               \
    X(home_distances, 13, sizeof(float), OMEN_ARRAY_GRAPH)                                         \
    X(distances, 14, sizeof(struct omen_row_distances), OMEN_ARRAY_GRAPH)                          \
    X(original_hashes, 15, sizeof(uint64_t), OMEN_ARRAY_FIXED)

static size_t slot_bytes(const struct omen_graph *graph);
static omen_code segment_map(struct omen_graph *graph, struct omen_segment *out, omen_error *err);

omen_code omen_graph_init(struct omen_graph *graph, uint32_t dim, omen_error *err)
{
    graph->stride = omen_code_stride(dim);
    graph->segment_bytes = slot_bytes(graph) * OMEN_SEGMENT_SLOTS;
    graph->segment_count = 0;
    graph->directory = omen_pages_map(SEGMENTS_MAX * sizeof *graph->directory);
    if (graph->directory == NULL)
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "address space for the graph's directory");
    return OMEN_OK;
}

void omen_graph_deinit(struct omen_graph *graph)
{
    if (graph->directory == NULL) return;
    for (uint32_t i = 0; i < graph->segment_count; i++)
        omen_pages_unmap(graph->directory[i].pages, graph->segment_bytes);
    omen_pages_unmap(graph->directory, SEGMENTS_MAX * sizeof *graph->directory);
    graph->directory = NULL;
}

omen_code omen_graph_reserve(struct omen_graph *graph, uint32_t end, omen_error *err)
{
    while ((uint64_t)graph->segment_count * OMEN_SEGMENT_SLOTS < end) {
        struct omen_segment *segment = &graph->directory[graph->segment_count];
        omen_code code = segment_map(graph, segment, err);

        if (code != OMEN_OK) return code;
        /* Small collections stay small: their first segment gets huge pages once it is full. */
        if (graph->segment_count >= SMALL_SEGMENTS) {
            for (uint32_t i = 0; i <= graph->segment_count; i++) {
                struct omen_segment *s = &graph->directory[i];
                if (!s->huge) omen_pages_huge(s->pages, graph->segment_bytes);
                s->huge = true;
            }
        }
        graph->segment_count++;
    }
    return OMEN_OK;
}

uint32_t omen_graph_arrays(const struct omen_graph *graph, struct omen_array out[OMEN_ARRAYS_MAX])
{
    const struct omen_array arrays[] = {
#define X(array, number, size, writer)                                                             \
    {#array, number, writer, size, offsetof(struct omen_segment, array)},
        SLOT_ARRAYS(X)
#undef X
    };

    _Static_assert(sizeof arrays / sizeof *arrays <= OMEN_ARRAYS_MAX, "room for all arrays");
    memcpy(out, arrays, sizeof arrays);
    return sizeof arrays / sizeof *arrays;
}

uint64_t omen_graph_bytes(const struct omen_graph *graph, uint32_t slots)
{
    return (uint64_t)slots * slot_bytes(graph);
}

static size_t slot_bytes(const struct omen_graph *graph)
{
    size_t bytes = 0;

#define X(array, number, size, writer) bytes += (size);
    SLOT_ARRAYS(X)
#undef X
    return bytes;
}

static omen_code segment_map(struct omen_graph *graph, struct omen_segment *out, omen_error *err)
{
    char *at = omen_pages_map(graph->segment_bytes);

    if (at == NULL)
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a segment of %zu bytes",
                         graph->segment_bytes);
    out->pages = at;
#define X(array, number, size, writer)                                                             \
    out->array = (void *)at;                                                                       \
    at += (size)*OMEN_SEGMENT_SLOTS;
    SLOT_ARRAYS(X)
#undef X
    return OMEN_OK;
}
