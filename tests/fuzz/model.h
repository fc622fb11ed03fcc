/* model.h - what a collection should hold: ids and vectors in a plain array, changed by the rules
 * that engine.h tells, one item after the other. Nothing of the engine's own is used for it but the
 * order of ids.
 *
 * Time is the one thing that it cannot know: a point whose time to live is over by now may be there
 * or not, until the engine is asked.
 */
#ifndef OMEN_TESTS_FUZZ_MODEL_H
#define OMEN_TESTS_FUZZ_MODEL_H

#include "engine/chunk.h"
#include "engine/engine.h"

#define MODEL_DIM 4u /* of every vector */

struct model_id {
    uint64_t num;
    uint8_t key[OMEN_KEY_BYTES_MAX];
    uint32_t key_bytes;
    bool none; /* there is no id */
};
struct omen_id model_omen_id(const struct model_id *id); /* borrows a key */

struct model_point {
    struct model_id id;
    float vector[MODEL_DIM];
    uint32_t expires_from, expires_to; /* between these two, Unix seconds; 0: never */
};

struct model {
    omen_metric metric;
    struct model_point *points;
    uint32_t count, capacity;
};
void model_deinit(struct model *model);
/* NULL: it is not there. Borrowed until the model changes. */
struct model_point *model_find(const struct model *model, const struct model_id *id);
void model_remove(struct model *model, struct model_point *point);
/* Is it the engine's to say whether the point is still there? */
bool model_may_be_gone(const struct model_point *point, uint64_t now_s);

/* A chunk's items, kept from before its push. */
struct model_item {
    enum { MODEL_POINT, MODEL_DELETE, MODEL_REFUSED } kind;
    struct model_id id;
    uint32_t index;
    float vector[MODEL_DIM];
    uint32_t ttl_s;
    enum omen_refusal refusal; /* by the decoder */
    uint32_t detail;
};
struct model_write {
    omen_write_mode mode;
    uint64_t seq;
    uint64_t before_s, after_s; /* the push lies between */
    struct model_item *items;
    uint32_t count;
    const struct omen_item_error *errors; /* that the engine told of it; borrowed */
    size_t error_count;
};
/* Copies the items. Owns: write->items, free() it. */
void model_write_note(struct model_write *write, const omen_chunk *chunk);
/* Changes the model, and checks that the items that were refused are those, and for those reasons,
 * that the rules refuse. */
void model_apply(struct model *model, const struct model_write *write);

#endif
