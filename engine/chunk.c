/* chunk.c - see chunk.h. */
#include "engine/chunk.h"

#include <stdlib.h>
#include <string.h>

#include "engine/memory.h"
#include "engine/stream.h"

static omen_code make(uint32_t dim, uint32_t points, omen_chunk **out, omen_error *err);
static size_t index_bytes(uint32_t points);
static void move_row(omen_chunk *chunk, uint32_t from, uint32_t to);
static int compare_errors(const void *a, const void *b);

omen_code omen_chunk_create(omen_stream *stream, uint32_t points, omen_chunk **out, omen_error *err)
{
    return make(omen_stream_dim(stream), points, out, err);
}

static omen_code make(uint32_t dim, uint32_t points, omen_chunk **out, omen_error *err)
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
    chunk->indexes = omen_alloc_zeroed(index_bytes((uint32_t)n));
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
    omen_free(chunk->vectors);
    omen_free(chunk->ids);
    omen_free(chunk->indexes);
    omen_free(chunk->codes);
    omen_free(chunk->metas);
    omen_free(chunk->inverse_lengths);
    omen_free(chunk->errors);
    omen_free(chunk);
}

float *omen_chunk_row(omen_chunk *chunk)
{
    return omen_chunk_rows(chunk, 1);
}

void omen_chunk_add(omen_chunk *chunk, uint32_t index, uint64_t id)
{
    omen_chunk_add_many(chunk, 1, index, &id);
}

float *omen_chunk_rows(omen_chunk *chunk, uint32_t count)
{
    if (count > chunk->capacity - chunk->count) return NULL;
    return chunk->vectors + (size_t)chunk->count * chunk->dim;
}

void omen_chunk_add_many(omen_chunk *chunk, uint32_t count, uint32_t first_index,
                         const uint64_t *ids)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t index = first_index + i;

        chunk->ids[chunk->count] = ids[i];
        chunk->indexes[chunk->count] = (uint16_t)index; /* push refuses the chunk if it is cut */
        chunk->count++;
        if (index > chunk->index_max) chunk->index_max = index;
    }
}

void omen_chunk_refuse(omen_chunk *chunk, uint32_t index, uint64_t id, enum omen_refusal refusal,
                       uint32_t detail)
{
    struct omen_item_error item = {.id = id, .index = index, .detail = detail, .refusal = refusal};

    if (index > chunk->index_max) chunk->index_max = index;
    (void)omen_chunk_note(chunk, &item); /* a failure is remembered: the push will say it */
}

size_t omen_chunk_record_bytes(uint32_t points, uint32_t dim)
{
    return OMEN_RECORD_HEADER_BYTES + OMEN_CHUNK_HEADER_BYTES + points * sizeof(uint64_t) +
           index_bytes(points) + (size_t)points * dim * sizeof(float);
}

bool omen_chunk_note(omen_chunk *chunk, const struct omen_item_error *item)
{
    if (chunk->error_count == chunk->error_capacity) {
        uint32_t capacity = chunk->error_capacity == 0 ? 16 : chunk->error_capacity * 2;
        struct omen_item_error *errors = omen_realloc(chunk->errors, capacity * sizeof *errors);

        if (errors == NULL) {
            chunk->out_of_memory = true;
            return false;
        }
        chunk->errors = errors;
        chunk->error_capacity = capacity;
    }
    chunk->errors[chunk->error_count++] = *item;
    return true;
}

omen_code omen_chunk_encode(omen_chunk *chunk, const struct omen_kernels *kernels,
                            omen_metric metric, omen_error *err)
{
    size_t n = chunk->count == 0 ? 1 : chunk->count;
    uint32_t kept = 0;

    chunk->codes = omen_alloc_aligned(n * chunk->stride);
    chunk->metas = omen_alloc(n * sizeof *chunk->metas);
    chunk->inverse_lengths = omen_alloc(n * sizeof *chunk->inverse_lengths);
    if (chunk->codes == NULL || chunk->metas == NULL || chunk->inverse_lengths == NULL)
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "codes of %u points", chunk->count);
    for (uint32_t i = 0; i < chunk->count; i++) {
        struct omen_encoded encoded;
        int refusal = 0;

        if (kept != i) move_row(chunk, i, kept);
        refusal = omen_code_encode(kernels, metric, chunk->vectors + (size_t)kept * chunk->dim,
                                   chunk->codes + kept * chunk->stride, &encoded);
        if (refusal != 0) {
            omen_chunk_refuse(chunk, chunk->indexes[kept], chunk->ids[kept],
                              (enum omen_refusal)refusal, encoded.detail);
            continue;
        }
        chunk->metas[kept] = encoded.meta;
        chunk->inverse_lengths[kept] = encoded.inverse_length;
        kept++;
    }
    chunk->count = kept;
    if (chunk->out_of_memory)
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "the item errors of a chunk");
    if (chunk->error_count > 1)
        qsort(chunk->errors, chunk->error_count, sizeof *chunk->errors, compare_errors);
    return OMEN_OK;
}

