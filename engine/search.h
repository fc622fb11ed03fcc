/* search.h - the inside of a search: one batch, cut into blocks, worked off by the search threads.
 *
 * A block of queries is encoded, routed by one matrix, and each query walked or scanned. Each
 * search thread has one omen_searcher, whose buffers only grow, and what belongs to one search (its
 * plan, its answers) is kept for the next one: the steady state allocates nothing.
 *
 * A search is pinned (grace.h) from its snapshot until omen_search_deinit().
 */
#ifndef OMEN_SEARCH_H
#define OMEN_SEARCH_H

#include <stdatomic.h>

#include "engine/collection.h"
#include "engine/engine.h"
#include "engine/keys.h"
#include "engine/top.h"

#define OMEN_SEARCH_BLOCK 32u /* queries that one thread takes at once */
/* Of them, those that one thread walks for in turn. */
#define OMEN_SEARCH_WALKS (OMEN_TRICK_WALKS_IN_TURN ? 4u : 1u)
/* Regions whose pivots a query is compared with: all of a few, and down to this many of others. */
#define OMEN_SEARCH_REGIONS_MIN 4u
#define OMEN_SEARCH_REGIONS_MAX 16u
#define OMEN_SEARCH_ENTRIES     16u /* pivots from which a walk starts */
#define OMEN_SEARCH_CELLS       1u /* of them, those of whose cells some members are entries, too */
#define OMEN_SEARCH_CELL_MAX    1024u /* members of such a cell that are looked through for them */
#define OMEN_SEARCH_MEMBERS     16u   /* so many of each */
#define OMEN_SEARCH_POOL        2u    /* times ef: the most that a walk's pool holds */
#define OMEN_RERANK_FIRST       12u   /* nodes that are re-ranked in any case */
#define OMEN_SCAN_ROWS          64u   /* rows of one tile of an exact scan */

/* What one search reads, loaded in the order of struct omen_published. */
struct omen_snapshot {
    uint64_t position;
    uint32_t epoch;
    uint32_t pivots;
    uint32_t slots;
    uint64_t points;
    float phi_squared; /* 0 unless inner product */
};

/* What is to be done for one query, all defaults filled in. */
struct omen_query_plan {
    uint32_t k, ef;
    uint32_t rerank; /* nodes that are re-ranked; 0: by ef and k */
    bool exact;
    enum omen_refusal refusal; /* not 0: nothing */
    uint32_t first_hit;        /* its place among the search's hits: room for k */
};

struct omen_search_private {
    struct omen_search *search;
    struct omen_search_private *next; /* pool's mutex: queued, waiting, or free */
    uint32_t block_count;             /* fixed */
    uint64_t started_ns;
    uint32_t next_block; /* pool's mutex */
    _Atomic uint32_t blocks_done;
    _Atomic int code; /* first failure; error is written by whoever set it */

    /* Written before the first block is handed out. */
    struct omen_snapshot snapshot;
    bool pinned;
    uint32_t pin; /* grace.h's counter */

    /* Of a search that is no client's (calibrate.c): asked between two pieces of work, about a
     * millisecond each; may wait. False: end it. NULL: nobody is asked. */
    bool (*pace)(void *user);
    void *pace_user;

    /* Kept from search to search. */
    struct omen_query_plan *plans;
    struct omen_query_result *results;
    uint32_t query_capacity;
    struct omen_hit *hits;
    size_t hit_capacity;
};

/* One query of a run. */
struct omen_query {
    uint32_t number; /* in the search */
    const float *vector;
    float inverse_length; /* cosine */
    /* What codes say of a distance is about offset + factor x what the answer says of it. */
    float key_offset, key_factor;
    struct omen_prepared prepared;
    uint32_t visited;
    struct omen_nearest entries; /* keys name cells */
    omen_key entry_keys[4 * OMEN_SEARCH_ENTRIES];
};

