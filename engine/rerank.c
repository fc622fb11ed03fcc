/* rerank.c - exact distances on the originals for the best of a walk, and their duplicates.
 *
 * Codes order the pool nearly as the originals would: at 384 components the ten nearest are nearly
 * always among the first dozen or two. So nodes are compared in the pool's order, a few at a time,
 * until the next one could be among the k nearest only if its code overstated its distance by more
 * than any code has done so far. An original costs the cache lines of four codes.
 */
#include "engine/memory.h"
#include "engine/scrubber.h"
#include "engine/search.h"

#define MORE_THAN_K 2u /* OMEN_RERANK_FIRST nodes, or so many, are compared at first */
#define NEXT_NODES  8u
#define BATCH_ROWS  OMEN_SCAN_ROWS

/* How far it has come. */
struct progress {
    uint32_t at;    /* in the pool */
    uint32_t nodes; /* compared */
    float over;     /* what a code has overstated a distance by, at most */
};

static bool may_be_near(struct omen_searcher *s, const struct omen_walk *walk,
                        const struct progress *progress);
static omen_code collect(struct omen_searcher *s, const struct omen_walk *walk, uint32_t nodes,
                         struct progress *progress, omen_error *err);
static bool add_head(struct omen_searcher *s, omen_key head);
static void compare(struct omen_searcher *s, const struct omen_query *query,
                    struct progress *progress);

omen_code omen_search_rerank(struct omen_searcher *s, const struct omen_walk *walk, uint32_t best,
                             omen_error *err)
{
    struct progress progress = {0};
    uint32_t first =
        walk->k + MORE_THAN_K > OMEN_RERANK_FIRST ? walk->k + MORE_THAN_K : OMEN_RERANK_FIRST;
    omen_code code = OMEN_OK;

    while (code == OMEN_OK && progress.at < walk->pool_count && progress.nodes < best) {
        uint32_t left = best - progress.nodes;
        uint32_t nodes = progress.nodes == 0 ? first : NEXT_NODES;

        if (progress.nodes > 0 && !may_be_near(s, walk, &progress)) break;
        code = collect(s, walk, nodes < left ? nodes : left, &progress, err);
        if (code == OMEN_OK) compare(s, walk->query, &progress);
    }
    return code;
}

/* Could the next node of the pool be one of the k nearest? All after it are farther. */
static bool may_be_near(struct omen_searcher *s, const struct omen_walk *walk,
                        const struct progress *progress)
{
    const struct omen_query *query = walk->query;
    float next = omen_key_distance(walk->pool[progress->at]) - progress->over;

    omen_top_cut(&s->top); /* says what the k-th nearest has */
    return next <= query->key_offset + query->key_factor * s->top.worst;
}

/* The visible slots among the next nodes and in their chains. A chain is read with acquire: a
 * duplicate's data was written before it was chained. */
static omen_code collect(struct omen_searcher *s, const struct omen_walk *walk, uint32_t nodes,
                         struct progress *progress, omen_error *err)
{
    const omen_collection *c = s->collection;
    uint32_t end = progress->nodes + nodes;

    s->head_count = 0;
    for (; progress->at < walk->pool_count && progress->nodes < end; progress->at++) {
        uint32_t before = s->head_count;
        omen_key key = walk->pool[progress->at];

        for (uint32_t slot = omen_key_slot(key); slot != OMEN_SLOT_NONE;
             slot = atomic_load_explicit(omen_graph_chain(&c->graph, slot), memory_order_acquire)) {
            if (!omen_graph_visible(&c->graph, slot, s->snapshot->epoch)) continue;
            if (!omen_original_is_sound(c, slot)) continue;
            if (!add_head(s, omen_key_make(omen_key_distance(key), slot)))
                return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "%u slots to re-rank",
                                 s->head_count);
        }
        progress->nodes += s->head_count > before; /* dead ones cost nothing */
    }
    return OMEN_OK;
}

static bool add_head(struct omen_searcher *s, omen_key head)
{
    if (s->head_count == s->head_capacity) {
        uint32_t capacity = s->head_capacity == 0 ? 256 : s->head_capacity * 2;
        omen_key *heads = omen_realloc(s->heads, capacity * sizeof *heads);

        if (heads == NULL) return false;
        s->heads = heads;
        s->head_capacity = capacity;
    }
    s->heads[s->head_count++] = head;
    return true;
}

static void compare(struct omen_searcher *s, const struct omen_query *query,
                    struct progress *progress)
{
    const omen_collection *c = s->collection;
    omen_metric metric = c->settings.metric;
    omen_f32_many_fn *many =
        metric == OMEN_METRIC_L2 ? c->kernels.l2sq_f32_many : c->kernels.dot_f32_many;

    for (uint32_t from = 0; from < s->head_count; from += BATCH_ROWS) {
        uint32_t n = s->head_count - from < BATCH_ROWS ? s->head_count - from : BATCH_ROWS;
        const float *rows[BATCH_ROWS];
        float values[BATCH_ROWS];

        for (uint32_t i = 0; i < n; i++)
            rows[i] = omen_original(&c->originals, omen_key_slot(s->heads[from + i]),
                                    omen_searcher_wide(s, i));
        many(query->vector, rows, n, c->settings.dim, values);
        for (uint32_t i = 0; i < n; i++) {
            uint32_t slot = omen_key_slot(s->heads[from + i]);
            float distance = omen_answer_distance(metric, values[i], query->inverse_length,
                                                  *omen_graph_inverse_length(&c->graph, slot));
            float over = omen_key_distance(s->heads[from + i]) -
                         (query->key_offset + query->key_factor * distance);

            if (over > progress->over) progress->over = over;
            omen_top_add(&s->top, distance, omen_graph_id_of(&c->graph, slot));
        }
    }
}
