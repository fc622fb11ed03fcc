/* message.h - an omen_message of bytes at hand, in the place of the listener's.
 *
 * message.c defines what service/listener.h says of messages; the linker then leaves listener.c,
 * and gRPC with it, out of the executable.
 */
#ifndef OMEN_TESTS_FUZZ_MESSAGE_H
#define OMEN_TESTS_FUZZ_MESSAGE_H

#include "service/listener.h"

/* A copy of the bytes: in one slice if `seed` is 0, else cut at up to 15 seeded places, so that
 * values lie across borders and some slices are empty. Each slice is an allocation of its own and
 * exact, so that a sanitizer sees the first byte that is read behind it.
 * Owns: release it with omen_message_destroy(). */
omen_message *fuzz_message_create(const uint8_t *data, size_t size, uint64_t seed);

#endif
