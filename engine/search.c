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

#include "engine/clock.h"
#include "engine/engine_state.h"
#include "engine/memory.h"
#include "engine/query_sample.h"

/* As many nodes may be re-ranked as ef says, and at least so many. */
#define RERANK_MIN 32u

/* More hits than this are not kept for the next search. */
#define HITS_KEPT 65536u

static omen_code check(const struct omen_search *search, uint64_t *hits, omen_error *err);
static const struct omen_query_options *options_of(const struct omen_search *search, uint32_t i);
static omen_code fit_private(struct omen_search_private *p, uint32_t queries, uint64_t hits,
                             omen_error *err);
static void plan_query(struct omen_search_private *p, uint32_t i);
static void check_vector(const omen_collection *c, const float *x, struct omen_query_plan *plan,
                         uint32_t *detail);
static void take_snapshot(omen_collection *c, struct omen_snapshot *out);
static void encode(struct omen_searcher *s, const struct omen_search_private *p, uint32_t first,
                   uint32_t count);
static omen_code walk_run(struct omen_searcher *s, struct omen_search_private *p, uint32_t first,
                          uint32_t count, omen_error *err);
static omen_code begin_walk(struct omen_searcher *s, struct omen_search_private *p,
                            struct omen_walk *walk, struct omen_query *query, omen_error *err);
static omen_code end_walk(struct omen_searcher *s, struct omen_search_private *p,
                          struct omen_walk *walk, bool *done, omen_error *err);

omen_code omen_search_submit(struct omen_search *search, omen_error *err)
{
    omen_code code = omen_search_prepare(search, err);

    if (code == OMEN_OK) omen_search_pool_add(search->collection->engine->pool, search->private_);
    return code;
}

omen_code omen_search_prepare(struct omen_search *search, omen_error *err)
{
    struct omen_search_pool *pool = search->collection->engine->pool;
    struct omen_search_private *p = NULL;
    uint64_t hits = 0;
    omen_code code = check(search, &hits, err);

    if (code != OMEN_OK) return code;
    p = omen_search_pool_take(pool);
    if (p == NULL)
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a search of %u queries", search->count);
    code = fit_private(p, search->count, hits, err);
    if (code != OMEN_OK) {
        omen_search_pool_give(pool, p);
        return code;
    }
    p->search = search;
    p->block_count = (search->count + OMEN_SEARCH_BLOCK - 1) / OMEN_SEARCH_BLOCK;
    hits = 0;
    for (uint32_t i = 0; i < search->count; i++) {
        p->plans[i].first_hit = (uint32_t)hits;
        plan_query(p, i);
        hits += p->plans[i].k;
    }
    search->private_ = p;
    search->results = p->results;
    search->code = OMEN_OK;
    return OMEN_OK;
}

void omen_search_cancel(struct omen_search *search)
{
    atomic_store_explicit(&search->cancelled, true, memory_order_relaxed);
    omen_search_pool_look(search->collection->engine->pool);
}

void omen_search_deinit(struct omen_search *search)
{
    struct omen_search_private *p = search->private_;

    search->private_ = NULL;
    search->results = NULL;
    if (p == NULL) return;
    if (p->pinned) omen_grace_leave(&search->collection->grace, p->pin);
    if (p->hit_capacity > HITS_KEPT) {
        omen_free(p->hits);
        p->hits = NULL;
        p->hit_capacity = 0;
    }
    omen_search_pool_give(search->collection->engine->pool, p);
}

void omen_search_start(struct omen_search_private *p)
{
    omen_collection *c = p->search->collection;

    p->started_ns = omen_now_ns();
    p->pin = omen_grace_enter(&c->grace);
    p->pinned = true;
    take_snapshot(c, &p->snapshot);
    p->search->log_position = p->snapshot.position;
}

void omen_search_finish(struct omen_search_private *p)
{
    struct omen_search *search = p->search;

    search->code = (omen_code)atomic_load_explicit(&p->code, memory_order_acquire);
    search->duration_us = (omen_now_ns() - p->started_ns) / 1000;
    search->done(search);
}

