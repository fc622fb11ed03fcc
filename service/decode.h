/* decode.h - request bytes into what the engine takes; every limit on input is enforced here. */
#ifndef OMEN_DECODE_H
#define OMEN_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"
#include "service/fault.h"
#include "service/listener.h"

/* A collection's name as it came: longer than any valid one, so that the engine's sentence can tell
 * what was asked for. */
#define OMEN_REQUEST_NAME_BYTES    128u
#define OMEN_CLIENT_NAME_BYTES_MAX 64u

/* ---- what several requests have ----------------------------------------------------------- */

/* An id as a client gave it. It points into itself: keep it where it was read. */
struct omen_given_id {
    struct omen_id id;         /* if it was not refused */
    enum omen_refusal refusal; /* 0, OMEN_REFUSED_ID_MISSING or OMEN_REFUSED_KEY_LENGTH */
    uint32_t detail;
    uint8_t key[OMEN_KEY_BYTES_MAX];
};

/* A read token as a client gave it. */
struct omen_given_token {
    bool given;
    uint8_t incarnation[OMEN_INCARNATION_BYTES];
    uint64_t log_position;
};

/* A message's bytes in one piece, for decoders that want that. NULL without memory; free() it. */
uint8_t *omen_message_flatten(const omen_message *message);

/* ---- points of one chunk ------------------------------------------------------------------ */

/* Where the points and deletes of a message go. A bad one is refused by itself (an item error); the
 * index of each is that in its message: points, then columns, then deletes. */
struct omen_points_target {
    omen_stream *stream;
    uint32_t dim;
};

/* The most points of dimension `dim` whose record is within the limit, if each has a number as its
 * id and no time to live. */
uint32_t omen_chunk_points_max(uint32_t dim);

/* ---- Insert ------------------------------------------------------------------------------- */

enum omen_insert_kind { OMEN_INSERT_OPEN = 1, OMEN_INSERT_CHUNK, OMEN_INSERT_FLUSH };

struct omen_insert_open {
    char collection[OMEN_REQUEST_NAME_BYTES];
    uint8_t session_id[OMEN_SESSION_ID_BYTES]; /* all zero: make one */
    omen_write_mode mode;
    char client_name[OMEN_CLIENT_NAME_BYTES_MAX + 1];
    uint64_t errors_seen_seq;
    bool has_incarnation;
    uint8_t incarnation[OMEN_INCARNATION_BYTES];
};

struct omen_insert_request {
    enum omen_insert_kind kind;
    struct omen_insert_open open; /* of OMEN_INSERT_OPEN */
    uint64_t seq;                 /* of OMEN_INSERT_CHUNK */
    omen_chunk *chunk;            /* of OMEN_INSERT_CHUNK; yours */
    uint32_t points;              /* of the chunk, refused ones included */
    uint32_t deletes;             /* the same */
};

/* `target`: its stream is NULL until it was opened. Borrows: message until the return. On failure
 * there is no chunk. Fails: OMEN_INVALID_ARGUMENT BAD_MESSAGE, TOO_LARGE, BAD_MODE, BAD_SESSION_ID,
 * BAD_LIMIT, BAD_TOKEN; OMEN_RESOURCE_EXHAUSTED. */
omen_code omen_decode_insert(const omen_message *message, const struct omen_points_target *target,
                             struct omen_insert_request *out, struct omen_fault *fault);

/* ---- Upsert, Delete ----------------------------------------------------------------------- */

enum omen_write_kind { OMEN_WRITE_POINTS = 1, OMEN_WRITE_DELETES };

struct omen_write_request {
    enum omen_write_kind kind;
    char collection[OMEN_REQUEST_NAME_BYTES];
    omen_write_mode mode;
    bool wait_durable; /* answer when durable, not only when searchable */
};

/* Everything but the items, whose dimension only the collection knows.
 * Fails: OMEN_INVALID_ARGUMENT BAD_MESSAGE, BAD_NAME, BAD_MODE, BAD_LIMIT. */
omen_code omen_decode_write(const omen_message *message, enum omen_write_kind kind,
                            struct omen_write_request *out, struct omen_fault *fault);

struct omen_write_items {
    omen_chunk *chunk; /* yours */
    uint32_t points;   /* refused ones included */
    uint32_t deletes;
};

/* The items of a message that omen_decode_write() has accepted. On failure there is no chunk.
 * Fails: OMEN_INVALID_ARGUMENT BAD_MESSAGE (also when there are none), TOO_LARGE;
 *        OMEN_RESOURCE_EXHAUSTED. */
omen_code omen_decode_write_items(const omen_message *message, enum omen_write_kind kind,
                                  const struct omen_points_target *target,
                                  struct omen_write_items *out, struct omen_fault *fault);

/* A mode by its number. `field` names it. Fails: OMEN_INVALID_ARGUMENT BAD_MODE. */
omen_code omen_mode_check(uint32_t mode, const char *field, struct omen_fault *fault);

/* ---- Get ---------------------------------------------------------------------------------- */

