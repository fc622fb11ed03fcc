/* epoch.h - one step of a collection: RETIRE, PROPOSE, LINK, SWEEP, PUBLISH; and its workspace.
 *
 * Each phase is one call of the crew, so there is a barrier between any two. Within a phase a
 * thread takes work by number from a counter; which thread does what never shows in the result:
 *   - PROPOSE chooses by key (distance, slot): sets, not orders of arrival;
 *   - LINK applies a row's back-links by ascending source, whoever applies them.
 */
#ifndef OMEN_EPOCH_H
#define OMEN_EPOCH_H

#include <stdatomic.h>

#include "engine/collection.h"
#include "engine/crew.h"
#include "engine/keys.h"

#define OMEN_TILE_POINTS 32u /* points x members at once: their products stay in L1 */
/* Points that one thread proposes for in one go, if their keys are not too many. The more, the more
 * points share a packed cell: at a million points 16,384 build 1.1 times as fast as 4,096. */
#define OMEN_BLOCK_POINTS 16384u
#define OMEN_BLOCK_KEYS   (UINT32_C(1) << 21)

/* A link to be: `source` chose `target`, so target's row gets source. */
struct omen_backlink {
    uint32_t target, source;
    float distance;
};

/* The back-links of one block of points, grouped by the target's shard, by ascending source. */
struct omen_block {
    struct omen_backlink *links;
    uint32_t capacity;
    uint32_t *shard_begin; /* shards + 1 */
};

/* A member that a new pivot takes over; in other steps another pair of a number and a slot. */
struct omen_move {
    uint32_t cell, slot;
};

struct omen_capture;

/* One thread's scratch; grown between phases, never shared within one. */
struct omen_worker {
    const uint8_t **codes;       /* of members: OMEN_CELL_SCAN_MAX */
    const uint8_t **point_codes; /* OMEN_TILE_POINTS */
    uint32_t *members;           /* OMEN_CELL_SCAN_MAX */
    int8_t *packed;              /* OMEN_CELL_SCAN_MAX x stride */
    int32_t *bias;
    float *scales, *norms;
    int32_t *dots;                /* OMEN_TILE_POINTS x OMEN_CELL_SCAN_MAX */
    float *distances;             /* OMEN_CELL_SCAN_MAX */
    int8_t *probes;               /* OMEN_ROW_LINKS + 1 prepared codes of stride bytes */
    omen_key *keys;               /* OMEN_BLOCK_KEYS, a buffer for each point of a block */
    struct omen_nearest *nearest; /* OMEN_BLOCK_POINTS */
    uint32_t *regions;            /* OMEN_BLOCK_POINTS x OMEN_ROUTE_REGIONS */
    uint32_t *region_counts;      /* OMEN_BLOCK_POINTS */
    omen_key *cell_keys;          /* of one cell, however large */
    uint32_t *cell_list;
    uint32_t cell_list_capacity; /* of both */
    uint32_t *cell_begin;        /* counting sort of probes by cell: pivots + 2 */
    uint32_t cell_capacity;
    uint32_t *cell_points; /* points of a block x probes */
    struct omen_move *moves;
    uint32_t move_count, move_capacity;
    omen_code code; /* first failure of this thread in this epoch */
    omen_error error;
};

struct omen_step {
    /* Fixed. */
    omen_crew *crew;
    uint32_t shards;
    uint32_t worker_count;
    struct omen_worker *workers;

    /* What the buffers are large enough for. */
    size_t fit_stride;
    uint32_t fit_probes;

    /* Of the epoch in work, and the round of it. */
    omen_collection *collection;
    uint32_t probes;     /* P */
    uint32_t key_buffer; /* capacity of one point's buffer */
    const struct omen_epoch *epoch;
    uint32_t first, end; /* of the epoch's new slots */
    uint32_t *points;    /* slots to link, ascending */
    uint32_t point_count, point_capacity;
    uint32_t *routes; /* point_count x probes: cells, nearest first */
    uint32_t *route_counts;
    float *cuts;     /* candidates are no farther */
    uint32_t *order; /* indices of points, near ones together: blocks of PROPOSE */
    uint32_t *ranks; /* of cells in that order, then the cells by rank, and the counts of a sort */
    uint32_t rank_capacity;
    const uint32_t *cell_order; /* the cells by rank; NULL: by number */
    bool small;                 /* all linked slots are candidates, not those of cells */
    uint32_t *everything;       /* when small: all of them; OMEN_SMALL_COLLECTION */
    uint32_t everything_count;
    uint32_t old_pivots; /* pivots before this epoch */
    uint32_t *takeover;  /* new pivots x OMEN_TAKEOVER_CELLS: old cells, OMEN_CELL_NONE fills */
    uint32_t takeover_capacity;
    uint32_t *takeover_begin; /* per old cell: its new pivots, grouped; old_pivots + 2 */
    uint32_t takeover_begin_capacity;
    uint32_t *takeover_pivots;
    struct omen_move *moves; /* of all workers, by cell, then slot: one order, whoever found them */
    uint32_t move_count, move_capacity;
    struct omen_block *blocks;
    uint32_t block_count, block_capacity, block_points;
    struct omen_capture *capture; /* of the boundary; NULL: none is wanted */
    _Atomic uint32_t next;        /* work counter of the phase */
};

/* One workspace serves all collections of an engine, one epoch at a time. Owns: *out. Borrows: crew
 * until omen_step_destroy(). Fails: OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_step_create(omen_crew *crew, uint32_t shards, struct omen_step **out,
                                        omen_error *err);
void omen_step_destroy(struct omen_step *step); /* NULL is allowed */