/* What a walk does next: each step ends when what the next one needs has been prefetched. */
enum omen_walk_step {
    OMEN_WALK_LOOK,    /* find slots to look at: of an entry cell, of a row */
    OMEN_WALK_MEASURE, /* compute their distances */
    OMEN_WALK_ENDED    /* the pool holds what was found, ascending */
};

/* A walk for one query; see walk.c. Its buffers only grow. */
struct omen_walk {
    struct omen_query *query; /* NULL: none */
    uint32_t k, ef;
    uint32_t nth;   /* k, or a few more: its distance says how far the walk goes */
    uint32_t floor; /* at least so many are expanded */
    float slack;    /* to 1 + slack times that */
    float reach;    /* that is; +infinity while fewer are known */
    uint32_t limit; /* the snapshot's slots: those from here on are of later epochs */
    enum omen_walk_step step;
    omen_key *pool;
    uint32_t pool_count, pool_max, pool_capacity; /* pool_max: of this walk */
    uint32_t at;                                  /* all before this one in the pool are expanded */

    uint32_t slots[OMEN_ROW_LINKS + 1]; /* of this hop; and one that visit() may refuse */
    uint32_t slot_count;
    uint32_t entries[OMEN_SEARCH_CELL_MAX]; /* members of an entry cell */
    uint32_t entry_count, entry_at;
    uint32_t cell; /* of the query's entries, the next to be read */

    uint64_t *visited; /* a bit for each slot; all zero between two walks */
    uint32_t visited_slots;
    uint32_t *touched; /* what to clear, unless it is too much */
    uint32_t touched_count;
};

/* One search thread's buffers. */
struct omen_searcher {
    /* Of the block in work. */
    const omen_collection *collection;
    const struct omen_snapshot *snapshot;
    struct omen_top top; /* of the query in work */

    size_t stride;              /* what the buffers below were made for */
    struct omen_query *queries; /* OMEN_SEARCH_BLOCK */
    uint8_t *query_codes;
    int8_t *query_values;
    const uint8_t **codes; /* OMEN_CELL_SCAN_MAX */
    int8_t *packed;
    int32_t *bias;
    float *scales, *norms, *distances;
    int32_t *dots; /* OMEN_SEARCH_BLOCK x OMEN_CELL_SCAN_MAX */
    float *tile;   /* OMEN_SEARCH_BLOCK x OMEN_SCAN_ROWS */
    float *wide; /* OMEN_SCAN_ROWS rows of originals that are halves; NULL before there were any */
    size_t wide_floats; /* of a row */

    struct omen_walk *walks; /* OMEN_SEARCH_WALKS */
    omen_key *heads;         /* slots to re-rank, duplicates among them, and their distances */
    uint32_t head_count, head_capacity;
    struct omen_hit *hits; /* OMEN_SEARCH_BLOCK tops, or one */
    size_t hit_capacity;
};

OMEN_CHECKED omen_code omen_searcher_create(struct omen_searcher **out, omen_error *err);
void omen_searcher_destroy(struct omen_searcher *searcher); /* NULL is allowed */
/* Buffers for vectors of this stride. */
OMEN_CHECKED omen_code omen_searcher_fit(struct omen_searcher *searcher, size_t stride,
                                         omen_error *err);
/* Room for rows of originals that are halves. */
OMEN_CHECKED omen_code omen_searcher_fit_wide(struct omen_searcher *searcher,
                                              const struct omen_originals *originals,
                                              omen_error *err);
OMEN_CHECKED omen_code omen_searcher_fit_hits(struct omen_searcher *searcher, size_t hits,
                                              omen_error *err);

/* omen_search_submit() without the queue: makes search->private_. Then omen_search_start(), and
 * omen_search_block() for each block, on one thread. */
OMEN_CHECKED omen_code omen_search_prepare(struct omen_search *search, omen_error *err);

/* Works off one block. Search thread. */
OMEN_CHECKED omen_code omen_search_block(struct omen_searcher *searcher,
                                         struct omen_search_private *private_, uint32_t block,
                                         omen_error *err);

