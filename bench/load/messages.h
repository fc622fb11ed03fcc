/* messages.h - the API's messages as bytes: requests are written, answers are read as far as a load
 * generator needs them. Points and queries go as columns.
 */
#ifndef OMEN_LOAD_MESSAGES_H
#define OMEN_LOAD_MESSAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/load/rows.h"
#include "engine/engine.h"

#define OMEN_LOAD_INSERT "/omendb.v1.VectorService/Insert"
#define OMEN_LOAD_SEARCH "/omendb.v1.VectorService/Search"
#define OMEN_LOAD_CREATE "/omendb.v1.CollectionService/CreateCollection"
#define OMEN_LOAD_DELETE "/omendb.v1.CollectionService/DeleteCollection"

/* Bytes of ours, from malloc(); data NULL: memory was short. */
struct omen_load_payload {
    uint8_t *data;
    size_t bytes;
};

/* Bytes of somebody else's. */
struct omen_load_bytes {
    const uint8_t *data;
    size_t bytes;
};

/* ---- requests: each Owns its payload ------------------------------------------------------ */

struct omen_load_payload omen_load_encode_create(const char *name, uint32_t dim,
                                                 omen_metric metric);
struct omen_load_payload omen_load_encode_delete(const char *name);
struct omen_load_payload omen_load_encode_open(const char *collection);

/* A run of rows of which the first has the number `first`, and the id `first_id`. */
struct omen_load_chunk {
    uint64_t seq;
    uint64_t first_id;
    uint64_t first;
    uint32_t count;
};

struct omen_load_payload omen_load_encode_chunk(const struct omen_load_chunk *chunk,
                                                const struct omen_load_rows *rows);

struct omen_load_query {
    const char *collection;
    uint32_t batch;
    uint32_t k;
    uint32_t ef;
    bool exact;
};

/* `first`: the row that is the first query; the rows begin again after the last. */
struct omen_load_payload omen_load_encode_search(const struct omen_load_query *query,
                                                 const struct omen_load_rows *rows, uint64_t first);

/* ---- answers: false when the bytes do not parse ------------------------------------------- */

struct omen_load_insert_answer {
    bool opened; /* else it is an ack */
    uint32_t dim;
    uint32_t credit_bytes; /* 0: as before */
    uint64_t durable_seq;
    uint64_t searchable_seq;
    uint64_t errors;                  /* item errors in this ack */
    char first_error[OMEN_ERROR_MAX]; /* its sentence */
};

OMEN_CHECKED bool omen_load_decode_insert(struct omen_load_bytes message,
                                          struct omen_load_insert_answer *out);

struct omen_load_search_answer {
    uint64_t results;
    uint64_t hits;
    uint64_t visited;
    uint64_t duration_us;
};

OMEN_CHECKED bool omen_load_decode_search(struct omen_load_bytes message,
                                          struct omen_load_search_answer *out);

#endif
