/* chunk.c - see chunk.h: filling a chunk, checking and encoding its points. The record's bytes are
 * made and read in chunk_record.c. */
#include "engine/chunk.h"

#include <stdlib.h>
#include <string.h>

#include "engine/chunk_make.h"
#include "engine/id.h"
#include "engine/memory.h"
#include "engine/stream.h"

static bool grow(void **array, uint32_t *capacity, uint32_t wanted, size_t size);
static void move_row(omen_chunk *chunk, uint32_t from, uint32_t to);
static void refuse_row(omen_chunk *chunk, uint32_t row, enum omen_refusal refusal, uint32_t detail);
static bool note(omen_chunk *chunk, struct omen_item_error *item, const struct omen_id *id);
static int compare_errors(const void *a, const void *b);

omen_code omen_chunk_create(omen_stream *stream, uint32_t points, omen_chunk **out, omen_error *err)
{
    return omen_chunk_make(omen_stream_dim(stream), points, out, err);
}

omen_code omen_chunk_make(uint32_t dim, uint32_t points, omen_chunk **out, omen_error *err)
{
    omen_chunk *chunk = omen_alloc_zeroed(sizeof *chunk);
    size_t n = points == 0 ? 1 : points;

    *out = NULL;
    if (chunk == NULL) goto fail;
    chunk->dim = dim;
    chunk->stride = omen_code_stride(dim);
    chunk->capacity = points;
    chunk->vectors = omen_alloc_aligned(n * dim * sizeof *chunk->vectors);
    chunk->ids = omen_alloc(n * sizeof *chunk->ids);
    chunk->indexes = omen_alloc(n * sizeof *chunk->indexes);
    if (chunk->vectors == NULL || chunk->ids == NULL || chunk->indexes == NULL) goto fail;
    *out = chunk;
    return OMEN_OK;

fail:
    omen_chunk_destroy(chunk);
    return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a chunk of %u points", points);
}

void omen_chunk_destroy(omen_chunk *chunk)
{
    if (chunk == NULL) return;
    for (uint32_t i = 0; chunk->keyed != NULL && i < chunk->count; i++) {
        if (chunk->keyed[i]) omen_free((void *)(uintptr_t)chunk->ids[i]);
    }
    for (uint32_t i = 0; i < chunk->delete_count; i++) {
        if (chunk->deletes[i].keyed) omen_free((void *)(uintptr_t)chunk->deletes[i].id);
    }
    omen_free(chunk->vectors);
    omen_free(chunk->ids);
    omen_free(chunk->keyed);
    omen_free(chunk->indexes);
    omen_free(chunk->expires);
    omen_free(chunk->codes);
    omen_free(chunk->metas);
    omen_free(chunk->inverse_lengths);
    omen_free(chunk->deletes);
    omen_free(chunk->errors);
    omen_free(chunk->side);
    omen_free(chunk);
}

/* ---- filling ------------------------------------------------------------------------------- */

float *omen_chunk_row(omen_chunk *chunk)
{
    return omen_chunk_rows(chunk, 1);
}

float *omen_chunk_rows(omen_chunk *chunk, uint32_t count)
{
    if (count > chunk->capacity - chunk->count) return NULL;
    return chunk->vectors + (size_t)chunk->count * chunk->dim;
}

bool omen_chunk_need_keyed(omen_chunk *chunk)
{
    if (chunk->keyed == NULL) chunk->keyed = omen_alloc_zeroed(chunk->capacity);
    return chunk->keyed != NULL;
}

bool omen_chunk_need_expires(omen_chunk *chunk)
{
    if (chunk->expires == NULL)
        chunk->expires = omen_alloc_zeroed(chunk->capacity * sizeof *chunk->expires);
    return chunk->expires != NULL;
}

static bool refuse_long_key(omen_chunk *chunk, uint32_t index, const struct omen_id *id)
{
    if (id->key_bytes <= OMEN_KEY_BYTES_MAX) return false;
    omen_chunk_refuse(chunk, index, NULL, OMEN_REFUSED_KEY_LENGTH, id->key_bytes);
    return true;
}

