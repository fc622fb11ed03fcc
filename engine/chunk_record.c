/* chunk_record.c - a chunk as the payload of a CHUNK record, written and read; the layout is in
 * chunk.h. Reading trusts nothing: lengths are checked before they are used. */
#include <string.h>

#include "engine/chunk.h"
#include "engine/chunk_make.h"
#include "engine/id.h"
#include "engine/memory.h"

#define HAS_KEYS    1u
#define HAS_EXPIRES 2u
#define NO_ID       255u

/* Where the parts of a payload stand. */
struct layout {
    uint32_t items; /* n + m + r */
    uint8_t flags;
    size_t indexes, key_lengths, expires, refused, side_end; /* from the ids on */
};

static size_t padded(size_t bytes)
{
    return (bytes + 7) / 8 * 8;
}

/* `key_bytes`: of all keys together. */
static struct layout lay_out(uint32_t n, uint32_t m, uint32_t r, uint8_t flags, size_t key_bytes)
{
    struct layout l = {.items = n + m + r, .flags = flags};

    l.indexes = (size_t)l.items * 8;
    l.key_lengths = l.indexes + padded((size_t)l.items * 2);
    l.expires = l.key_lengths;
    if ((flags & HAS_KEYS) != 0) l.expires += padded(l.items + key_bytes);
    l.refused = l.expires;
    if ((flags & HAS_EXPIRES) != 0) l.refused += padded((size_t)n * 4);
    l.side_end = l.refused + (size_t)r * 8;
    return l;
}

/* One item's id as the record has it. */
struct item {
    uint64_t num;
    uint16_t index;
    uint8_t key_length; /* or NO_ID */
    const uint8_t *key;
};

static struct item get_item(const omen_chunk *chunk, uint32_t i)
{
    struct item item = {0};
    uint64_t stored = 0;
    bool keyed = false;

    if (i >= chunk->count + chunk->delete_count) {
        const struct omen_item_error *e = &chunk->errors[i - chunk->count - chunk->delete_count];

        return (struct item){e->num, e->index, e->has_id ? e->key_bytes : NO_ID, e->key};
    }
    if (i < chunk->count) {
        stored = chunk->ids[i];
        keyed = omen_chunk_is_keyed(chunk, i);
        item.index = chunk->indexes[i];
    } else {
        stored = chunk->deletes[i - chunk->count].id;
        keyed = chunk->deletes[i - chunk->count].keyed;
        item.index = chunk->deletes[i - chunk->count].index;
    }
    struct omen_id id = omen_id_of(stored, keyed);

    if (!keyed) {
        item.num = id.num;
        return item;
    }
    item.key = id.key;
    item.key_length = (uint8_t)id.key_bytes;
    return item;
}

static struct layout plan(const omen_chunk *chunk)
{
    uint32_t refused = chunk->error_count; /* before ADMIT: all of them stand in the record */
    uint32_t items = chunk->count + chunk->delete_count + refused;
    size_t key_bytes = 0;
    uint8_t flags = chunk->expires != NULL ? HAS_EXPIRES : 0;

    for (uint32_t i = 0; i < items; i++) {
        if (i < chunk->count && chunk->keyed == NULL) i = chunk->count; /* all numbers */
        if (i == items) break;
        struct item item = get_item(chunk, i);

        if (item.key_length == 0) continue;
        flags |= HAS_KEYS;
        if (item.key_length != NO_ID) key_bytes += item.key_length;
    }
    return lay_out(chunk->count, chunk->delete_count, refused, flags, key_bytes);
}

size_t omen_chunk_record_bytes(uint32_t points, uint32_t dim)
{
    return OMEN_RECORD_HEADER_BYTES + OMEN_CHUNK_HEADER_BYTES +
           lay_out(points, 0, 0, 0, 0).side_end + (size_t)points * dim * sizeof(float);
}

size_t omen_chunk_bytes(const omen_chunk *chunk)
{
    /* Once sealed or parsed it is fixed: ADMIT's errors are not in the record. */
    size_t side = chunk->side_bytes != 0 ? chunk->side_bytes : plan(chunk).side_end;

    return OMEN_RECORD_HEADER_BYTES + OMEN_CHUNK_HEADER_BYTES + side +
           (size_t)chunk->count * chunk->dim * sizeof *chunk->vectors;
}

/* ---- writing ------------------------------------------------------------------------------- */

