/* select.c - diversity selection: which of the near points become links.
 *
 * A candidate is kept if it is nearer to the point than to any one kept before it. Kept candidates
 * are prepared once as the signed side of the products; a candidate's code is read in place. The
 * first one that is too near ends a candidate, so one product after the other beats a matrix while
 * few are kept.
 */
#include "engine/epoch.h"

#define LOOK_AHEAD 4u

uint32_t omen_select_diverse(struct omen_step *step, struct omen_worker *worker, omen_key *keys,
                             uint32_t count, uint32_t keep, uint32_t fill)
{
    const omen_collection *c = step->collection;
    const struct omen_graph *graph = &c->graph;
    float phi_squared = step->epoch->phi_squared;
    struct omen_prepared kept[OMEN_ROW_LINKS + 1];
    omen_key spare[OMEN_ROW_LINKS + 1]; /* the nearest of those not kept */
    uint32_t spares = 0;
    uint32_t n = 0;

    for (uint32_t i = 0; i < count && i < LOOK_AHEAD; i++)
        omen_graph_prefetch_code(graph, omen_key_slot(keys[i]));
    for (uint32_t i = 0; i < count && n < keep; i++) {
        uint32_t slot = omen_key_slot(keys[i]);
        float near = omen_key_distance(keys[i]);
        const uint8_t *code = omen_graph_code(graph, slot);
        struct omen_code_meta meta = *omen_graph_meta(graph, slot);
        bool diverse = true;

        if (i + LOOK_AHEAD < count)
            omen_graph_prefetch_code(graph, omen_key_slot(keys[i + LOOK_AHEAD]));
        for (uint32_t j = 0; j < n && diverse; j++) {
            struct omen_probe probe = omen_prepared_probe(&kept[j]);
            int32_t dot = c->kernels.dot_i8_one(code, &probe, graph->stride);
            float d = omen_code_distance(meta, kept[j].meta, dot) +
                      omen_code_augment(phi_squared, meta.norm, kept[j].meta.norm);

            diverse = d >= near;
        }
        if (!diverse) {
            if (spares < fill) spare[spares++] = keys[i];
            continue;
        }
        kept[n].values = worker->probes + n * graph->stride;
        omen_code_prepare(&c->kernels, code, meta, &kept[n]);
        keys[n++] = keys[i];
    }
    for (uint32_t i = 0; i < spares && n < fill; i++)
        keys[n++] = spare[i];
    return n;
}