void omen_chunk_add(omen_chunk *chunk, uint32_t index, const struct omen_id *id, uint32_t ttl_s)
{
    uint32_t row = chunk->count;

    if (refuse_long_key(chunk, index, id)) return;
    if (id->key_bytes == 0) {
        omen_chunk_add_many(chunk, 1, index, &id->num, ttl_s);
        return;
    }
    struct omen_key_text *key = omen_key_text_create(id->key, id->key_bytes);

    if (key == NULL || !omen_chunk_need_keyed(chunk)) {
        omen_free(key);
        chunk->out_of_memory = true;
        return;
    }
    omen_chunk_add_many(chunk, 1, index, &(uint64_t){(uintptr_t)key}, ttl_s);
    chunk->keyed[row] = 1;
}

void omen_chunk_add_many(omen_chunk *chunk, uint32_t count, uint32_t first_index,
                         const uint64_t *ids, uint32_t ttl_s)
{
    bool expires = ttl_s != 0 && omen_chunk_need_expires(chunk);

    if (ttl_s != 0 && !expires) chunk->out_of_memory = true;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t index = first_index + i;

        chunk->ids[chunk->count] = ids[i];
        chunk->indexes[chunk->count] = (uint16_t)index; /* push refuses the chunk if it is cut */
        if (expires) chunk->expires[chunk->count] = ttl_s;
        chunk->count++;
        if (index > chunk->index_max) chunk->index_max = index;
    }
}

void omen_chunk_delete(omen_chunk *chunk, uint32_t index, const struct omen_id *id)
{
    uint64_t stored = id->key_bytes == 0 ? id->num : 0;

    if (refuse_long_key(chunk, index, id)) return;
    if (id->key_bytes != 0) stored = (uintptr_t)omen_key_text_create(id->key, id->key_bytes);
    if ((id->key_bytes != 0 && stored == 0) ||
        !grow((void **)&chunk->deletes, &chunk->delete_capacity, chunk->delete_count + 1,
              sizeof *chunk->deletes)) {
        if (id->key_bytes != 0) omen_free((void *)(uintptr_t)stored);
        chunk->out_of_memory = true;
        return;
    }
    if (index > chunk->index_max) chunk->index_max = index;
    chunk->deletes[chunk->delete_count++] = (struct omen_chunk_delete){
        .id = stored, .index = (uint16_t)index, .keyed = id->key_bytes != 0};
}

void omen_chunk_refuse(omen_chunk *chunk, uint32_t index, const struct omen_id *id,
                       enum omen_refusal refusal, uint32_t detail)
{
    struct omen_item_error item = {.index = (uint16_t)index, .detail = detail, .refusal = refusal};

    if (index > chunk->index_max) chunk->index_max = index;
    (void)note(chunk, &item, id); /* a failure is remembered: the push will say it */
}

bool omen_chunk_note(omen_chunk *chunk, uint16_t index, uint64_t stored, bool keyed,
                     enum omen_refusal refusal)
{
    struct omen_item_error item = {.seq = chunk->seq, .index = index, .refusal = refusal};
    struct omen_id id = omen_id_of(stored, keyed);

    return note(chunk, &item, &id);
}

/* An id that is a key longer than any may be is not told. */
static bool note(omen_chunk *chunk, struct omen_item_error *item, const struct omen_id *id)
{
    item->has_id = id != NULL && id->key_bytes <= OMEN_KEY_BYTES_MAX;
    if (item->has_id && id->key_bytes == 0) item->num = id->num;
    if (item->has_id && id->key_bytes > 0) {
        item->key_bytes = (uint8_t)id->key_bytes;
        memcpy(item->key, id->key, id->key_bytes);
    }
    if (!grow((void **)&chunk->errors, &chunk->error_capacity, chunk->error_count + 1,
              sizeof *chunk->errors)) {
        chunk->out_of_memory = true;
        return false;
    }
    chunk->errors[chunk->error_count++] = *item;
    return true;
}

static bool grow(void **array, uint32_t *capacity, uint32_t wanted, size_t size)
{
    uint32_t more = *capacity == 0 ? 16 : *capacity * 2;
    void *grown;

    if (wanted <= *capacity) return true;
    grown = omen_realloc(*array, more * size);
    if (grown == NULL) return false;
    *array = grown;
    *capacity = more;
    return true;
}

/* ---- encoding ------------------------------------------------------------------------------ */

#define HALF_MAX       65520.0f /* from here on, a half would be infinite */
#define HALF_MIN       0x1p-25f /* up to here, it would be 0 */
#define HALVES_AT_ONCE 256u