omen_code omen_search_check_stop(const struct omen_search *search, omen_error *err)
{
    const struct omen_search_private *p = search->private_;

    if (p != NULL && p->pace != NULL && !p->pace(p->pace_user))
        return omen_fail_because(err, OMEN_CANCELLED, "CANCELLED", "the calibration was stopped");
    if (atomic_load_explicit(&search->cancelled, memory_order_relaxed))
        return omen_fail_because(err, OMEN_CANCELLED, "CANCELLED", "the search was cancelled");
    if (search->deadline_ns != 0 && omen_now_ns() >= search->deadline_ns)
        return omen_fail_because(err, OMEN_DEADLINE_EXCEEDED, "DEADLINE",
                                 "the search's deadline has passed");
    return OMEN_OK;
}

/* How a query is answered. */
enum way { REFUSED, WALK, SCAN };

static enum way way_of(const struct omen_search_private *p, uint32_t i)
{
    const struct omen_query_plan *plan = &p->plans[i];

    if (plan->refusal != 0) return REFUSED;
    return plan->exact || plan->k > OMEN_EF_MAX || p->snapshot.points <= OMEN_SMALL_COLLECTION
               ? SCAN
               : WALK;
}

/* Run by run: queries side by side that are answered in the same way. */
omen_code omen_search_block(struct omen_searcher *s, struct omen_search_private *p, uint32_t block,
                            omen_error *err)
{
    const struct omen_search *search = p->search;
    uint32_t first = block * OMEN_SEARCH_BLOCK;
    uint32_t left = search->count - first;
    uint32_t end = first + (left < OMEN_SEARCH_BLOCK ? left : OMEN_SEARCH_BLOCK);
    omen_code code = omen_searcher_fit(s, search->collection->graph.stride, err);

    if (code == OMEN_OK) code = omen_searcher_fit_wide(s, &search->collection->originals, err);
    s->collection = search->collection;
    s->snapshot = &p->snapshot;
    while (first < end && code == OMEN_OK) {
        enum way way = way_of(p, first);
        uint32_t count = 1;

        while (first + count < end && way_of(p, first + count) == way)
            count++;
        code = omen_search_check_stop(search, err);
        if (code == OMEN_OK && way == SCAN) code = omen_search_scan(s, p, first, count, err);
        if (code == OMEN_OK && way == WALK) code = walk_run(s, p, first, count, err);
        first += count;
    }
    return code;
}

static const struct omen_query_options *options_of(const struct omen_search *search, uint32_t i)
{
    return search->each == NULL ? &search->options : &search->each[i];
}

static uint32_t k_of(const struct omen_query_options *options)
{
    if (options->refusal != 0 || options->k > OMEN_K_MAX) return 0;
    return options->k == 0 ? OMEN_K_DEFAULT : options->k;
}

static omen_code check(const struct omen_search *search, uint64_t *hits, omen_error *err)
{
    if (search->count == 0 || search->count > OMEN_SEARCH_QUERIES_MAX)
        return omen_fail_because(err, OMEN_INVALID_ARGUMENT, "BAD_LIMIT",
                                 "the request has %u queries; it has 1 to %u", search->count,
                                 OMEN_SEARCH_QUERIES_MAX);
    for (uint32_t i = 0; i < search->count; i++)
        *hits += k_of(options_of(search, i));
    if (*hits > OMEN_SEARCH_HITS_MAX)
        return omen_fail_because(err, OMEN_INVALID_ARGUMENT, "TOO_LARGE",
                                 "the options.k of %u queries ask for %llu hits; the limit is %u",
                                 search->count, (unsigned long long)*hits, OMEN_SEARCH_HITS_MAX);
    return OMEN_OK;
}

