/* taker.c - see taker.h. */
#include "tests/fuzz/taker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/id.h"
#include "service/get_run.h"
#include "tests/fuzz/fuzz.h"

#define USES_MAX   256u
#define POINTS_MAX 1000u

_Static_assert(MODEL_DIM == PLACE_DIM, "one dimension");

static struct taker takers[3] = {{.name = "l2"}, {.name = "cosine"}, {.name = "ip"}};

static void begin(struct taker *taker)
{
    omen_metric metric = (omen_metric)(OMEN_METRIC_L2 + (taker - takers));

    taker->collection = place_collection(taker->name, PLACE_DIM, metric);
    taker->model = (struct model){.metric = metric};
    taker->uses = 0;
}

static void end(struct taker *taker)
{
    omen_error err = {0};

    place_validate(taker->collection);
    for (size_t i = 0; i < TAKER_MODES; i++) {
        if (taker->streams[i].stream != NULL) place_stream_close(&taker->streams[i]);
        taker->streams[i].stream = NULL;
    }
    omen_collection_release(taker->collection);
    model_deinit(&taker->model);
    FUZZ_CHECK(omen_collection_delete(place_engine(), taker->name, &err) == OMEN_OK, "%s",
               err.message);
}

static void end_all(void)
{
    for (size_t i = 0; i < sizeof takers / sizeof *takers; i++)
        end(&takers[i]);
}

struct taker *taker_choose(uint64_t hash)
{
    struct taker *taker = &takers[hash % (sizeof takers / sizeof *takers)];

    if (takers[0].collection == NULL) {
        (void)place_engine(); /* first: its end comes after ours */
        for (size_t i = 0; i < sizeof takers / sizeof *takers; i++)
            begin(&takers[i]);
        (void)atexit(end_all);
    }
    if (taker->uses++ == USES_MAX || taker->model.count > POINTS_MAX) {
        end(taker);
        begin(taker);
    }
    return taker;
}

struct place_stream *taker_stream(struct taker *taker, omen_write_mode mode)
{
    struct place_stream *stream = &taker->streams[mode - OMEN_WRITE_INSERT_ONLY];
    struct omen_stream_options options = {.mode = mode};
    omen_error err = {0};

    if (stream->stream != NULL) return stream;
    FUZZ_CHECK(place_stream_open(stream, taker->collection, &options, &err) == OMEN_OK, "%s",
               err.message);
    return stream;
}

/* ---- does it hold what it should? --------------------------------------------------------- */

static uint64_t now_s(void)
{
    return (uint64_t)time(NULL);
}

static void check_point(struct model *model, const struct model_id *id, const struct omen_got *got,
                        const float *vector)
{
    struct model_point *point = model_find(model, id);

    if (point == NULL) {
        FUZZ_CHECK(!got->found, "a point is there that should not be");
        return;
    }
    if (!got->found) {
        FUZZ_CHECK(model_may_be_gone(point, now_s() + 1), "a point is missing");
        model_remove(model, point);
        return;
    }
    if (vector != NULL)
        FUZZ_CHECK(memcmp(vector, point->vector, sizeof point->vector) == 0, "another vector");
    FUZZ_CHECK(got->expires_s >= point->expires_from && got->expires_s <= point->expires_to,
               "expires at %u, it should be %u to %u", got->expires_s, point->expires_from,
               point->expires_to);
    point->expires_from = point->expires_to = got->expires_s;
}

static void check_ids(struct taker *taker, const struct model_id *ids, uint32_t count)
{
    static struct omen_id wanted[OMEN_GET_IDS_MAX];
    static struct omen_got got[OMEN_GET_IDS_MAX];
    static float vectors[OMEN_GET_IDS_MAX * PLACE_DIM];
    uint64_t position = 0;
    omen_error err = {0};

    for (uint32_t first = 0; first < count; first += OMEN_GET_IDS_MAX) {
        uint32_t n = count - first < OMEN_GET_IDS_MAX ? count - first : OMEN_GET_IDS_MAX;

        for (uint32_t i = 0; i < n; i++)
            wanted[i] = model_omen_id(&ids[first + i]);
        FUZZ_CHECK(omen_collection_get_points(taker->collection, wanted, n, got, vectors, &position,
                                              &err) == OMEN_OK,
                   "%s", err.message);
        for (uint32_t i = 0; i < n; i++)
            check_point(&taker->model, &ids[first + i], &got[i], vectors + (size_t)i * PLACE_DIM);
    }
}

