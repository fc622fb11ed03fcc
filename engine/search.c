/* search.c - a batch of queries: checks, snapshot, blocks, answers. See walk.c and scan.c for the
 * two ways to find neighbours.
 *
 * Happy path: submit checks everything, takes the snapshot and queues -> block by block: encode,
 * route, walk, re-rank (or scan) -> whoever finishes the last block calls done.
 * A walk that finds fewer than k although there are more points is repeated with twice the ef.
 */
#include "engine/search.h"

#include <math.h>
#include <string.h>
#include <time.h>

#include "engine/engine_state.h"
#include "engine/memory.h"

/* Half the pool is re-ranked, and at least so many: below, the int8 order would decide. */
#define RERANK_MIN 32u

static omen_code check(struct omen_search *search, uint32_t *k, uint32_t *ef, omen_error *err);
static omen_code check_queries(const struct omen_search *search, omen_error *err);
static void take_snapshot(omen_collection *c, struct omen_snapshot *out);
static void encode(struct omen_searcher *s, const float *queries, uint32_t count);
static omen_code walk_one(struct omen_searcher *s, struct omen_search_private *p, uint32_t i,
                          struct omen_query_result *result, omen_error *err);

static uint64_t now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

omen_code omen_search_submit(struct omen_search *search, omen_error *err)
{
    struct omen_search_private *p = NULL;
    uint32_t k = 0;
    uint32_t ef = 0;
    omen_code code = check(search, &k, &ef, err);

    if (code != OMEN_OK) return code;
    p = omen_alloc_zeroed(sizeof *p);
    search->results = omen_alloc_zeroed(search->count * sizeof *search->results);
    if (p == NULL || search->results == NULL) {
        omen_free(p);
        omen_free(search->results);
        search->results = NULL;
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a search of %u queries", search->count);
    }
    search->private_ = p;
    search->code = OMEN_OK;
    p->search = search;
    p->k = k;
    p->ef = ef;
    p->block_count = (search->count + OMEN_SEARCH_BLOCK - 1) / OMEN_SEARCH_BLOCK;
    p->submitted_ns = now_ns();
    take_snapshot(search->collection, &p->snapshot);
    search->log_position = p->snapshot.position;
    p->exact = search->exact || k > OMEN_EF_MAX || p->snapshot.slots <= OMEN_SMALL_COLLECTION;
    omen_search_pool_add(search->collection->engine->pool, p);
    return OMEN_OK;
}

void omen_search_deinit(struct omen_search *search)
{
    if (search->results != NULL) {
        for (uint32_t i = 0; i < search->count; i++)
            omen_free(search->results[i].hits);
    }
    omen_free(search->results);
    omen_free(search->private_);
    search->results = NULL;
    search->private_ = NULL;
}

void omen_search_finish(struct omen_search_private *p)
{
    struct omen_search *search = p->search;

    search->code = (omen_code)atomic_load_explicit(&p->code, memory_order_acquire);
    search->duration_us = (now_ns() - p->submitted_ns) / 1000;
    search->done(search);
}

omen_code omen_search_block(struct omen_searcher *s, struct omen_search_private *p, uint32_t block,
                            omen_error *err)
{
    const struct omen_search *search = p->search;
    const omen_collection *c = search->collection;
    uint32_t first = block * OMEN_SEARCH_BLOCK;
    uint32_t left = search->count - first;
    uint32_t count = left < OMEN_SEARCH_BLOCK ? left : OMEN_SEARCH_BLOCK;
    omen_code code = omen_searcher_fit(s, c->graph.stride, err);

    if (code != OMEN_OK) return code;
    s->collection = c;
    s->snapshot = &p->snapshot;
    if (p->exact) return omen_search_scan(s, p, first, count, err);
    encode(s, search->queries + (size_t)first * c->settings.dim, count);
    omen_search_route(s, count);
    for (uint32_t i = 0; i < count && code == OMEN_OK; i++)
        code = walk_one(s, p, i, &search->results[first + i], err);
    return code;
}

static omen_code check(struct omen_search *search, uint32_t *k, uint32_t *ef, omen_error *err)
{
    *k = search->k == 0 ? OMEN_K_DEFAULT : search->k;
    *ef = search->ef == 0 ? OMEN_EF_DEFAULT : search->ef;
    if (search->count == 0 || search->count > OMEN_SEARCH_QUERIES_MAX)
        return omen_fail_because(err, OMEN_INVALID_ARGUMENT, "BAD_LIMIT",
                                 "the request has %u queries; it has 1 to %u", search->count,
                                 OMEN_SEARCH_QUERIES_MAX);
    if (*k > OMEN_K_MAX)
        return omen_fail_because(err, OMEN_INVALID_ARGUMENT, "BAD_LIMIT",
                                 "options.k is %u; it is 1 to %u", *k, OMEN_K_MAX);
    if (*ef > OMEN_EF_MAX)
        return omen_fail_because(err, OMEN_INVALID_ARGUMENT, "BAD_LIMIT",
                                 "options.ef is %u; it is 1 to %u", *ef, OMEN_EF_MAX);
    if ((uint64_t)*k * search->count > OMEN_SEARCH_HITS_MAX)
        return omen_fail_because(err, OMEN_INVALID_ARGUMENT, "TOO_LARGE",
                                 "%u queries x options.k %u ask for %llu hits; the limit is %u",
                                 search->count, *k, (unsigned long long)*k * search->count,
                                 OMEN_SEARCH_HITS_MAX);
    if (*ef < *k) *ef = *k;
    return check_queries(search, err);
}

