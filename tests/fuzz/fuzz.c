/* fuzz.c - see fuzz.h. */
#include "tests/fuzz/fuzz.h"

#include <ctype.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Thread_local int fuzz_filling = -1;

/* The linker puts the second in the place of engine/memory.c's (--wrap, in CMakeLists.txt). */
void *__real_omen_alloc_aligned(size_t bytes);
void *__wrap_omen_alloc_aligned(size_t bytes);

void *__wrap_omen_alloc_aligned(size_t bytes)
{
    void *block = __real_omen_alloc_aligned(bytes);

    if (block != NULL && fuzz_filling >= 0) memset(block, fuzz_filling, bytes);
    return block;
}

void fuzz_fail(const char *file, int line, const char *format, ...)
{
    va_list args;

    (void)fprintf(stderr, "%s:%d: ", file, line);
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fputc('\n', stderr);
    abort();
}

/* libc's idea of UTF-8, not fault.c's. */
static bool is_utf8(const char *text)
{
    static locale_t utf8;

    if (utf8 == NULL) {
        utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", NULL);
        FUZZ_CHECK(utf8 != NULL, "the locale C.UTF-8 is missing");
    }
    locale_t before = uselocale(utf8);
    size_t length = mbstowcs(NULL, text, 0);

    (void)uselocale(before);
    return length != (size_t)-1;
}

static bool is_reason(const char *reason)
{
    size_t length = strlen(reason);

    if (length < 2 || !isupper((unsigned char)reason[0])) return false;
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)reason[i];

        if (!isupper(c) && !isdigit(c) && c != '_') return false;
    }
    return true;
}

void fuzz_check_error(const omen_error *err, omen_code code)
{
    FUZZ_CHECK(code != OMEN_OK && strcmp(omen_code_name(code), "UNKNOWN") != 0, "code %d",
               (int)code);
    FUZZ_CHECK(strlen(err->message) > 8, "%s without a sentence: '%s'", omen_code_name(code),
               err->message);
}

void fuzz_check_fault(const struct omen_fault *fault, omen_code code)
{
    struct omen_fault shown = *fault;

    FUZZ_CHECK(code == fault->code, "returned %d, the fault says %d", (int)code, (int)fault->code);
    fuzz_check_error(&fault->error, code);
    FUZZ_CHECK(is_reason(omen_fault_reason(fault)), "reason '%s'", omen_fault_reason(fault));
    omen_fault_make_utf8(&shown);
    FUZZ_CHECK(is_utf8(shown.error.message), "no UTF-8: '%s'", shown.error.message);
    FUZZ_CHECK(is_utf8(shown.field), "no UTF-8: '%s'", shown.field);
}

uint64_t fuzz_hash(const uint8_t *data, size_t size)
{
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a */

    for (size_t i = 0; i < size; i++)
        hash = (hash ^ data[i]) * 0x100000001b3u;
    return hash;
}

uint64_t fuzz_random(uint64_t *state)
{
    uint64_t x = *state += 0x9e3779b97f4a7c15u; /* splitmix64 */

    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}
