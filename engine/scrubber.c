/* scrubber.c - see scrubber.h. */
#include "engine/scrubber.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/background.h"
#include "engine/clock.h"
#include "engine/engine_state.h"
#include "engine/id.h"
#include "engine/limits.h"
#include "engine/memory.h"

#define NS_PER_S    UINT64_C(1000000000)
#define LOOK_NS     NS_PER_S
#define PASS_NS     (86400 * NS_PER_S)
#define BLOCK_BYTES (256u << 10)
#define SLOWER      4u /* while writes wait */
/* Of more damage than this, only every power of two is told. */
#define TOLD_MAX 16u

struct omen_scrubber {
    /* Fixed. */
    omen_engine *engine;

    /* The thread's own. */
    omen_collection *listed[OMEN_COLLECTIONS_MAX]; /* counted */
    char *block;
    float row[OMEN_DIM_MAX + 16]; /* widened */

    struct omen_background background;
};

static void *run(void *arg);

/* ---- one row ------------------------------------------------------------------------------- */

static void tell_damage(const omen_collection *c, uint32_t slot)
{
    const struct omen_originals *o = &c->originals;
    const struct omen_id id = omen_graph_id_of(&c->graph, slot);
    const uint64_t count = atomic_load(&o->doubts->damaged_count);
    char point[OMEN_ID_TEXT_BYTES];

    if (count > TOLD_MAX && (count & (count - 1)) != 0) return;
    omen_id_describe(&id, point);
    omen_engine_tell(c->engine, OMEN_EVENT_ERROR,
                     "collection '%s': %s is damaged at offset %llu: the vector of point %s, slot "
                     "%u, is not what was written (%llu such). Searches leave it out, and reading "
                     "it fails, until the point is written again",
                     c->name, omen_originals_name(o->half), (unsigned long long)slot * o->row_bytes,
                     point, slot, (unsigned long long)count);
}

bool omen_original_check(const omen_collection *collection, uint32_t slot, const float *row)
{
    const omen_collection *c = collection;
    struct omen_doubts *doubts = c->originals.doubts;
    const bool good = row != NULL && omen_original_hash(row, c->settings.dim) ==
                                         *omen_graph_original_hash(&c->graph, slot);

    if (omen_doubts_settle(doubts, slot, good)) tell_damage(c, slot);
    return good && !omen_doubts_knows_damage(doubts, slot);
}

bool omen_original_check_doubted(const omen_collection *collection, uint32_t slot)
{
    const struct omen_originals *o = &collection->originals;
    float room[OMEN_DIM_MAX + 16];

    if (omen_doubts_knows_damage(o->doubts, slot)) return false;
    return omen_original_check(collection, slot, omen_original(o, slot, room));
}

/* ---- the thread ---------------------------------------------------------------------------- */

omen_code omen_scrubber_start(omen_engine *engine, struct omen_scrubber **out, omen_error *err)
{
    struct omen_scrubber *s = omen_alloc_zeroed(sizeof *s);
    omen_code code = OMEN_OK;

    *out = NULL;
    if (s != NULL) s->block = omen_alloc_aligned(BLOCK_BYTES);
    if (s == NULL || s->block == NULL)
        code = omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "the scrubber");
    if (code == OMEN_OK) {
        s->engine = engine;
        code = omen_background_start(&s->background, "omen-scrub", run, s, err);
    }
    if (code != OMEN_OK) {
        omen_scrubber_stop(s);
        return code;
    }
    *out = s;
    return OMEN_OK;
}

void omen_scrubber_stop(struct omen_scrubber *scrubber)
{
    if (scrubber == NULL) return;
    omen_background_stop(&scrubber->background);
    omen_free(scrubber->block);
    omen_free(scrubber);
}

/* Rows that could be read, from the first on. */
static uint32_t read_rows(struct omen_scrubber *s, const struct omen_originals *o, uint32_t first,
                          uint32_t rows)
{
    size_t count = rows * o->row_bytes;

    (void)omen_storage_read_all(o->storage, o->file, s->block, &count,
                                first * (uint64_t)o->row_bytes);
    return (uint32_t)(count / o->row_bytes);
}

static const float *row_of(struct omen_scrubber *s, const struct omen_originals *o, uint32_t at)
{
    const void *row = s->block + at * o->row_bytes;

    if (!o->half) return row;
    o->kernels->widen_f16(row, o->dim, s->row);
    return s->row;
}

/* The visible ones of these rows. Those that cannot be read are read one by one before they are
 * called damaged, as one bad sector spoils the reading of many. */
static void scrub_rows(struct omen_scrubber *s, omen_collection *c, uint32_t first, uint32_t rows)
{
    const struct omen_originals *o = &c->originals;
    const uint32_t pin = omen_grace_enter(&c->grace);
    const uint32_t epoch = atomic_load_explicit(&c->published.epoch, memory_order_acquire);
    const uint32_t there = read_rows(s, o, first, rows);

    for (uint32_t i = 0; i < rows; i++) {
        if (!omen_graph_visible(&c->graph, first + i, epoch)) continue;
        if (i < there)
            (void)omen_original_check(c, first + i, row_of(s, o, i));
        else if (read_rows(s, o, first + i, 1) == 1)
            (void)omen_original_check(c, first + i, row_of(s, o, 0));
        else
            (void)omen_original_check(c, first + i, NULL);
    }
    omen_grace_leave(&c->grace, pin);
}

/* False: the scrubber shall stop. */
static bool scrub(struct omen_scrubber *s, omen_collection *c)
{
    const uint64_t rate = (uint64_t)s->engine->scrub_mib << 20;
    const struct omen_doubts *doubts = c->originals.doubts;
    const uint64_t before = atomic_load(&doubts->checked);
    const uint32_t step = (uint32_t)(BLOCK_BYTES / c->originals.row_bytes);
    uint32_t slot = 0;

    for (;;) {
        const uint32_t slots = atomic_load_explicit(&c->published.slots, memory_order_acquire);
        const uint32_t rows = slots - slot < step ? slots - slot : step;
        uint64_t rest_ns = rows * c->originals.row_bytes * NS_PER_S / rate;

        if (slot >= slots || atomic_load(&c->gone)) break;
        scrub_rows(s, c, slot, rows);
        slot += rows;
        if (atomic_load(&c->backlog_bytes) > 0) rest_ns *= SLOWER;
        if (!omen_background_rest(&s->background, rest_ns)) return false;
    }
    if (slot > 0)
        omen_engine_tell(s->engine, OMEN_EVENT_INFO,
                         "collection '%s': vectors were compared with their hashes, %" PRIu64
                         " of them; %" PRIu64 " are damaged",
                         c->name, atomic_load(&doubts->checked) - before,
                         atomic_load(&doubts->damaged_count));
    return true;
}

static void *run(void *arg)
{
    struct omen_scrubber *s = arg;
    bool on = true;

    while (on) {
        const uint32_t count = omen_engine_list(s->engine, s->listed);

        for (uint32_t i = 0; i < count; i++) {
            omen_collection *c = s->listed[i];

            if (on && omen_now_ns() >= c->scrub_after_ns) {
                c->scrub_after_ns = omen_now_ns() + PASS_NS;
                on = scrub(s, c);
            }
            omen_collection_release(c);
        }
        on = on && omen_background_rest(&s->background, LOOK_NS);
    }
    return NULL;
}