static omen_code check_queries(const struct omen_search *search, omen_error *err)
{
    const omen_collection *c = search->collection;
    uint32_t dim = c->settings.dim;

    for (uint32_t q = 0; q < search->count; q++) {
        const float *x = search->queries + (size_t)q * dim;
        float max = c->kernels.max_abs_f32(x, dim);

        if (max == 0.0f && c->settings.metric != OMEN_METRIC_COSINE) continue;
        if (max >= OMEN_COMPONENT_MIN && max <= OMEN_COMPONENT_MAX) continue;
        if (max == 0.0f)
            return omen_fail_because(err, OMEN_INVALID_ARGUMENT, "ZERO_VECTOR",
                                     "queries[%u] is the zero vector, which has no cosine", q);
        for (uint32_t i = 0; i < dim; i++) {
            if (!isfinite(x[i]))
                return omen_fail_because(err, OMEN_INVALID_ARGUMENT, "NOT_FINITE",
                                         "queries[%u] component %u is not a finite number", q, i);
        }
        return omen_fail_because(err, OMEN_INVALID_ARGUMENT, "OUT_OF_RANGE",
                                 "queries[%u] has a largest magnitude of %g; it is 0 or %g to %g",
                                 q, (double)max, (double)OMEN_COMPONENT_MIN,
                                 (double)OMEN_COMPONENT_MAX);
    }
    return OMEN_OK;
}

/* The order is explained at struct omen_published. */
static void take_snapshot(omen_collection *c, struct omen_snapshot *out)
{
    const struct omen_published *p = &c->published;

    out->position = atomic_load_explicit(&p->position, memory_order_acquire);
    out->epoch = atomic_load_explicit(&p->epoch, memory_order_acquire);
    out->phi_squared = atomic_load_explicit(&p->phi_squared, memory_order_acquire);
    out->points = atomic_load_explicit(&p->points, memory_order_acquire);
    out->slots = atomic_load_explicit(&p->slots, memory_order_acquire);
    out->pivots = atomic_load_explicit(&c->cells.published, memory_order_acquire);
}

/* The queries were checked. Under inner product the query is stretched to length Phi: that does not
 * change the order, and makes the augmented distance (Phi^2 + Phi^2) - 2p as exact as it can be. */
static void encode(struct omen_searcher *s, const float *queries, uint32_t count)
{
    const omen_collection *c = s->collection;
    size_t stride = c->graph.stride;

    for (uint32_t i = 0; i < count; i++) {
        struct omen_query *q = &s->queries[i];
        uint8_t *code = s->query_codes + i * stride;
        struct omen_encoded encoded;
        struct omen_code_meta meta;

        q->vector = queries + (size_t)i * c->settings.dim;
        q->visited = 0;
        (void)omen_code_encode(&c->kernels, c->settings.metric, q->vector, code, &encoded);
        q->inverse_length = encoded.inverse_length;
        meta = encoded.meta;
        if (c->settings.metric == OMEN_METRIC_INNER_PRODUCT) {
            /* Two roots, since the quotient of the squares may be too large for a float. */
            if (meta.norm > 0.0f) meta.scale *= sqrtf(s->snapshot->phi_squared) / sqrtf(meta.norm);
            meta.norm = s->snapshot->phi_squared;
        }
        q->prepared.values = s->query_values + i * stride;
        omen_code_prepare(&c->kernels, code, meta, &q->prepared);
    }
}

static omen_code walk_one(struct omen_searcher *s, struct omen_search_private *p, uint32_t i,
                          struct omen_query_result *result, omen_error *err)
{
    struct omen_query *query = &s->queries[i];
    uint64_t wanted = p->k < p->snapshot.points ? p->k : p->snapshot.points;
    struct omen_top *top = &s->top;
    uint32_t ef = p->ef;
    omen_code code = omen_searcher_fit_hits(s, 2 * (size_t)p->k + 64, err);

    for (; code == OMEN_OK; ef *= 2) {
        uint32_t best = ef / 2 > 2 * p->k ? ef / 2 : 2 * p->k;

        if (best < RERANK_MIN) best = RERANK_MIN;
        *top = (struct omen_top){
            .hits = s->hits, .keep = p->k, .capacity = 2 * p->k + 64, .worst = INFINITY};
        code = omen_search_walk(s, query, ef, err);
        if (code == OMEN_OK) code = omen_search_rerank(s, query, best, err);
        if (code != OMEN_OK || omen_top_finish(top) >= wanted || ef * 2 > OMEN_EF_MAX) break;
    }
    if (code != OMEN_OK) return code;
    result->hit_count = top->count;
    result->hits = omen_alloc(top->count * sizeof *result->hits);
    if (result->hits == NULL) return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "%u hits", top->count);
    memcpy(result->hits, top->hits, top->count * sizeof *result->hits);
    result->visited = query->visited;
    result->ef = ef;
    if (top->count < p->k)
        result->shortfall = top->count < wanted ? OMEN_SHORTFALL_EF : OMEN_SHORTFALL_COLLECTION;
    return OMEN_OK;
}
