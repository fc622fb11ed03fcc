/* report.h - the figures of a run, for eyes and as JSON. */
#ifndef OMEN_LOAD_REPORT_H
#define OMEN_LOAD_REPORT_H

#include <stdbool.h>

#include "bench/load/ingest.h"
#include "bench/load/options.h"
#include "bench/load/search.h"

struct omen_load_report {
    const struct omen_load_options *options;
    uint32_t dim;
    uint64_t rows;
    const struct omen_load_ingest_result *ingest; /* NULL: not in this mode */
    const struct omen_load_search_result *search;
    double seconds; /* from the start of the load until all was answered */
    double own_cpu; /* seconds */
    double server_cpu;
    bool has_server_cpu;
};

void omen_load_report_print(const struct omen_load_report *report);

/* Durations are milliseconds (names end in _ms) or seconds; rates are per second.
 * Fails: OMEN_UNAVAILABLE when the file cannot be written. */
OMEN_CHECKED omen_code omen_load_report_write(const struct omen_load_report *report,
                                              const char *path, omen_error *err);

#endif