static void write_header(omen_chunk *chunk, const struct layout *l)
{
    uint8_t *h = chunk->header;
    uint16_t deletes = (uint16_t)chunk->delete_count;
    uint16_t refused = (uint16_t)chunk->error_count;

    memset(h, 0, sizeof chunk->header);
    memcpy(h, chunk->session_id, OMEN_SESSION_ID_BYTES);
    memcpy(h + 16, &chunk->generation, 8);
    memcpy(h + 24, &chunk->seq, 8);
    memcpy(h + 32, &chunk->count, 4);
    memcpy(h + 36, &chunk->dim, 4);
    h[40] = (uint8_t)chunk->mode;
    h[41] = l->flags;
    memcpy(h + 42, &deletes, 2);
    memcpy(h + 44, &refused, 2);
}

omen_code omen_chunk_seal(omen_chunk *chunk, uint32_t now_s, omen_error *err)
{
    struct layout l = plan(chunk);
    uint8_t *side = omen_alloc_zeroed(l.side_end);
    uint8_t *key = side + l.key_lengths + l.items;

    if (side == NULL) return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a record of a chunk");
    for (uint32_t i = 0; i < l.items; i++) {
        struct item item = get_item(chunk, i);

        memcpy(side + (size_t)i * 8, &item.num, 8);
        memcpy(side + l.indexes + (size_t)i * 2, &item.index, 2);
        if ((l.flags & HAS_KEYS) == 0) continue;
        side[l.key_lengths + i] = item.key_length;
        if (item.key_length == 0 || item.key_length == NO_ID) continue;
        memcpy(key, item.key, item.key_length);
        key += item.key_length;
    }
    for (uint32_t i = 0; chunk->expires != NULL && i < chunk->count; i++) {
        uint64_t at = (uint64_t)now_s + chunk->expires[i];

        if (chunk->expires[i] != 0) chunk->expires[i] = at > UINT32_MAX ? UINT32_MAX : (uint32_t)at;
        memcpy(side + l.expires + (size_t)i * 4, &chunk->expires[i], 4);
    }
    for (uint32_t i = 0; i < chunk->error_count; i++) {
        uint32_t words[2] = {(uint32_t)chunk->errors[i].refusal, chunk->errors[i].detail};

        memcpy(side + l.refused + (size_t)i * 8, words, 8);
    }
    chunk->side = side;
    chunk->side_bytes = l.side_end;
    write_header(chunk, &l);
    return OMEN_OK;
}

int omen_chunk_parts(omen_chunk *chunk, struct iovec parts[OMEN_CHUNK_PARTS])
{
    parts[0] = (struct iovec){chunk->header, sizeof chunk->header};
    parts[1] = (struct iovec){chunk->side, chunk->side_bytes};
    parts[2] =
        (struct iovec){chunk->vectors, (size_t)chunk->count * chunk->dim * sizeof *chunk->vectors};
    return OMEN_CHUNK_PARTS;
}

/* ---- reading ------------------------------------------------------------------------------- */

/* A payload that is being read. */
struct reading {
    const uint8_t *payload;
    size_t length;
    const uint8_t *side; /* from the ids on */
    uint32_t n, m, r, dim;
    struct layout l;
    const uint8_t *key; /* of the next item */
};

static uint32_t get_u32(const uint8_t *at)
{
    uint32_t value;

    memcpy(&value, at, 4);
    return value;
}

static uint16_t get_u16(const uint8_t *at)
{
    uint16_t value;

    memcpy(&value, at, 2);
    return value;
}

/* Reads the header and finds the parts. False: the lengths cannot be. */
static bool read_layout(const struct omen_record *record, uint32_t dim, struct reading *r)
{
    size_t key_bytes = 0;
    size_t left;
    uint8_t flags;

    if (record->length < OMEN_CHUNK_HEADER_BYTES) return false;
    left = record->length - OMEN_CHUNK_HEADER_BYTES;
    *r = (struct reading){.payload = record->payload, .length = record->length};
    r->side = r->payload + OMEN_CHUNK_HEADER_BYTES;
    r->n = get_u32(r->payload + 32);
    r->dim = get_u32(r->payload + 36);
    r->m = get_u16(r->payload + 42);
    r->r = get_u16(r->payload + 44);
    flags = r->payload[41];
    if (r->dim != dim || r->n > OMEN_CHUNK_INDEX_MAX + 1u || flags > (HAS_KEYS | HAS_EXPIRES) ||
        get_u16(r->payload + 46) != 0)
        return false;
    r->l = lay_out(r->n, r->m, r->r, flags, 0);
    if ((flags & HAS_KEYS) != 0) {
        if (r->l.key_lengths + r->l.items > left) return false;
        for (uint32_t i = 0; i < r->l.items; i++) {
            uint8_t length = r->side[r->l.key_lengths + i];

            if (length > OMEN_KEY_BYTES_MAX && (length != NO_ID || i < r->n + r->m)) return false;
            if (length != NO_ID) key_bytes += length;
        }
        r->l = lay_out(r->n, r->m, r->r, flags, key_bytes);
    }
    r->key = r->side + r->l.key_lengths + r->l.items;
    return r->l.side_end + (size_t)r->n * dim * sizeof(float) == left;
}

