/* ablation.h - what bench/ablate leaves out, one at a time, to see what it is worth.
 *
 * All of it is on, unless a build says otherwise (cmake -DOMEN_ABLATE=PREFETCH); only bench/ablate
 * makes such builds, of the benchmark alone. Where a trick decides what the graph becomes (see each
 * use), such a build's data directories are its own.
 */
#ifndef OMEN_ABLATION_H
#define OMEN_ABLATION_H

/* Codes and rows are asked for before they are needed (beside what kernels do for themselves). */
#ifndef OMEN_TRICK_PREFETCH
#define OMEN_TRICK_PREFETCH 1
#endif

/* They are asked for into the second cache, which drops no request (graph.h). */
#ifndef OMEN_TRICK_PREFETCH_L2
#define OMEN_TRICK_PREFETCH_L2 1
#endif

/* A thread walks for several queries in turn. */
#ifndef OMEN_TRICK_WALKS_IN_TURN
#define OMEN_TRICK_WALKS_IN_TURN 1
#endif

/* Codes and rows lie on pages of 2 MiB. */
#ifndef OMEN_TRICK_HUGE_PAGES
#define OMEN_TRICK_HUGE_PAGES 1
#endif

/* Members of a cell are packed for the kernel of many points by many members. */
#ifndef OMEN_TRICK_PACKED_MEMBERS
#define OMEN_TRICK_PACKED_MEMBERS 1
#endif

/* A batch of queries is routed by one matrix on packed pivots. */
#ifndef OMEN_TRICK_PACKED_PIVOTS
#define OMEN_TRICK_PACKED_PIVOTS 1
#endif

/* Selection computes four products at a time. */
#ifndef OMEN_TRICK_SELECT_TOGETHER
#define OMEN_TRICK_SELECT_TOGETHER 1
#endif

/* Points that are near each other get their links one after the other. */
#ifndef OMEN_TRICK_HOME_ORDER
#define OMEN_TRICK_HOME_ORDER 1
#endif

/* Walks start from the members of the nearest cells, too, and not from pivots alone. */
#ifndef OMEN_TRICK_CELL_ENTRIES
#define OMEN_TRICK_CELL_ENTRIES 1
#endif

/* More than k of what a walk found is compared by original vectors. */
#ifndef OMEN_TRICK_RERANK
#define OMEN_TRICK_RERANK 1
#endif

/* Points with equal codes are one node of the graph. */
#ifndef OMEN_TRICK_DUPLICATES
#define OMEN_TRICK_DUPLICATES 1
#endif

#endif
