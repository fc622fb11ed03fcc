/* memory.h - the engine's allocator: mimalloc, and libc under the sanitizers (they know it). */
#ifndef OMEN_MEMORY_H
#define OMEN_MEMORY_H

#include <stddef.h>

/* NULL when there is no memory; size 0 gives a valid pointer. Free with omen_free(). */
void *omen_alloc(size_t bytes);
void *omen_alloc_zeroed(size_t bytes);
void *omen_alloc_aligned(size_t bytes); /* 64-byte aligned, contents undefined */
void *omen_realloc(void *old, size_t bytes);
void omen_free(void *p);

/* Anonymous pages, zeroed, aligned to 2 MiB, committed when touched. NULL when refused. */
void *omen_pages_map(size_t bytes);
void omen_pages_unmap(void *pages, size_t bytes);
/* Asks for huge pages now: for a range that is, or will be, full. */
void omen_pages_huge(void *pages, size_t bytes);

#endif
