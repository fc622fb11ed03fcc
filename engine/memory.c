/* memory.c - see memory.h. The one file of the engine that names an allocator.
 *
 * Under AddressSanitizer and ThreadSanitizer libc's allocator is used: they watch that one.
 */
#include "engine/memory.h"
#include "engine/ablation.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* GCC says it by macros, clang by a question that GCC 12 does not know. */
#ifdef __has_feature
#define OMEN_CLANG_SANITIZES (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define OMEN_CLANG_SANITIZES 0
#endif

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || OMEN_CLANG_SANITIZES
#define OMEN_LIBC_ALLOCATOR 1
#else
#include <mimalloc.h>
#endif

#define HUGE_PAGE ((size_t)2 << 20)
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

#ifdef OMEN_LIBC_ALLOCATOR

void *omen_alloc(size_t bytes)
{
    return malloc(bytes == 0 ? 1 : bytes);
}

void *omen_alloc_zeroed(size_t bytes)
{
    return calloc(1, bytes == 0 ? 1 : bytes);
}

void *omen_alloc_aligned(size_t bytes)
{
    return aligned_alloc(64, (bytes + 64) / 64 * 64);
}

void *omen_realloc(void *old, size_t bytes)
{
    return realloc(old, bytes == 0 ? 1 : bytes);
}

void omen_free(void *p)
{
    free(p);
}

#else

void *omen_alloc(size_t bytes)
{
    return mi_malloc(bytes == 0 ? 1 : bytes);
}

void *omen_alloc_zeroed(size_t bytes)
{
    return mi_zalloc(bytes == 0 ? 1 : bytes);
}

void *omen_alloc_aligned(size_t bytes)
{
    return mi_malloc_aligned(bytes == 0 ? 64 : bytes, 64);
}

void *omen_realloc(void *old, size_t bytes)
{
    return mi_realloc(old, bytes == 0 ? 1 : bytes);
}

void omen_free(void *p)
{
    mi_free(p);
}

#endif

/* Maps more than asked for and gives the ends back: mmap alone aligns to 4 KiB only, and a huge
 * page needs its 2 MiB whole. */
void *omen_pages_map(size_t bytes)
{
    size_t size = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    char *raw = mmap(NULL, size + HUGE_PAGE, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    size_t head = 0;

    if (raw == MAP_FAILED) return NULL;
    head = (HUGE_PAGE - (uintptr_t)raw % HUGE_PAGE) % HUGE_PAGE;
    if (head > 0) (void)munmap(raw, head);
    if (head < HUGE_PAGE) (void)munmap(raw + head + size, HUGE_PAGE - head);
    return raw + head;
}

void omen_pages_unmap(void *pages, size_t bytes)
{
    if (pages == NULL) return;
    (void)munmap(pages, (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE);
}

/* Advice: a kernel without huge pages changes nothing but speed. */
void omen_pages_huge(void *pages, size_t bytes)
{
    if (!OMEN_TRICK_HUGE_PAGES) return;
    (void)madvise(pages, bytes, MADV_HUGEPAGE);
    (void)madvise(pages, bytes, MADV_COLLAPSE);
}