/* Rounds a vector's components to halves. 0, or the refusal; what no collection takes is left to
 * omen_code_encode(). */
static int round_to_halves(const struct omen_kernels *kernels, float *x, uint32_t *detail)
{
    const float max = kernels->max_abs_f32(x, kernels->dim);
    uint16_t halves[HALVES_AT_ONCE];

    if (max > OMEN_COMPONENT_MAX || max < OMEN_COMPONENT_MIN) return 0;
    if (max >= HALF_MAX || max <= HALF_MIN) {
        memcpy(detail, &max, sizeof *detail);
        return OMEN_REFUSED_HALF;
    }
    for (uint32_t at = 0; at < kernels->dim; at += HALVES_AT_ONCE) {
        const uint32_t left = kernels->dim - at;
        const uint32_t n = left < HALVES_AT_ONCE ? left : HALVES_AT_ONCE;

        kernels->narrow_f16(x + at, n, halves);
        kernels->widen_f16(halves, n, x + at);
    }
    return 0;
}

omen_code omen_chunk_encode(omen_chunk *chunk, const struct omen_kernels *kernels,
                            const struct omen_collection_settings *settings, omen_error *err)
{
    size_t n = chunk->count == 0 ? 1 : chunk->count;
    uint32_t kept = 0;

    chunk->codes = omen_alloc_aligned(n * chunk->stride);
    chunk->metas = omen_alloc(n * sizeof *chunk->metas);
    chunk->inverse_lengths = omen_alloc(n * sizeof *chunk->inverse_lengths);
    if (chunk->codes == NULL || chunk->metas == NULL || chunk->inverse_lengths == NULL)
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "codes of %u points", chunk->count);
    for (uint32_t i = 0; i < chunk->count; i++) {
        float *x = chunk->vectors + (size_t)kept * chunk->dim;
        struct omen_encoded encoded;
        int refusal = 0;

        if (kept != i) move_row(chunk, i, kept);
        if (settings->originals == OMEN_ORIGINALS_F16)
            refusal = round_to_halves(kernels, x, &encoded.detail);
        if (refusal == 0)
            refusal = omen_code_encode(kernels, settings->metric, x,
                                       chunk->codes + kept * chunk->stride, &encoded);
        if (refusal != 0) {
            refuse_row(chunk, kept, (enum omen_refusal)refusal, encoded.detail);
            continue;
        }
        chunk->metas[kept] = encoded.meta;
        chunk->inverse_lengths[kept] = encoded.inverse_length;
        kept++;
    }
    chunk->count = kept;
    if (chunk->out_of_memory)
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "the ids or the item errors of a chunk");
    if (chunk->error_count > 1)
        qsort(chunk->errors, chunk->error_count, sizeof *chunk->errors, compare_errors);
    return OMEN_OK;
}

static void refuse_row(omen_chunk *chunk, uint32_t row, enum omen_refusal refusal, uint32_t detail)
{
    bool keyed = omen_chunk_is_keyed(chunk, row);
    struct omen_id id = omen_id_of(chunk->ids[row], keyed);

    omen_chunk_refuse(chunk, chunk->indexes[row], &id, refusal, detail);
    if (!keyed) return;
    omen_free((void *)(uintptr_t)chunk->ids[row]);
    chunk->keyed[row] = 0;
}

/* The row it moves to is free, and the one that it leaves holds no key any more. */
static void move_row(omen_chunk *chunk, uint32_t from, uint32_t to)
{
    memcpy(chunk->vectors + (size_t)to * chunk->dim, chunk->vectors + (size_t)from * chunk->dim,
           chunk->dim * sizeof *chunk->vectors);
    chunk->ids[to] = chunk->ids[from];
    chunk->indexes[to] = chunk->indexes[from];
    if (chunk->expires != NULL) chunk->expires[to] = chunk->expires[from];
    if (chunk->keyed == NULL) return;
    chunk->keyed[to] = chunk->keyed[from];
    chunk->keyed[from] = 0;
}

static int compare_errors(const void *a, const void *b)
{
    uint32_t x = ((const struct omen_item_error *)a)->index;
    uint32_t y = ((const struct omen_item_error *)b)->index;

    return x < y ? -1 : x > y;
}
