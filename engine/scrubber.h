/* scrubber.h - originals are compared with their hashes: at first touch, and by a thread that reads
 * all of them, little by little.
 *
 * A pass over a collection begins soon after it was loaded, and then once a day. It reads the file,
 * not the mapping, so that a sector that cannot be read is a damaged row and not a signal, at a
 * bounded rate, of which it takes a quarter while writes wait. What the page cache has, it reads
 * from there: a disk that lies about what is cached is found out when that is read again.
 *
 * A damaged row is told once, with its slot, its offset and its point; it is left out of answers of
 * searches, and reading its vector fails with DATA_LOSS. Writing the point again mends it.
 */
#ifndef OMEN_SCRUBBER_H
#define OMEN_SCRUBBER_H

#include "engine/collection.h"
#include "engine/engine.h"

struct omen_scrubber;

/* Owns: *out, release it with omen_scrubber_stop(). Fails: OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_scrubber_start(omen_engine *engine, struct omen_scrubber **out,
                                           omen_error *err);
/* Ends a pass half-way. NULL is allowed. */
void omen_scrubber_stop(struct omen_scrubber *scrubber);

/* Compares a row, as floats, with its slot's hash, and tells of a damage that was not known. False:
 * it is damaged. Under a pin, and of a visible slot. Any thread. */
bool omen_original_check(const omen_collection *collection, uint32_t slot, const float *row);

/* The same of a slot whose row is doubted. False: it is not to be served. */
bool omen_original_check_doubted(const omen_collection *collection, uint32_t slot);

/* May this visible slot's row be served? Searches; one load where nothing is doubted. */
static inline bool omen_original_is_sound(const omen_collection *collection, uint32_t slot)
{
    return !omen_doubts_has(collection->originals.doubts, slot) ||
           omen_original_check_doubted(collection, slot);
}

#endif
