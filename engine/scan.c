/* scan.c - the exact way: every visible point, by tiles of queries x rows on the originals. For
 * `exact`, for k beyond OMEN_EF_MAX, and for collections too small to be worth a walk. */
#include <string.h>

#include "engine/memory.h"
#include "engine/scrubber.h"
#include "engine/search.h"

/* A look at the clock every so many rows. */
#define STOP_ROWS 1024u

static void scan_tile(struct omen_searcher *s, const struct omen_search_private *p, uint32_t first,
                      uint32_t rows, struct omen_top *tops, uint32_t count);
static void scan_run(struct omen_searcher *s, const struct omen_search_private *p, uint32_t first,
                     uint32_t rows, struct omen_top *tops, uint32_t count);

omen_code omen_search_scan(struct omen_searcher *s, struct omen_search_private *p, uint32_t first,
                           uint32_t count, omen_error *err)
{
    const omen_collection *c = p->search->collection;
    struct omen_top tops[OMEN_SEARCH_BLOCK];
    size_t room = 0;
    omen_code code = OMEN_OK;

    for (uint32_t i = 0; i < count; i++)
        room += 2 * (size_t)p->plans[first + i].k + 64;
    code = omen_searcher_fit_hits(s, room, err);
    if (code != OMEN_OK) return code;
    room = 0;
    for (uint32_t i = 0; i < count; i++) {
        const float *x = p->search->queries + (size_t)(first + i) * c->settings.dim;
        uint32_t k = p->plans[first + i].k;

        tops[i] = (struct omen_top){
            .hits = s->hits + room, .keep = k, .capacity = 2 * k + 64, .worst = INFINITY};
        room += tops[i].capacity;
        s->queries[i].vector = x;
        s->queries[i].inverse_length = 1.0f;
        if (c->settings.metric == OMEN_METRIC_COSINE)
            s->queries[i].inverse_length =
                1.0f / sqrtf(c->kernels.dot_f32_one(x, x, c->settings.dim));
    }
    for (uint32_t row = 0; row < p->snapshot.slots && code == OMEN_OK; row += OMEN_SCAN_ROWS) {
        uint32_t left = p->snapshot.slots - row;

        if (row % STOP_ROWS == 0) code = omen_search_check_stop(p->search, err);
        scan_tile(s, p, row, left < OMEN_SCAN_ROWS ? left : OMEN_SCAN_ROWS, tops, count);
    }
    for (uint32_t i = 0; i < count && code == OMEN_OK; i++) {
        struct omen_query_result *result = &p->results[first + i];

        (void)omen_top_finish(&tops[i]);
        omen_search_answer(p, first + i, &tops[i]);
        result->visited = (uint32_t)p->snapshot.points;
        result->exact = true;
        if (tops[i].count < tops[i].keep) result->shortfall = OMEN_SHORTFALL_COLLECTION;
    }
    return code;
}

/* A segment is a multiple of a tile, so a tile's rows stand one after the other. */
_Static_assert(OMEN_SEGMENT_SLOTS % OMEN_SCAN_ROWS == 0, "a tile must not span segments");

/* Runs of visible rows only: another row may have no page behind it (originals.h), or be written at
 * this moment. */
static void scan_tile(struct omen_searcher *s, const struct omen_search_private *p, uint32_t first,
                      uint32_t rows, struct omen_top *tops, uint32_t count)
{
    const omen_collection *c = p->search->collection;

    for (uint32_t r = 0; r < rows;) {
        uint32_t n = 0;

        while (r + n < rows && omen_graph_visible(&c->graph, first + r + n, p->snapshot.epoch) &&
               omen_original_is_sound(c, first + r + n))
            n++;
        if (n > 0) scan_run(s, p, first + r, n, tops, count);
        r += n + 1; /* the one behind a run is not visible, or damaged */
    }
}

static void scan_run(struct omen_searcher *s, const struct omen_search_private *p, uint32_t first,
                     uint32_t rows, struct omen_top *tops, uint32_t count)
{
    const omen_collection *c = p->search->collection;
    omen_metric metric = c->settings.metric;
    omen_f32_block_fn *block =
        metric == OMEN_METRIC_L2 ? c->kernels.l2sq_f32_block : c->kernels.dot_f32_block;

    const float *at = omen_original(&c->originals, first, s->wide);
    const size_t floats = omen_original_floats(&c->originals);
    if (c->originals.half)
        for (uint32_t r = 1; r < rows; r++)
            (void)omen_original(&c->originals, first + r, s->wide + r * floats);
    block(s->queries[0].vector, count, at, rows, floats, c->settings.dim, s->tile, OMEN_SCAN_ROWS);
    for (uint32_t q = 0; q < count; q++) {
        for (uint32_t r = 0; r < rows; r++) {
            const float d = omen_answer_distance(metric, s->tile[q * OMEN_SCAN_ROWS + r],
                                                 s->queries[q].inverse_length,
                                                 *omen_graph_inverse_length(&c->graph, first + r));

            if (d <= tops[q].worst)
                omen_top_add(&tops[q], d, omen_graph_id_of(&c->graph, first + r));
        }
    }
}