int omen_chunk_parts(omen_chunk *chunk, struct iovec parts[OMEN_CHUNK_PARTS])
{
    uint8_t *h = chunk->header;

    memset(h, 0, sizeof chunk->header);
    memcpy(h, chunk->session_id, OMEN_SESSION_ID_BYTES);
    memcpy(h + 16, &chunk->generation, 8);
    memcpy(h + 24, &chunk->seq, 8);
    memcpy(h + 32, &chunk->count, 4);
    memcpy(h + 36, &chunk->dim, 4);
    h[40] = (uint8_t)chunk->mode;
    parts[0] = (struct iovec){h, sizeof chunk->header};
    parts[1] = (struct iovec){chunk->ids, chunk->count * sizeof *chunk->ids};
    parts[2] = (struct iovec){chunk->indexes, index_bytes(chunk->count)};
    for (uint32_t i = chunk->count; i % 4 != 0 && i < chunk->capacity; i++)
        chunk->indexes[i] = 0; /* a refused point may have left its index in the filling */
    parts[3] =
        (struct iovec){chunk->vectors, (size_t)chunk->count * chunk->dim * sizeof *chunk->vectors};
    return OMEN_CHUNK_PARTS;
}

omen_code omen_chunk_parse(const struct omen_record *record, uint32_t dim, omen_chunk **out,
                           omen_error *err)
{
    const uint8_t *at = record->payload;
    uint32_t count = 0;
    uint32_t dim_there = 0;
    omen_chunk *chunk = NULL;
    omen_code code = OMEN_OK;

    *out = NULL;
    if (record->length >= OMEN_CHUNK_HEADER_BYTES) {
        memcpy(&count, at + 32, 4);
        memcpy(&dim_there, at + 36, 4);
    }
    if (dim_there != dim || count > OMEN_CHUNK_INDEX_MAX + 1u ||
        omen_chunk_record_bytes(count, dim) != record->length + OMEN_RECORD_HEADER_BYTES)
        return omen_fail(err, OMEN_DATA_LOSS,
                         "record %llu: a chunk of %u points x %u in %u bytes cannot be",
                         (unsigned long long)record->position, count, dim_there, record->length);
    code = make(dim, count, &chunk, err);
    if (code != OMEN_OK) return code;
    memcpy(chunk->session_id, at, OMEN_SESSION_ID_BYTES);
    memcpy(&chunk->generation, at + 16, 8);
    memcpy(&chunk->seq, at + 24, 8);
    chunk->mode = (omen_write_mode)at[40];
    chunk->count = count;
    at += OMEN_CHUNK_HEADER_BYTES;
    memcpy(chunk->ids, at, count * sizeof *chunk->ids);
    at += count * sizeof *chunk->ids;
    memcpy(chunk->indexes, at, count * sizeof *chunk->indexes);
    at += index_bytes(count);
    memcpy(chunk->vectors, at, (size_t)count * dim * sizeof *chunk->vectors);
    *out = chunk;
    return OMEN_OK;
}

static size_t index_bytes(uint32_t points)
{
    return ((size_t)points * sizeof(uint16_t) + 7) / 8 * 8;
}

static void move_row(omen_chunk *chunk, uint32_t from, uint32_t to)
{
    memcpy(chunk->vectors + (size_t)to * chunk->dim, chunk->vectors + (size_t)from * chunk->dim,
           chunk->dim * sizeof *chunk->vectors);
    chunk->ids[to] = chunk->ids[from];
    chunk->indexes[to] = chunk->indexes[from];
}

static int compare_errors(const void *a, const void *b)
{
    uint32_t x = ((const struct omen_item_error *)a)->index;
    uint32_t y = ((const struct omen_item_error *)b)->index;

    return x < y ? -1 : x > y;
}