/* All of the model's ids, those of the write, and how many there are. */
static void check_all(struct taker *taker, const struct model_write *write)
{
    struct model *model = &taker->model;
    struct model_id *ids = malloc((model->count + write->count + 1) * sizeof *ids);
    struct omen_collection_info info;
    uint32_t count = 0;
    bool unsure = false;

    FUZZ_CHECK(ids != NULL, "no memory for %u ids", model->count + write->count);
    for (uint32_t i = 0; i < model->count; i++)
        ids[count++] = model->points[i].id;
    for (uint32_t i = 0; i < write->count; i++)
        if (!write->items[i].id.none) ids[count++] = write->items[i].id;
    check_ids(taker, ids, count);
    free(ids);
    omen_collection_get_info(taker->collection, &info);
    for (uint32_t i = 0; i < model->count; i++)
        unsure = unsure || model_may_be_gone(&model->points[i], now_s() + 1);
    FUZZ_CHECK(unsure || info.points == model->count, "%llu points are searchable, not %u",
               (unsigned long long)info.points, model->count);
}

void taker_push(struct taker *taker, struct place_stream *stream, omen_chunk *chunk)
{
    struct model_write write = {.mode = stream->mode, .before_s = now_s()};
    struct place_errors errors;

    model_write_note(&write, chunk);
    write.seq = place_push(stream, chunk, &errors);
    write.after_s = now_s();
    write.errors = errors.items;
    write.error_count = errors.count;
    model_apply(&taker->model, &write);
    check_all(taker, &write);
    free(errors.items);
    free(write.items);
}

/* ---- gets --------------------------------------------------------------------------------- */

void taker_get(struct taker *taker, struct omen_points_get *wanted)
{
    struct omen_get_run run = {.wanted = *wanted};
    struct omen_fault fault = {0};

    (void)snprintf(run.wanted.collection, sizeof run.wanted.collection, "%s", taker->name);
    wanted->ids = NULL; /* the run's now */
    FUZZ_CHECK(omen_get_run_init(&run, place_engine(), place_budget(), &fault) == OMEN_OK &&
                   omen_get_run_go(&run, &fault) == OMEN_OK,
               "a decoded get was refused: %s", fault.error.message);
    for (uint32_t i = 0; i < run.got.count; i++) {
        struct model_id id = {.key_bytes = run.ids[i].key_bytes};

        if (id.key_bytes == 0)
            id.num = run.ids[i].num;
        else
            memcpy(id.key, run.ids[i].key, id.key_bytes);
        check_point(&taker->model, &id, &run.got.points[i],
                    run.got.vectors == NULL ? NULL : run.got.vectors + (size_t)i * PLACE_DIM);
    }
    struct omen_payload reply = omen_reply_get(&run.got);
    FUZZ_CHECK(reply.data != NULL, "no reply for %u points", run.got.count);
    free(reply.data);
    omen_get_run_deinit(&run);
}

/* ---- two chunks of one message ------------------------------------------------------------ */

static bool same_stored(uint64_t a, bool a_keyed, uint64_t b, bool b_keyed)
{
    struct omen_id x = omen_id_of(a, a_keyed);
    struct omen_id y = omen_id_of(b, b_keyed);

    return a_keyed == b_keyed && omen_id_compare(&x, &y) == 0;
}

static void check_same_errors(const omen_chunk *a, const omen_chunk *b)
{
    for (uint32_t i = 0; i < a->error_count; i++) {
        const struct omen_item_error *x = &a->errors[i];
        const struct omen_item_error *y = &b->errors[i];

        FUZZ_CHECK(x->index == y->index && x->has_id == y->has_id && x->num == y->num &&
                       x->key_bytes == y->key_bytes && memcmp(x->key, y->key, sizeof x->key) == 0 &&
                       x->refusal == y->refusal && x->detail == y->detail,
                   "item error %u is another in slices", i);
    }
}

void taker_check_same(const omen_chunk *a, const omen_chunk *b)
{
    FUZZ_CHECK(a->count == b->count && a->error_count == b->error_count &&
                   a->delete_count == b->delete_count,
               "%u points, %u deletes and %u errors in one slice, %u, %u and %u in several",
               a->count, a->delete_count, a->error_count, b->count, b->delete_count,
               b->error_count);
    for (uint32_t i = 0; i < a->count; i++) {
        uint32_t a_ttl = a->expires == NULL ? 0 : a->expires[i];
        uint32_t b_ttl = b->expires == NULL ? 0 : b->expires[i];

        FUZZ_CHECK(
            same_stored(a->ids[i], omen_chunk_is_keyed(a, i), b->ids[i], omen_chunk_is_keyed(b, i)),
            "another id in slices");
        FUZZ_CHECK(a->indexes[i] == b->indexes[i] && a_ttl == b_ttl,
                   "point %u has another index or time in slices", i);
    }
    FUZZ_CHECK(memcmp(a->vectors, b->vectors, (size_t)a->count * a->dim * sizeof *a->vectors) == 0,
               "other vectors in slices, or components that nobody wrote");
    for (uint32_t i = 0; i < a->delete_count; i++)
        FUZZ_CHECK(a->deletes[i].index == b->deletes[i].index &&
                       same_stored(a->deletes[i].id, a->deletes[i].keyed, b->deletes[i].id,
                                   b->deletes[i].keyed),
                   "delete %u is another in slices", i);
    check_same_errors(a, b);
}