struct omen_points_get {
    char collection[OMEN_REQUEST_NAME_BYTES];
    bool without_vectors;
    uint32_t count;            /* 1..OMEN_GET_IDS_MAX */
    struct omen_given_id *ids; /* yours, free() it; also after a failure */
};

/* Fails: OMEN_INVALID_ARGUMENT BAD_MESSAGE, BAD_NAME, BAD_LIMIT, BAD_ID, TOO_LARGE;
 *        OMEN_RESOURCE_EXHAUSTED. */
omen_code omen_decode_points_get(const omen_message *message, struct omen_points_get *out,
                                 struct omen_fault *fault);

/* Holds the limits of a request with so many ids, and makes room for them.
 * Fails: as omen_decode_points_get(). */
omen_code omen_points_get_check(struct omen_points_get *out, uint64_t count,
                                struct omen_fault *fault);

/* ---- Search ------------------------------------------------------------------------------- */

struct omen_search_request {
    char collection[OMEN_REQUEST_NAME_BYTES];
    struct omen_query_options options; /* of queries that have none of their own */
    bool columns;                      /* how the results are laid out */
    uint32_t count;                    /* queries */
    struct omen_given_token min_read;
};

/* What is read when the collection is known; both have room for the request's `count`, and are
 * filled for all of it. */
struct omen_search_rows {
    uint32_t dim;
    float *rows;                     /* dim floats a query */
    struct omen_query_options *each; /* a query that cannot be run says so here */
};

/* Reads everything but the queries, whose dimension only the collection knows.
 * Fails: OMEN_INVALID_ARGUMENT BAD_MESSAGE, BAD_NAME, BAD_LIMIT, BAD_TOKEN, TOO_LARGE. */
omen_code omen_decode_search(const omen_message *message, struct omen_search_request *out,
                             struct omen_fault *fault);

/* Holds the limit of a request's queries, of which there are so many, and sets its count.
 * Fails: OMEN_INVALID_ARGUMENT BAD_NAME, BAD_LIMIT, TOO_LARGE. */
omen_code omen_search_request_check(struct omen_search_request *request, uint64_t queries,
                                    struct omen_fault *fault);

/* Refuses the query that has so many components unless they are `dim`. */
void omen_query_options_set_given(struct omen_query_options *options, uint64_t components,
                                  uint32_t dim);

/* Reads the queries of a message that omen_decode_search() has accepted.
 * Fails: OMEN_INVALID_ARGUMENT BAD_MESSAGE. */
omen_code omen_decode_queries(const omen_message *message,
                              const struct omen_search_request *request,
                              const struct omen_search_rows *out, struct omen_fault *fault);

/* ---- control plane ------------------------------------------------------------------------ */

struct omen_create_request {
    char name[OMEN_REQUEST_NAME_BYTES];
    struct omen_collection_settings settings;
};
omen_code omen_decode_create(const omen_message *message, struct omen_create_request *out,
                             struct omen_fault *fault);

struct omen_estimate_request {
    struct omen_collection_settings settings;
    uint64_t points;
    uint64_t keyed; /* of them, with keys as ids */
};
omen_code omen_decode_estimate(const omen_message *message, struct omen_estimate_request *out,
                               struct omen_fault *fault);

/* A metric by its number. Fails: OMEN_INVALID_ARGUMENT BAD_METRIC. */
omen_code omen_metric_check(int64_t metric, omen_metric *out, struct omen_fault *fault);

/* A format of originals by its number; 0 is the default. Fails: OMEN_INVALID_ARGUMENT BAD_LIMIT. */
omen_code omen_originals_check(int64_t originals, omen_originals_format *out,
                               struct omen_fault *fault);

/* A target recall as the engine takes it. 0 is 0. Fails: OMEN_INVALID_ARGUMENT BAD_LIMIT. */
omen_code omen_target_recall_read(double value, const char *field, uint32_t *out,
                                  struct omen_fault *fault);

struct omen_update_request {
    char name[OMEN_REQUEST_NAME_BYTES];
    uint32_t target_recall; /* 0: leave it */
    bool calibrate;
};
/* Fails: OMEN_INVALID_ARGUMENT BAD_MESSAGE, BAD_LIMIT. */
omen_code omen_decode_update(const omen_message *message, struct omen_update_request *out,
                             struct omen_fault *fault);
/* Refuses one that would do nothing. */
omen_code omen_update_request_check(const struct omen_update_request *request,
                                    struct omen_fault *fault);

struct omen_get_request {
    char name[OMEN_REQUEST_NAME_BYTES];
    bool with_graph_hash;
};
omen_code omen_decode_get(const omen_message *message, struct omen_get_request *out,
                          struct omen_fault *fault);

omen_code omen_decode_list(const omen_message *message, struct omen_fault *fault);

/* Of DeleteCollection and ValidateCollection. */
struct omen_name_request {
    char name[OMEN_REQUEST_NAME_BYTES];
};
omen_code omen_decode_delete(const omen_message *message, struct omen_name_request *out,
                             struct omen_fault *fault);
omen_code omen_decode_validate(const omen_message *message, struct omen_name_request *out,
                               struct omen_fault *fault);

#endif