/* scan.c: compares `count` queries with every visible point. */
OMEN_CHECKED omen_code omen_search_scan(struct omen_searcher *searcher,
                                        struct omen_search_private *private_, uint32_t first,
                                        uint32_t count, omen_error *err);
/* Was the search cancelled, or is its time over? Then why, as a code. */
OMEN_CHECKED omen_code omen_search_check_stop(const struct omen_search *search, omen_error *err);
/* The answer of a query: the top's hits, in order. */
void omen_search_answer(struct omen_search_private *private_, uint32_t query, struct omen_top *top);
/* search_route.c: routes a block of encoded queries: fills the entries of
 * searcher->queries[0..count). */
void omen_search_route(struct omen_searcher *searcher, uint32_t count);
/* walk.c: codes, scales and norms of `count` slots, up to OMEN_CELL_SCAN_MAX, into the searcher's
 * arrays. Under inner product every augmented norm is Phi^2. */
void omen_search_gather(struct omen_searcher *searcher, const uint32_t *slots, uint32_t count);
/* walk.c: begins a walk from the query's entries for its k nearest. Then step by step until it has
 * ended. Fails: OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_search_walk_begin(struct omen_searcher *searcher,
                                              struct omen_walk *walk, struct omen_query *query,
                                              uint32_t k, uint32_t ef, omen_error *err);
void omen_search_walk_step(struct omen_searcher *searcher, struct omen_walk *walk);
/* walk.c: readies all walks for another search, whatever they were doing. */
void omen_search_walks_abandon(struct omen_searcher *searcher);
/* rerank.c: exact distances of the pool's best, `best` nodes at most, their duplicates included,
 * into searcher->top. */
OMEN_CHECKED omen_code omen_search_rerank(struct omen_searcher *searcher,
                                          const struct omen_walk *walk, uint32_t best,
                                          omen_error *err);

/* Room for the i-th row of a tile, if originals are halves; else nobody writes there. */
static inline float *omen_searcher_wide(const struct omen_searcher *searcher, uint32_t i)
{
    return searcher->wide == NULL ? NULL : searcher->wide + i * searcher->wide_floats;
}

/* What an answer says for a kernel's value: squared L2, 1 - cosine, -(inner product). */
static inline float omen_answer_distance(omen_metric metric, float value, float inverse_query,
                                         float inverse_row)
{
    float d;

    if (metric == OMEN_METRIC_L2) return value;
    if (metric == OMEN_METRIC_INNER_PRODUCT) return -value;
    d = 1.0f - (value * inverse_query) * inverse_row;
    return d > 0.0f ? d : 0.0f; /* rounding may take equals below 0 */
}

/* ---- the threads, search_pool.c ----------------------------------------------------------- */

struct omen_search_pool;
OMEN_CHECKED omen_code omen_search_pool_start(uint32_t threads, struct omen_search_pool **out,
                                              omen_error *err);
/* Works off what is queued, then ends the threads. NULL is allowed. */
void omen_search_pool_stop(struct omen_search_pool *pool);
/* Queues it, or lets it wait for its min_position. */
void omen_search_pool_add(struct omen_search_pool *pool, struct omen_search_private *private_);
/* Something was published or cancelled: look at those that wait. `pool` may be NULL. Any thread. */
void omen_search_pool_look(struct omen_search_pool *pool);
/* Is there a search that no thread has taken whole yet? Any thread. */
bool omen_search_pool_queues(struct omen_search_pool *pool);
/* One to use, zero but for its buffers; NULL without memory. And back. */
struct omen_search_private *omen_search_pool_take(struct omen_search_pool *pool);
void omen_search_pool_give(struct omen_search_pool *pool, struct omen_search_private *private_);
/* Takes the snapshot: called when a search need not wait any more. */
void omen_search_start(struct omen_search_private *private_);
/* Called when the last block of a search is done. */
void omen_search_finish(struct omen_search_private *private_);

#endif
