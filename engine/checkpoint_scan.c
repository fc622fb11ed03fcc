/* checkpoint_scan.c - see checkpoint_scan.h. */
#include "engine/checkpoint_scan.h"

#include <inttypes.h>
#include <string.h>

#include "engine/checkpoint.h"
#include "engine/graph.h"
#include "engine/memory.h"
#include "engine/sections.h"
#include "engine/settings.h"

/* The arrays of a segment that tell about originals, by their numbers (graph.c). */
#define VISIBILITY      4u
#define ORIGINAL_HASHES 15u

struct scanning {
    const struct omen_checkpoint_scan *scan;
    struct omen_checkpoint_scanned *out;
    omen_error *err;
    struct omen_sections_reader reader;
    uint64_t *words; /* of one segment */
    bool began, ended;
};

static omen_code scan_section(struct scanning *s);
static omen_code take(struct scanning *s, const struct omen_section *section);
static omen_code take_state(struct scanning *s, const struct omen_section *section,
                            omen_error *why);
static omen_code take_settings(struct scanning *s, const struct omen_section *section,
                               omen_error *why);
static omen_code take_words(struct scanning *s, const struct omen_section *section,
                            omen_error *why);

static void damage(struct scanning *s, const char *sentence)
{
    s->out->whole = false;
    if (s->scan->damage != NULL) s->scan->damage(s->scan->user, sentence);
}

omen_code omen_checkpoint_scan(const struct omen_checkpoint_scan *scan,
                               struct omen_checkpoint_scanned *out, omen_error *err)
{
    struct scanning s = {.scan = scan, .out = out, .err = err};
    char name[OMEN_CHECKPOINT_NAME_BYTES];
    omen_error why;
    omen_code code = OMEN_OK;

    *out = (struct omen_checkpoint_scanned){.position = scan->position, .whole = true};
    omen_checkpoint_name(scan->position, name);
    code = omen_sections_open(scan->storage, scan->dir, name, scan->position, &s.reader, &why);
    if (code == OMEN_NOT_FOUND) {
        damage(&s, why.message);
        code = OMEN_OK;
        s.ended = true;
    } else if (code != OMEN_OK) {
        code = omen_fail(err, code, "%s", why.message);
    }
    out->bytes = s.reader.size;
    s.words = omen_alloc(OMEN_SEGMENT_SLOTS * sizeof *s.words);
    if (code == OMEN_OK && s.words == NULL)
        code = omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "no memory to read a checkpoint");
    while (code == OMEN_OK && !s.ended)
        code = scan_section(&s);
    if (code == OMEN_OK && out->whole && (out->lives == NULL || out->dim == 0))
        damage(&s, "the checkpoint does not say what it is");
    omen_sections_close(&s.reader);
    omen_free(s.words);
    return code;
}

void omen_checkpoint_scanned_deinit(struct omen_checkpoint_scanned *scanned)
{
    omen_free(scanned->hashes);
    omen_free(scanned->lives);
    scanned->hashes = NULL;
    scanned->lives = NULL;
}

static omen_code scan_section(struct scanning *s)
{
    struct omen_section section;
    omen_error why;
    bool found = false;
    omen_code code = omen_sections_next(&s->reader, &section, &why);

    if (code == OMEN_DATA_LOSS) {
        damage(s, why.message);
        code = omen_sections_find(&s->reader, &found, &why);
        s->ended = !found;
    } else if (code == OMEN_OK && section.type == OMEN_SECTION_END) {
        s->ended = true;
    } else if (code == OMEN_OK) {
        code = take(s, &section);
        return code;
    }
    return code == OMEN_OK ? OMEN_OK : omen_fail(s->err, code, "%s", why.message);
}