static omen_code fit_private(struct omen_search_private *p, uint32_t queries, uint64_t hits,
                             omen_error *err)
{
    if (p->query_capacity < queries) {
        omen_free(p->plans);
        omen_free(p->results);
        p->query_capacity = 0;
        p->plans = omen_alloc(queries * sizeof *p->plans);
        p->results = omen_alloc(queries * sizeof *p->results);
        if (p->plans == NULL || p->results == NULL)
            return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a search of %u queries", queries);
        p->query_capacity = queries;
    }
    if (p->hit_capacity < hits) {
        omen_free(p->hits);
        p->hit_capacity = 0;
        p->hits = omen_alloc(hits * sizeof *p->hits);
        if (p->hits == NULL)
            return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "%llu hits", (unsigned long long)hits);
        p->hit_capacity = hits;
    }
    return OMEN_OK;
}

static void plan_query(struct omen_search_private *p, uint32_t i)
{
    const struct omen_search *search = p->search;
    const struct omen_query_options *options = options_of(search, i);
    struct omen_query_plan *plan = &p->plans[i];
    struct omen_query_result *result = &p->results[i];
    const float *vector = search->queries + (size_t)i * search->collection->settings.dim;
    uint64_t points =
        atomic_load_explicit(&search->collection->published.points, memory_order_relaxed);

    plan->k = k_of(options);
    plan->ef = options->ef;
    plan->rerank = 0;
    if (options->ef == 0)
        omen_tuned_get(&search->collection->tuned, plan->k, points, &plan->ef, &plan->rerank);
    plan->exact = options->exact;
    plan->refusal = options->refusal;
    *result = (struct omen_query_result){.detail = options->detail};
    if (plan->k > 0) result->hits = p->hits + plan->first_hit; /* else there may be no array */
    if (plan->refusal == 0 && plan->k == 0) {
        plan->refusal = OMEN_REFUSED_K;
        result->detail = options->k;
    } else if (plan->refusal == 0 && plan->ef > OMEN_EF_MAX) {
        plan->refusal = OMEN_REFUSED_EF;
        result->detail = plan->ef;
    }
    if (plan->ef < plan->k) plan->ef = plan->k;
    if (plan->refusal == 0) check_vector(search->collection, vector, plan, &result->detail);
    result->refusal = plan->refusal;
    if (search->collection->sample != NULL && plan->refusal == 0 && !plan->exact)
        omen_query_sample_offer(search->collection->sample, vector);
}

