/* status.h - how anything below the service says that it failed.
 *
 * A call returns an omen_code and, where a person may read it, writes one sentence into an
 * omen_error that the caller owns. Nothing is allocated, nothing is thread-local, nothing is freed.
 */
#ifndef OMEN_STATUS_H
#define OMEN_STATUS_H

#include <stdint.h>

/* The values are gRPC's own; service/listener.c asserts it, so its mapping is a cast. */
#define OMEN_CODE_MAP(X)                                                                           \
    X(OMEN_OK, 0)                                                                                  \
    X(OMEN_CANCELLED, 1)                                                                           \
    X(OMEN_INVALID_ARGUMENT, 3)                                                                    \
    X(OMEN_DEADLINE_EXCEEDED, 4)                                                                   \
    X(OMEN_NOT_FOUND, 5)                                                                           \
    X(OMEN_ALREADY_EXISTS, 6)                                                                      \
    X(OMEN_RESOURCE_EXHAUSTED, 8)                                                                  \
    X(OMEN_FAILED_PRECONDITION, 9)                                                                 \
    X(OMEN_ABORTED, 10)                                                                            \
    X(OMEN_UNIMPLEMENTED, 12)                                                                      \
    X(OMEN_INTERNAL, 13)                                                                           \
    X(OMEN_UNAVAILABLE, 14)                                                                        \
    X(OMEN_DATA_LOSS, 15)

typedef enum omen_code {
#define X(name, value) name = value,
    OMEN_CODE_MAP(X)
#undef X
} omen_code;

#define OMEN_ERROR_MAX  256
#define OMEN_REASON_MAX 32
typedef struct omen_error {
    char message[OMEN_ERROR_MAX]; /* NUL-terminated, cut off if too long */
    char reason[OMEN_REASON_MAX]; /* ErrorInfo.reason, [A-Z][A-Z0-9_]+, or empty */
    /* Where room is missing, in bytes; all zero elsewhere. */
    struct omen_figures {
        uint64_t used, limit, needed;
    } figures;
    uint32_t retry_ms; /* when it may be worth another try; 0: nothing is known */
} omen_error;

/* Reasons that the engine itself tells apart. */
#define OMEN_REASON_DISK_FULL    "DISK_FULL"
#define OMEN_REASON_MEMORY_LIMIT "MEMORY_LIMIT"

#define OMEN_CHECKED           __attribute__((warn_unused_result))
#define OMEN_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

/* Writes the sentence into `err` unless it is NULL, clears all else in it, and returns `code`, so
 * that a failing check is one line. */
OMEN_CHECKED OMEN_PRINTF(3, 4) omen_code
    omen_fail(omen_error *err, omen_code code, const char *format, ...);

/* The same, with the machine-readable reason that clients switch on. */
OMEN_CHECKED OMEN_PRINTF(4, 5) omen_code
    omen_fail_because(omen_error *err, omen_code code, const char *reason, const char *format, ...);

#endif
