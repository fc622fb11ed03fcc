/* model.c - see model.h. */
#include "tests/fuzz/model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/id.h"
#include "tests/fuzz/fuzz.h"

#define INDEXES 65536u

struct omen_id model_omen_id(const struct model_id *id)
{
    return id->key_bytes == 0 ? omen_id_num(id->num) : omen_id_key(id->key, id->key_bytes);
}

static struct model_id copy_id(const struct omen_id *id)
{
    struct model_id copy = {.key_bytes = id->key_bytes};

    FUZZ_CHECK(id->key_bytes <= sizeof copy.key, "a key of %u bytes", id->key_bytes);
    if (id->key_bytes == 0)
        copy.num = id->num;
    else
        memcpy(copy.key, id->key, id->key_bytes);
    return copy;
}

static bool same_id(const struct model_id *a, const struct model_id *b)
{
    struct omen_id x = model_omen_id(a);
    struct omen_id y = model_omen_id(b);

    return a->none == b->none && omen_id_compare(&x, &y) == 0;
}

void model_deinit(struct model *model)
{
    free(model->points);
    *model = (struct model){0};
}

struct model_point *model_find(const struct model *model, const struct model_id *id)
{
    for (uint32_t i = 0; i < model->count; i++)
        if (same_id(&model->points[i].id, id)) return &model->points[i];
    return NULL;
}

void model_remove(struct model *model, struct model_point *point)
{
    *point = model->points[--model->count];
}

bool model_may_be_gone(const struct model_point *point, uint64_t now_s)
{
    return point->expires_to != 0 && point->expires_from <= now_s;
}

static void put(struct model *model, const struct model_item *item, const struct model_write *write)
{
    struct model_point *point = model_find(model, &item->id);

    if (point == NULL) {
        if (model->count == model->capacity) {
            model->capacity = model->capacity == 0 ? 256 : 2 * model->capacity;
            model->points = realloc(model->points, model->capacity * sizeof *model->points);
            FUZZ_CHECK(model->points != NULL, "no memory for a model");
        }
        point = &model->points[model->count++];
    }
    *point = (struct model_point){.id = item->id};
    memcpy(point->vector, item->vector, sizeof point->vector);
    if (item->ttl_s == 0) return;
    uint64_t from = write->before_s + item->ttl_s;
    uint64_t to = write->after_s + item->ttl_s;

    point->expires_from = from > UINT32_MAX ? UINT32_MAX : (uint32_t)from;
    point->expires_to = to > UINT32_MAX ? UINT32_MAX : (uint32_t)to;
}

/* ---- a chunk's items ---------------------------------------------------------------------- */

static struct model_item point_of(const omen_chunk *chunk, uint32_t row)
{
    struct omen_id id = omen_id_of(chunk->ids[row], omen_chunk_is_keyed(chunk, row));
    struct model_item item = {
        .kind = MODEL_POINT, .id = copy_id(&id), .index = chunk->indexes[row]};

    memcpy(item.vector, chunk->vectors + (size_t)row * MODEL_DIM, sizeof item.vector);
    if (chunk->expires != NULL) item.ttl_s = chunk->expires[row];
    return item;
}

static struct model_item refused_of(const struct omen_item_error *error)
{
    struct model_item item = {.kind = MODEL_REFUSED,
                              .index = error->index,
                              .refusal = error->refusal,
                              .detail = error->detail};

    item.id.none = !error->has_id;
    item.id.num = error->has_id ? error->num : 0;
    item.id.key_bytes = error->has_id ? error->key_bytes : 0;
    memcpy(item.id.key, error->key, item.id.key_bytes);
    return item;
}

void model_write_note(struct model_write *write, const omen_chunk *chunk)
{
    uint32_t count = chunk->count + chunk->delete_count + chunk->error_count;

    FUZZ_CHECK(chunk->dim == MODEL_DIM, "a chunk of dimension %u", chunk->dim);
    write->items = malloc((count + 1) * sizeof *write->items);
    FUZZ_CHECK(write->items != NULL, "no memory for %u items", count);
    write->count = 0;
    for (uint32_t i = 0; i < chunk->count; i++)
        write->items[write->count++] = point_of(chunk, i);
    for (uint32_t i = 0; i < chunk->delete_count; i++) {
        struct omen_id id = omen_id_of(chunk->deletes[i].id, chunk->deletes[i].keyed);

        write->items[write->count++] = (struct model_item){
            .kind = MODEL_DELETE, .id = copy_id(&id), .index = chunk->deletes[i].index};
    }
    for (uint32_t i = 0; i < chunk->error_count; i++)
        write->items[write->count++] = refused_of(&chunk->errors[i]);
}

/* ---- the rules ---------------------------------------------------------------------------- */

static enum omen_refusal refuse_vector(const float *vector, omen_metric metric)
{
    float max = 0;