static omen_code take(struct scanning *s, const struct omen_section *section)
{
    const struct omen_sections_reader before = s->reader;
    omen_error why;
    omen_code code = OMEN_OK;

    if (section->type != OMEN_CHECKPOINT_SETTINGS && section->version > OMEN_CHECKPOINT_VERSION)
        return omen_fail(s->err, OMEN_UNIMPLEMENTED,
                         "%s: a section has version %" PRIu32
                         " and this program reads up to %u: it "
                         "was written by a newer one",
                         s->reader.name, section->version, OMEN_CHECKPOINT_VERSION);
    if (section->type == OMEN_CHECKPOINT_STATE)
        code = take_state(s, section, &why);
    else if (section->type == OMEN_CHECKPOINT_SETTINGS)
        code = take_settings(s, section, &why);
    else if (section->type == OMEN_CHECKPOINT_ARRAY + VISIBILITY ||
             section->type == OMEN_CHECKPOINT_ARRAY + ORIGINAL_HASHES)
        code = take_words(s, section, &why);
    else
        code = omen_sections_check(&s->reader, &why);
    if (code == OMEN_OK) return OMEN_OK;
    if (code != OMEN_DATA_LOSS) return omen_fail(s->err, code, "%s", why.message);
    damage(s, why.message);
    if (s->reader.offset == before.offset) omen_sections_skip(&s->reader);
    return OMEN_OK;
}

static omen_code take_state(struct scanning *s, const struct omen_section *section, omen_error *why)
{
    struct omen_checkpoint_state state;
    omen_code code = OMEN_OK;

    if (section->length != sizeof state || s->out->lives != NULL)
        return omen_sections_check(&s->reader, why);
    code = omen_sections_read(&s->reader, &state, why);
    if (code != OMEN_OK) return code;
    if (state.slots > OMEN_SLOTS_MAX)
        return omen_fail(why, OMEN_DATA_LOSS, "%s says that there are %" PRIu32 " slots",
                         s->reader.name, state.slots);
    s->out->slots = state.slots;
    s->out->hashes = omen_alloc_zeroed((size_t)state.slots * sizeof *s->out->hashes);
    s->out->lives = omen_alloc_zeroed((size_t)state.slots * sizeof *s->out->lives);
    if (s->out->hashes != NULL && s->out->lives != NULL) return OMEN_OK;
    return omen_fail(why, OMEN_RESOURCE_EXHAUSTED, "no memory for %" PRIu32 " slots", state.slots);
}

static omen_code take_settings(struct scanning *s, const struct omen_section *section,
                               omen_error *why)
{
    uint8_t payload[OMEN_SETTINGS_BYTES_MAX];
    struct omen_settings_made made;
    omen_code code = OMEN_OK;

    if (section->length > sizeof payload) return omen_sections_check(&s->reader, why);
    code = omen_sections_read(&s->reader, payload, why);
    if (code == OMEN_OK)
        code = omen_settings_read(payload, (size_t)section->length, section->version, &made, why);
    if (code != OMEN_OK) return code;
    s->out->dim = made.settings.dim;
    s->out->half = made.settings.originals == OMEN_ORIGINALS_F16;
    return OMEN_OK;
}

/* One segment's array of words, of its slots that are in use. */
static omen_code take_words(struct scanning *s, const struct omen_section *section, omen_error *why)
{
    const uint64_t first = (uint64_t)section->index * OMEN_SEGMENT_SLOTS;
    const uint64_t count = section->length / sizeof *s->words;
    const bool hashes = section->type == OMEN_CHECKPOINT_ARRAY + ORIGINAL_HASHES;
    omen_code code = OMEN_OK;

    if (count > OMEN_SEGMENT_SLOTS || first + count > s->out->slots)
        return omen_sections_check(&s->reader, why);
    code = omen_sections_read(&s->reader, s->words, why);
    for (uint64_t i = 0; code == OMEN_OK && i < count; i++) {
        if (hashes)
            s->out->hashes[first + i] = s->words[i];
        else /* born, and not died */
            s->out->lives[first + i] =
                s->words[i] >> 32 != 0 && (uint32_t)s->words[i] == OMEN_EPOCH_NEVER;
    }
    return code;
}
