/* rerank.c - exact distances on the originals for the best of a walk, and their duplicates. */
#include "engine/memory.h"
#include "engine/scrubber.h"
#include "engine/search.h"

#define RERANK_BATCH OMEN_SCAN_ROWS

static bool add_slot(struct omen_searcher *s, uint32_t slot);
static omen_code collect(struct omen_searcher *s, const struct omen_walk *walk, uint32_t best,
                         omen_error *err);

omen_code omen_search_rerank(struct omen_searcher *s, const struct omen_walk *walk, uint32_t best,
                             omen_error *err)
{
    const omen_collection *c = s->collection;
    const struct omen_query *query = walk->query;
    omen_metric metric = c->settings.metric;
    omen_f32_many_fn *many =
        metric == OMEN_METRIC_L2 ? c->kernels.l2sq_f32_many : c->kernels.dot_f32_many;
    omen_code code = collect(s, walk, best, err);

    if (code != OMEN_OK) return code;
    for (uint32_t from = 0; from < s->head_count; from += RERANK_BATCH) {
        uint32_t n = s->head_count - from < RERANK_BATCH ? s->head_count - from : RERANK_BATCH;
        const float *rows[RERANK_BATCH];
        float values[RERANK_BATCH];

        for (uint32_t i = 0; i < n; i++)
            rows[i] =
                omen_original(&c->originals, s->heads[from + i], s->wide + i * s->wide_floats);
        many(query->vector, rows, n, c->settings.dim, values);
        for (uint32_t i = 0; i < n; i++) {
            uint32_t slot = s->heads[from + i];

            omen_top_add(&s->top,
                         omen_answer_distance(metric, values[i], query->inverse_length,
                                              *omen_graph_inverse_length(&c->graph, slot)),
                         omen_graph_id_of(&c->graph, slot));
        }
    }
    return OMEN_OK;
}

/* The visible slots among the pool's best and in their chains. A chain is read with acquire: a
 * duplicate's data was written before it was chained. */
static omen_code collect(struct omen_searcher *s, const struct omen_walk *walk, uint32_t best,
                         omen_error *err)
{
    const omen_collection *c = s->collection;
    uint32_t nodes = 0;

    s->head_count = 0;
    for (uint32_t i = 0; i < walk->pool_count && nodes < best; i++) {
        uint32_t before = s->head_count;

        for (uint32_t slot = omen_key_slot(walk->pool[i]); slot != OMEN_SLOT_NONE;
             slot = atomic_load_explicit(omen_graph_chain(&c->graph, slot), memory_order_acquire)) {
            if (!omen_graph_visible(&c->graph, slot, s->snapshot->epoch)) continue;
            if (!omen_original_is_sound(c, slot)) continue;
            if (!add_slot(s, slot))
                return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "%u slots to re-rank",
                                 s->head_count);
        }
        nodes += s->head_count > before; /* dead ones cost nothing */
    }
    return OMEN_OK;
}

static bool add_slot(struct omen_searcher *s, uint32_t slot)
{
    if (s->head_count == s->head_capacity) {
        uint32_t capacity = s->head_capacity == 0 ? 256 : s->head_capacity * 2;
        uint32_t *heads = omen_realloc(s->heads, capacity * sizeof *heads);

        if (heads == NULL) return false;
        s->heads = heads;
        s->head_capacity = capacity;
    }
    s->heads[s->head_count++] = slot;
    return true;
}