static struct omen_id next_id(struct reading *r, uint32_t i, bool *missing)
{
    uint64_t num;
    uint8_t length = (r->l.flags & HAS_KEYS) != 0 ? r->side[r->l.key_lengths + i] : 0;

    memcpy(&num, r->side + (size_t)i * 8, 8);
    *missing = length == NO_ID;
    if (length == 0 || length == NO_ID) return omen_id_num(num);
    r->key += length;
    return omen_id_key(r->key - length, length);
}

static void read_items(struct reading *r, omen_chunk *chunk)
{
    bool missing = false;

    for (uint32_t i = 0; i < r->l.items && !chunk->out_of_memory; i++) {
        struct omen_id id = next_id(r, i, &missing);
        uint16_t index = get_u16(r->side + r->l.indexes + (size_t)i * 2);

        if (i < r->n) {
            omen_chunk_add(chunk, index, &id, 0);
        } else if (i < r->n + r->m) {
            omen_chunk_delete(chunk, index, &id);
        } else {
            const uint8_t *words = r->side + r->l.refused + (size_t)(i - r->n - r->m) * 8;

            omen_chunk_refuse(chunk, index, missing ? NULL : &id, (enum omen_refusal)get_u32(words),
                              get_u32(words + 4));
        }
    }
    for (uint32_t i = 0; i < r->n && (r->l.flags & HAS_EXPIRES) != 0; i++) {
        if (!omen_chunk_need_expires(chunk)) chunk->out_of_memory = true;
        if (chunk->out_of_memory) return;
        chunk->expires[i] = get_u32(r->side + r->l.expires + (size_t)i * 4);
    }
}

omen_code omen_chunk_parse(const struct omen_record *record, uint32_t dim, omen_chunk **out,
                           omen_error *err)
{
    struct reading r = {0};
    omen_chunk *chunk = NULL;
    omen_code code = OMEN_OK;

    *out = NULL;
    if (!read_layout(record, dim, &r))
        return omen_fail(err, OMEN_DATA_LOSS,
                         "record %llu: a chunk of %u points x %u, %u deletes and %u refused items "
                         "in %u bytes cannot be",
                         (unsigned long long)record->position, r.n, r.dim, r.m, r.r,
                         record->length);
    code = omen_chunk_make(dim, r.n, &chunk, err);
    if (code != OMEN_OK) return code;
    memcpy(chunk->session_id, r.payload, OMEN_SESSION_ID_BYTES);
    memcpy(&chunk->generation, r.payload + 16, 8);
    memcpy(&chunk->seq, r.payload + 24, 8);
    chunk->mode = (omen_write_mode)r.payload[40];
    if (chunk->mode < OMEN_WRITE_INSERT_ONLY || chunk->mode > OMEN_WRITE_UPDATE_ONLY)
        code = omen_fail(err, OMEN_DATA_LOSS, "record %llu: a chunk of mode %d",
                         (unsigned long long)record->position, (int)chunk->mode);
    if (code == OMEN_OK) {
        read_items(&r, chunk);
        memcpy(chunk->vectors, r.side + r.l.side_end, (size_t)r.n * dim * sizeof *chunk->vectors);
        chunk->side_bytes = r.l.side_end;
        if (chunk->out_of_memory)
            code = omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a chunk of %u points", r.n);
    }
    if (code != OMEN_OK) {
        omen_chunk_destroy(chunk);
        return code;
    }
    for (uint32_t i = 0; i < chunk->error_count; i++)
        chunk->errors[i].seq = chunk->seq;
    *out = chunk;
    return OMEN_OK;
}
