/* near_members.c - candidates by distance matrix: points x members, the product of the build.
 *
 * Few points are compared by the gathered kernel, many by the block kernel on a packed copy of the
 * members; both give exact integers, so the choice never shows in the graph. A GPU backend would
 * replace the body of omen_near_members.
 */
#include "engine/epoch.h"

#define MARK_WORDS (OMEN_CELL_SCAN_MAX / 64)

static void offer(const struct omen_step *step, struct omen_worker *worker,
                  const struct omen_members *members, const int32_t *dots, uint32_t point,
                  struct omen_nearest *nearest);

void omen_gather_members(struct omen_step *step, struct omen_worker *worker, uint32_t count,
                         bool pack, struct omen_members *out)
{
    const omen_collection *c = step->collection;
    uint32_t filled = (count + OMEN_PACK_GROUP - 1) / OMEN_PACK_GROUP * OMEN_PACK_GROUP;

    for (uint32_t i = 0; i < count; i++) {
        struct omen_code_meta meta = *omen_graph_meta(&c->graph, worker->members[i]);

        worker->codes[i] = omen_graph_code(&c->graph, worker->members[i]);
        worker->scales[i] = meta.scale;
        worker->norms[i] = meta.norm;
    }
    for (uint32_t i = count; i < filled; i++)
        worker->scales[i] = worker->norms[i] = 0.0f;
    if (pack)
        c->kernels.pack_i8(worker->codes, count, c->graph.stride, worker->packed, worker->bias);
    *out = (struct omen_members){
        .slots = worker->members,
        .count = count,
        .excludes_self = true,
        .packed = pack ? worker->packed : NULL,
        .bias = worker->bias,
        .scales = worker->scales,
        .norms = worker->norms,
        .codes = worker->codes,
    };
}

void omen_near_members(struct omen_step *step, struct omen_worker *worker,
                       const struct omen_members *members, const uint32_t *points,
                       struct omen_nearest *const *nearest, uint32_t count)
{
    const omen_collection *c = step->collection;
    size_t stride = c->graph.stride;
    uint32_t filled = (members->count + OMEN_PACK_GROUP - 1) / OMEN_PACK_GROUP * OMEN_PACK_GROUP;

    if (members->packed != NULL) {
        for (uint32_t i = 0; i < count; i++)
            worker->point_codes[i] = omen_graph_code(&c->graph, points[i]);
        c->kernels.dot_i8_block(worker->point_codes, count, members->packed, members->bias, filled,
                                stride, worker->dots);
        for (uint32_t i = 0; i < count; i++) {
            if (i + 2 < count) __builtin_prefetch(nearest[i + 2]->keys + nearest[i + 2]->count, 1);
            offer(step, worker, members, worker->dots + (size_t)i * filled, points[i], nearest[i]);
        }
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct omen_prepared point = {.values = worker->probes};
        struct omen_probe probe;

        omen_code_prepare(&c->kernels, omen_graph_code(&c->graph, points[i]),
                          *omen_graph_meta(&c->graph, points[i]), &point);
        probe = omen_prepared_probe(&point);
        c->kernels.dot_i8_many(members->codes, members->count, &probe, stride, worker->dots);
        offer(step, worker, members, worker->dots, points[i], nearest[i]);
    }
}

static void offer(const struct omen_step *step, struct omen_worker *worker,
                  const struct omen_members *members, const int32_t *dots, uint32_t point,
                  struct omen_nearest *nearest)
{
    const omen_collection *c = step->collection;
    float phi_squared = step->epoch->phi_squared;
    struct omen_code_meta meta = *omen_graph_meta(&c->graph, point);
    uint64_t marks[MARK_WORDS];
    /* What augmentation adds is not known to the kernel: everything passes, and is checked here. */
    float threshold = phi_squared > 0.0f ? INFINITY : nearest->threshold;

    c->kernels.near(meta, dots, members->scales, members->norms, members->count, threshold,
                    worker->distances, marks);
    for (uint32_t word = 0; word * 64 < members->count; word++) {
        for (uint64_t left = marks[word]; left != 0; left &= left - 1) {
            uint32_t i = word * 64 + (uint32_t)__builtin_ctzll(left);
            uint32_t slot = members->slots[i];
            float d = worker->distances[i];

            if (slot == point && members->excludes_self) continue;
#ifdef OMEN_PLANT_TIE_BUG
            /* For the test of the determinism test: of equally near ones the first to come stays.
             */
            if (d >= nearest->threshold) continue;
#endif
            if (phi_squared > 0.0f) {
                d += omen_code_augment(phi_squared, meta.norm, members->norms[i]);
                if (d > nearest->threshold) continue;
            }
            omen_nearest_add(nearest, omen_key_make(d, slot));
        }
    }
}
