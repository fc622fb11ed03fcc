/* options.h - what the command line asks for. */
#ifndef OMEN_LOAD_OPTIONS_H
#define OMEN_LOAD_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/engine.h"

enum omen_load_mode { OMEN_LOAD_MODE_INGEST, OMEN_LOAD_MODE_SEARCH, OMEN_LOAD_MODE_MIXED };

/* Fixed once parsed; any thread may read. */
struct omen_load_options {
    enum omen_load_mode mode;
    const char *target;
    const char *collection;
    const char *json; /* a file, or NULL */
    uint64_t connections;
    uint64_t server_pid; /* 0: not told */

    /* Vectors. */
    const char *data;    /* .npy; NULL: synthetic */
    const char *queries; /* .npy; NULL: see main.c */
    uint64_t dim;        /* synthetic only */
    uint64_t rows;       /* 0: all of the file */
    uint64_t seed;

    /* Ingest. */
    bool create;
    bool keep;
    omen_metric metric;
    uint64_t streams; /* of each connection */
    uint64_t chunk;   /* points; 0: as many as fit, 500 at most */
    uint64_t window;  /* MiB; 0: the credit that the server gives */
    uint64_t first_id;
    double ingest_rate; /* vectors/s; 0: as fast as they go */

    /* Search. */
    uint64_t batch;
    uint64_t k;
    uint64_t ef;
    bool exact;
    uint64_t concurrency; /* requests in flight, of all connections */
    double rate;          /* requests/s; 0: closed loop */
    double seconds;       /* 0: until `requests` */
    uint64_t requests;    /* 0: for `seconds` */
};

/* `help` is true when the help was asked for (and nothing else is filled in then).
 *
 * Borrows: argv - as long as *options is used.
 * Fails:   OMEN_INVALID_ARGUMENT; err names the flag, its value and its limit. */
OMEN_CHECKED omen_code omen_load_options_parse(int argc, char **argv,
                                               struct omen_load_options *options, bool *help,
                                               omen_error *err);

/* Prints what --help shows. */
void omen_load_options_help(void);

const char *omen_load_mode_name(enum omen_load_mode mode);

#endif