static void check_vector(const omen_collection *c, const float *x, struct omen_query_plan *plan,
                         uint32_t *detail)
{
    uint32_t dim = c->settings.dim;
    float max = c->kernels.max_abs_f32(x, dim);

    if (max == 0.0f && c->settings.metric == OMEN_METRIC_COSINE) plan->refusal = OMEN_REFUSED_ZERO;
    if (max == 0.0f || (max >= OMEN_COMPONENT_MIN && max <= OMEN_COMPONENT_MAX)) return;
    plan->refusal = (enum omen_refusal)omen_code_refuse_magnitude(x, dim, max, detail);
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
static void encode(struct omen_searcher *s, const struct omen_search_private *p, uint32_t first,
                   uint32_t count)
{
    const omen_collection *c = s->collection;
    size_t stride = c->graph.stride;

    for (uint32_t i = 0; i < count; i++) {
        struct omen_query *q = &s->queries[i];
        uint8_t *code = s->query_codes + i * stride;
        struct omen_encoded encoded;
        struct omen_code_meta meta;

        q->number = first + i;
        q->vector = p->search->queries + (size_t)(first + i) * c->settings.dim;
        q->visited = 0;
        (void)omen_code_encode(&c->kernels, c->settings.metric, q->vector, code, &encoded);
        q->inverse_length = encoded.inverse_length;
        q->key_offset = 0.0f;
        q->key_factor = c->settings.metric == OMEN_METRIC_COSINE ? 2.0f : 1.0f;
        meta = encoded.meta;
        if (c->settings.metric == OMEN_METRIC_INNER_PRODUCT) {
            /* Two roots, since the quotient of the squares may be too large for a float. */
            float phi = sqrtf(s->snapshot->phi_squared);
            float stretch = meta.norm > 0.0f ? phi / sqrtf(meta.norm) : 1.0f;

            meta.scale *= stretch;
            meta.norm = s->snapshot->phi_squared;
            q->key_offset = 2.0f * s->snapshot->phi_squared;
            q->key_factor = 2.0f * stretch;
        }
        q->prepared.values = s->query_values + i * stride;
        omen_code_prepare(&c->kernels, code, meta, &q->prepared);
    }
}

/* Several walks in turn: while one waits for memory, the others go on. */
static omen_code walk_run(struct omen_searcher *s, struct omen_search_private *p, uint32_t first,
                          uint32_t count, omen_error *err)
{
    omen_code code = OMEN_OK;
    uint32_t next = 0;
    uint32_t active = 0;

    encode(s, p, first, count);
    omen_search_route(s, count);
    for (; active < OMEN_SEARCH_WALKS && next < count && code == OMEN_OK; active++, next++)
        code = begin_walk(s, p, &s->walks[active], &s->queries[next], err);
    while (active > 0 && code == OMEN_OK) {
        for (uint32_t i = 0; i < OMEN_SEARCH_WALKS && code == OMEN_OK; i++) {
            struct omen_walk *walk = &s->walks[i];
            bool done = false;

            if (walk->query == NULL) continue;
            if (walk->step != OMEN_WALK_ENDED) {
                omen_search_walk_step(s, walk);
                continue;
            }
            code = end_walk(s, p, walk, &done, err);
            if (code != OMEN_OK || !done) continue;
            walk->query = NULL;
            active--;
            if (next == count) continue;
            code = omen_search_check_stop(p->search, err);
            if (code == OMEN_OK) code = begin_walk(s, p, walk, &s->queries[next++], err);
            active += code == OMEN_OK;
        }
    }
    if (code != OMEN_OK) omen_search_walks_abandon(s);
    return code;
}

static omen_code begin_walk(struct omen_searcher *s, struct omen_search_private *p,
                            struct omen_walk *walk, struct omen_query *query, omen_error *err)
{
    const struct omen_query_plan *plan = &p->plans[query->number];

    return omen_search_walk_begin(s, walk, query, plan->k, plan->ef, err);
}

/* Re-ranks what a walk found. Not done: it found too few, and begins again with twice the ef. */
static omen_code end_walk(struct omen_searcher *s, struct omen_search_private *p,
                          struct omen_walk *walk, bool *done, omen_error *err)
{
    const struct omen_query_plan *plan = &p->plans[walk->query->number];
    struct omen_query_result *result = &p->results[walk->query->number];
    uint64_t wanted = plan->k < p->snapshot.points ? plan->k : p->snapshot.points;
    struct omen_top *top = &s->top;
    uint32_t best = walk->ef > 2 * plan->k ? walk->ef : 2 * plan->k;
    omen_code code = omen_searcher_fit_hits(s, 2 * (size_t)plan->k + 64, err);

    if (code != OMEN_OK) return code;
    if (best < RERANK_MIN) best = RERANK_MIN;
    if (plan->rerank != 0 && walk->ef == plan->ef) best = plan->rerank;
    if (!OMEN_TRICK_RERANK) best = plan->k;
    *top = (struct omen_top){
        .hits = s->hits, .keep = plan->k, .capacity = 2 * plan->k + 64, .worst = INFINITY};
    code = omen_search_rerank(s, walk, best, err);
    if (code != OMEN_OK) return code;
    if (omen_top_finish(top) < wanted && walk->ef * 2 <= OMEN_EF_MAX)
        return omen_search_walk_begin(s, walk, walk->query, plan->k, walk->ef * 2, err);
    omen_search_answer(p, walk->query->number, top);
    result->visited = walk->query->visited;
    result->ef = walk->ef;
    if (top->count < plan->k)
        result->shortfall = top->count < wanted ? OMEN_SHORTFALL_EF : OMEN_SHORTFALL_COLLECTION;
    *done = true;
    return OMEN_OK;
}

void omen_search_answer(struct omen_search_private *p, uint32_t query, struct omen_top *top)
{
    struct omen_query_result *result = &p->results[query];

    result->hit_count = top->count;
    if (top->count > 0) memcpy(result->hits, top->hits, top->count * sizeof *result->hits);
}
