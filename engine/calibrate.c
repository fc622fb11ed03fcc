/* calibrate.c - see calibrate.h. What is chosen of the measured curve: recall_curve.c. */
#include "engine/calibrate.h"

#include <string.h>
#include <time.h>

#include "engine/engine_state.h"
#include "engine/ingest.h"
#include "engine/memory.h"
#include "engine/query_sample.h"
#include "engine/recall_curve.h"
#include "engine/search.h"
#include "engine/settings.h"

/* Of the scans of one calibration, in components that are multiplied: two seconds or so of a core.
 */
#define WORK_MAX UINT64_C(40000000000)

/* Looks for a slot that is visible, for each stored point that is wanted. */
#define TRIES 64u

/* A query's own point, which is none of its neighbours. */
struct own {
    bool stored;
    uint8_t key_bytes;
    uint64_t num;
    uint8_t key[OMEN_KEY_BYTES_MAX];
};

struct measuring {
    omen_collection *collection;
    const struct omen_pace *pace;
    struct omen_searcher *searcher;
    uint64_t random;
    float *sample; /* live queries */
    uint32_t sample_count;
    float *queries; /* of one block */
    struct own own[OMEN_SEARCH_BLOCK];
    uint32_t worst_count[OMEN_CALIBRATED_KS][OMEN_SEARCH_BLOCK]; /* true neighbours */
    float worst[OMEN_CALIBRATED_KS][OMEN_SEARCH_BLOCK];          /* the farthest of them */
    double recall[OMEN_SEARCH_BLOCK][OMEN_CURVE_DEPTHS];         /* at the last step */
    bool settled[OMEN_SEARCH_BLOCK];                             /* larger steps change nothing */
    struct omen_recall_curve curves[OMEN_CALIBRATED_KS];
};

static omen_code measure(struct measuring *m, uint32_t target, struct omen_calibration *out,
                         omen_error *err);
static omen_code measure_block(struct measuring *m, uint32_t first, uint32_t count, uint32_t target,
                               omen_error *err);
static omen_code measure_curve(struct measuring *m, struct omen_search *search, uint32_t at,
                               uint32_t target, omen_error *err);
static omen_code walk_step(struct measuring *m, struct omen_search *search, uint32_t at,
                           uint32_t step, omen_error *err);
static void choose_stored(struct measuring *m, const struct omen_search_private *p, uint32_t count);
static void note_truth(struct measuring *m, const struct omen_search *search);
static omen_code record(omen_collection *c, const struct omen_calibration *calibration,
                        omen_error *err);

static uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

omen_code omen_calibrate(omen_collection *collection, const struct omen_pace *pace, omen_error *err)
{
    struct measuring *m = NULL;
    struct omen_calibration found;
    struct omen_tuning tuning;
    omen_code code = omen_ingest_check(collection, err);

    if (code != OMEN_OK || atomic_load_explicit(&collection->published.points,
                                                memory_order_relaxed) <= OMEN_SMALL_COLLECTION)
        return code;
    atomic_fetch_add_explicit(&collection->calibrate_waiting, pace == NULL, memory_order_relaxed);
    (void)pthread_mutex_lock(&collection->calibrate_mutex);
    atomic_fetch_sub_explicit(&collection->calibrate_waiting, pace == NULL, memory_order_relaxed);
    (void)pthread_mutex_lock(&collection->tuning_mutex);
    tuning = collection->tuning;
    (void)pthread_mutex_unlock(&collection->tuning_mutex);
    found = tuning.calibration;
    m = omen_alloc_zeroed(sizeof *m);
    if (m == NULL) {
        code = omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a calibration");
        goto done;
    }
    m->collection = collection;
    m->pace = pace;
    code = measure(m, tuning.target, &found, err);
    if (code == OMEN_OK) code = record(collection, &found, err);
    if (code == OMEN_OK && found.ef[0] != tuning.calibration.ef[0])
        omen_engine_tell(collection->engine, OMEN_EVENT_INFO,
                         "collection '%s': ef is %u for a recall of %g; %u %s had %g with it",
                         collection->name, found.ef[0], tuning.target / 1e6, found.queries,
                         found.live != 0 ? "queries" : "stored points", found.recall[0] / 1e6);

done:
    if (m != NULL) {
        omen_searcher_destroy(m->searcher);
        omen_free(m->sample);
        omen_free(m->queries);
        omen_free(m);
    }
    (void)pthread_mutex_unlock(&collection->calibrate_mutex);
    return code;
}

/* As many queries as the work allows, the first of a shuffled sample. */
static uint32_t query_count(struct measuring *m)
{
    const omen_collection *c = m->collection;
    uint32_t dim = c->settings.dim;
    uint64_t points = atomic_load_explicit(&c->published.points, memory_order_relaxed);
    uint64_t most = WORK_MAX / (points * dim);
    uint32_t count = m->sample_count > 0 ? m->sample_count : OMEN_CALIBRATE_QUERIES_MAX;

    for (uint32_t i = 0; i < m->sample_count; i++) {
        float *a = m->sample + (size_t)i * dim;
        float *b = m->sample + (i + next_random(&m->random) % (m->sample_count - i)) * (size_t)dim;

        for (uint32_t j = 0; j < dim; j++) {
            float t = a[j];

            a[j] = b[j];
            b[j] = t;
        }
    }
    if (most < OMEN_CALIBRATE_QUERIES_MIN) most = OMEN_CALIBRATE_QUERIES_MIN;
    return count < most ? count : (uint32_t)most;
}