/* Applies and publishes one epoch. Applier; at start-up the opening thread. Fails:
 * OMEN_RESOURCE_EXHAUSTED; the collection must then take no more epochs (nothing of this one was
 * published). */
OMEN_CHECKED omen_code omen_epoch_apply(struct omen_step *step, omen_collection *collection,
                                        const struct omen_epoch *epoch, omen_error *err);

/* The phases; see retire.c, repair.c, pivots.c, route.c, propose.c, link.c, sweep.c. Most run on
 * the whole crew. */
OMEN_CHECKED omen_code omen_step_retire(struct omen_step *step, omen_error *err);
OMEN_CHECKED omen_code omen_step_repair(struct omen_step *step, omen_error *err);
OMEN_CHECKED omen_code omen_step_sweep(struct omen_step *step, omen_error *err);
OMEN_CHECKED omen_code omen_step_take_over(struct omen_step *step, omen_error *err);
OMEN_CHECKED omen_code omen_step_route(struct omen_step *step, omen_error *err);
OMEN_CHECKED omen_code omen_step_propose(struct omen_step *step, omen_error *err);
OMEN_CHECKED omen_code omen_step_link(struct omen_step *step, omen_error *err);

/* Pivots get their regions, under the versions that have them. */
OMEN_CHECKED omen_code omen_step_update_regions(struct omen_step *step, omen_error *err);
/* Cuts the points into blocks. Fails: OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_step_plan_blocks(struct omen_step *step, omen_error *err);
/* order.c: fills step->order. Fails: OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_step_order(struct omen_step *step, omen_error *err);

/* Which groups (cells, regions) each point of a block looks into: point p, or order[p] if there is
 * an order, has counts[p] of them from groups[p * stride] on. */
struct omen_groups {
    const uint32_t *groups, *counts;
    const uint32_t *order; /* or NULL */
    uint32_t stride, points;
};
/* Counting sort by group: afterwards the points of group i, by p, are
 * worker->cell_points[cell_begin[i] .. cell_begin[i + 1]), ascending. worker->cell_begin has room
 * for group_count + 2. */
void omen_group_points(struct omen_worker *worker, const struct omen_groups *groups,
                       uint32_t group_count);
/* Makes worker->cell_begin large enough; false: no memory, noted in the worker. */
bool omen_worker_fit_groups(struct omen_worker *worker, uint32_t group_count);

/* mend.c: gives a living node's row others in the place of its links to dead ones; one
 * without such links stays as it is. The row's writer in this step. */
void omen_mend_row(struct omen_step *step, struct omen_worker *worker, uint32_t slot);

/* Room for `count` moves; for `points` points and their routes. Fail: OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_step_fit_moves(struct omen_step *step, uint32_t count, omen_error *err);
OMEN_CHECKED omen_code omen_step_fit_points(struct omen_step *step, uint32_t points,
                                            omen_error *err);

/* Orders moves by cell, then slot: for qsort. */
int omen_move_compare(const void *a, const void *b);

/* Makes a worker's lists long enough for the largest cell. False: no memory, noted in the worker.
 */
bool omen_worker_fit_cells(struct omen_step *step, struct omen_worker *worker);

/* Runs a phase on the crew and gathers the workers' failures. */
OMEN_CHECKED omen_code omen_step_run(struct omen_step *step, omen_crew_fn *phase, omen_error *err);

/* The next number of work, or one >= count. */
static inline uint32_t omen_step_next(struct omen_step *step)
{
    return atomic_fetch_add_explicit(&step->next, 1, memory_order_relaxed);
}

/* Some slots that points are compared with. */
struct omen_members {
    const uint32_t *slots; /* what the keys shall name: slots, or cells when routing */
    uint32_t count;        /* <= OMEN_CELL_SCAN_MAX */
    bool excludes_self;    /* a member that is the point itself is left out */
    const int8_t *packed;  /* for the block kernel; NULL: use codes */
    const int32_t *bias;
    const float *scales, *norms; /* 64-byte aligned, readable up to a multiple of 16 */
    const uint8_t **codes;       /* for the gathered kernel; NULL: use packed */
};
/* Offers the members to nearest[i] of each of `count` <= OMEN_TILE_POINTS points (slots). */
void omen_near_members(struct omen_step *step, struct omen_worker *worker,
                       const struct omen_members *members, const uint32_t *points,
                       struct omen_nearest *const *nearest, uint32_t count);

/* The same with the first `pivots` pivots as members: keys name cells. */
void omen_route_points(struct omen_step *step, struct omen_worker *worker, const uint32_t *points,
                       struct omen_nearest *const *nearest, uint32_t count, uint32_t pivots);

/* Fewer points than this do not pay for packing the members. */
#define OMEN_PACK_POINTS_MIN (OMEN_TRICK_PACKED_MEMBERS ? 4u : UINT32_MAX)

/* Gathers codes, scales and norms of worker->members[0..count). */
void omen_gather_members(struct omen_step *step, struct omen_worker *worker, uint32_t count,
                         bool pack, struct omen_members *out);

/* Diversity selection (Malkov & Yashunin, Algorithm 4): of `count` keys, ascending by distance from
 * one point, keeps those nearer to the point than to any one kept before, `keep` at most. If they
 * are fewer than `fill` (<= keep), the nearest of the others make up for it
 * ("keepPrunedConnections", in part): a tight group else gives its points a single link, and nobody
 * links back. Kept keys move to the front; returns how many. */
uint32_t omen_select_diverse(struct omen_step *step, struct omen_worker *worker, omen_key *keys,
                             uint32_t count, uint32_t keep, uint32_t fill);

#endif
