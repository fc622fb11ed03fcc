/* chunk_make.h - what chunk.c and chunk_record.c share: an empty chunk, and its lazy arrays. */
#ifndef OMEN_CHUNK_MAKE_H
#define OMEN_CHUNK_MAKE_H

#include "engine/chunk.h"

/* Owns: *out. Fails: OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_chunk_make(uint32_t dim, uint32_t points, omen_chunk **out,
                                       omen_error *err);

/* Make sure that the array is there, all zero. False: no memory. */
bool omen_chunk_need_keyed(omen_chunk *chunk);
bool omen_chunk_need_expires(omen_chunk *chunk);

#endif