    for (uint32_t i = 0; i < MODEL_DIM; i++) {
        if (!isfinite(vector[i])) return OMEN_REFUSED_NOT_FINITE;
        if (fabsf(vector[i]) > max) max = fabsf(vector[i]);
    }
    if (max > OMEN_COMPONENT_MAX) return OMEN_REFUSED_TOO_LARGE;
    if (max > 0) return max < OMEN_COMPONENT_MIN ? OMEN_REFUSED_TOO_SMALL : 0;
    return metric == OMEN_METRIC_COSINE ? OMEN_REFUSED_ZERO : 0;
}

/* What the mode says of an id that is there, or not. */
static enum omen_refusal refuse_id(omen_write_mode mode, bool there)
{
    if (mode == OMEN_WRITE_INSERT_ONLY && there) return OMEN_REFUSED_EXISTS;
    if (mode == OMEN_WRITE_UPDATE_ONLY && !there) return OMEN_REFUSED_UNKNOWN;
    return 0;
}

static void check_detail(const struct omen_item_error *error, const struct model_item *item)
{
    bool by_component =
        error->refusal == OMEN_REFUSED_NOT_FINITE || error->refusal == OMEN_REFUSED_TOO_LARGE;

    if (item->kind == MODEL_REFUSED)
        FUZZ_CHECK(error->detail == item->detail, "item %u: detail %u, it was noted as %u",
                   item->index, error->detail, item->detail);
    else if (by_component)
        FUZZ_CHECK(error->detail < MODEL_DIM &&
                       !(fabsf(item->vector[error->detail]) <= OMEN_COMPONENT_MAX),
                   "item %u: component %u is not the bad one", item->index, error->detail);
}

static void check_error(const struct omen_item_error *error, const struct model_item *item,
                        const struct model_write *write)
{
    struct omen_item_error copy = *error;
    omen_error sentence = {0};
    omen_code code = omen_item_error_describe(&copy, MODEL_DIM, &sentence);
    struct model_item told = refused_of(error);

    fuzz_check_error(&sentence, code);
    FUZZ_CHECK(sentence.reason[0] != '\0', "an item error without a reason: %s", sentence.message);
    FUZZ_CHECK(error->seq == write->seq, "item %u: seq %llu", item->index,
               (unsigned long long)error->seq);
    FUZZ_CHECK(same_id(&told.id, &item->id), "item %u: another id in its error", item->index);
    check_detail(error, item);
}

/* `error` is what the engine said of the item: 0, or a refusal. */
static void apply_point(struct model *model, const struct model_write *write,
                        const struct model_item *item, enum omen_refusal said)
{
    struct model_point *old = model_find(model, &item->id);
    enum omen_refusal expected = refuse_vector(item->vector, model->metric);

    if (expected == 0) {
        enum omen_refusal if_there = refuse_id(write->mode, true);
        enum omen_refusal if_not = refuse_id(write->mode, false);
        bool either = old != NULL && model_may_be_gone(old, write->after_s + 1);

        expected = old != NULL ? if_there : if_not;
        if (either && said == if_not) {
            model_remove(model, old);
            expected = if_not;
        }
    }
    FUZZ_CHECK(said == expected, "item %u: refused for reason %d, expected %d", item->index,
               (int)said, (int)expected);
    if (said == 0) put(model, item, write);
}

static void apply_item(struct model *model, const struct model_write *write,
                       const struct model_item *item, enum omen_refusal said)
{
    struct model_point *old = NULL;

    switch (item->kind) {
    case MODEL_POINT:
        apply_point(model, write, item, said);
        return;
    case MODEL_DELETE:
        FUZZ_CHECK(said == 0, "item %u: a delete refused for reason %d", item->index, (int)said);
        old = model_find(model, &item->id);
        if (old != NULL) model_remove(model, old);
        return;
    case MODEL_REFUSED:
        FUZZ_CHECK(said == item->refusal, "item %u: refused for reason %d, noted as %d",
                   item->index, (int)said, (int)item->refusal);
        return;
    }
}

void model_apply(struct model *model, const struct model_write *write)
{
    static const struct omen_item_error *by_index[INDEXES];
    size_t used = 0;

    for (size_t i = 0; i < write->error_count; i++) {
        const struct omen_item_error *error = &write->errors[i];

        FUZZ_CHECK(by_index[error->index] == NULL, "item %u: two errors", error->index);
        by_index[error->index] = error;
    }
    for (uint32_t i = 0; i < write->count; i++) {
        const struct model_item *item = &write->items[i];
        const struct omen_item_error *error = by_index[item->index];

        if (error != NULL) check_error(error, item, write);
        used += error != NULL;
        apply_item(model, write, item, error == NULL ? 0 : error->refusal);
    }
    FUZZ_CHECK(used == write->error_count, "%zu item errors, %zu items have one",
               write->error_count, used);
    for (size_t i = 0; i < write->error_count; i++)
        by_index[write->errors[i].index] = NULL;
}
