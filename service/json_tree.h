/* json_tree.h - a request body as cJSON's tree, and what a field of it may be; for the decoders of
 * the HTTP port alone, which are the only files that know cJSON.
 *
 * Numbers are doubles there, and an id may be larger than those are exact. Before a body is parsed,
 * each integer beyond 2^53 becomes a string that no client can send: its digits behind a byte that
 * is no UTF-8. So a node must be read by these functions, and not by cJSON's.
 *
 * Failure modes: what is not one JSON object, has a field that nobody knows, or a value of the
 * wrong type fails as a whole with BAD_MESSAGE and the path of the field; so nothing that was
 * misspelt is silently ignored.
 */
#ifndef OMEN_JSON_TREE_H
#define OMEN_JSON_TREE_H

#include <cjson/cJSON.h>

#include <stdbool.h>
#include <stdint.h>

#include "service/decode.h"
#include "service/decode_json.h"

struct omen_json {
    cJSON root; /* never made: an omen_json is cJSON's own root under another name */
};

omen_code omen_json_fault_type(struct omen_fault *fault, const char *field, const char *wanted);

/* Refuses fields of `object` that are not in the list, which NULL ends, or come twice. */
omen_code omen_json_check_fields(const cJSON *object, const char *path, const char *const *known,
                                 struct omen_fault *fault);
/* The same for owner[index], which must be an object. */
omen_code omen_json_check_item(const cJSON *item, const char *owner, uint32_t index,
                               const char *const *known, struct omen_fault *fault);

const cJSON *omen_json_find(const cJSON *object, const char *name); /* NULL: there is none */
/* An array, or NULL if there is none. */
omen_code omen_json_find_array(const omen_json *json, const char *name, const cJSON **out,
                               struct omen_fault *fault);
uint32_t omen_json_count(const cJSON *array); /* NULL: 0 */

bool omen_json_is_string(const cJSON *value);
bool omen_json_number(const cJSON *value, double *out); /* false: it is none */
/* An integer of 64 bits; false: it is none. */
bool omen_json_integer(const cJSON *value, uint64_t *out);

/* These leave *out alone if the field is missing. `path` names it. */
omen_code omen_json_read_uint32(const cJSON *object, const char *name, const char *path,
                                uint32_t *out, struct omen_fault *fault);
omen_code omen_json_read_bool(const cJSON *object, const char *name, const char *path, bool *out,
                              struct omen_fault *fault);

/* An id: a number, a string, which is a key, or {"key_base64": "..."}. What can be no id at all
 * fails; a key that is too long, or a missing id, is a refusal in *out. */
omen_code omen_json_read_id(const cJSON *value, const char *path, struct omen_given_id *out,
                            struct omen_fault *fault);

/* A vector on its way in, and what its sentences call it: owner[index].vector. */
struct omen_json_vector {
    const char *owner;
    uint32_t index;
    uint32_t dim;
    float *row;          /* NULL: count only */
    uint64_t components; /* that were given */
};

/* Reads the field `vector`: up to `dim` floats. A missing one has no components; a number that f32
 * cannot hold becomes an infinity, which the engine refuses as it refuses any other. */
omen_code omen_json_read_vector(const cJSON *holder, struct omen_json_vector *vector,
                                struct omen_fault *fault);

#endif
