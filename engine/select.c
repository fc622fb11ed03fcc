/* select.c - diversity selection: which of the near points become links.
 *
 * A candidate is kept if it is nearer to the point than to any one kept before it. The candidate is
 * the signed side of the products, so that the kept ones' codes are read where they are; four
 * products at a time cost little more than one, and the first four that have one too near end the
 * candidate: most fall to the first.
 */
#include "engine/epoch.h"

#define LOOK_AHEAD 8u
/* Products at a time: what dot_i8_many does at once. */
#define TOGETHER (OMEN_TRICK_SELECT_TOGETHER ? 4u : 1u)

/* One selection under way. */
struct selection {
    struct omen_step *step;
    struct omen_prepared candidate;
    uint32_t kept;
    const uint8_t *codes[OMEN_ROW_LINKS + 1];
    struct omen_code_meta metas[OMEN_ROW_LINKS + 1];
};

static bool is_diverse(struct selection *s, float near)
{
    const omen_collection *c = s->step->collection;
    float phi_squared = s->step->epoch->phi_squared;
    struct omen_probe probe = omen_prepared_probe(&s->candidate);
    struct omen_code_meta meta = s->candidate.meta;

    for (uint32_t first = 0; first < s->kept; first += TOGETHER) {
        uint32_t n = s->kept - first < TOGETHER ? s->kept - first : TOGETHER;
        int32_t dots[TOGETHER];
        bool too_near = false;

        c->kernels.dot_i8_many(s->codes + first, n, &probe, c->graph.stride, dots);
        for (uint32_t j = 0; j < n; j++) {
            struct omen_code_meta other = s->metas[first + j];
            float d = omen_code_distance(meta, other, dots[j]) +
                      omen_code_augment(phi_squared, meta.norm, other.norm);

            too_near |= d < near;
        }
        if (too_near) return false;
    }
    return true;
}

uint32_t omen_select_diverse(struct omen_step *step, struct omen_worker *worker, omen_key *keys,
                             uint32_t count, uint32_t keep, uint32_t fill)
{
    const omen_collection *c = step->collection;
    const struct omen_graph *graph = &c->graph;
    struct selection s;
    omen_key spare[OMEN_ROW_LINKS + 1]; /* the nearest of those not kept */
    uint32_t spares = 0;

    s.step = step;
    s.kept = 0;
    s.candidate.values = worker->probes;
    for (uint32_t i = 0; i < count && i < LOOK_AHEAD; i++)
        omen_graph_prefetch_node(graph, omen_key_slot(keys[i]));
    for (uint32_t i = 0; i < count && s.kept < keep; i++) {
        uint32_t slot = omen_key_slot(keys[i]);
        const uint8_t *code = omen_graph_code(graph, slot);
        struct omen_code_meta meta = *omen_graph_meta(graph, slot);

        if (i + LOOK_AHEAD < count)
            omen_graph_prefetch_node(graph, omen_key_slot(keys[i + LOOK_AHEAD]));
        omen_code_prepare(&c->kernels, code, meta, &s.candidate);
        if (!is_diverse(&s, omen_key_distance(keys[i]))) {
            if (spares < fill) spare[spares++] = keys[i];
            continue;
        }
        s.codes[s.kept] = code;
        s.metas[s.kept] = meta;
        keys[s.kept++] = keys[i];
    }
    for (uint32_t i = 0; i < spares && s.kept < fill; i++)
        keys[s.kept++] = spare[i];
    return s.kept;
}
