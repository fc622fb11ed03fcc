/* regions.h - level 2 of the hierarchy: which pivots are near a point, without asking all of them.
 *
 * One pivot in OMEN_REGION_PIVOTS is a *top* as well, by its slot's hash. Every pivot belongs to
 * the region of its nearest top (by distance, then by the top's slot); routing compares a point
 * with all tops, and then with the pivots of the nearest regions. As on level 1 there are no links:
 * both steps are matrices, or one sequential read for a single query, because the codes of a
 * region's pivots are copied into rows that lie one after the other.
 *
 * Regions are a function of the pivots and their codes alone, so they stand in no checkpoint, and
 * may be made again at any time.
 *
 * Readers take no lock. A table of rows only grows, and what changes it otherwise (a new top takes
 * pivots over, a table is full) makes a new one; the old one waits for the next boundary, when its
 * readers have left (grace.h). The tops' table names the regions' tables; regions that are all made
 * again get a tops' table of their own, which is shown when they are complete: a reader never meets
 * a hierarchy without pivots.
 *   - Order: a row is written, then `count` is stored with release; a table is filled, then its
 *     pointer is stored with release. Readers load pointer, then count, with acquire.
 *   - That suffices: a row below the count, and what its pivot's number names (the cell: cells.h),
 *     was written before it.
 *   - A reader beside a change may miss a pivot or see it twice: it costs an entry point.
 *
 * A pivot that a new top takes over stays in its old region's table, as a stale row, until there
 * are too many of those: a new top takes a few from many regions, and to make all their tables
 * again each time would leave as many old ones for the next boundary. Builds skip stale rows;
 * searches, which may not ask for homes, meet such a pivot twice.
 */
#ifndef OMEN_REGIONS_H
#define OMEN_REGIONS_H

#include "engine/cells.h"

/* Rows of pivots: those of one region, or all tops. One allocation. */
struct omen_region {
    /* Fixed. */
    uint32_t capacity; /* a multiple of OMEN_PACK_GROUP */
    uint32_t *pivots;  /* by number (of the tops' table: their pivots') */
    float *scales, *norms;
    uint8_t *codes; /* capacity x stride */

    /* Of the tops' table: each one's region. Written by the applier (release), read by searches
     * (acquire). */
    struct omen_region *_Atomic *regions;

    /* Applier only. */
    uint32_t stale;              /* rows whose pivot has another region now */
    struct omen_region *retired; /* the list of tables that have gone */

    /* Written by the applier (release), read by searches (acquire). */
    _Atomic uint32_t count;
};

struct omen_regions {
    /* Applier only. */
    struct omen_region *retired; /* since the last boundary */
    float phi_squared;           /* that the regions were made under */
    uint32_t known;              /* pivots that have a region; 0: all are to be made again */
    uint32_t capacity;           /* of the two arrays below */
    uint32_t *homes;             /* of each pivot its region */
    float *home_distances;

    /* Written by the applier (release), read by searches (acquire). NULL: no tops yet. */
    struct omen_region *_Atomic tops;
};

void omen_regions_deinit(struct omen_regions *regions); /* all zero is a good beginning */

/* Gives every pivot of `cells` that has none its region; makes all regions again if Phi^2 changed.
 * Applier, between steps. Fails: OMEN_RESOURCE_EXHAUSTED; the next one makes all again. */
OMEN_CHECKED omen_code omen_regions_update(struct omen_regions *regions,
                                           const struct omen_cells *cells,
                                           const struct omen_graph *graph,
                                           const struct omen_kernels *kernels, float phi_squared,
                                           omen_error *err);

/* Pivots have other numbers now: the next update makes all regions again. Until then searches go
 * by the old numbers (cells.h says why they may). Applier, between steps. */
void omen_regions_forget(struct omen_regions *regions);

/* A boundary: frees the tables that have gone by the last one. Applier. */
void omen_regions_recycle(struct omen_regions *regions);

/* Makes all regions again, elsewhere, and compares: they must be the same. Applier, between steps.
 * Fails: OMEN_INTERNAL, OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_regions_check(const struct omen_regions *regions,
                                          const struct omen_cells *cells,
                                          const struct omen_graph *graph,
                                          const struct omen_kernels *kernels, omen_error *err);

uint64_t omen_regions_bytes(const struct omen_regions *regions, size_t stride);

/* How many tops there are; 0: route by all pivots. Any thread. */
static inline uint32_t omen_region_count(const struct omen_region *region)
{
    return region == NULL ? 0 : atomic_load_explicit(&region->count, memory_order_acquire);
}
static inline const struct omen_region *omen_regions_tops(const struct omen_regions *regions)
{
    return atomic_load_explicit(&regions->tops, memory_order_acquire);
}
static inline const struct omen_region *omen_regions_region(const struct omen_region *tops,
                                                            uint32_t i)
{
    return atomic_load_explicit(&tops->regions[i], memory_order_acquire);
}

#endif
