/* estimate.h - what a collection takes, by formula: of memory and of the disk, for so many slots.
 *
 * The formula (docs/memory.md explains it) knows nothing but the collection's settings and how many
 * slots were ever used, which the log alone decides: so servers that hold the same log reckon the
 * same, whatever their allocators do. A test compares it with what a server really takes.
 */
#ifndef OMEN_ESTIMATE_H
#define OMEN_ESTIMATE_H

#include "engine/engine.h"

/* For so many slots, `keyed` of them with keys as ids. */
void omen_estimate_slots(const struct omen_collection_settings *settings, uint64_t slots,
                         uint64_t keyed, struct omen_estimate *out);

/* The memory of omen_estimate_slots() alone; `capture`: with that of a checkpoint on its way. */
uint64_t omen_estimate_memory(const struct omen_collection_settings *settings, uint64_t slots,
                              bool capture);

#endif
