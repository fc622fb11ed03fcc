/* top.h - the k nearest hits of one query, by (distance, id): what an answer is made of. */
#ifndef OMEN_TOP_H
#define OMEN_TOP_H

#include "engine/engine.h"

struct omen_top {
    struct omen_hit *hits; /* room for capacity >= keep + 1 */
    uint32_t count;
    uint32_t keep;
    uint32_t capacity;
    float worst; /* nothing farther can get in; +infinity at first */
};

/* Cuts back to `keep` hits, in no order. */
void omen_top_cut(struct omen_top *top);

static inline void omen_top_add(struct omen_top *top, float distance, struct omen_id id)
{
    if (distance > top->worst) return;
    if (top->count == top->capacity) omen_top_cut(top);
    top->hits[top->count++] = (struct omen_hit){id, distance};
}

/* Cuts and sorts; returns the count. */
uint32_t omen_top_finish(struct omen_top *top);

#endif
