/* estimate.c - see estimate.h. */
#include "engine/estimate.h"

#include <string.h>

#include "engine/cells.h"
#include "engine/chunk.h"
#include "engine/graph.h"
#include "engine/settings.h"

/* Up to here a graph has ordinary pages, which are taken as they are touched; larger ones have huge
 * pages, and so whole segments (graph.c). */
#define SMALL_SLOTS (2u * OMEN_SEGMENT_SLOTS)

/* A collection with nothing in it: buffers, its log's, sessions. */
#define FIXED_BYTES (256u << 10)
/* Of a key with its allocation, and of a checkpoint's header for it. */
#define KEY_BYTES    80u
#define TABLE_MIN    64u
#define PIVOTS_MIN   64u
#define PIVOT_BYTES  12u /* bias, scale, norm */
#define MEMBER_BYTES 4u

static uint64_t table_bytes(uint64_t entries)
{
    uint64_t capacity = TABLE_MIN;

    while (entries * 4 > capacity * 3)
        capacity *= 2;
    return capacity * sizeof(uint64_t);
}

static uint64_t cell_bytes(size_t stride, uint64_t slots)
{
    const uint64_t pivots = (slots + OMEN_CELL_SLOTS - 1) / OMEN_CELL_SLOTS;
    uint64_t capacity = PIVOTS_MIN;

    while (capacity < pivots)
        capacity *= 2;
    /* Each cell's last block is half full. */
    /* Regions' tables are three quarters full, and hold every pivot once. */
    return capacity * (stride + PIVOT_BYTES) + pivots * 4 / 3 * (stride + PIVOT_BYTES + 8) +
           pivots * (sizeof(struct omen_cell) + sizeof(struct omen_cell *) + sizeof(uint32_t)) +
           (slots / OMEN_CELL_BLOCK_MEMBERS + pivots / 2 + 1) * sizeof(struct omen_cell_block);
}

/* What a point adds to the log, in chunks as full as they may be. */
static uint64_t log_bytes(uint32_t dim, uint64_t points)
{
    const uint64_t empty = omen_chunk_record_bytes(0, dim);
    const uint64_t each = omen_chunk_record_bytes(1, dim) - empty;
    const uint64_t chunk = (OMEN_RECORD_BYTES_MAX - empty) / each;

    return points * each + (points / chunk + 1) * empty;
}

void omen_estimate_slots(const struct omen_collection_settings *settings, uint64_t slots,
                         uint64_t keyed, struct omen_estimate *out)
{
    const uint32_t dim = settings->dim;
    const uint64_t unit =
        settings->originals == OMEN_ORIGINALS_F16 ? sizeof(uint16_t) : sizeof(float);
    const struct omen_graph graph = {.stride = omen_code_stride(dim)};
    const uint64_t row = (dim * unit + 63) / 64 * 64;
    uint64_t held = slots;
    struct omen_array arrays[OMEN_ARRAYS_MAX];
    const uint32_t count = omen_graph_arrays(&graph, arrays);

    *out = (struct omen_estimate){.fixed = FIXED_BYTES};
    if (slots > SMALL_SLOTS)
        held = (slots + OMEN_SEGMENT_SLOTS - 1) / OMEN_SEGMENT_SLOTS * OMEN_SEGMENT_SLOTS;
    for (uint32_t i = 0; i < count; i++) {
        const uint64_t bytes = held * arrays[i].slot_bytes;

        if (strcmp(arrays[i].name, "codes") == 0 || strcmp(arrays[i].name, "metas") == 0)
            out->codes += bytes;
        else if (strcmp(arrays[i].name, "rows") == 0 || strcmp(arrays[i].name, "distances") == 0)
            out->rows += bytes;
        else
            out->ids += bytes;
        if (arrays[i].writer != OMEN_ARRAY_FIXED) out->capture += slots * arrays[i].slot_bytes;
        out->checkpoint += slots * arrays[i].slot_bytes;
    }
    out->ids += keyed * KEY_BYTES;
    out->tables = 2 * table_bytes(slots); /* of ids, of codes */
    out->cells = cell_bytes(graph.stride, slots);
    out->capture += slots * MEMBER_BYTES;
    out->checkpoint += slots * MEMBER_BYTES + keyed * KEY_BYTES;
    out->memory = out->fixed + out->codes + out->rows + out->ids + out->tables + out->cells;
    out->originals = slots * row;
    out->log = log_bytes(dim, slots);
}

uint64_t omen_estimate_memory(const struct omen_collection_settings *settings, uint64_t slots,
                              bool capture)
{
    struct omen_estimate estimate;

    omen_estimate_slots(settings, slots, 0, &estimate);
    return estimate.memory + (capture ? estimate.capture : 0);
}

omen_code omen_estimate(const struct omen_collection_settings *settings, uint64_t points,
                        uint64_t keyed, struct omen_estimate *out, omen_error *err)
{
    struct omen_collection_settings checked = *settings;
    const omen_code code = omen_settings_check(&checked, err);

    if (code != OMEN_OK) return code;
    if (points > OMEN_SLOTS_MAX || keyed > points)
        return omen_fail_because(
            err, OMEN_INVALID_ARGUMENT, "BAD_LIMIT",
            "points is %llu and keyed is %llu; points is at most %u, and keyed "
            "at most points",
            (unsigned long long)points, (unsigned long long)keyed, OMEN_SLOTS_MAX);
    omen_estimate_slots(&checked, points, keyed, out);
    if (checked.originals == OMEN_ORIGINALS_F16)
        out->originals = points * (((uint64_t)checked.dim + 31) / 32 * 64);
    return OMEN_OK;
}
