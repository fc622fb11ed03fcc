/* chunk.h - points and deletes on their way in, and the payload of a CHUNK record.
 *
 * Payload, little-endian; an *item* is a point, a delete or a refused one of either:
 *     offset size
 *      0    16    session id; zero for a chunk of no session
 *     16     8    generation (log position of the session's OPEN), 0 for a chunk of no session
 *     24     8    seq
 *     32     4    points, n
 *     36     4    dim
 *     40     1    mode (omen_write_mode)
 *     41     1    flags: 1 = there are key lengths, 2 = there are expiry times
 *     42     2    deletes, m
 *     44     2    refused items, r
 *     46     2    zero
 *     48    8(n+m+r)  ids of points, deletes, refused items; 0 for a key
 *           2(n+m+r)  index of each item in the client's chunk; zeros up to a multiple of 8
 *           (n+m+r)   if flag 1: the key's length, 0 = the id is a number, 255 = there is no id;
 *                     then all keys, one after the other; zeros up to a multiple of 8
 *           4n        if flag 2: when each point expires, Unix seconds, 0 = never; padded likewise
 *           8r        refusal and detail (u32 each) of each refused item
 *           4n*dim    vectors, row after row
 *
 * Refused items are logged so that a client which resumes after a crash is told of them all.
 * What algorithm version 1 wrote is this layout without keys, times, deletes and refused items.
 */
#ifndef OMEN_CHUNK_H
#define OMEN_CHUNK_H

#include "engine/codes.h"
#include "engine/engine.h"
#include "engine/log.h"

#define OMEN_CHUNK_HEADER_BYTES 48u
#define OMEN_CHUNK_INDEX_MAX    UINT16_MAX
#define OMEN_CHUNK_PARTS        3

struct omen_chunk_delete {
    uint64_t id; /* as a slot stores it: a number, or a key's address (id.h) */
    uint16_t index;
    bool keyed;
};

struct omen_chunk {
    uint32_t dim;
    size_t stride;
    uint32_t capacity; /* points */
    uint32_t count;    /* points */

    uint8_t session_id[OMEN_SESSION_ID_BYTES];
    uint64_t generation;
    uint64_t seq;
    omen_write_mode mode;
    uint32_t index_max; /* largest index seen, good or refused */

    float *vectors; /* capacity x dim */
    uint64_t *ids;  /* as slots store them; a key is the chunk's until ADMIT takes it */
    uint8_t *keyed; /* NULL: all ids are numbers */
    uint16_t *indexes;
    uint32_t *expires; /* NULL: none does; seconds to live until the push, then Unix seconds */
    uint8_t *codes;    /* capacity x stride */
    struct omen_code_meta *metas;
    float *inverse_lengths;

    struct omen_chunk_delete *deletes;
    uint32_t delete_count, delete_capacity;

    struct omen_item_error *errors; /* first those in the record, in order of index once encoded */
    uint32_t error_count, error_capacity;
    bool out_of_memory; /* something could not be noted: the push fails */

    /* Of the record, once sealed. */
    uint8_t header[OMEN_CHUNK_HEADER_BYTES];
    uint8_t *side; /* everything between header and vectors */
    size_t side_bytes;
};

/* Checks every point and encodes the good ones; the bad ones are taken out and become errors. With
 * originals in f16 the components are rounded first, in place: codes, norms and the log's record
 * are those of the rounded vector, and rounding it again changes nothing. */
OMEN_CHECKED omen_code omen_chunk_encode(omen_chunk *chunk, const struct omen_kernels *kernels,
                                         const struct omen_collection_settings *settings,
                                         omen_error *err);

/* Notes a stateful error of an item (from ADMIT). False: no memory. `stored` is the item's id. */
bool omen_chunk_note(omen_chunk *chunk, uint16_t index, uint64_t stored, bool keyed,
                     enum omen_refusal refusal);

static inline bool omen_chunk_is_keyed(const omen_chunk *chunk, uint32_t row)
{
    return chunk->keyed != NULL && chunk->keyed[row] != 0;
}

/* Makes the record's bytes; `now_s` turns times to live into times. Fails:
 * OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_chunk_seal(omen_chunk *chunk, uint32_t now_s, omen_error *err);

/* The record's payload of a sealed chunk, gathered; borrows from it. Returns the number of parts.
 */
int omen_chunk_parts(omen_chunk *chunk, struct iovec parts[OMEN_CHUNK_PARTS]);

/* The chunk of a record, to be encoded. Fails: OMEN_DATA_LOSS when the bytes contradict each other
 * (the checksum was right, so this is a fault of ours, or an attack), OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_chunk_parse(const struct omen_record *record, uint32_t dim,
                                        omen_chunk **out, omen_error *err);

#endif
