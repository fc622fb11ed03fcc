/* graph.c - see graph.h: the segments. */
#include "engine/graph.h"

#include "engine/memory.h"

#define SEGMENTS_MAX (OMEN_SLOTS_MAX / OMEN_SEGMENT_SLOTS)

/* A collection of this many full segments is no small one: its later segments start huge. */
#define SMALL_SEGMENTS 2u

/* Bytes of one slot in each array, in the order in which a segment lays them out: the hot ones
 * first, each a multiple of 64 bytes long because 16,384 slots are. */
#define SLOT_ARRAYS(X)                                                                             \
    X(codes, graph->stride)                                                                        \
    X(rows, sizeof(struct omen_row))                                                               \
    X(metas, sizeof(struct omen_code_meta))                                                        \
    X(visibility, sizeof(uint64_t))                                                                \
    X(chain, sizeof(uint32_t))                                                                     \
    X(ids, sizeof(uint64_t))                                                                       \
    X(flags, sizeof(uint8_t))                                                                      \
    X(states, sizeof(uint8_t))                                                                     \
    X(inverse_lengths, sizeof(float))                                                              \
    X(expires, sizeof(uint32_t))                                                                   \
    X(copies, sizeof(uint32_t))                                                                    \
    X(homes, sizeof(uint32_t))                                                                     \
    X(home_distances, sizeof(float))                                                               \
    X(distances, sizeof(struct omen_row_distances))

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

uint64_t omen_graph_bytes(const struct omen_graph *graph, uint32_t slots)
{
    return (uint64_t)slots * slot_bytes(graph);
}

static size_t slot_bytes(const struct omen_graph *graph)
{
    size_t bytes = 0;

#define X(array, size) bytes += (size);
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
#define X(array, size)                                                                             \
    out->array = (void *)at;                                                                       \
    at += (size)*OMEN_SEGMENT_SLOTS;
    SLOT_ARRAYS(X)
#undef X
    return OMEN_OK;
}