/* Stored points are found more easily than queries are, by the links that they got when they came:
 * a third of the misses are allowed. (Of 115,659 sentence embeddings, ef 18 found 0.974 for stored
 * points and 0.935 for others like them.) */
static uint32_t aim_for_stored(uint32_t target)
{
    return 1000000 - (1000000 - target) / 3;
}

static omen_code measure(struct measuring *m, uint32_t target, struct omen_calibration *out,
                         omen_error *err)
{
    omen_collection *c = m->collection;
    size_t row = c->settings.dim * sizeof(float);
    uint64_t points = atomic_load_explicit(&c->published.points, memory_order_relaxed);
    uint32_t aim = target;
    uint32_t count;
    omen_code code = omen_searcher_create(&m->searcher, err);

    if (code != OMEN_OK) return code;
    m->random = points;
    m->queries = omen_alloc_zeroed(OMEN_SEARCH_BLOCK * row);
    m->sample = omen_alloc(OMEN_CALIBRATE_QUERIES_MAX * row);
    if (m->queries == NULL || m->sample == NULL)
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a calibration's queries");
    if (c->sample != NULL) {
        m->sample_count = omen_query_sample_copy(c->sample, m->sample);
        if (m->sample_count < OMEN_CALIBRATE_QUERIES_LIVE)
            m->sample_count = 0;
        else
            omen_query_sample_turn(c->sample);
    }
    omen_recall_curve_init(&m->curves[0], OMEN_CALIBRATED_K_LOW);
    omen_recall_curve_init(&m->curves[1], OMEN_CALIBRATED_K_HIGH);
    count = query_count(m);
    if (m->sample_count == 0) aim = aim_for_stored(target);
    for (uint32_t first = 0; first < count && code == OMEN_OK; first += OMEN_SEARCH_BLOCK) {
        uint32_t left = count - first;

        code =
            measure_block(m, first, left < OMEN_SEARCH_BLOCK ? left : OMEN_SEARCH_BLOCK, aim, err);
    }
    if (code != OMEN_OK) return code;
    if (m->curves[0].queries == 0)
        return omen_fail(err, OMEN_FAILED_PRECONDITION, "there was nothing to calibrate with");
    for (uint32_t i = 0; i < OMEN_CALIBRATED_KS; i++) {
        struct omen_depth depth = omen_recall_curve_choose(&m->curves[i], aim, out->ef[i]);

        out->ef[i] = depth.ef;
        out->rerank[i] = depth.rerank;
        out->recall[i] = depth.recall;
    }
    out->target = target;
    out->live = m->sample_count > 0;
    out->queries = m->curves[0].queries;
    out->points = (uint32_t)points;
    out->at_s = (uint32_t)time(NULL);
    return OMEN_OK;
}

/* The scan, and all walks of these queries, in one state of the collection. */
static omen_code measure_block(struct measuring *m, uint32_t first, uint32_t count, uint32_t target,
                               omen_error *err)
{
    omen_collection *c = m->collection;
    bool stored = m->sample_count == 0;
    struct omen_search search = {.collection = c,
                                 .queries = stored ? m->queries
                                                   : m->sample + (size_t)first * c->settings.dim,
                                 .count = count,
                                 .options = {.k = OMEN_CALIBRATED_K_HIGH + stored, .exact = true}};
    struct omen_search_private *p = NULL;
    omen_code code = omen_search_prepare(&search, err);

    if (code != OMEN_OK) return code;
    p = search.private_;
    if (m->pace != NULL) {
        p->pace = m->pace->fn;
        p->pace_user = m->pace->user;
    }
    omen_search_start(p);
    memset(m->own, 0, sizeof m->own);
    if (stored) choose_stored(m, p, count);
    code = omen_search_block(m->searcher, p, 0, err);
    if (code == OMEN_OK) note_truth(m, &search);
    for (uint32_t at = 0; at < OMEN_CALIBRATED_KS && code == OMEN_OK; at++)
        code = measure_curve(m, &search, at, target, err);
    omen_search_deinit(&search);
    return code;
}

/* A block whose mean is well above the target goes no further up; it counts as it was there. */
static omen_code measure_curve(struct measuring *m, struct omen_search *search, uint32_t at,
                               uint32_t target, omen_error *err)
{
    struct omen_recall_curve *curve = &m->curves[at];
    const double enough = (1 + target / 1e6) / 2;
    bool done = false;
    omen_code code = OMEN_OK;

    for (uint32_t q = 0; q < search->count; q++) {
        m->settled[q] = m->worst_count[at][q] == 0;
        curve->queries += !m->settled[q];
    }
    for (uint32_t step = 0; step < curve->steps && code == OMEN_OK; step++) {
        double sum = 0;
        uint32_t queries = 0;

        if (!done) code = walk_step(m, search, at, step, err);
        done = true;
        for (uint32_t q = 0; q < search->count && code == OMEN_OK; q++) {
            if (m->worst_count[at][q] == 0) continue;
            omen_recall_curve_add(curve, step, m->recall[q]);
            sum += m->recall[q][OMEN_CURVE_DEPTHS - 1];
            queries++;
            m->settled[q] |= m->recall[q][0] >= 1;
            done &= m->settled[q];
        }
        done |= sum >= enough * queries;
    }
    return code;
}

