/* fuzz.h - what every fuzz target is made of.
 *
 * A target is one file that defines LLVMFuzzerTestOneInput(): libFuzzer calls it (preset `fuzz`),
 * and so does replay.c, in every build. Whatever the bytes are, it may only return 0; a broken
 * promise ends the process through FUZZ_CHECK(), with a line that says which.
 */
#ifndef OMEN_TESTS_FUZZ_H
#define OMEN_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"
#include "service/fault.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_CHECK(condition, ...)                                                                 \
    do {                                                                                           \
        if (!(condition)) fuzz_fail(__FILE__, __LINE__, __VA_ARGS__);                              \
    } while (0)

OMEN_PRINTF(3, 4)
_Noreturn void fuzz_fail(const char *file, int line, const char *format, ...);

/* A refusal is complete: a code that is not OK and is known, a reason that clients can switch on,
 * and a sentence that can be sent as UTF-8. */
void fuzz_check_fault(const struct omen_fault *fault, omen_code code);
/* The same of what the engine says, which need not have a reason. */
void fuzz_check_error(const omen_error *err, omen_code code);

/* Seeded by the input itself, so that an input always runs the same way. */
uint64_t fuzz_hash(const uint8_t *data, size_t size);
uint64_t fuzz_random(uint64_t *state);

/* What the next aligned allocations of this thread are filled with, -1 for nothing. Decoding twice
 * with different fillings shows bytes that the decoder never wrote. */
extern _Thread_local int fuzz_filling;

#endif