static bool is_own(const struct own *own, const struct omen_id *id)
{
    if (!own->stored || id->key_bytes != own->key_bytes) return false;
    return own->key_bytes == 0 ? id->num == own->num
                               : memcmp(id->key, own->key, own->key_bytes) == 0;
}

/* Share of the query's true neighbours among its hits: those as near as the farthest of them. */
static double recall_of(const struct measuring *m, const struct omen_query_result *result,
                        uint32_t at, uint32_t q)
{
    uint32_t found = 0;

    for (uint32_t i = 0; i < result->hit_count && found < m->worst_count[at][q]; i++)
        found +=
            result->hits[i].distance <= m->worst[at][q] && !is_own(&m->own[q], &result->hits[i].id);
    return (double)found / m->worst_count[at][q];
}

static omen_code walk_step(struct measuring *m, struct omen_search *search, uint32_t at,
                           uint32_t step, omen_error *err)
{
    const struct omen_recall_curve *curve = &m->curves[at];
    struct omen_search_private *p = search->private_;
    omen_code code = OMEN_OK;

    for (uint32_t depth = 0; depth < OMEN_CURVE_DEPTHS && code == OMEN_OK; depth++) {
        for (uint32_t q = 0; q < search->count; q++) {
            struct omen_query_plan *plan = &p->plans[q];

            plan->exact = false;
            plan->k = curve->k + m->own[q].stored;
            plan->ef = curve->ef[step] < plan->k ? plan->k : curve->ef[step];
            plan->rerank = curve->rerank[step][depth] + m->own[q].stored;
            plan->refusal = m->settled[q] ? OMEN_REFUSED_EF : 0; /* it is not run */
        }
        code = omen_search_block(m->searcher, p, 0, err);
        for (uint32_t q = 0; q < search->count && code == OMEN_OK; q++) {
            if (m->settled[q]) continue;
            m->recall[q][depth] = recall_of(m, &p->results[q], at, q);
        }
    }
    return code;
}

static void note_truth(struct measuring *m, const struct omen_search *search)
{
    for (uint32_t at = 0; at < OMEN_CALIBRATED_KS; at++) {
        for (uint32_t q = 0; q < search->count; q++) {
            const struct omen_query_result *result = &search->private_->results[q];
            uint32_t count = 0;

            for (uint32_t i = 0; i < result->hit_count && count < m->curves[at].k; i++) {
                if (is_own(&m->own[q], &result->hits[i].id)) continue;
                m->worst[at][q] = result->hits[i].distance;
                count++;
            }
            m->worst_count[at][q] = count;
        }
    }
}

/* Visible points, in the place of the block's queries. Where none is found, the query is none. */
static void choose_stored(struct measuring *m, const struct omen_search_private *p, uint32_t count)
{
    const omen_collection *c = m->collection;
    uint32_t dim = c->settings.dim;

    for (uint32_t q = 0; q < count; q++) {
        struct omen_query_plan *plan = &p->plans[q];
        uint32_t slot = 0;
        uint32_t tries = 0;

        do
            slot = (uint32_t)(next_random(&m->random) % p->snapshot.slots);
        while (!omen_graph_visible(&c->graph, slot, p->snapshot.epoch) && ++tries < TRIES);
        plan->refusal = 0;
        if (tries == TRIES) {
            plan->refusal = OMEN_REFUSED_EF;
            continue;
        }
        struct omen_id id = omen_graph_id_of(&c->graph, slot);
        omen_original_copy(&c->originals, slot, m->queries + (size_t)q * dim);
        m->own[q] = (struct own){.stored = true, .key_bytes = (uint8_t)id.key_bytes, .num = id.num};
        if (id.key_bytes > 0) memcpy(m->own[q].key, id.key, id.key_bytes);
    }
}

static omen_code record(omen_collection *c, const struct omen_calibration *calibration,
                        omen_error *err)
{
    uint8_t payload[OMEN_SETTINGS_CHANGE_BYTES];
    size_t bytes = omen_settings_write_calibration(payload, calibration);

    return omen_ingest_settings(c, payload, bytes, err);
}

omen_code omen_collection_calibrate(omen_collection *collection, omen_error *err)
{
    return omen_calibrate(collection, NULL, err);
}

omen_code omen_collection_set_target_recall(omen_collection *collection, uint32_t target_recall,
                                            omen_error *err)
{
    uint32_t change[2] = {OMEN_SETTING_TARGET_RECALL, target_recall};
    omen_code code = omen_target_recall_check(&change[1], err);

    if (code == OMEN_OK) code = omen_ingest_settings(collection, change, sizeof change, err);
    return code;
}
